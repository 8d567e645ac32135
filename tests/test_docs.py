"""The documents keep up: commands, examples, links, and what they name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from cli import cli
from tests.cli_reference import PAGE, commands, help_of, page

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"^\s*(?:\$ )?lrustream (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]*)(#[^)]*)?\)")


def test_the_reference_is_what_the_commands_say() -> None:
    assert PAGE.read_text() == page(), "docs/cli.md lags: python -m tests.cli_reference"


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=[path for path, _ in commands()]
)
def test_every_command_has_a_help_sentence_and_an_example(
    path: str, command: click.Command
) -> None:
    assert (command.help or "").splitlines()[0].endswith(".")
    assert f"\n  {path}" in help_of(path, command).partition("Options:")[0].partition("\n")[2]
    for option in command.params:
        if isinstance(option, click.Option):
            assert (option.help or "").endswith((".", "?")), f"{path} {option.name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_the_documents_can_be_typed(document: Path) -> None:
    fenced = "\n".join(FENCED.findall(document.read_text()))
    for line in EXAMPLE.findall(fenced):
        words = shlex.split(line, comments=True)
        command: click.Command = cli
        while isinstance(command, click.Group):
            assert words, line
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        command.make_parser(click.Context(command)).parse_args(words)  # raises for unknown options


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target, _ in LINK.findall(document.read_text()):
        if target and "://" not in target:
            assert (document.parent / target).exists(), target


def test_every_file_that_the_architecture_names_is_there() -> None:
    named = re.findall(
        r"`((?:lrurec|connectors|engine|replay|tests)/[a-z_/]*(?:\.py)?)`",
        (ROOT / "docs" / "architecture.md").read_text(),
    )
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []

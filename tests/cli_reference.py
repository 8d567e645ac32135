"""Writes docs/cli.md from the commands' own help: `python -m tests.cli_reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from cli import cli

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
WIDTH = 100
HEADING = """\
# The command line

Every command and its options, as `--help` prints them; `python cli.py` is the same as `lrustream`.
What stands in brackets is the default. Settings come from a TOML file, the environment and flags:
see [configuration](../README.md#configuration).
"""


def commands(
    group: click.Group = cli, path: str = "lrustream"
) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with what is typed to run it."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def help_of(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path, terminal_width=WIDTH)
    return command.get_help(context)


def page() -> str:
    sections = [
        f"## {path.removeprefix('lrustream ')}\n\n```text\n{help_of(path, command)}\n```\n"
        for path, command in commands()
    ]
    return "\n".join([HEADING, *sections])


if __name__ == "__main__":
    PAGE.write_text(page())

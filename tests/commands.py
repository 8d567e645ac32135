"""Commands as a person types them, run in this process and in an empty folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import cli

SMALL = ["--set", "width=16", "--set", "blocks=1", "--set", "finetune_first=100"]


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No files and no settings but those of the test."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LRUSTREAM_") and "__" in name]:
        monkeypatch.delenv(name)


@pytest.fixture
def clicks(tmp_path: Path) -> str:
    """Four users who walk the same ring of ten items, one step a second."""
    rows = [f"u{n % 4},i{(n // 4) % 10},{1000 + n}" for n in range(200)]
    (tmp_path / "clicks.csv").write_text("\n".join(["user,item,timestamp", *rows]) + "\n")
    return "clicks.csv"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="lrustream")


def output(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def complaint(command: str) -> str:
    """The line that answers a mistake."""
    result = run(*command.split())
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    return result.stderr.splitlines()[-1]

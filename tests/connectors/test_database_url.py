"""What can be wrong with the URL of a database and the place it names, and how it is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from connectors.base import StoreError
from connectors.database import Database
from tests.connectors.errors import one_line


@pytest.mark.parametrize(
    "wrong",
    ["", "state.db", "sqlite://", "sqlite:///:memory:", "mysql://u:secret@h/d", "nonsense://secret",
     "postgresql://u:secret@host:port/d"],
)  # fmt: skip
def test_a_url_of_another_kind_is_refused_without_repeating_it(wrong: str) -> None:
    with pytest.raises(StoreError) as error:
        Database.open(wrong)
    assert "write sqlite:///FILE or postgresql://" in one_line(error)
    assert "secret" not in str(error.value)


def test_a_missing_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as error:
        Database.open(f"sqlite:///{tmp_path}/missing/state.db")
    assert f"{tmp_path}/missing does not exist: create it first" in one_line(error)


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a directory: name a file in it"):
        Database.open(f"sqlite:///{tmp_path}")


def test_a_place_that_cannot_be_written_is_said() -> None:
    with pytest.raises(StoreError) as error:
        Database.open("sqlite:////proc/state.db")
    assert "/proc/state.db: unable to open" in one_line(error)
    assert "readable and writable" in one_line(error)


def test_a_file_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database at all " * 100)
    with pytest.raises(StoreError) as error:
        Database.open(f"sqlite:///{path}")
    assert "name another file" in one_line(error)
    assert path.read_text() == "no database at all " * 100


def test_reading_needs_a_database_that_is_there(tmp_path: Path, postgres_database: str) -> None:
    for url in (f"sqlite:///{tmp_path / 'state.db'}", postgres_database):
        with pytest.raises(StoreError, match="start `lrustream serve`"):
            Database.open(url, read_only=True)
        with pytest.raises(StoreError, match="start `lrustream serve`"):
            Database.open(url, create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_password_is_said_and_never_shown(postgres_database: str) -> None:
    password = postgres_database.split(":")[2].split("@")[0]
    wrong = postgres_database.replace(password, "wrong-secret")
    with pytest.raises(StoreError) as error:
        Database.open(wrong)
    assert "correct user or password" in one_line(error)
    assert "wrong-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "replacement", "step"),
    [
        ("/postgres?", "/no_such?", "does not exist: create it"),
        ("127.0.0.1", "no-such-host.invalid", "correct the host"),
    ],
)
def test_a_wrong_place_is_said(
    postgres_database: str, part: str, replacement: str, step: str
) -> None:
    with pytest.raises(StoreError) as error:
        Database.open(postgres_database.replace(part, replacement))
    assert step in one_line(error)


def test_a_server_that_is_not_running_is_said() -> None:
    with pytest.raises(StoreError, match="start the server, or correct host and port"):
        Database.open("postgresql://u:p@127.0.0.1:1/d")


def test_a_missing_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'lrustream\[postgres\]'"):
        Database.open("postgresql://u:p@127.0.0.1:1/d")

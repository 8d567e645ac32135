"""A database of each kind, empty, for the suites that both must pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.database import Database


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    return str(request.getfixturevalue("postgres_database"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database.open(url, clock=lambda: 1000.0)
    yield database
    database.close()

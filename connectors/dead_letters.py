"""The queries of the dead-letter table; `Database` runs them in its transactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from connectors.base import DeadLetter
from connectors.schema import dead_letters
from connectors.sql import insert


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter with its number, when it was stored and when it was replayed (Unix seconds)."""

    id: int
    letter: DeadLetter
    created_at: float
    replayed_at: float | None

    def as_json(self) -> dict[str, Any]:
        """Its number, where it came from, the reason, and the record as text."""
        raw = self.letter.raw.decode("utf-8", "backslashreplace")
        return {"id": self.id, **asdict(self.letter), "raw": raw}


def store(connection: Connection, letters: Iterable[DeadLetter], now: float) -> None:
    """Add those that are not there yet: a record polled twice is one dead letter."""
    rows = [
        {
            "topic": letter.topic,
            "partition": int(letter.partition),
            "offset": int(letter.offset),
            "reason": storable(letter.reason),
            "raw": letter.raw,
            "created_at": now,
        }
        for letter in letters
    ]
    once = insert(connection, dead_letters).on_conflict_do_nothing(
        index_elements=["topic", "partition", "offset"]
    )
    if rows:
        connection.execute(once, rows)


def load(
    connection: Connection, limit: int, after_id: int, waiting: bool
) -> list[StoredDeadLetter]:
    columns = dead_letters.c
    query = select(dead_letters).where(columns.id > after_id)
    if waiting:
        query = query.where(columns.replayed_at.is_(None))
    return [
        StoredDeadLetter(
            row.id,
            DeadLetter(row.topic, row.partition, row.offset, row.reason, row.raw),
            row.created_at,
            row.replayed_at,
        )
        for row in connection.execute(query.order_by(columns.id).limit(limit))
    ]


def mark_replayed(connection: Connection, ids: Sequence[int], now: float) -> None:
    these = update(dead_letters).where(dead_letters.c.id.in_(ids))
    connection.execute(these.values(replayed_at=now))


def storable(text: str) -> str:
    """A reason may quote anything; PostgreSQL takes neither NUL nor half a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")

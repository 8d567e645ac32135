"""Time: events in the order in which they are replayed, and ids as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.event import EventBatch

Ties = Literal["file", "shuffle"]


@dataclass(frozen=True, slots=True)
class Stream:
    """Events in replay order, how many were left out, by reason, and the order in words."""

    events: EventBatch
    skipped: dict[str, int]
    order: str

    def through(self, broker: str, partitions: int) -> Stream:
        """The same events as they come out of a broker."""
        changed = ", which changes it between users" if partitions > 1 else ""
        return replace(self, order=f"{self.order}, through {broker}{changed}")


def in_time_order(
    batch: EventBatch,
    ties: Ties = "file",
    seed: int = 0,
    min_rating: float | None = None,
    limit: int | None = None,
) -> Stream:
    """Events sorted by timestamp; equal timestamps in file order, or shuffled with `seed`.

    Left out, and counted: events without a finite timestamp; with `min_rating`, events with a
    lower value or none; what lies beyond the first `limit` events of the ordered stream.
    Raises ValueError for an unknown `ties` or a negative `limit`.
    """
    if ties not in ("file", "shuffle"):
        raise ValueError(f"ties is {ties!r}: it must be 'file' or 'shuffle'")
    if limit is not None and limit < 0:
        raise ValueError(f"limit is {limit}: it must be 0 or more; leave it out for all events")
    timed = np.isfinite(batch.timestamps)
    skipped = {"no timestamp": int((~timed).sum())}
    keep = timed
    if min_rating is not None:
        unrated = np.isnan(batch.values)
        low = ~unrated & (batch.values < min_rating)
        skipped["no rating"] = int((timed & unrated).sum())
        skipped[f"rating below {min_rating:g}"] = int((timed & low).sum())
        keep = timed & ~unrated & ~low
    rows = np.flatnonzero(keep)
    tie_breaker = np.random.default_rng(seed).random(len(rows)) if ties == "shuffle" else rows
    rows = rows[np.lexsort((tie_breaker, batch.timestamps[rows]))]
    if limit is not None:
        skipped[f"beyond the first {limit}"] = max(len(rows) - limit, 0)
        rows = rows[:limit]
    order = f"timestamp, ties {'in file order' if ties == 'file' else 'shuffled'}"
    return Stream(_take(batch, rows), {reason: n for reason, n in skipped.items() if n}, order)


class Rows(NamedTuple):
    """Events with users and items as rows, numbered by first appearance in their stream.

    users, items: int32 (n,); values: float32 (n,), NaN where an event has none; n_users, n_items:
    of the whole stream.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    n_users: int
    n_items: int

    def part(self, events: slice) -> Rows:
        """Some of the events."""
        return self._replace(
            users=self.users[events], items=self.items[events], values=self.values[events]
        )


def to_rows(batch: EventBatch) -> Rows:
    """The events of a batch as rows."""
    users, n_users = _numbered(batch.users)
    items, n_items = _numbered(batch.items)
    return Rows(users, items, batch.values, n_users, n_items)


def first_of_each(values: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(n,) True where a value appears for the first time."""
    first = np.zeros(len(values), dtype=bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _numbered(names: Sequence[str]) -> tuple[NDArray[np.int32], int]:
    rows: dict[str, int] = {}
    numbers = [rows.setdefault(name, len(rows)) for name in names]
    return np.array(numbers, dtype=np.int32), len(rows)


def _take(batch: EventBatch, rows: NDArray[np.intp]) -> EventBatch:
    return EventBatch(
        [batch.users[row] for row in rows],
        [batch.items[row] for row in rows],
        batch.timestamps[rows],
        batch.values[rows],
        batch.partitions[rows],
        batch.offsets[rows],
    )

"""What is known just before each event of a micro-batch, for all its events at once.

Letters: B events of the batch, W newest items looked back at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.history import Histories
from engine.ragged import IntArray

WINDOW = 20
"""How many of a user's newest items the experts look back at."""


@dataclass(frozen=True)
class Context:
    """The past of each event. What a user did earlier in the same batch is part of it.

    users, items: (B,) rows; known: (B,) items known before the event (rows 0 .. known - 1);
    recent: (B, W) newest item first, -1 where there is none; length: (B,) events of the user
    so far; gap: (B,) seconds since the user's event before, inf without one; repeat: (B,) the
    user already had the item; seen: two (S,) arrays, event index (ascending) and an item that its
    user has.
    """

    users: IntArray
    items: IntArray
    known: IntArray
    recent: IntArray
    length: IntArray
    gap: NDArray[np.float64]
    repeat: NDArray[np.bool_]
    seen: tuple[IntArray, IntArray]

    def __len__(self) -> int:
        return len(self.users)

    def split(self, size: int) -> Iterator[Context]:
        """Consecutive parts of at most `size` events."""
        bounds = np.searchsorted(self.seen[0], np.arange(0, len(self) + size, size))
        for part, start in enumerate(range(0, len(self), size)):
            events = slice(start, start + size)
            seen = slice(bounds[part], bounds[part + 1])
            yield Context(
                self.users[events],
                self.items[events],
                self.known[events],
                self.recent[events],
                self.length[events],
                self.gap[events],
                self.repeat[events],
                (self.seen[0][seen] - start, self.seen[1][seen]),
            )


def read_context(
    histories: Histories,
    users: IntArray,
    items: IntArray,
    times: NDArray[np.float64],
    known: int,
) -> Context:
    """The context of each event, when `known` items were known before all of them.

    Rows of items met for the first time continue from `known` on, in order of appearance.
    """
    n = len(users)
    order = np.argsort(users, kind="stable")
    unique, first, counts = np.unique(users[order], return_index=True, return_counts=True)
    rank_sorted = np.arange(n) - np.repeat(first, counts)
    group_sorted = np.repeat(np.arange(len(unique)), counts)

    # One strip a user: W old items, then those of the batch; an event looks back along it.
    begin = np.cumsum(WINDOW + counts) - (WINDOW + counts)
    strip = np.empty(int((WINDOW + counts).sum()), dtype=np.int64)
    strip[begin[:, None] + np.arange(WINDOW)] = histories.events.tails(unique, WINDOW)
    strip[begin[group_sorted] + WINDOW + rank_sorted] = items[order]
    newest = begin[group_sorted] + WINDOW + rank_sorted - 1
    recent = np.empty((n, WINDOW), dtype=np.int64)
    recent[order] = strip[newest[:, None] - np.arange(WINDOW)]

    group, rank = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    group[order], rank[order] = group_sorted, rank_sorted

    before = np.empty(n)
    sorted_times = times[order]
    before[order] = np.where(
        rank_sorted > 0, np.roll(sorted_times, 1), histories.last_time[users[order]]
    )
    length = histories.total[users] + rank

    seen_items, offsets = histories.seen.gather(users)
    seen_rows = np.repeat(np.arange(n), np.diff(offsets))
    earlier = (group[:, None] == group[None, :]) & (rank[None, :] < rank[:, None])
    later_row, earlier_row = np.nonzero(earlier)
    rows = np.concatenate([seen_rows, later_row])
    by_event = np.argsort(rows, kind="stable")
    rows = rows[by_event]
    columns = np.concatenate([seen_items, items[earlier_row]])[by_event]
    repeat = np.zeros(n, dtype=bool)
    repeat[rows[columns == items[rows]]] = True

    grown = np.maximum.accumulate(np.concatenate([[known], items + 1]))[:-1]
    return Context(
        users=users,
        items=items,
        known=grown,
        recent=recent,
        length=length,
        gap=np.where(length > 0, np.maximum(times - before, 0.0), np.inf),
        repeat=repeat,
        seen=(rows, columns),
    )

"""What users did: the events since each user's anchor, and the complete set of items they have.

History is the truth; states are a cache of it (docs: the state starts at an anchor).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engine.durable import Arrays
from engine.ragged import IntArray, RaggedRows

BLOCK = 64
"""Users that a snapshot writes together."""


class Histories:
    """Histories of all users, by user row.

    `total` counts a user's events for ever; `events` holds those since the anchor; `seen` holds
    every item once; `last_time` (Unix seconds) and `partition` are those of the user's newest
    event. `changed` marks the users of whom the last snapshot does not know all.
    """

    def __init__(self, history: int) -> None:
        self.history = history
        self.events = RaggedRows()
        self.seen = RaggedRows()
        self.total = np.zeros(0, dtype=np.int64)
        self.last_time = np.zeros(0, dtype=np.float64)
        self.partition = np.zeros(0, dtype=np.int32)
        self.changed = np.zeros(0, dtype=bool)

    def __len__(self) -> int:
        return len(self.events)

    @property
    def nbytes(self) -> int:
        arrays = (
            self.total.nbytes + self.last_time.nbytes + self.partition.nbytes + self.changed.nbytes
        )
        return self.events.nbytes + self.seen.nbytes + arrays

    def resize(self, users: int) -> None:
        self.events.resize(users)
        self.seen.resize(users)
        if users > len(self.total):
            grown = max(users, 2 * len(self.total), 64)
            for name in ("total", "last_time", "partition", "changed"):
                old = getattr(self, name)
                new = np.zeros(grown, dtype=old.dtype)
                new[: len(old)] = old
                setattr(self, name, new)

    def anchor_all(self) -> None:
        """Move every anchor as a swap does: `history` events before the newest."""
        lengths = self.events.lengths(np.arange(len(self)))
        self.move_up(np.flatnonzero(lengths > self.history))

    def learn(
        self,
        users: IntArray,
        items: IntArray,
        repeat: NDArray[np.bool_],
        times: NDArray[np.float64],
        partitions: NDArray[np.int32],
    ) -> None:
        """Append events in order; `repeat` marks those whose item the user already had."""
        self.events.append(users, items)
        self.seen.append(users[~repeat], items[~repeat])
        np.add.at(self.total, users, 1)
        self.last_time[users] = times
        self.partition[users] = partitions
        self.changed[users] = True

    def forget(self, user: int) -> None:
        """Empty a user's row, as if nothing had happened."""
        self.events.keep_last(user, 0)
        self.seen.keep_last(user, 0)
        for column in (self.total, self.last_time, self.partition):
            column[user] = 0
        self.changed[user] = True

    def move_up(self, users: IntArray) -> None:
        """Set the anchor of each user `history` events before the newest."""
        for user in users:
            self.events.keep_last(int(user), self.history)
        self.changed[users] = True

    def move_up_overdue(self, users: IntArray) -> IntArray:
        """Move up the anchors of those of `users` that reached 2 x `history` events behind it.

        Each lands where it would be, had the events come one by one, however a batch has cut them.
        Returns whose anchor moved.
        """
        lengths = self.events.lengths(users)
        overdue = lengths >= 2 * self.history
        for user, length in zip(users[overdue], lengths[overdue], strict=True):
            self.events.keep_last(int(user), self.history + int(length) % self.history)
        self.changed[users[overdue]] = True
        return users[overdue]

    def changes(self) -> Iterator[tuple[int, Arrays]]:
        """The blocks with a user who changed since the last call (`Durable`)."""
        for block in np.unique(np.flatnonzero(self.changed) // BLOCK).tolist():
            users = np.arange(block * BLOCK, min((block + 1) * BLOCK, len(self)))
            yield (
                block,
                {
                    "events": self.events.gather(users)[0].astype(np.int32),
                    "events_lengths": self.events.lengths(users),
                    "seen": self.seen.gather(users)[0].astype(np.int32),
                    "seen_lengths": self.seen.lengths(users),
                    "total": self.total[users],
                    "last_time": self.last_time[users],
                    "partition": self.partition[users],
                },
            )
        self.changed[:] = False

    def restore(self, block: int, arrays: Arrays) -> None:
        count = len(arrays["total"])
        users = np.arange(block * BLOCK, block * BLOCK + count)
        self.resize(block * BLOCK + count)
        for rows, name in ((self.events, "events"), (self.seen, "seen")):
            owners = np.repeat(users, arrays[f"{name}_lengths"])
            rows.append(owners, arrays[name].astype(np.int64))
        self.total[users] = arrays["total"]
        self.last_time[users] = arrays["last_time"]
        self.partition[users] = arrays["partition"]

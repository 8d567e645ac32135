"""What users did: the events since each user's anchor, and the complete set of items they have.

History is the truth; states are a cache of it (docs: the state starts at an anchor).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.ragged import IntArray, RaggedRows


class Histories:
    """Histories of all users, by user row.

    `total` counts a user's events for ever; `events` holds those since the anchor; `seen` holds
    every item once. `epoch` is the number of swaps at which the anchor was last set.
    """

    def __init__(self, history: int) -> None:
        self.history = history
        self.events = RaggedRows()
        self.seen = RaggedRows()
        self.total = np.zeros(0, dtype=np.int64)
        self.epoch = np.zeros(0, dtype=np.int64)
        self.trained = np.zeros(0, dtype=np.int64)
        """How many of a user's events were in the window of an earlier fine-tune."""

    def __len__(self) -> int:
        return len(self.events)

    @property
    def nbytes(self) -> int:
        arrays = self.total.nbytes + self.epoch.nbytes + self.trained.nbytes
        return self.events.nbytes + self.seen.nbytes + arrays

    def resize(self, users: int) -> None:
        self.events.resize(users)
        self.seen.resize(users)
        if users > len(self.total):
            grown = max(users, 2 * len(self.total), 64)
            for name in ("total", "epoch", "trained"):
                new = np.zeros(grown, dtype=np.int64)
                new[: len(getattr(self, name))] = getattr(self, name)
                setattr(self, name, new)

    def anchor(self, users: IntArray, epoch: int) -> None:
        """Move the anchors that a swap since `epoch` sets: `history` events before the newest."""
        for user in users[self.epoch[users] != epoch]:
            self.events.keep_last(int(user), self.history)
            self.epoch[user] = epoch

    def learn(self, users: IntArray, items: IntArray, repeat: NDArray[np.bool_]) -> None:
        """Append events in order; `repeat` marks those whose item the user already had."""
        self.events.append(users, items)
        self.seen.append(users[~repeat], items[~repeat])
        np.add.at(self.total, users, 1)

    def overdue(self, users: IntArray) -> IntArray:
        """Those of `users` with 2 x `history` events behind the anchor: it must move up."""
        return users[self.events.lengths(users) >= 2 * self.history]

    def move_up(self, users: IntArray) -> None:
        """Set the anchor of each user `history` events before the newest."""
        for user in users:
            self.events.keep_last(int(user), self.history)

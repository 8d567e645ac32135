"""Item-based nearest neighbours: items that the same users had, kept up to date event by event.

Deshpande and Karypis, "Item-based top-N recommendation algorithms", 2004, with counts that grow
with the stream as in Papagelis, Rousidis, Plexousakis and Theoharopoulos, "Incremental
collaborative filtering for highly-scalable recommendation algorithms", 2005:

    score(i) = sum over the user's `SCORED` newest events x of
               together[x, i] / sqrt(users[x] users[i])

together[x, i] counts the users who had both within `LEARNED` events, users[i] those who had i.
An item that came twice counts once. What is similar to none is ordered by popularity.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.baselines.base import Task
from replay.baselines.one_by_one import History, OneByOne

SCORED: Final = 10
LEARNED: Final = 20
SLOTS: Final = 8_192
"""Items with counts, those that came last: 256 MiB at most."""
_POPULARITY: Final = 1e-6


class ItemKNN(OneByOne):
    """Cosine of the users that items have in common, summed over the user's newest items."""

    name = "item_knn"

    def __init__(self, task: Task, slots: int = SLOTS) -> None:
        super().__init__(task)
        slots = min(slots, task.n_items)
        self._together = np.zeros((slots, slots), dtype=np.float32)
        self._users = np.ones(slots, dtype=np.float32)
        self._newest = np.full(slots, -1)  # number of the event that last brought the slot's item
        self._item = np.full(slots, -1)
        self._slot = np.full(task.n_items, -1)

    def scores(self, user: int, history: History) -> NDArray[np.floating]:
        scores = _POPULARITY * self.popularity()
        recent = self._slots_of(history[-SCORED:])
        root = np.sqrt(self._users)
        similarity = (1 / root[recent]) @ self._together[recent] / root
        filled = self._item >= 0
        scores[self._item[filled]] += similarity[filled]
        return scores

    def learn(self, user: int, history: History, item: int, value: float) -> None:
        if self._slot[item] < 0:
            self._give_slot(item)
        slot = self._slot[item]
        self._newest[slot] = self.events
        if (history == item).any():
            return  # counted once a user
        others = self._slots_of(history[-LEARNED:])
        self._together[slot, others] += 1
        self._together[others, slot] += 1
        self._together[slot, slot] += 1
        self._users[slot] = self._together[slot, slot]

    def _slots_of(self, items: History) -> NDArray[np.int64]:
        """The slots of the items that have one, each once."""
        slots = self._slot[np.unique(items)]
        return slots[slots >= 0]

    def _give_slot(self, item: int) -> None:
        """Take the slot whose item has not come for longest; what was counted of it is lost."""
        slot = int(self._newest.argmin())
        if self._item[slot] >= 0:
            self._slot[self._item[slot]] = -1
        self._item[slot], self._slot[item] = item, slot
        self._together[slot] = self._together[:, slot] = 0
        self._users[slot] = 1

"""What a baseline that scores one event after another shares with its like: the protocol.

A subclass says how it scores the known items for a user and how it learns; who is a candidate,
what a miss is, how ties are broken and what users without history get is decided here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.ragged import RaggedRows
from engine.topk import uniform_draws
from replay.baselines.base import Task, best_of, check_rows
from replay.stream import Rows

History = NDArray[np.int32]
"""(L,) the item rows of a user's events so far, oldest first, repeats included; read only."""

_FADE: Final = 0.5 ** (1 / 5_000)
_RESCALE: Final = 2.0**500
_NEVER: Final = np.iinfo(np.int64).min


class OneByOne(ABC):
    """Ranks and learns event by event (contract: `replay.baselines.base.Baseline`).

    Users without history get decayed popularity, half of an event forgotten after 5,000.
    """

    name: str

    def __init__(self, task: Task) -> None:
        self.task = task
        self.known = task.n_items if task.protocol.all_items else 0
        """Items seen so far, or all where the protocol says so: rows 0 to known - 1."""
        self.events = 0
        """Events learned so far."""
        self._newest_event = np.full(task.n_items, _NEVER)  # number of the item's newest event
        self._histories = RaggedRows()
        self._histories.resize(task.n_users)
        self._lengths = np.zeros(task.n_users, dtype=np.int64)
        self._mass = np.zeros(task.n_items)
        self._weight = 1.0

    @abstractmethod
    def scores(self, user: int, history: History) -> NDArray[np.floating]:
        """(known,) a fresh score of every known item for a user with at least one event."""

    @abstractmethod
    def learn(self, user: int, history: History, item: int, value: float) -> None:
        """Take an event in; `history` ends before it, and `known` includes its item."""

    def popularity(self) -> NDArray[np.float64]:
        """(known,) a fresh share of each item in all events so far, older ones counting less."""
        mass = self._mass[: self.known]
        return mass / (mass.sum() or 1.0)

    def rank_and_learn(self, events: Rows) -> NDArray[np.int64]:
        """See `Baseline.rank_and_learn`."""
        check_rows(events, self.task.n_users, self.task.n_items, self.known)
        ranks = np.zeros(len(events.users), dtype=np.int64)
        draws = uniform_draws(self.task.seed, self.events, len(ranks))
        self._histories.append(events.users.astype(np.int64), events.items.astype(np.int64))
        columns = (events.users.tolist(), events.items.tolist(), events.values.tolist())
        for event, (user, item, value) in enumerate(zip(*columns, strict=True)):
            history = self._histories.row(user)[: self._lengths[user]]  # later ones lie behind it
            offered = item < self.known and (self.task.repeats or not (history == item).any())
            if offered or self.task.protocol.recent_events:
                ranks[event] = self._rank(user, history, item, offered, draws[event])
            self.known = max(self.known, item + 1)
            self.learn(user, history, item, value)
            self._count(item)
            self._lengths[user] += 1
            self.events += 1
        return ranks

    def recommend(self, user: int, k: int) -> NDArray[np.int32]:
        """See `Baseline.recommend`."""
        history = self._histories.row(user)
        scores = self._scores(user, history)
        if not self.task.repeats:
            scores[history] = -np.inf
        return best_of(scores, k)

    def _scores(self, user: int, history: History) -> NDArray[np.floating]:
        """(known,) as of `scores`, for any user."""
        return self.scores(user, history) if len(history) else self.popularity()

    def _rank(self, user: int, history: History, item: int, offered: bool, draw: float) -> int:
        """Behind all rivals where `item` is not offered."""
        scores = self._scores(user, history)
        target = scores[item] if offered else -np.inf
        rivals = scores[self._rivals(history, item)]
        not_higher = int(np.count_nonzero(rivals <= target))  # so a NaN is never in favour
        same = np.count_nonzero(rivals == target)
        return 1 + len(rivals) - not_higher + int(draw * (same + 1))

    def _rivals(self, history: History, item: int) -> NDArray[np.bool_]:
        """(known,) the candidates but for `item`."""
        recent = self.task.protocol.recent_events
        oldest = self.events - recent if recent else _NEVER
        rivals: NDArray[np.bool_] = self._newest_event[: self.known] >= oldest
        rivals[item : item + 1] = False
        if not self.task.repeats:
            rivals[history] = False
        return rivals

    def _count(self, item: int) -> None:
        self._newest_event[item] = self.events
        self._mass[item] += self._weight
        self._weight /= _FADE
        if self._weight > _RESCALE:
            self._mass /= _RESCALE
            self._weight /= _RESCALE

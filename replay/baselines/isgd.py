"""ISGD: incremental matrix factorisation of what users had, with nothing but positive events.

Vinagre, Jorge and Gama, "Fast incremental matrix factorization for recommendation with
positive-only feedback", UMAP 2014. Each event is one step of gradient descent that brings the
product of its user's and its item's factors nearer to 1; items are ranked by how near it is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.baselines.base import Task
from replay.baselines.one_by_one import History, OneByOne

FACTORS: Final = 32
RATE: Final = 0.1
RIDGE: Final = 0.2
_START: Final = 0.1
"""Standard deviation of the first factors."""


class ISGD(OneByOne):
    """Incremental matrix factorisation of what users had: one gradient step an event."""

    name = "isgd"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        random = np.random.default_rng(task.seed)
        self._user_factors = random.normal(0, _START, (task.n_users, FACTORS))
        self._item_factors = random.normal(0, _START, (task.n_items, FACTORS))

    def scores(self, user: int, history: History) -> NDArray[np.floating]:
        return -np.abs(1 - self._item_factors[: self.known] @ self._user_factors[user])

    def learn(self, user: int, history: History, item: int, value: float) -> None:
        p, q = self._user_factors[user].copy(), self._item_factors[item].copy()
        error = 1 - p @ q
        self._user_factors[user] += RATE * (error * q - RIDGE * p)
        self._item_factors[item] += RATE * (error * p - RIDGE * q)

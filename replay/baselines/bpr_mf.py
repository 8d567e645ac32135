"""BPR-MF, online: what a user had is to score higher than what the user had not.

Rendle, Freudenthaler, Gantner and Schmidt-Thieme, "BPR: Bayesian personalized ranking from
implicit feedback", UAI 2009: gradient descent on -log sigmoid(score(i) - score(j)) where the user
had i and not j, with score(i) = bias(i) + <user, item i>. Here every event is learned once, as it
comes, against `NEGATIVES` known items drawn uniformly; a draw that the user has is dropped.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.baselines.base import Task
from replay.baselines.one_by_one import History, OneByOne

FACTORS: Final = 64
NEGATIVES: Final = 10
RATE: Final = 0.5
RIDGE: Final = 0.01
_START: Final = 0.1
"""Standard deviation of the first factors."""


class BPRMF(OneByOne):
    """Matrix factorisation by pairs, what a user had before what not: one gradient step an event.

    A step is the mean of those against the negatives of the event.
    """

    name = "bpr_mf"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._random = np.random.default_rng(task.seed)
        self._user_factors = self._random.normal(0, _START, (task.n_users, FACTORS))
        self._item_factors = self._random.normal(0, _START, (task.n_items, FACTORS))
        self._item_bias = np.zeros(task.n_items)

    def scores(self, user: int, history: History) -> NDArray[np.floating]:
        return (
            self._item_factors[: self.known] @ self._user_factors[user]
            + self._item_bias[: self.known]
        )

    def learn(self, user: int, history: History, item: int, value: float) -> None:
        drawn = self._random.integers(0, self.known, NEGATIVES)
        drawn = drawn[(drawn != item) & ~(drawn[:, None] == history).any(axis=1)]
        if not len(drawn):
            return
        p, q = self._user_factors[user].copy(), self._item_factors[item].copy()
        differences = q - self._item_factors[drawn]  # (n, FACTORS)
        margins = self._item_bias[item] - self._item_bias[drawn] + differences @ p
        pulls = np.exp(-np.logaddexp(0, margins)) / len(drawn)  # sigmoid(-margins), never inf
        self._user_factors[user] += RATE * (pulls @ differences - RIDGE * p)
        self._item_factors[item] += RATE * (pulls.sum() * p - RIDGE * q)
        self._item_factors[drawn] -= RATE * (pulls[:, None] * p + RIDGE * self._item_factors[drawn])
        self._item_bias[item] += RATE * (pulls.sum() - RIDGE * self._item_bias[item])
        self._item_bias[drawn] -= RATE * (pulls + RIDGE * self._item_bias[drawn])

"""Biased matrix factorisation: who rated what how, and so the best rated first (river).

Paterek, "Improving regularized singular value decomposition for collaborative filtering", KDD Cup
2007; Koren, Bell and Volinsky, "Matrix factorization techniques for recommender systems", 2009:

    value(u, i) = mean + bias(u) + bias(i) + <user u, item i>

by `river.reco.BiasedMF`, one gradient step an event with a value; an event without one changes
nothing. It predicts what a user would say of an item, and says nothing of whether it will come.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from river.optim import SGD
from river.optim.initializers import Normal
from river.reco import BiasedMF as RiverBiasedMF

from replay.baselines.base import Task
from replay.baselines.one_by_one import History, OneByOne

FACTORS: Final = 10
RATE: Final = 0.01


class BiasedMF(OneByOne):
    """The best rated first, by what the user would say of them (river's model).

    All items are ranked at once, by a copy of its weights.
    """

    name = "biased_mf"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._model = RiverBiasedMF(
            n_factors=FACTORS,
            bias_optimizer=SGD(RATE),
            latent_optimizer=SGD(RATE),
            latent_initializer=Normal(sigma=0.1, seed=task.seed),
        )
        self._item_factors = np.zeros((task.n_items, FACTORS))
        self._item_bias = np.zeros(task.n_items)

    def scores(self, user: int, history: History) -> NDArray[np.floating]:
        """Values less what all items share, the mean and the user's bias."""
        factors = self._model.u_latents[user]
        return self._item_factors[: self.known] @ factors + self._item_bias[: self.known]

    def learn(self, user: int, history: History, item: int, value: float) -> None:
        if np.isnan(value):
            return
        self._model.learn_one(user, item, value)
        self._item_factors[item] = self._model.i_latents[item]
        self._item_bias[item] = self._model.i_biases[item]

"""Decayed popularity at several half-lives, exact inside a micro-batch.

Letters: K half-lives, B events of the batch, I items.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from engine.context import Context

HALF_LIVES = (math.inf, 5000.0, 1000.0, 200.0, 30.0)
"""In events, slowest first: each faster popularity leans on the one before it."""

PRIOR_COUNT = 0.05
"""Events that every known item is lent under the slowest popularity."""

BACKOFF = 10.0
"""Events that a faster popularity is lent from the slower one."""


class Popularity:
    """How often each item occurred of late: c_i <- c_i * 2^(-1/half-life) per event, then + 1."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.counts = torch.zeros(len(HALF_LIVES), 0, device=device)
        self.totals = torch.zeros(len(HALF_LIVES), device=device)
        self.decay = torch.tensor([0.5 ** (1.0 / h) for h in HALF_LIVES], device=device)

    @property
    def nbytes(self) -> int:
        return self.counts.nbytes

    def grow(self, items: int) -> None:
        missing = items - self.counts.shape[1]
        if missing > 0:
            room = torch.zeros(len(HALF_LIVES), missing, device=self.device)
            self.counts = torch.cat([self.counts, room], dim=1)

    def probabilities(self, known: int) -> Tensor:
        """Positive weights (K, I) as of now, that sum to about 1 over the `known` items."""
        return self._weights(self.counts, known)

    def inside(self, context: Context, known: int) -> tuple[Tensor, Tensor]:
        """Where the events of the context change `probabilities` for those after them.

        Returns the items (U,) that they touch and the weights (K, B, U) of these just before
        each event. Relative to all other items this is exact: what they lose by decay inside the
        batch is given to these in its place.
        """
        n = len(context)
        items = torch.from_numpy(context.items).to(self.device)
        unique, place = torch.unique(items, return_inverse=True)
        steps = torch.arange(n, device=self.device)
        # Event s of the batch counts 1 at s + 1, that is decay^-(s + 1) in counts as of now.
        added = torch.zeros(len(HALF_LIVES), n, len(unique), device=self.device)
        added[:, steps, place] = self.decay[:, None] ** -(steps + 1.0)
        before = added.cumsum(dim=1) - added
        return unique, self._weights(self.counts[:, None, unique] + before, known)

    def _weights(self, counts: Tensor, known: int) -> Tensor:
        """Smoothed: the slowest by a prior count, each faster one by the one before it.

        With totals t: w_0 = (c_0 + PRIOR_COUNT) / (t_0 + PRIOR_COUNT known), w_k = (c_k + BACKOFF
        w_k-1) / (t_k + BACKOFF). That is linear in the counts (K, ...): one product.
        """
        first, *others = self.totals.tolist()
        lent = np.zeros((len(HALF_LIVES), len(HALF_LIVES)), dtype=np.float32)
        lent[0, 0] = 1.0 / (first + PRIOR_COUNT * known)
        for k, total in enumerate(others, start=1):
            lent[k] = BACKOFF * lent[k - 1]
            lent[k, k] = 1.0
            lent[k] /= total + BACKOFF
        by = torch.from_numpy(lent).to(self.device)
        return torch.addmm(by[:, :1], by, counts.flatten(1), beta=PRIOR_COUNT).view_as(counts)

    def learn(self, context: Context) -> None:
        n = len(context)
        items = torch.from_numpy(context.items).to(self.device)
        ages = torch.arange(n - 1, -1, -1, device=self.device)
        weights = self.decay[:, None] ** ages  # (K, B)
        self.counts *= (self.decay**n)[:, None]
        self.counts.index_add_(1, items, weights)
        self.totals = self.totals * self.decay**n + weights.sum(dim=1)

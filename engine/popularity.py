"""Decayed popularity at several half-lives, exact inside a micro-batch.

Letters: K half-lives, B events of the batch, I items.
"""

from __future__ import annotations

import math

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

    def probabilities(self, context: Context | None, known: Tensor) -> Tensor:
        """Positive weights (K, B, I) that sum to about 1 over the known items of each event.

        `known` (B,) is the number of items known before each event. Without a context: as of
        now, for a query (B = 1).
        """
        counts, totals = self._counts_before(context)
        result = torch.empty_like(counts)
        lent = PRIOR_COUNT * known.to(counts.dtype)
        result[0] = (counts[0] + PRIOR_COUNT) / (totals[0] + lent)[:, None]
        for k in range(1, len(HALF_LIVES)):
            scale = 1.0 / (totals[k] + BACKOFF)[:, None]
            torch.mul(counts[k], scale, out=result[k])
            result[k].addcmul_(result[k - 1], scale, value=BACKOFF)
        return result

    def _counts_before(self, context: Context | None) -> tuple[Tensor, Tensor]:
        """Decayed counts (K, B, I) and their totals (K, B) just before each event."""
        if context is None:
            return self.counts[:, None, :], self.totals[:, None]
        n = len(context)
        items = torch.from_numpy(context.items).to(self.device)
        steps = torch.arange(n, device=self.device)
        decay = self.decay[:, None]
        faded = decay**steps  # (K, B)
        counts = self.counts[:, None, :] * faded[:, :, None]
        # Weight at event t of event s before it in the batch: decay^(t - 1 - s).
        gap = (steps[:, None] - 1 - steps[None, :]).to(torch.float32)
        weights = torch.where(gap >= 0, decay[:, :, None] ** gap.clamp(min=0), 0.0)  # (K, B, B)
        unique, place = torch.unique(items, return_inverse=True)
        hits = torch.zeros(n, len(unique), device=self.device)
        hits[steps, place] = 1.0
        counts[:, :, unique] += weights @ hits
        return counts, self.totals[:, None] * faded + weights.sum(dim=2)

    def learn(self, context: Context) -> None:
        n = len(context)
        items = torch.from_numpy(context.items).to(self.device)
        ages = torch.arange(n - 1, -1, -1, device=self.device)
        weights = self.decay[:, None] ** ages  # (K, B)
        self.counts *= (self.decay**n)[:, None]
        self.counts.index_add_(1, items, weights)
        self.totals = self.totals * self.decay**n + weights.sum(dim=1)

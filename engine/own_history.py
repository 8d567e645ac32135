"""The user's own recent items, where repeats are allowed.

p(x_q) = r_q for the distinct items x_q of the user's newest events, the rest by popularity; r_q is
how often, of late, an item last met q events ago was the next one. It differs widely with the
time since the newest event and with whether that was itself a repeat, so the rates are kept by
context and shrunk towards those of all contexts.

Letters: B events, W newest items, C contexts, I items.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.context import WINDOW, Context

GAP_BOUNDS = (1.0, 3.0, 10.0, 20.0, 40.0, 80.0, 300.0, 1800.0, 86_400.0)
"""Seconds since the user's newest event at which the next context begins."""

PATTERNS = 3
"""One event only; the newest repeats the one before; it does not."""

MEMORY = 0.9999
"""Share of the counts kept from event to event."""

PRIOR_HITS, PRIOR_TRIES = 0.1, 2.0
SHRINKAGE = 10.0
"""Tries that a context is lent from all contexts."""


class OwnHistory:
    """Hits and tries (C, W) by context and gap, decayed."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        contexts = (len(GAP_BOUNDS) + 1) * PATTERNS
        self.hits = torch.zeros(contexts, WINDOW, device=device)
        self.tries = torch.zeros(contexts, WINDOW, device=device)
        self._bounds = torch.tensor(GAP_BOUNDS, dtype=torch.float64, device=device)

    def scores(
        self, recent: Tensor, columns: Tensor, gap: Tensor, popularity: Tensor, out: Tensor
    ) -> None:
        """Positive scores into out (B, C).

        recent (B, W) newest first, -1 where there is none; columns (B, W) where these items stand
        in out; gap (B,) seconds since the newest; popularity (B, C).
        """
        pooled = (self.hits.sum(0) + PRIOR_HITS) / (self.tries.sum(0) + PRIOR_TRIES)
        rates = (self.hits + SHRINKAGE * pooled) / (self.tries + SHRINKAGE)
        rates = rates[self._contexts(recent, gap)] * _distinct(recent)
        torch.mul(popularity, (1.0 - rates.sum(1)).clamp(min=0.05)[:, None], out=out)
        out.scatter_add_(1, columns.clamp(min=0), rates)

    def learn(self, context: Context) -> None:
        recent = torch.from_numpy(context.recent).to(self.device)
        items = torch.from_numpy(context.items).to(self.device)
        contexts = self._contexts(recent, torch.from_numpy(context.gap).to(self.device))
        distinct = _distinct(recent)
        hit = distinct & (recent == items[:, None])
        keep = MEMORY ** len(recent)
        self.tries.mul_(keep).index_add_(0, contexts, distinct.float())
        self.hits.mul_(keep).index_add_(0, contexts, hit.float())

    def _contexts(self, recent: Tensor, gap: Tensor) -> Tensor:
        pattern = torch.where(recent[:, 1] < 0, 0, 1 + (recent[:, 0] != recent[:, 1]).long())
        return torch.searchsorted(self._bounds, gap, side="right") * PATTERNS + pattern


def _distinct(recent: Tensor) -> Tensor:
    """(B, W): the item is there, and not among those that came after it."""
    same = recent[:, :, None] == recent[:, None, :]
    later = torch.ones(WINDOW, WINDOW, dtype=torch.bool, device=recent.device).tril(-1)
    return (recent >= 0) & ~(same & later).any(dim=2)

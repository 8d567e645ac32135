"""The user's own recent items, where repeats are allowed.

p(x_q) = r_q for the distinct items x_q of the user's newest events, the rest by popularity; r_q is
how often, of late, an item last met q events ago was the next one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.context import WINDOW, Context

MEMORY = 0.9999
"""Share of the counts kept from event to event."""

PRIOR_HITS, PRIOR_TRIES = 0.1, 2.0


class OwnHistory:
    """Hits and tries by gap q, decayed."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.hits = torch.zeros(WINDOW, device=device)
        self.tries = torch.zeros(WINDOW, device=device)

    def scores(self, recent: Tensor, popularity: Tensor) -> Tensor:
        """Positive scores (B, I); recent (B, W) newest first, popularity (B, I)."""
        rates = (self.hits + PRIOR_HITS) / (self.tries + PRIOR_TRIES)
        events, gaps = _distinct(recent).nonzero(as_tuple=True)
        left = torch.ones(len(recent), device=self.device).index_add_(0, events, -rates[gaps])
        scores = popularity * left.clamp(min=0.05)[:, None]
        index = events * scores.shape[1] + recent[events, gaps]
        scores.view(-1).index_add_(0, index, rates[gaps])
        return scores

    def learn(self, context: Context) -> None:
        recent = torch.from_numpy(context.recent).to(self.device)
        items = torch.from_numpy(context.items).to(self.device)
        distinct = _distinct(recent)
        keep = MEMORY ** len(recent)
        self.tries = self.tries * keep + distinct.sum(0)
        self.hits = self.hits * keep + (distinct & (recent == items[:, None])).sum(0)


def _distinct(recent: Tensor) -> Tensor:
    """(B, W): the item is there, and not among those that came after it."""
    same = recent[:, :, None] == recent[:, None, :]
    later = torch.ones(WINDOW, WINDOW, dtype=torch.bool, device=recent.device).tril(-1)
    return (recent >= 0) & ~(same & later).any(dim=2)

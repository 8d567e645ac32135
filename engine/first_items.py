"""What users begin with: the popularity of items as a user's first event.

p(i) = (c_i + BACKOFF d(i)) / (sum c + BACKOFF), c the decayed counts of first items and d the
popularity. The counts lag by one micro-batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.context import Context

HALF_LIFE = 2_000.0
"""In first events."""

BACKOFF = 20.0
"""First events that the popularity lends."""


class FirstItems:
    """Decayed counts (I,) of first items."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.counts = torch.zeros(0, device=device)

    def grow(self, items: int) -> None:
        self.counts = functional.pad(self.counts, (0, max(0, items - len(self.counts))))

    def probabilities(self, popularity: Tensor, items: Tensor | None = None) -> Tensor:
        """Positive (N, C) for N users without history; popularity (N, C) of the items of the
        columns: `items` (N, C), or None for all of them in order."""
        counts = self.counts if items is None else self.counts[items]
        return (counts + BACKOFF * popularity) / (self.counts.sum() + BACKOFF)

    def learn(self, context: Context) -> None:
        first = torch.from_numpy(context.items[context.length == 0]).to(self.device)
        ages = torch.arange(len(first) - 1, -1, -1, device=self.device)
        self.counts *= 0.5 ** (len(first) / HALF_LIFE)
        self.counts.index_add_(0, first, 0.5 ** (ages / HALF_LIFE))

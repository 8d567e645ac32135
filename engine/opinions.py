"""What the experts say of the items: the form in which the mixture takes it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Opinions:
    """Of M experts, on I items, for B events.

    weights: (B, M, I) positive, proportional to the expert's probabilities; logs: (B, M + 1, I)
    their logarithms up to a constant a row, finite, and a last place that the mixture fills.
    Both are written expert by expert, and together once, so that each is one block of memory.
    """

    weights: Tensor
    logs: Tensor

    @classmethod
    def empty(cls, events: int, experts: int, items: int, device: torch.device) -> Opinions:
        return cls(
            torch.empty(events, experts, items, device=device),
            torch.empty(events, experts + 1, items, device=device),
        )

    def without(self, experts: Collection[int]) -> Opinions:
        """A copy that lacks some experts, named by their places."""
        places = range(self.logs.shape[1])
        kept = [place for place in places if place not in experts]
        return Opinions(self.weights[:, kept[:-1]], self.logs[:, kept])

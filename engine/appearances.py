"""When each item was met first and last, counted in events of the stream."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.context import Context

NEVER = 1 << 62


class Appearances:
    """Numbers (I,) int64 of the events of each item: its first, `NEVER` before that, and its
    newest."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.first = torch.zeros(0, dtype=torch.long, device=device)
        self.newest = torch.zeros(0, dtype=torch.long, device=device)

    def grow(self, items: int) -> None:
        missing = max(0, items - len(self.first))
        self.first = functional.pad(self.first, (0, missing), value=NEVER)
        self.newest = functional.pad(self.newest, (0, missing))

    def since(self, number: int, items: Tensor) -> tuple[Tensor, Tensor]:
        """How many events before event `number` the items were met first and last, in the shape
        of `items`."""
        first, newest = self.first[items], self.newest[items]
        return (number - first).clamp_(min=0), (number - newest).clamp_(min=0)

    def learn(self, context: Context, number: int) -> None:
        """Events of which the first is the stream's event `number`."""
        items = torch.from_numpy(context.items).to(self.device)
        numbers = torch.arange(number, number + len(items), device=self.device)
        self.first.scatter_reduce_(0, items, numbers, "amin")
        self.newest.scatter_reduce_(0, items, numbers, "amax")

"""The union of what the experts put among their best: all that is weighed of a large catalogue.

Letters: B events, P proposals of each, C columns of the union, N entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.topk import strongest_first


class Union:
    """Items (B, C) proposed for each event, ascending; what was proposed twice stands there twice.

    proposals (B, P): item rows, -1 for none; known: no row is as large.
    """

    def __init__(self, proposals: Tensor, known: int) -> None:
        rows = proposals.sort(dim=1).values
        self.items = rows.clamp(min=0)
        self._step = known + 1
        events = torch.arange(len(rows), device=rows.device)
        self._keys = (events[:, None] * self._step + rows + 1).view(-1)
        self._valid = rows >= 0
        self._valid[:, 1:] &= rows[:, 1:] != rows[:, :-1]

    def columns(self, items: Tensor) -> Tensor:
        """Where items (B, K) first stand, -1 for what is not there."""
        events = torch.arange(len(items), device=items.device)[:, None]
        place, there = self._find(events.expand_as(items), items)
        columns = place - events * self.items.shape[1]
        return columns.masked_fill_(~there | (items < 0), -1)

    def candidates(self, known: Tensor, seen: tuple[Tensor, Tensor] | None) -> Tensor:
        """(B, C): 1 for a candidate, as of `topk.candidates_of`, once for each item."""
        candidates = (self._valid & (self.items < known[:, None])).float()
        if seen is not None:
            place, there = self._find(*seen)
            candidates.view(-1).index_fill_(0, place[there], 0.0)
        return candidates

    def sums(self, entries: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """(B, C): of each item, the sum of its entries' values: events, items and values (N,)."""
        events, items, values = entries
        place, there = self._find(events, items)
        sums = torch.zeros_like(self.items, dtype=torch.float32)
        sums.view(-1).index_add_(0, place[there], values[there])
        return sums

    def _find(self, events: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Where the items first stand in the flattened columns, and whether they do."""
        keys = events * self._step + items + 1
        place = torch.searchsorted(self._keys, keys).clamp_(max=len(self._keys) - 1)
        return place, self._keys[place] == keys


def best_of_entries(
    entries: tuple[Tensor, Tensor, Tensor], events: int, known: int, count: int
) -> Tensor:
    """(B, count): the items whose entries sum to most in each event, -1 where there are fewer."""
    of, items, values = entries
    pairs, place = torch.unique(of * known + items, return_inverse=True)
    sums = torch.zeros(len(pairs), device=values.device).index_add_(0, place, values)
    order, rank = strongest_first(pairs // known, sums)
    order, rank = order[rank < count], rank[rank < count]
    best = torch.full((events, count), -1, device=values.device)
    best[pairs[order] // known, rank] = pairs[order] % known
    return best

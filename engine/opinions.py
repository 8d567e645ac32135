"""What the experts say of the items: tables that the mixture computes with.

Some experts say the same to all events scored together, but for the few items that occur among
them: the popularities. They are kept once, with what differs, which halves the memory that every
event costs.

Letters: K experts in common, P with an opinion on each event, M = K + P, B events, I items,
U items touched.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.topk import candidates_of
from engine.union import Union


@dataclass(frozen=True)
class Table:
    """Numbers x (B, M, I), the experts in common first.

    common: (K, I); touched: (U,) distinct items; difference: (B, K, U) to be added there;
    own: (B, P, I).
    """

    common: Tensor
    touched: Tensor
    difference: Tensor
    own: Tensor

    def combine(self, weights: Tensor) -> Tensor:
        """sum_m weights[b, n, m] x[b, m, i]: (B, N, M) to (B, N, I)."""
        shared = len(self.common)
        of_common, of_own = weights[:, :, :shared], weights[:, :, shared:]
        sums = torch.matmul(of_common, self.common)
        sums.index_add_(2, self.touched, torch.bmm(of_common, self.difference))
        return sums.baddbmm_(of_own, self.own)

    def expect(self, shares: Tensor) -> Tensor:
        """sum_i shares[b, i] x[b, m, i]: (B, I) to (B, M)."""
        rows = shares[:, None, :]
        of_common = rows @ self.common.t()
        of_common += torch.bmm(rows[:, :, self.touched], self.difference.transpose(1, 2))
        of_own = torch.bmm(rows, self.own.transpose(1, 2))
        return torch.cat([of_common, of_own], dim=2).squeeze(1)

    def at(self, events: Tensor, items: Tensor) -> Tensor:
        """x[events[r], :, items[r]]: (R,) and (R,) to (R, M)."""
        touched = (self.touched == items[:, None])[:, None, :]
        of_common = self.common[:, items].t() + (self.difference[events] * touched).sum(2)
        return torch.cat([of_common, self.own[events, :, items]], dim=1)

    def among(self, items: Tensor) -> Tensor:
        """x[b, :, items[b, k]]: (B, K) to (B, M, K)."""
        of_own = self.own.gather(2, items[:, None, :].expand(-1, self.own.shape[1], -1))
        # Where each item stands among those touched: behind them all, with no difference, if not.
        shared, columns = self.common.shape
        place = torch.full((columns,), len(self.touched), device=items.device)
        place[self.touched] = torch.arange(len(self.touched), device=items.device)
        difference = functional.pad(self.difference, (0, 1))
        there = place[items][:, None, :].expand(-1, shared, -1)
        of_common = self.common[:, items].transpose(0, 1) + difference.gather(2, there)
        return torch.cat([of_common, of_own], dim=1)

    def rows(self, events: Tensor) -> Tensor:
        """x[events]: (R,) to (R, M, I)."""
        of_common = self.common.repeat(len(events), 1, 1)
        of_common.index_add_(2, self.touched, self.difference[events])
        return torch.cat([of_common, self.own[events]], dim=1)

    def without(self, experts: Collection[int]) -> Table:
        """A copy that lacks some experts, named by their places."""
        shared = len(self.common)
        common = [m for m in range(shared) if m not in experts]
        own = [m - shared for m in range(shared, shared + self.own.shape[1]) if m not in experts]
        return Table(
            self.common[common], self.touched, self.difference[:, common], self.own[:, own]
        )


@dataclass(frozen=True)
class Opinions:
    """Of M experts, on I items, for B events.

    weights: positive, proportional to each expert's probabilities; logs: their logarithms up to a
    constant a row, finite, and behind them room for one more opinion, the mixture's own blend.
    union: what the columns are of, None where they are all items in order.
    """

    weights: Table
    logs: Table
    union: Union | None = None

    def without(self, experts: Collection[int]) -> Opinions:
        """A copy that lacks some experts, named by their places."""
        return Opinions(self.weights.without(experts), self.logs.without(experts), self.union)

    def candidates(self, known: Tensor, seen: tuple[Tensor, Tensor] | None) -> Tensor:
        """(B, I) as of `topk.candidates_of`: 1 for a candidate, 0 for the rest."""
        if self.union is None:
            events, _, items = self.weights.own.shape
            return candidates_of(known, seen, events, items)
        return self.union.candidates(known, seen)

    def items_of(self, columns: Tensor, events: Tensor | None = None) -> Tensor:
        """The items (R, K) that stand in columns (R, K) of events (R,), of all by default."""
        if self.union is None:
            return columns
        items = self.union.items if events is None else self.union.items[events]
        return items.gather(1, columns)

    def by_item(self, shares: Tensor, events: Tensor, items: int) -> Tensor:
        """(items,): of shares (B, I), each item's sum over events (R,)."""
        if self.union is None:
            counted = shares.new_zeros(len(shares)).index_fill_(0, events, 1.0)
            return counted @ shares
        rows = self.union.items[events].flatten()
        return shares.new_zeros(items).index_add_(0, rows, shares[events].flatten())

    def columns_of(self, items: Tensor) -> Tensor:
        """Where items (B, K) stand, -1 for what is not among the columns; -1 stays -1."""
        return items if self.union is None else self.union.columns(items)

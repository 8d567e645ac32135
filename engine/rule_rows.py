"""Storage of the rules' counts S[x, i]: dense while it fits, then rows of bounded width.

Letters: I items, N (antecedent, successor) pairs, V slots a row.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.durable import Arrays
from engine.topk import strongest_first

WAYS = 8
"""Slots of a bounded row in which one successor may live."""

ROWS_AT_ONCE = 256
"""Rows that move to another table together: bounds the memory of the move."""


class Rows(Protocol):
    """Counts by antecedent row and successor."""

    @property
    def nbytes(self) -> int: ...

    @property
    def layout(self) -> tuple[int, ...]:
        """As long as it stays the same, `add` changes no rows but those it is given."""
        ...

    def grow(self, items: int) -> None: ...

    def state(self, start: int, stop: int) -> Arrays:
        """Rows start .. stop - 1 as arrays."""
        ...

    def restore(self, start: int, stop: int, arrays: Arrays) -> None:
        """Take back what `state` gave."""
        ...

    def add(self, antecedents: Tensor, successors: Tensor, weights: Tensor) -> None:
        """S[antecedents, successors] += weights; all (N,)."""
        ...

    def sums(self, antecedents: Tensor, weights: Tensor, items: int) -> Tensor:
        """sum_q weights[b, q] * S[antecedents[b, q]], (B, items); both arguments (B, Q)."""
        ...

    def entries(self, antecedents: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `sums` sums, as events b, items and values (N,): a pair may come again."""
        ...


class DenseRows:
    """All counts in one square matrix."""

    def __init__(self, device: torch.device) -> None:
        self.counts = torch.zeros(0, 0, device=device)
        self.items = 0

    @staticmethod
    def bytes_for(items: int) -> int:
        return 4 * DenseRows._capacity(items) ** 2

    @staticmethod
    def _capacity(items: int) -> int:
        """Room grows in steps of about an eighth, so that growing copies little."""
        step = max(256, 1 << max(0, items.bit_length() - 3))
        return -(-items // step) * step

    @property
    def nbytes(self) -> int:
        return self.counts.nbytes

    def grow(self, items: int) -> None:
        self.items = items
        if items > len(self.counts):
            capacity = self._capacity(items)
            grown = torch.zeros(capacity, capacity, device=self.counts.device)
            grown[: len(self.counts), : len(self.counts)] = self.counts
            self.counts = grown

    @property
    def layout(self) -> tuple[int, ...]:
        return ()

    def state(self, start: int, stop: int) -> Arrays:
        block = self.counts[start:stop, : self.items].cpu().numpy()
        rows, columns = np.nonzero(block)
        return {
            "rows": rows.astype(np.uint8),
            "columns": columns.astype(np.int32),
            "values": block[rows, columns],
        }

    def restore(self, start: int, stop: int, arrays: Arrays) -> None:
        rows, columns = start + arrays["rows"].astype(np.int64), arrays["columns"].astype(np.int64)
        self.grow(max(self.items, stop, int(columns.max(initial=0)) + 1))
        place = torch.from_numpy(rows), torch.from_numpy(columns)
        self.counts[start:stop] = 0.0
        self.counts[place] = torch.from_numpy(arrays["values"]).to(self.counts)

    def add(self, antecedents: Tensor, successors: Tensor, weights: Tensor) -> None:
        index = antecedents * self.counts.shape[1] + successors
        self.counts.view(-1).index_add_(0, index, weights)

    def sums(self, antecedents: Tensor, weights: Tensor, items: int) -> Tensor:
        sums = functional.embedding_bag(
            antecedents, self.counts, mode="sum", per_sample_weights=weights
        )
        return sums[:, :items]

    def entries(self, antecedents: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sums = self.sums(antecedents, weights, self.items)
        events, items = sums.nonzero(as_tuple=True)
        return events, items, sums[events, items]


class BoundedRows:
    """A set-associative table a row: a successor lives in one of WAYS slots chosen by its hash.

    A newcomer to a full set takes the slot of its weakest successor, so the strongest stay.
    """

    def __init__(self, device: torch.device, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.successors = torch.full((0, 0), -1, dtype=torch.int32, device=device)
        self.counts = torch.zeros(0, 0, device=device)

    @classmethod
    def from_dense(cls, dense: DenseRows, max_bytes: int) -> BoundedRows:
        rows = cls(dense.counts.device, max_bytes)
        rows.grow(dense.items)
        successors = torch.arange(dense.items, device=dense.counts.device)
        rows._take(successors.expand(dense.items, -1), dense.counts[: dense.items, : dense.items])
        return rows

    @property
    def nbytes(self) -> int:
        return self.counts.nbytes + self.successors.nbytes

    @property
    def layout(self) -> tuple[int, ...]:
        return tuple(self.counts.shape)

    def state(self, start: int, stop: int) -> Arrays:
        return {
            "layout": np.array(self.layout),
            "successors": self.successors[start:stop].cpu().numpy(),
            "counts": self.counts[start:stop].cpu().numpy(),
        }

    def restore(self, start: int, stop: int, arrays: Arrays) -> None:
        layout = tuple(arrays["layout"].tolist())
        if self.layout != layout:
            self._clear(*layout)
        self.successors[start:stop] = torch.from_numpy(arrays["successors"]).to(self.successors)
        self.counts[start:stop] = torch.from_numpy(arrays["counts"]).to(self.counts)

    def grow(self, items: int) -> None:
        """Room for more rows; beyond `max_bytes` all rows get narrower."""
        rows, width = self.counts.shape
        if items <= rows:
            return
        capacity = items + items // 8
        fitting = max(WAYS, self.max_bytes // (8 * capacity))
        wanted = 1 << (fitting.bit_length() - 1)
        old_successors, old_counts = self.successors, self.counts
        self._clear(capacity, wanted)
        if width == wanted:
            self.successors[:rows], self.counts[:rows] = old_successors, old_counts
        else:
            self._take(old_successors, old_counts)

    def _take(self, successors: Tensor, counts: Tensor) -> None:
        """Fill empty rows with counts (R, C) of successors (R, C): of each set the strongest."""
        sets = self.counts.shape[1] // WAYS
        for start in range(0, len(counts), ROWS_AT_ONCE):
            block = counts[start : start + ROWS_AT_ONCE]
            place = block.nonzero(as_tuple=True)
            values, names = block[place], successors[start : start + ROWS_AT_ONCE][place].long()
            group = (place[0] + start) * sets + self._slots(names)[:, 0] // WAYS
            order, way = strongest_first(group, values)
            order, way = order[way < WAYS], way[way < WAYS]
            slots = group[order] * WAYS + way
            self.successors.view(-1)[slots] = names[order].to(torch.int32)
            self.counts.view(-1)[slots] = values[order]

    def _clear(self, capacity: int, width: int) -> None:
        shape, device = (capacity, width), self.counts.device
        self.successors = torch.full(shape, -1, dtype=torch.int32, device=device)
        self.counts = torch.zeros(shape, device=device)

    def add(self, antecedents: Tensor, successors: Tensor, weights: Tensor) -> None:
        if not len(antecedents):
            return
        items = self.counts.shape[0]
        pairs, place = torch.unique(antecedents * items + successors, return_inverse=True)
        sums = torch.zeros(len(pairs), device=weights.device).index_add_(0, place, weights)
        antecedents, successors = pairs // items, pairs % items
        slots = self._slots(successors)
        owners = self.successors[antecedents[:, None], slots]
        held = self.counts[antecedents[:, None], slots]
        mine = owners == successors[:, None]
        way = torch.where(mine.any(1), mine.long().argmax(1), held.argmin(1))
        slot = slots.gather(1, way[:, None]).squeeze(1)
        target = antecedents * self.counts.shape[1] + slot
        newcomer = (~mine.any(1)).nonzero().squeeze(1)
        # Of newcomers that want the same slot in one call, the last takes it.
        wanted, place = torch.unique(target[newcomer], return_inverse=True)
        last = torch.zeros_like(wanted).scatter_reduce_(0, place, newcomer, "amax")
        self.successors.view(-1)[wanted] = successors[last].to(torch.int32)
        self.counts.view(-1)[wanted] = 0.0
        owns = self.successors.view(-1)[target] == successors
        self.counts.view(-1).index_add_(0, target[owns], sums[owns])

    def sums(self, antecedents: Tensor, weights: Tensor, items: int) -> Tensor:
        events, successors, values = self.entries(antecedents, weights)
        sums = torch.zeros(len(antecedents), items, device=self.counts.device)
        sums.view(-1).index_add_(0, events * items + successors, values)
        return sums

    def entries(self, antecedents: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        events, gaps = weights.nonzero(as_tuple=True)
        antecedents, weights = antecedents[events, gaps], weights[events, gaps]
        counts = self.counts[antecedents]
        pairs, slots = counts.nonzero(as_tuple=True)
        items = self.successors[antecedents[pairs], slots].long()
        return events[pairs], items, counts[pairs, slots] * weights[pairs]

    def _slots(self, successors: Tensor) -> Tensor:
        """(N, WAYS) the slots in which each successor may live (multiplicative hash)."""
        sets = self.counts.shape[1] // WAYS
        first = ((successors * 2654435761) >> 8) % sets * WAYS
        return first[:, None] + torch.arange(WAYS, device=successors.device)

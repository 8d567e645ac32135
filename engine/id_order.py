"""Items in the order of their ids: what stands close together there came into a catalogue together.

Shops and sites number what they add, so that variants of a product, films of a year or pages of a
section often have ids that follow each other. Shorter ids come first, those of one length as
characters: numbers stand in the order of their values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class IdOrder:
    """order (I,): item rows by id; place (I,): where each row stands there."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.order = torch.zeros(0, dtype=torch.long, device=device)
        self.place = torch.zeros(0, dtype=torch.long, device=device)
        self._keys = np.empty(0, dtype=object)  # (length, name, row), in order

    @property
    def nbytes(self) -> int:
        return self.order.nbytes + self.place.nbytes

    def grow(self, names: Sequence[str]) -> None:
        """Take in the rows that are not there yet; names are those of all rows."""
        known = len(self._keys)
        if len(names) == known:
            return
        new = sorted((len(names[row]), names[row], row) for row in range(known, len(names)))
        keys = np.fromiter(new, dtype=object, count=len(new))
        at = np.searchsorted(self._keys, keys)
        self._keys = np.insert(self._keys, at, keys)
        order = np.insert(self.order.cpu().numpy(), at, [row for _, _, row in new])
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        self.order, self.place = (torch.from_numpy(x).to(self.device) for x in (order, place))

    def places(self, items: Tensor) -> Tensor:
        """Where item rows stand, in their shape; -1 for what is not there, and for -1."""
        there = (items >= 0) & (items < len(self.place))
        if not len(self.place):
            return torch.full_like(items, -1)
        return self.place[items * there].masked_fill(~there, -1)

    def beside(self, items: Tensor, offsets: Tensor) -> Tensor:
        """The items that stand so many places after each of item rows (...), before it where an
        offset (N,) is negative: (..., N), -1 where there is none."""
        places = self.places(items)[..., None]
        at = places + offsets
        there = (places >= 0) & (at >= 0) & (at < len(self.order))
        if not len(self.order):
            return torch.full_like(at, -1)
        return self.order[at * there].masked_fill(~there, -1)

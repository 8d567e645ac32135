"""The linear expert: the best linear prediction of the next item from the newest ones.

With s the user's newest items, decayed (s = sum_q g^(q-1) e_{x_q}, and a constant), and t the next
item, B minimises sum |t - B's|^2 + ridge |B|^2, so that B = (sum s s' + ridge)^-1 sum s t' (a
sequential form of SLIM and EASE: Ning and Karypis 2011; Steck 2019; Choi et al., SLIST, 2021).
Where sequential rules count each antecedent by itself, this one explains away those that always
come together. B is solved anew when the stream has grown by a share.

Letters: N slots (slot 0 is the constant, the others the most popular items), B events, I items,
W newest items looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.context import Context
from engine.durable import Arrays

SLOTS = 4096
"""Items that the expert knows: the memory is 12 x SLOTS^2 bytes, a solve SLOTS^3 operations."""

GAP_DECAY = 0.9
RIDGE = 20.0
POPULARITY_SHARE = 0.2
"""Weight of the popularity beside the prediction."""

FIRST_SOLVE = 500
GROWTH = 0.2
LONGEST_REST = 80_000
"""B is solved when the stream has grown by a share, after so many events at the latest."""

BLOCK = 128
"""Rows that a snapshot writes together."""

MATRICES = ("gram", "cross", "solution")


class LinearTransition:
    """Sums over the stream, (N, N) each, and the solution as of the last solve."""

    MAX_BYTES = 3 * 4 * SLOTS**2

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.slot_of = torch.zeros(0, dtype=torch.long, device=device)
        """By item, 0: none."""
        self.item_of = torch.full((1,), -1, dtype=torch.long, device=device)
        self.counts = torch.zeros(0, device=device)
        self.gram = torch.zeros(1, 1, device=device)
        self.cross = torch.zeros(1, 1, device=device)
        self.solution = torch.zeros(1, 1, device=device)
        self.events = 0
        self.solved = 0
        self.changed = torch.ones(1, dtype=torch.bool, device=device)
        """Rows of which the last snapshot does not know all."""
        self._solution_changed = True

    @property
    def nbytes(self) -> int:
        return self.gram.nbytes + self.cross.nbytes + self.solution.nbytes

    def grow(self, items: int) -> None:
        missing = items - len(self.slot_of)
        if missing > 0:
            self.slot_of = functional.pad(self.slot_of, (0, missing))
            self.counts = functional.pad(self.counts, (0, missing))

    def scores(self, recent: Tensor, popularity: Tensor, out: Tensor) -> None:
        """Positive scores into out (B, I); recent (B, W) newest first, popularity (B, I)."""
        torch.mul(popularity, POPULARITY_SHARE, out=out)
        if len(self.item_of) > 1:
            out.index_add_(1, self.item_of[1:], self.predictions(recent)[:, 1:])

    def scores_of(self, predictions: Tensor, popularity: Tensor, items: Tensor) -> Tensor:
        """The scores (B, C) of some items (B, C), given `predictions` and their popularity."""
        slots = self.slot_of[items]
        return POPULARITY_SHARE * popularity + predictions.gather(1, slots) * (slots > 0)

    def predictions(self, recent: Tensor) -> Tensor:
        """What is added to the share of popularity: (B, N) by slot, 0 or more."""
        slots, weights = self._inputs(recent)
        return functional.embedding_bag(
            slots, self.solution, mode="sum", per_sample_weights=weights
        ).clamp_(min=0.0)

    def learn(self, context: Context) -> None:
        recent = torch.from_numpy(context.recent).to(self.device)
        items = torch.from_numpy(context.items).to(self.device)
        self.counts.index_add_(0, items, torch.ones_like(items, dtype=torch.float32))
        slots, weights = self._inputs(recent)
        size = len(self.item_of)
        pairs = slots[:, :, None] * size + slots[:, None, :]
        products = weights[:, :, None] * weights[:, None, :]
        self.gram.view(-1).index_add_(0, pairs.view(-1), products.view(-1))
        pairs = slots * size + self.slot_of[items][:, None]
        self.cross.view(-1).index_add_(0, pairs.view(-1), weights.view(-1))
        self.changed[slots.view(-1)] = True
        self.events += len(items)
        rest = min(LONGEST_REST, max(FIRST_SOLVE, int(GROWTH * self.solved)))
        if self.events - self.solved >= rest:
            self._solve()
            self._admit()

    def _inputs(self, recent: Tensor) -> tuple[Tensor, Tensor]:
        """Slots (B, W + 1) of the constant and the newest items, and their weights in s.

        What is not there, or has no slot, weighs nothing (in the constant's place).
        """
        slots = torch.where(recent >= 0, self.slot_of[recent.clamp(min=0)], 0)
        decay = GAP_DECAY ** torch.arange(recent.shape[1], device=self.device)
        return (
            functional.pad(slots, (1, 0), value=0),
            functional.pad(decay * (slots > 0), (1, 0), value=1.0),
        )

    def _solve(self) -> None:
        ridge = torch.full((len(self.item_of),), RIDGE, device=self.device)
        ridge[0] = 1.0
        factor = torch.linalg.cholesky(self.gram + torch.diag(ridge))
        # LAPACK answers column by column; rows are what is read.
        self.solution = torch.cholesky_solve(self.cross, factor).contiguous()
        self.solved = self.events
        self._solution_changed = True

    def _admit(self) -> None:
        """Give the slots to the most popular items; those that come in start from nothing."""
        top = torch.topk(self.counts, min(SLOTS - 1, len(self.counts))).indices
        chosen = torch.zeros_like(self.slot_of, dtype=torch.bool)
        chosen[top] = True
        newcomers = top[self.slot_of[top] == 0]
        leaving = 1 + (~chosen[self.item_of[1:]]).nonzero().squeeze(1)
        before = len(self.item_of)
        self._resize(1 + len(top))
        free = torch.cat([leaving, torch.arange(before, 1 + len(top), device=self.device)])
        self.slot_of[self.item_of[leaving]] = 0
        self.item_of[free] = newcomers
        self.slot_of[newcomers] = free
        for name in MATRICES:
            getattr(self, name)[leaving] = 0.0
            getattr(self, name)[:, leaving] = 0.0
        if len(free):
            self.changed[:] = True
            self._solution_changed = True

    def _resize(self, slots: int) -> None:
        missing = slots - len(self.item_of)
        if missing <= 0:
            return
        for name in MATRICES:
            setattr(self, name, functional.pad(getattr(self, name), (0, missing, 0, missing)))
        self.item_of = functional.pad(self.item_of, (0, missing), value=-1)
        self.changed = functional.pad(self.changed, (0, missing), value=True)

    def changes(self) -> Iterator[tuple[int, Arrays]]:
        """Block 0 the slots, then the rows that changed since the last call (`Durable`)."""
        yield (
            0,
            {
                "slot_of": self.slot_of.cpu().numpy(),
                "item_of": self.item_of.cpu().numpy(),
                "counts": self.counts.cpu().numpy(),
                "events": np.array([self.events, self.solved]),
            },
        )
        if self._solution_changed:
            self.changed[:] = True
        for block in np.unique(self.changed.nonzero().cpu().numpy() // BLOCK).tolist():
            rows = slice(block * BLOCK, (block + 1) * BLOCK)
            yield 1 + block, {name: getattr(self, name)[rows].cpu().numpy() for name in MATRICES}
        self.changed[:] = False
        self._solution_changed = False

    def restore(self, block: int, arrays: Arrays) -> None:
        if block == 0:
            self.slot_of = torch.from_numpy(arrays["slot_of"]).to(self.device)
            self.counts = torch.from_numpy(arrays["counts"]).to(self.device)
            self._resize(len(arrays["item_of"]))
            self.item_of = torch.from_numpy(arrays["item_of"]).to(self.device)
            self.events, self.solved = arrays["events"].tolist()
            return
        self._resize(arrays["gram"].shape[1])
        start = (block - 1) * BLOCK
        for name, rows in arrays.items():
            getattr(self, name)[start : start + len(rows)] = torch.from_numpy(rows).to(self.device)
        self.changed[start : start + BLOCK] = False
        self._solution_changed = False

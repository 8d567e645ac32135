"""What is known of users and candidates beside what the experts say: input of the re-ranker.

Letters: B users, K candidates of each, W newest items, I items.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.appearances import Appearances
from engine.id_order import IdOrder
from lrurec.model import LRURec

FACTS = 12
"""Facts of each candidate."""

UNIT = 64.0
"""Events: times of the stream are told in so many, as they may lag by as much."""

FARTHEST = 1000.0
"""Places between two ids, at most."""

LONGEST_GAP = 1e8
"""Seconds: three years, in the place of infinity."""


@dataclass(frozen=True)
class Facts:
    """Just before the next event of B users.

    recent (B, W) newest items first, -1 where there is none; lengths (B,) events of the user so
    far; gaps (B,) seconds since the newest, inf without one; supports (B,) how often the newest
    item has occurred; counts (I,) how often each item has; number: the stream's events so far;
    model: whose embedding tells items apart, None where LRURec has no say; ids: None where they
    shall tell nothing.
    """

    recent: Tensor
    lengths: Tensor
    gaps: Tensor
    supports: Tensor
    counts: Tensor
    appearances: Appearances
    number: int
    model: LRURec | None
    ids: IdOrder | None

    def of(self, candidates: Tensor) -> Tensor:
        """(B, K, FACTS) of candidates (B, K): item rows. Counts and times as logarithms."""
        age, rest = self.appearances.since(self.number, candidates)
        of_user = (self.lengths, self.gaps.clamp(max=LONGEST_GAP), self.supports)
        columns = [
            self.counts[candidates],
            age / UNIT,
            rest / UNIT,
            *(column[:, None].expand(candidates.shape) for column in of_user),
        ]
        logs = torch.stack([column.float() for column in columns], dim=2).log1p_()
        return torch.cat([logs, self._likeness(candidates), self._distances(candidates)], dim=2)

    def _likeness(self, candidates: Tensor) -> Tensor:
        """(B, K, 4): the cosine between the embeddings of candidates and of the newest item, the
        highest and the mean over the user's recent items, 0 without any; and the item's bias."""
        if self.model is None:
            return self.counts.new_zeros(*candidates.shape, 4)
        there = (self.recent >= 0).float()
        embedding, bias = self.model.embedding.detach(), self.model.item_bias.detach()
        of_candidates = functional.embedding(candidates + 1, embedding)
        of_recent = functional.embedding(self.recent.clamp(min=0) + 1, embedding)
        of_recent = functional.normalize(of_recent, dim=2) * there[:, :, None]
        norms = torch.linalg.vector_norm(of_candidates, dim=2, keepdim=True).clamp_(min=1e-12)
        cosines = torch.bmm(of_candidates, of_recent.transpose(1, 2)).div_(norms)
        highest = (cosines - 2.0 * (1.0 - there[:, None, :])).amax(2) * there[:, :1]
        mean = cosines.sum(2) / there.sum(1, keepdim=True).clamp(min=1.0)
        return torch.stack([cosines[:, :, 0], highest, mean, bias[candidates + 1]], dim=2)

    def _distances(self, candidates: Tensor) -> Tensor:
        """(B, K, 2): the logarithm of the places between the ids of candidates and of the newest
        item, and of the nearest of the user's recent items; 0 where ids tell nothing."""
        if self.ids is None:
            return self.counts.new_zeros(*candidates.shape, 2)
        own, recent = (self.ids.places(items).float() for items in (candidates, self.recent))
        own.masked_fill_(own < 0, torch.inf)
        recent.masked_fill_(recent < 0, -torch.inf)
        places = (own[:, :, None] - recent[:, None, :]).abs_().clamp_(max=FARTHEST)
        return torch.stack([places[:, :, 0], places.amin(2)], dim=2).log1p_()

"""The re-ranker: a second stage that corrects the mixture's answer, and learns online.

First the best candidates get a better order (`engine.shortlist`); then, where repeats are allowed,
what is the user's own gets a better share of the whole (`engine.returns`).

Letters: B events, I items.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.durable import Durable, Tensors
from engine.facts import Facts
from engine.opinions import Opinions
from engine.returns import Returns
from engine.shortlist import Shortlist


class Reranker:
    """For the answers of a mixture of so many experts; `repeats`: own items may come back."""

    def __init__(self, experts: int, repeats: bool, seed: int, device: torch.device) -> None:
        self.device = device
        self.shortlist = Shortlist(experts, seed, device)
        self.returns = Returns(seed, device) if repeats else None

    @property
    def nbytes(self) -> int:
        return self.shortlist.nbytes + (self.returns.nbytes if self.returns else 0)

    def parts(self) -> dict[str, Durable]:
        """What snapshots hold of it, by name."""
        stages: dict[str, Shortlist | Returns] = {"shortlist": self.shortlist}
        if self.returns:
            stages["returns"] = self.returns
        parts: dict[str, Durable] = {}
        for name, stage in stages.items():
            parts |= {name: Tensors(stage), f"{name}_corrector": Tensors(stage.corrector)}
        return parts

    def grow(self, items: int) -> None:
        self.shortlist.grow(items)
        if self.returns:
            self.returns.grow(items)

    def rerank(self, mixed: Tensor, opinions: Opinions, facts: Facts) -> Tensor:
        """The mixture's answer (B, I), corrected; nothing is learned.

        opinions: as the mixture has left them, its own blend among the logs.
        """
        answer = self.shortlist.answer(mixed, self.shortlist.read(mixed, opinions, facts))
        if self.returns:
            answer = self.returns.answer(answer, self.returns.read(answer, opinions, facts))
        return answer

    def rerank_and_learn(
        self, mixed: Tensor, opinions: Opinions, facts: Facts, columns: NDArray[np.int64]
    ) -> Tensor:
        """As `rerank`, then learn from the columns (B,) that came true, -1 where there is none."""
        true = torch.from_numpy(columns).to(self.device)
        listed = self.shortlist.read(mixed, opinions, facts)
        answer = self.shortlist.answer(mixed, listed)
        self.shortlist.learn(mixed, listed, opinions, true)
        if self.returns:
            read = self.returns.read(answer, opinions, facts)
            answer = self.returns.answer(answer, read)
            self.returns.learn(read, true)
        return answer

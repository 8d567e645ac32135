"""The mixture's best candidates, put in a better order.

The mixture weighs what the experts say alike for all candidates of an event. Here a corrector
(`engine.corrector`) knows, candidate by candidate, what each expert says, what is known of user and
item (`engine.facts`), and how the item fared of late against what the mixture expected of it.
Together the candidates keep the probability they had.

Letters: B events, I items, K candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.corrector import FLOOR, Correction, Corrector
from engine.facts import FACTS, Facts
from engine.opinions import Opinions

CANDIDATES = 64

HALF_LIVES = (300.0, 3000.0)
"""In events: of what came true of each item, and of what was expected."""

PLACE = 3 + len(HALF_LIVES)
"""Features of a candidate's place in the mixture's answer, and of how the item fared of late."""


@dataclass(frozen=True)
class Listed:
    """The K best candidates of B events, best first: columns (B, K); together (B, 1) probability;
    what the corrector makes of them."""

    columns: Tensor
    together: Tensor
    correction: Correction


class Shortlist:
    """How each item fared (half-lives, I), and the corrector; for so many experts."""

    def __init__(self, experts: int, seed: int, device: torch.device) -> None:
        self.device = device
        self.corrector = Corrector(experts + 1 + FACTS + PLACE, seed, device)
        self.came_true = torch.zeros(len(HALF_LIVES), 0, device=device)
        self.expected = torch.zeros(len(HALF_LIVES), 0, device=device)

    @property
    def nbytes(self) -> int:
        return self.came_true.nbytes + self.expected.nbytes

    def grow(self, items: int) -> None:
        missing = max(0, items - self.expected.shape[1])
        self.came_true = functional.pad(self.came_true, (0, missing))
        self.expected = functional.pad(self.expected, (0, missing))

    def read(self, mixed: Tensor, opinions: Opinions, facts: Facts) -> Listed:
        """opinions: as the mixture has left them, its own blend among the logs."""
        likely, columns = torch.topk(mixed, min(CANDIDATES, mixed.shape[1]), dim=1)
        items = opinions.items_of(columns)
        said = opinions.logs.among(columns).log_softmax(2).transpose(1, 2)
        place = self._place(likely.clamp(min=FLOOR).log_(), items)
        features = torch.cat([said, facts.of(items), place], dim=2)
        together = likely.sum(1, keepdim=True)
        prior = likely / together.clamp(min=FLOOR)
        return Listed(columns, together, self.corrector.correct(prior, features, likely > 0))

    def answer(self, mixed: Tensor, listed: Listed) -> Tensor:
        """(B, I)"""
        shares = self.corrector.answer(listed.correction)
        return mixed.scatter(1, listed.columns, listed.together * shares)

    def learn(self, mixed: Tensor, listed: Listed, opinions: Opinions, true: Tensor) -> None:
        """From the columns (B,) that came true, -1 where there is none."""
        self.corrector.learn(listed.correction, listed.columns == true[:, None])
        self._compare(mixed, opinions, true)

    def _place(self, logs: Tensor, items: Tensor) -> Tensor:
        """(B, K, PLACE)"""
        best = logs[:, :1].expand_as(logs)
        rank = torch.arange(logs.shape[1], device=self.device).log1p().expand_as(logs)
        fared = (self.came_true[:, items] + 1.0).log_()
        fared.sub_((self.expected[:, items] + 1.0).log_())
        return torch.stack([logs - best, best, rank, *fared], dim=2)

    def _compare(self, mixed: Tensor, opinions: Opinions, true: Tensor) -> None:
        """Take in what the mixture expected of events that are ranked, and what came true."""
        rows = (true >= 0).nonzero().squeeze(1)
        n, items = len(rows), opinions.items_of(true.clamp(min=0)[:, None]).squeeze(1)[rows]
        keep = torch.tensor([0.5 ** (n / h) for h in HALF_LIVES], device=self.device)[:, None]
        self.expected.mul_(keep).add_(opinions.by_item(mixed, rows, self.expected.shape[1]))
        self.came_true.mul_(keep).index_add_(
            1, items, torch.ones(len(HALF_LIVES), n, device=self.device)
        )

"""Whether the user comes back to an item of their own, to which, or to none, where repeats are
allowed.

Users differ in how often they do so, more than experts and mixture can tell. A corrector
(`engine.corrector`) weighs the user's distinct items of late against anything else: it knows the
probabilities as they are, the user's habit, and how each item was come back to.

Letters: B events, I items, W newest items: the options.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.context import WINDOW
from engine.corrector import FLOOR, Correction, Corrector
from engine.facts import LONGEST_GAP, Facts
from engine.opinions import Opinions
from engine.own_history import distinct

OF_USER, OF_ITEM = 5, 7
"""Features."""

PRIOR_RETURNS, PRIOR_TRIES = 1.0, 4.0


@dataclass(frozen=True)
class Read:
    """The W newest items of B events: rows in I, their columns, and which count (bool): each once,
    where it was last; the others' columns are 0. What the corrector makes of the options."""

    items: Tensor
    columns: Tensor
    own: Tensor
    correction: Correction


class Returns:
    """The corrector, and by item (2, I) how often it was come back to, and could have been: as the
    user's newest item, and as an older one."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self.corrector = Corrector(OF_USER + OF_ITEM, seed, device)
        self.returns = torch.zeros(2, 0, dtype=torch.float64, device=device)
        self.tries = torch.zeros_like(self.returns)

    @property
    def nbytes(self) -> int:
        return self.returns.nbytes + self.tries.nbytes

    def grow(self, items: int) -> None:
        missing = max(0, items - self.tries.shape[1])
        self.returns = functional.pad(self.returns, (0, missing))
        self.tries = functional.pad(self.tries, (0, missing))

    def read(self, answer: Tensor, opinions: Opinions, facts: Facts) -> Read:
        """answer (B, I): probabilities."""
        recent = facts.recent
        columns = opinions.columns_of(recent)
        own = distinct(recent) & (columns >= 0)
        columns = columns.clamp(min=0)
        likely = answer.gather(1, columns) * own
        other = (1.0 - likely.sum(1, keepdim=True)).clamp(min=FLOOR)
        prior = torch.cat([likely, other], dim=1)
        prior /= prior.sum(1, keepdim=True)
        features = torch.cat([self._of_user(facts, own), self._of_items(recent, prior)], dim=2)
        return Read(recent, columns, own, self.corrector.correct(prior, features, own))

    def answer(self, answer: Tensor, read: Read) -> Tensor:
        """(B, I)"""
        shares = self.corrector.answer(read.correction)
        answer = answer * (shares[:, -1:] / read.correction.prior[:, -1:])
        events, places = read.own.nonzero(as_tuple=True)
        answer[events, read.columns[events, places]] = shares[events, places]
        return answer

    def learn(self, read: Read, true: Tensor) -> None:
        """From the columns (B,) that came true, -1 where there is none."""
        came_back = read.own & (read.columns == true[:, None])
        other = (true >= 0) & ~came_back.any(1)
        self.corrector.learn(read.correction, torch.cat([came_back, other[:, None]], dim=1))
        tried = read.own & (true >= 0)[:, None]
        for counts, counted in ((self.returns, came_back), (self.tries, tried)):
            where = self._older.expand_as(counted)[counted], read.items[counted]
            counts.index_put_(where, counts.new_ones(()), accumulate=True)

    @property
    def _older(self) -> Tensor:
        """(W,) int64: 0 for the newest place, 1 for the others."""
        return torch.arange(WINDOW, device=self.device).clamp(max=1)

    def _of_user(self, facts: Facts, own: Tensor) -> Tensor:
        """(B, W, OF_USER): the time since the newest item; how many there are; how often in a row
        the newest came; which share of them came twice in a row, and are distinct."""
        there = facts.recent >= 0
        same = (facts.recent[:, 1:] == facts.recent[:, :-1]) & there[:, 1:]
        events = there.sum(1).clamp(min=1)
        columns = [
            facts.gaps.clamp(max=LONGEST_GAP).log1p(),
            events.log(),
            (same.cumprod(1).sum(1) + 1).log(),
            same.sum(1) / events,
            own.sum(1) / events,
        ]
        of_user = torch.stack([column.float() for column in columns], dim=1)
        return of_user[:, None, :].expand(-1, WINDOW, -1)

    def _of_items(self, recent: Tensor, prior: Tensor) -> Tensor:
        """(B, W, OF_ITEM): is it the newest; how many came after it; how often it is there; how
        often users came back to it, and could have; its probability, and against anything else's.
        """
        place = torch.arange(WINDOW, device=self.device).expand(len(recent), -1)
        times = (recent[:, :, None] == recent[:, None, :]).sum(2)
        where = self._older, recent.clamp(min=0)
        returns, tries = self.returns[where], self.tries[where]
        logs = prior.clamp(min=FLOOR).log()
        columns = [
            place == 0,
            place.log1p(),
            times.log(),
            ((returns + PRIOR_RETURNS) / (tries + PRIOR_TRIES)).log(),
            tries.log1p(),
            logs[:, :-1],
            logs[:, :-1] - logs[:, -1:],
        ]
        return torch.stack([column.float() for column in columns], dim=2)

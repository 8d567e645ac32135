"""Sequential rules: every later item counts for each of the user's newest items.

score(i) = share * d(i) + sum_{q=1..W} g^(q-1) S[x_q, i] / (C[x_q] + 5)^power, where x_q is the
user's q-th newest item and d the popularity; learning i adds g^(q-1) to S[x_q, i] and C[x_q]
(after Kamehkhosh et al. 2017; Ludewig and Jannach 2018). The counts lag by one micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.context import Context
from engine.rule_rows import BoundedRows, DenseRows, Rows


@dataclass(frozen=True)
class RuleSetting:
    name: str
    window: int
    gap_decay: float
    power: float
    share: float


SETTINGS = (
    RuleSetting("rules_long", window=20, gap_decay=0.9, power=0.5, share=1.0),
    RuleSetting("rules_short", window=8, gap_decay=0.8, power=1.0, share=0.3),
)

PRIOR = 5.0
"""Added to C, so that a rule seen once is not believed at once."""


class SequentialRules:
    """The counts of all settings, bounded to `max_bytes` together."""

    def __init__(self, device: torch.device, max_bytes: int) -> None:
        self.device = device
        self.max_bytes = max_bytes
        self.totals = torch.zeros(len(SETTINGS), 0, device=device)
        self.rows: list[Rows] = [DenseRows(device) for _ in SETTINGS]

    @property
    def nbytes(self) -> int:
        return self.totals.nbytes + sum(rows.nbytes for rows in self.rows)

    @property
    def bounded(self) -> bool:
        """Whether rows have begun to keep their strongest successors only."""
        return isinstance(self.rows[0], BoundedRows)

    def grow(self, items: int) -> None:
        missing = items - self.totals.shape[1]
        if missing <= 0:
            return
        room = torch.zeros(len(SETTINGS), missing, device=self.device)
        self.totals = torch.cat([self.totals, room], dim=1)
        share = self.max_bytes // len(SETTINGS)
        for k, rows in enumerate(self.rows):
            if isinstance(rows, DenseRows) and DenseRows.bytes_for(items) > share:
                self.rows[k] = rows = BoundedRows.from_dense(rows, share)
            rows.grow(items)

    def scores(self, recent: Tensor, popularity: Tensor) -> Tensor:
        """(settings, B, I) positive scores; recent (B, W) newest first, popularity (B, I)."""
        result = torch.empty(len(SETTINGS), *popularity.shape, device=self.device)
        for k, setting in enumerate(SETTINGS):
            window = recent[:, : setting.window]
            valid = window >= 0
            events, gaps = valid.nonzero(as_tuple=True)
            antecedents = window[valid]
            weights = setting.gap_decay**gaps / (self.totals[k][antecedents] + PRIOR) ** (
                setting.power
            )
            torch.mul(popularity, setting.share, out=result[k])
            self.rows[k].add_scores(events, antecedents, weights, result[k])
        return result

    def learn(self, context: Context) -> None:
        recent = torch.from_numpy(context.recent).to(self.device)
        items = torch.from_numpy(context.items).to(self.device)
        for k, setting in enumerate(SETTINGS):
            window = recent[:, : setting.window]
            valid = window >= 0
            events, gaps = valid.nonzero(as_tuple=True)
            antecedents = window[valid]
            weights = torch.pow(setting.gap_decay, gaps.to(torch.float32))
            self.totals[k].index_add_(0, antecedents, weights)
            self.rows[k].add(antecedents, items[events], weights)

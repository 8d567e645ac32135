"""Sequential rules: every later item counts for each of the user's newest items.

score(i) = share * d(i) + sum_{q=1..W} g^(q-1) S[x_q, i] / (C[x_q] + prior)^power, where x_q is the
user's q-th newest item and d the popularity; learning i adds g^(q-1) to S[x_q, i] and C[x_q]
(after Kamehkhosh et al. 2017; Ludewig and Jannach 2018). Backward rules count the other way
round, from i to x_q: while data is small, that two items come together says more than their order.
The counts lag by one micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.context import Context
from engine.durable import Arrays
from engine.rule_rows import BoundedRows, DenseRows, Rows


@dataclass(frozen=True)
class RuleSetting:
    name: str
    window: int
    gap_decay: float
    power: float
    share: float
    backward: bool = False


SETTINGS = (
    RuleSetting("rules_long", window=20, gap_decay=0.9, power=0.5, share=1.0),
    RuleSetting("rules_last", window=1, gap_decay=1.0, power=1.0, share=0.3),
    RuleSetting("rules_back", window=8, gap_decay=0.8, power=0.5, share=0.3, backward=True),
    RuleSetting("rules_back_last", window=1, gap_decay=1.0, power=0.75, share=0.3, backward=True),
)

BLOCK = 16
"""Rows that a snapshot writes together."""

PRIOR = 5.0
"""Added to C, so that a rule seen once is not believed at once."""


class SequentialRules:
    """The counts of all settings, bounded to `max_bytes` together."""

    def __init__(self, device: torch.device, max_bytes: int) -> None:
        self.device = device
        self.max_bytes = max_bytes
        self.totals = torch.zeros(len(SETTINGS), 0, device=device)
        gaps = np.arange(max(setting.window for setting in SETTINGS), dtype=np.float32)
        decays = [np.where(gaps < s.window, s.gap_decay**gaps, 0) for s in SETTINGS]
        self._decays = torch.from_numpy(np.stack(decays)).to(device)[:, None, :]
        self._powers = torch.tensor([s.power for s in SETTINGS], device=device)[:, None, None]
        self.rows: list[Rows] = [DenseRows(device) for _ in SETTINGS]
        self.changed = torch.zeros(0, dtype=torch.bool, device=device)
        """Rows of which the last snapshot does not know all."""

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
        self.changed = torch.cat([self.changed, torch.zeros_like(room[0], dtype=torch.bool)])
        layout = [rows.layout for rows in self.rows]
        share = self.max_bytes // len(SETTINGS)
        for k, rows in enumerate(self.rows):
            if isinstance(rows, DenseRows) and DenseRows.bytes_for(items) > share:
                self.rows[k] = rows = BoundedRows.from_dense(rows, share)
            rows.grow(items)
        if [rows.layout for rows in self.rows] != layout:
            self.changed[:] = True

    def scores(self, recent: Tensor, popularity: Tensor, out: Tensor) -> None:
        """Positive scores into out (B, settings, I); recent (B, W) newest first, popularity
        (B, I)."""
        for k, (antecedents, weights) in enumerate(self._antecedents(recent)):
            sums = self.rows[k].sums(antecedents, weights, out.shape[2])
            torch.add(sums, popularity, alpha=SETTINGS[k].share, out=out[:, k])

    def entries(self, recent: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """By setting, what `scores` adds to the share of popularity (`Rows.entries`)."""
        return [
            rows.entries(antecedents, weights)
            for rows, (antecedents, weights) in zip(
                self.rows, self._antecedents(recent), strict=True
            )
        ]

    def _antecedents(self, recent: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """By setting, item rows (B, window) and how much each weighs, 0 where there is none."""
        antecedents = recent.clamp(min=0)
        totals = self.totals[:, antecedents] + PRIOR
        weights = (recent >= 0) * self._decays / totals.pow_(self._powers)
        for k, setting in enumerate(SETTINGS):
            yield antecedents[:, : setting.window], weights[k, :, : setting.window]

    def learn(self, context: Context) -> None:
        recent = torch.from_numpy(context.recent).to(self.device)
        items = torch.from_numpy(context.items).to(self.device)
        for k, setting in enumerate(SETTINGS):
            window = recent[:, : setting.window]
            valid = window >= 0
            events, gaps = valid.nonzero(as_tuple=True)
            antecedents, successors = window[valid], items[events]
            if setting.backward:
                antecedents, successors = successors, antecedents
            weights = torch.pow(setting.gap_decay, gaps.to(torch.float32))
            self.totals[k].index_add_(0, antecedents, weights)
            self.rows[k].add(antecedents, successors, weights)
        self.changed[recent[recent >= 0]] = True
        self.changed[items] = True

    def changes(self) -> Iterator[tuple[int, Arrays]]:
        """The blocks with a row that changed since the last call (`Durable`)."""
        items = self.totals.shape[1]
        for block in np.unique(self.changed.nonzero().cpu().numpy() // BLOCK).tolist():
            start, stop = block * BLOCK, min((block + 1) * BLOCK, items)
            arrays = {"totals": self.totals[:, start:stop].cpu().numpy()}
            for k, rows in enumerate(self.rows):
                state = rows.state(start, stop)
                arrays |= {f"{k}.{name}": array for name, array in state.items()}
            yield block, arrays
        self.changed[:] = False

    def restore(self, block: int, arrays: Arrays) -> None:
        start = block * BLOCK
        stop = start + arrays["totals"].shape[1]
        missing = stop - self.totals.shape[1]
        if missing > 0:
            self.totals = functional.pad(self.totals, (0, missing))
            self.changed = functional.pad(self.changed, (0, missing))
        self.totals[:, start:stop] = torch.from_numpy(arrays["totals"]).to(self.device)
        for k in range(len(SETTINGS)):
            state = {n[2:]: array for n, array in arrays.items() if n.startswith(f"{k}.")}
            if "layout" in state and not isinstance(self.rows[k], BoundedRows):
                self.rows[k] = BoundedRows(self.device, self.max_bytes // len(SETTINGS))
            self.rows[k].restore(start, stop, state)

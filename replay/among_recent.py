"""The engine's events ranked among the items of the newest events only, by its own answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from connectors.event import EventBatch
from engine.recommender import Recommender
from engine.scoring import Scored, Scoring
from engine.topk import ranks_of


class AmongRecent:
    """Puts other ranks in the place of those of `step` (a `ScoreAndLearn` as that is).

    The candidates of an event are the items of the `recent_events` newest events before it, in
    the order in which the engine gets them, without the user's own where the engine excludes
    them, and the true item. Where the engine could not offer that one, because it is new or the
    user's own, it is the last of them.
    """

    def __init__(
        self,
        recommender: Recommender,
        recent_events: int,
        step: Callable[[EventBatch], Scored],
    ) -> None:
        self._recommender = recommender
        self._recent_events = recent_events
        self._step = step
        self._newest = np.zeros(0, dtype=np.int64)
        """By item, the number of its newest event, or far below 0."""
        self._items: Sequence[str] = []
        self._first = 0
        self._ranks: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
        recommender.observers.append(self._observe)

    def __call__(self, batch: EventBatch) -> Scored:
        self._items, self._first = batch.items, self._recommender.events
        self._ranks.clear()
        scored = self._step(batch)
        ranks = {name: np.concatenate(parts) for name, parts in self._ranks.items()}
        return replace(scored, ranks=ranks)

    def _observe(self, scoring: Scoring) -> None:
        start = scoring.first - self._first
        names = self._items[start : start + len(scoring.columns)]
        items = np.array([self._recommender.items.row(name) for name in names])
        device, columns = scoring.candidates.device, torch.arange(scoring.candidates.shape[1])
        of_columns = scoring.opinions.items_of(columns.to(device).expand(len(items), -1))
        recent = torch.from_numpy(self._recent(items, scoring.first, len(self._recommender.items)))
        competes = (scoring.candidates > 0) & recent.to(device).gather(1, of_columns)
        true = torch.from_numpy(scoring.columns).to(device)[:, None]
        offered, true = true >= 0, true.clamp(min=0)
        for name, answer in scoring.answers.items():
            of_true = torch.where(offered, answer.gather(1, true), -0.5)
            among = answer.masked_fill(~competes, -1.0)
            among.scatter_(1, true, torch.where(offered, -1.0, among.gather(1, true)))
            among = torch.cat([among, of_true], dim=1)
            last = torch.full_like(true, among.shape[1] - 1).squeeze(1)
            self._ranks[name].append(ranks_of(among, last, scoring.draws))

    def _recent(self, items: NDArray[np.int64], first: int, known: int) -> NDArray[np.bool_]:
        """(B, known): which items the newest events before each had; then the events count."""
        missing = known - len(self._newest)
        long_ago = np.full(missing, np.iinfo(np.int64).min)
        self._newest = np.concatenate([self._newest, long_ago])
        recent = np.empty((len(items), known), dtype=bool)
        for row, item in enumerate(items):
            np.greater_equal(self._newest, first + row - self._recent_events, out=recent[row])
            self._newest[item] = first + row
        return recent

"""Prequential metrics: how well the events that came were ranked before they were learned.

One relevant item an event, so Recall@k is the hit rate and NDCG@k = 1/log2(rank + 1) for a hit.
Each metric is kept three ways: over everything, over the newest `window` events, and as a fading
mean (S = x + alpha S, B = 1 + alpha B, S/B; Gama et al., "On evaluating stream learning
algorithms", 2013), which forgets old events smoothly. Serving and replay use the same class.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.durable import Arrays

CUTOFFS = (1, 5, 10, 20)
RANK_METRICS = (
    *(f"recall@{k}" for k in CUTOFFS),
    *(f"ndcg@{k}" for k in CUTOFFS),
    "mrr",
)


class Reason(IntEnum):
    """Whether an event could be ranked at all, and why not."""

    RANKED = 0
    NEW_ITEM = 1
    """The item had never been seen: nobody could have recommended it."""
    REPEAT = 2
    """The user already has the item, and repeats are off."""
    UNSCORED = 3
    """A replay's protocol leaves the event out: it was learned only."""


def rank_gains(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each event adds to each of `RANK_METRICS`: (n,) ranks to (n, 9) gains.

    Ranks are 1-based; 0 is a miss.
    """
    rank = np.where(ranks > 0, ranks, np.inf)
    recalls = rank[:, None] <= CUTOFFS
    ndcgs = recalls / np.log2(rank + 1.0)[:, None]
    return np.concatenate([recalls, ndcgs, 1.0 / rank[:, None]], axis=1)


class _Means:
    """Plain and fading means of several columns over the rows added so far."""

    def __init__(self, columns: int, alpha: float) -> None:
        self.alpha = alpha
        self.count = 0
        self.total = np.zeros(columns)
        self.faded_total = np.zeros(columns)
        self.faded_weight = 0.0

    def add(self, rows: NDArray[np.float64]) -> None:
        """Add `rows` (n, columns), oldest first."""
        n = len(rows)
        weights = self.alpha ** np.arange(n - 1, -1, -1.0)
        self.count += n
        self.total += rows.sum(axis=0)
        self.faded_total = self.alpha**n * self.faded_total + weights @ rows
        self.faded_weight = self.alpha**n * self.faded_weight + weights.sum()

    def plain(self) -> NDArray[np.float64]:
        return self.total / max(self.count, 1)

    def fading(self) -> NDArray[np.float64]:
        return self.faded_total / (self.faded_weight or 1.0)

    def state(self) -> NDArray[np.float64]:
        """Everything that changes, as one vector; float64 holds the count exactly."""
        return np.concatenate(
            [[self.count, self.faded_weight], self.total, self.faded_total]
        ).astype(np.float64)

    def restore(self, state: NDArray[np.float64]) -> None:
        self.count, self.faded_weight = int(state[0]), float(state[1])
        self.total, self.faded_total = np.split(state[2:].copy(), 2)


class PrequentialMetrics:
    """Metrics of one model on one stream, fed in the order of the stream.

    window: how many of the newest events the windowed means cover.
    alpha: what a fading mean keeps of the past at each event.
    """

    def __init__(self, window: int = 5_000, alpha: float = 0.9998) -> None:
        self.window = window
        self.alpha = alpha
        self._ranked = _Means(len(RANK_METRICS), alpha)
        self._losses = _Means(1, alpha)
        self._reasons = np.zeros(len(Reason), dtype=np.int64)
        self._unknown_users = 0
        self._recent_ranks = np.zeros(0, dtype=np.int64)
        self._recent_losses = np.zeros(0)

    @property
    def events(self) -> int:
        return self._ranked.count

    def update(
        self,
        ranks: NDArray[np.int64],
        reasons: NDArray[np.int8],
        log_losses: NDArray[np.float64] | None = None,
        unknown_users: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take the next n events, oldest first.

        ranks: (n,) 1-based, 0 for a miss. reasons: (n,) values of `Reason`.
        log_losses: (n,) in nats, NaN for an event that has none (it is left out of the mean).
        unknown_users: (n,) True where the user had no event before.
        Raises ValueError where the lengths differ.
        """
        n = len(ranks)
        losses = np.full(n, np.nan) if log_losses is None else log_losses
        unknown = np.zeros(n, dtype=bool) if unknown_users is None else unknown_users
        if not len(reasons) == len(losses) == len(unknown) == n:
            raise ValueError(
                f"{n} ranks with {len(reasons)} reasons, {len(losses)} log losses and "
                f"{len(unknown)} unknown users: give one of each an event"
            )
        self._ranked.add(rank_gains(ranks))
        self._losses.add(losses[~np.isnan(losses), None])
        self._reasons += np.bincount(reasons, minlength=len(Reason))
        self._unknown_users += int(unknown.sum())
        self._recent_ranks = np.concatenate([self._recent_ranks, ranks])[-self.window :]
        self._recent_losses = np.concatenate([self._recent_losses, losses])[-self.window :]

    def cumulative(self) -> dict[str, float]:
        """The means over everything so far, without the window and the fading ones: cheap."""
        return _named(self._ranked.plain())

    def summary(self) -> dict[str, Any]:
        """All metrics by name: "recall@1" ... "ndcg@20", "mrr", "log_loss" (None where no event
        has one), "events"; the counts "new_items", "repeats", "unknown_users"; and the same
        metrics in "window" and "fading".
        """
        recent = _Means(len(RANK_METRICS), self.alpha)
        recent.add(rank_gains(self._recent_ranks))
        losses = self._recent_losses[~np.isnan(self._recent_losses)]
        has_loss = self._losses.count > 0
        return {
            "events": self.events,
            **self.cumulative(),
            "log_loss": float(self._losses.plain()[0]) if has_loss else None,
            "new_items": int(self._reasons[Reason.NEW_ITEM]),
            "repeats": int(self._reasons[Reason.REPEAT]),
            "unknown_users": self._unknown_users,
            "window": {
                "events": recent.count,
                **_named(recent.plain()),
                "log_loss": float(losses.mean()) if len(losses) else None,
            },
            "fading": {
                **_named(self._ranked.fading()),
                "log_loss": float(self._losses.fading()[0]) if has_loss else None,
            },
        }

    def changes(self) -> Iterator[tuple[int, Arrays]]:
        """All of it, as one block (`Durable`)."""
        yield (
            0,
            {
                "ranked": self._ranked.state(),
                "losses": self._losses.state(),
                "reasons": self._reasons,
                "unknown_users": np.array(self._unknown_users),
                "recent_ranks": self._recent_ranks,
                "recent_losses": self._recent_losses,
            },
        )

    def restore(self, block: int, arrays: Arrays) -> None:
        self._ranked.restore(arrays["ranked"])
        self._losses.restore(arrays["losses"])
        self._reasons[: len(arrays["reasons"])] = arrays["reasons"]
        self._unknown_users = int(arrays["unknown_users"])
        self._recent_ranks = arrays["recent_ranks"]
        self._recent_losses = arrays["recent_losses"]


def _named(values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(RANK_METRICS, values.tolist(), strict=True))

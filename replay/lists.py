"""What each model would show: its ten best items before every 50th event, and how they spread.

Accuracy says nothing about what the other items get: coverage, Gini index and popularity do.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from replay.baselines import Baseline
from replay.stream import Rows

EVERY = 50
"""Of so many events one is sampled, the first of the stream included."""
LENGTH = 10
HEAD = 0.01
"""Share of the catalogue that is called its most popular items."""

Lists = NDArray[np.int32]
"""(S, LENGTH) item rows, best first, -1 where there are fewer: one row a sampled event."""


def sampled(first: int, count: int) -> NDArray[np.int64]:
    """Which of `count` events, of which the first is the stream's event `first`, are sampled."""
    return np.arange(-first % EVERY, count, EVERY)


class Watched:
    """A baseline that notes what it would show before each sampled event (a `Baseline`)."""

    def __init__(self, baseline: Baseline) -> None:
        self.name = baseline.name
        self._baseline = baseline
        self._events = 0
        self._lists: list[Lists] = []

    def rank_and_learn(self, events: Rows) -> NDArray[np.int64]:
        """As the baseline does."""
        baseline = self._baseline
        count = len(events.users)
        stops = sampled(self._events, count).tolist()
        ranks = []
        for start, stop in zip([0, *stops], [*stops, count], strict=True):
            ranks.append(baseline.rank_and_learn(events.part(slice(start, stop))))
            if stop < count:
                self._lists.append(padded(baseline.recommend(int(events.users[stop]), LENGTH)))
        self._events += count
        return np.concatenate(ranks)

    def recommend(self, user: int, k: int) -> NDArray[np.int32]:
        """As the baseline does."""
        return self._baseline.recommend(user, k)

    def lists(self) -> Lists:
        """(S, LENGTH)"""
        return np.array(self._lists, dtype=np.int32).reshape(-1, LENGTH)


def padded(items: NDArray[np.integer]) -> NDArray[np.int32]:
    """(LENGTH,) one list, -1 after its end."""
    filled = np.full(LENGTH, -1, dtype=np.int32)
    filled[: len(items)] = items
    return filled


def describe(
    lists: Mapping[str, Lists], items: NDArray[np.int32]
) -> dict[str, dict[str, float | None]]:
    """How the lists of each model spread over the catalogue of a stream of `items` (n,).

    coverage: share of all items that were ever shown; gini: of how often each item was shown, 0
    for equally often, near 1 for always the same few; popularity: mean percentile (0 to 100) of
    the shown items among those known at the time, by events so far; head: share of the shown
    that were among the `HEAD` most popular. "the stream" says the same of the items that came
    true, where one an event can tell no coverage.
    """
    catalogue = int(items.max(initial=-1)) + 1
    truth = items[sampled(0, len(items))][:, None]
    shown = np.hstack([*lists.values(), truth])
    percentiles, in_head = _popularity(shown, items)
    described: dict[str, dict[str, float | None]] = {}
    for place, name in enumerate([*lists, "the stream"]):
        columns = slice(place * LENGTH, (place + 1) * LENGTH)
        counted = ~np.isnan(percentiles[:, columns])
        rows = shown[:, columns]
        times = np.bincount(rows[rows >= 0], minlength=catalogue)
        told = name != "the stream" and bool(counted.any())
        described[name] = {
            "coverage": float((times > 0).mean()) if told else None,
            "gini": gini(times) if told else None,
            "popularity": _mean(percentiles[:, columns][counted]),
            "head": _mean(in_head[:, columns][counted]),
        }
    return described


def gini(times: NDArray[np.int64]) -> float:
    """The Gini index of how often each of the items was shown; at least one was."""
    n = len(times)
    lorenz = np.cumsum(np.sort(times)) / times.sum()
    return float((n + 1 - 2 * lorenz.sum()) / n)


def _popularity(
    shown: NDArray[np.int32], items: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the items (S, C) before the sampled events: percentile, and 1 in the head, else 0.

    NaN for what was no item yet.
    """
    percentiles = np.full(shown.shape, np.nan)
    in_head = np.full(shown.shape, np.nan)
    counts = np.zeros(int(items.max(initial=-1)) + 1, dtype=np.int64)
    known = 0
    for row, event in enumerate(sampled(0, len(items))):
        new = items[max(event - EVERY, 0) : event]
        np.add.at(counts, new, 1)
        known = max(known, int(new.max(initial=-1)) + 1)
        ordered = np.sort(counts[:known])
        places = (shown[row] >= 0) & (shown[row] < known)
        of_shown = counts[shown[row, places]]
        fewer = np.searchsorted(ordered, of_shown, side="left")
        more = known - np.searchsorted(ordered, of_shown, side="right")
        percentiles[row, places] = 50.0 * (known + fewer - more) / max(known, 1)
        in_head[row, places] = more < np.ceil(HEAD * known)
    return percentiles, in_head


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None

"""The protocol and the score of the counting baselines, once more: plain, slow, obvious."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from replay.baselines.counting_kernels import Settings
from replay.stream import Rows


def rank_bounds(rows: Rows, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """The best and the worst rank that ties allow each event, (n,) and (n,); 0 for a miss."""
    best, worst = np.zeros((2, len(rows.users)), dtype=np.int64)
    popularity: dict[int, float] = {}
    history: dict[int, list[int]] = defaultdict(list)
    follows: dict[tuple[int, int], float] = defaultdict(float)
    followed: dict[int, float] = defaultdict(float)
    for event, (user, item) in enumerate(
        zip(rows.users.tolist(), rows.items.tolist(), strict=True)
    ):
        own = set() if settings.repeats else set(history[user])
        newest = history[user][::-1][: settings.window]
        if item in popularity and item not in own:
            total = sum(popularity.values())
            scores = {
                i: settings.prior * popularity[i] / total
                + sum(
                    settings.gap**q * follows[x, i] / (followed[x] + 5) ** settings.power
                    for q, x in enumerate(newest)
                )
                for i in popularity
                if i not in own
            }
            equal = [i for i in scores if np.isclose(scores[i], scores[item], rtol=1e-6, atol=0)]
            best[event] = 1 + sum(scores[i] > scores[item] for i in scores if i not in equal)
            worst[event] = best[event] + len(equal) - 1
        for q, x in enumerate(newest):
            follows[x, item] += settings.gap**q
            followed[x] += settings.gap**q
        history[user].append(item)
        popularity = {i: mass * settings.fade for i, mass in popularity.items()}
        popularity[item] = popularity.get(item, 0.0) + 1.0
    return best, worst

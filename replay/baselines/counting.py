"""The baselines that count: popularity, and what followed what, one class with settings."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.baselines.base import Task, best_of, check_rows
from replay.baselines.counting_kernels import KNOWN, SEEN, Settings, State, advance, scores_of
from replay.stream import Rows

DENSE_BYTES: Final = 400_000_000
DENSE_SHARE: Final = 1 / 16
"""A row becomes dense when it holds more than this share of the catalogue."""
_FIRST_POOL: Final = 1 << 16


class Counting:
    """A baseline that is a choice of `Settings` (contract: `replay.baselines.base.Baseline`)."""

    def __init__(
        self,
        name: str,
        task: Task,
        settings: Settings,
        dense_bytes: int = DENSE_BYTES,
        dense_share: float = DENSE_SHARE,
    ) -> None:
        self.name = name
        n_users, n_items = task.n_users, task.n_items
        self._settings = settings._replace(
            repeats=task.repeats, seed=task.seed, recent_events=task.protocol.recent_events
        )
        self._dense_from = int(dense_share * n_items)
        rows = n_items if settings.window else 0
        dense_rows = min(rows, dense_bytes // max(4 * n_items, 1))
        self._state = State(
            mass=np.zeros(n_items),
            weights=np.array([1.0, 0.0]),
            counters=np.zeros(6, dtype=np.int64),
            recent=np.zeros((n_users, settings.window), dtype=np.int32),
            lengths=np.zeros(n_users, dtype=np.int32),
            newest_event=np.full(n_items, np.iinfo(np.int64).min),
            newest_seen=np.full(n_users, -1, dtype=np.int32),
            seen_item=np.zeros(0, dtype=np.int32),
            older_seen=np.zeros(0, dtype=np.int32),
            followed=np.zeros(rows),
            start=np.zeros(rows, dtype=np.int64),
            bits=np.zeros(rows, dtype=np.int8),
            used=np.zeros(rows, dtype=np.int32),
            key=np.zeros(_FIRST_POOL, dtype=np.int32),
            value=np.zeros(_FIRST_POOL, dtype=np.float32),
            dense_row=np.full(rows, -1, dtype=np.int32),
            dense=np.zeros((dense_rows, n_items), dtype=np.float32),
            scores=np.zeros(n_items),
        )
        if task.protocol.all_items:
            self._state.counters[KNOWN] = n_items

    def rank_and_learn(self, events: Rows) -> NDArray[np.int64]:
        """See `Baseline.rank_and_learn`."""
        state = self._state
        check_rows(events, len(state.lengths), len(state.mass), int(state.counters[KNOWN]))
        n = len(events.users)
        ranks = np.zeros(n, dtype=np.int64)
        self._make_room_for_seen(n)
        done = 0
        while done < n:
            done += advance(
                events.users[done:],
                events.items[done:],
                ranks[done:],
                self._settings,
                self._state,
                self._dense_from,
            )
            if done < n:
                self._double_pool()
        return ranks

    def recommend(self, user: int, k: int) -> NDArray[np.int32]:
        """See `Baseline.recommend`."""
        state = self._state
        known = int(state.counters[KNOWN])
        if not known:
            return np.empty(0, dtype=np.int32)
        scores = scores_of(state, user, self._settings) if self._settings.window else state.mass
        scores = scores[:known].copy()
        node = -1 if self._settings.repeats else int(state.newest_seen[user])
        while node >= 0:
            scores[state.seen_item[node]] = -np.inf
            node = int(state.older_seen[node])
        return best_of(scores, k)

    def _make_room_for_seen(self, n: int) -> None:
        state = self._state
        need = int(state.counters[SEEN]) + n
        if self._settings.repeats or need <= len(state.seen_item):
            return
        size = max(need, 2 * len(state.seen_item))
        self._state = state._replace(
            seen_item=_longer(state.seen_item, size), older_seen=_longer(state.older_seen, size)
        )

    def _double_pool(self) -> None:
        state = self._state
        size = 2 * len(state.key)
        self._state = state._replace(key=_longer(state.key, size), value=_longer(state.value, size))


def _longer(array: NDArray, size: int) -> NDArray:
    longer = np.zeros(size, dtype=array.dtype)
    longer[: len(array)] = array
    return longer

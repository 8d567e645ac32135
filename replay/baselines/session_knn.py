"""Session-based nearest neighbours: what was done in sessions with the same items (VMIS-kNN).

Kersbergen, Sprangers and Schelter, "Serenade: low-latency session-based recommendation in
e-commerce at scale", SIGMOD 2022, after Ludewig and Jannach's V-SKNN, 2018. A stream names users
and no sessions: up to `LENGTH` items in a row of one user are a session here.

    similarity(n) = sum over the items x_q that are in session n, q = 1..LAST, of 1 - (q - 1) / LAST
    score(i) = sum over the `NEIGHBOURS` most similar sessions n that have i of
               similarity(n) (1 - (q_n - 1) / LAST) log(sessions so far / sessions that have i)

x_1 is the user's newest item, x_2 the one before, each once; q_n is the newest of them in n. An
index holds the newest `PER_ITEM` sessions of each item; of equally similar ones the newer count
first. What is in no neighbour is ordered by popularity. All of it is updated with every event, in
memory that does not grow: the newest `SESSIONS` sessions are kept.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from replay.baselines.base import Task
from replay.baselines.one_by_one import History, OneByOne

LENGTH: Final = 50
LAST: Final = 10
NEIGHBOURS: Final = 100
PER_ITEM: Final = 500
SESSIONS: Final = 1 << 17
_POPULARITY: Final = 1e-6


class State(NamedTuple):
    """Everything learned, as arrays that compiled functions change in place.

    U users, N items, S sessions, numbered as they begin; session s lies in row s mod S.
    """

    items: NDArray[np.int32]  # (S, LENGTH) the items of a session, each once
    lengths: NDArray[np.int32]  # (S,)
    current: NDArray[np.int64]  # (U,) number of the user's newest session, or -1
    begun: NDArray[np.int64]  # (1,) sessions so far
    having: NDArray[np.int64]  # (N, PER_ITEM) ring of the sessions that have an item
    counts: NDArray[np.int64]  # (N,) how many ever had it
    similarity: NDArray[np.float64]  # (S,) scratch, zero between events
    place: NDArray[np.int32]  # (S,) scratch: q_n - 1
    touched: NDArray[np.int64]  # (LAST * PER_ITEM,) scratch


class SessionKNN(OneByOne):
    """What was done in the most similar sessions (VMIS-kNN), exact after every event."""

    name = "session_knn"

    def __init__(self, task: Task, sessions: int = SESSIONS) -> None:
        super().__init__(task)
        self._state = State(
            items=np.zeros((sessions, LENGTH), dtype=np.int32),
            lengths=np.zeros(sessions, dtype=np.int32),
            current=np.full(task.n_users, -1, dtype=np.int64),
            begun=np.zeros(1, dtype=np.int64),
            having=np.zeros((task.n_items, PER_ITEM), dtype=np.int64),
            counts=np.zeros(task.n_items, dtype=np.int64),
            similarity=np.zeros(sessions),
            place=np.zeros(sessions, dtype=np.int32),
            touched=np.zeros(LAST * PER_ITEM, dtype=np.int64),
        )

    def scores(self, user: int, history: History) -> NDArray[np.floating]:
        scores = _POPULARITY * self.popularity()
        _add_scores(self._state, history, scores)
        return scores

    def learn(self, user: int, history: History, item: int, value: float) -> None:
        _learn(self._state, user, item)


@njit(nogil=True, cache=True)
def _add_scores(state: State, history: History, scores: NDArray[np.float64]) -> None:
    similar = _find_similar(state, history)
    begun, size = state.begun[0], len(state.items)
    keys = np.empty(len(similar))
    for n, session in enumerate(similar):  # similarities are multiples of 1 / LAST
        keys[n] = state.similarity[session % size] + session / begun / (2 * LAST)
    least = -np.inf
    if len(keys) > NEIGHBOURS:
        least = np.partition(keys, len(keys) - NEIGHBOURS)[len(keys) - NEIGHBOURS]
    for n, session in enumerate(similar):
        row = session % size
        if keys[n] >= least:
            share = state.similarity[row] * (1 - state.place[row] / LAST)
            for i in state.items[row, : state.lengths[row]]:
                scores[i] += share * np.log(begun / state.counts[i])
        state.similarity[row] = 0


@njit(nogil=True, cache=True)
def _find_similar(state: State, history: History) -> NDArray[np.int64]:
    """The sessions with any of the newest items; fills `similarity` and `place` for them."""
    oldest = state.begun[0] - len(state.items)
    found = q = 0
    at = len(history)
    while at > 0 and q < LAST:
        at -= 1
        x = history[at]
        if x in history[at + 1 :]:
            continue
        for session in state.having[x, : min(state.counts[x], PER_ITEM)]:
            row = session % len(state.items)
            if session < oldest:
                continue
            if state.similarity[row] == 0:
                state.place[row] = q
                state.touched[found] = session
                found += 1
            state.similarity[row] += 1 - q / LAST
        q += 1
    return state.touched[:found]


@njit(nogil=True, cache=True)
def _learn(state: State, user: int, item: int) -> None:
    size = len(state.items)
    session = state.current[user]
    if session < max(state.begun[0] - size, 0) or state.lengths[session % size] == LENGTH:
        session = state.begun[0]
        state.begun[0] += 1
        state.current[user] = session
        state.lengths[session % size] = 0
    row = session % size
    length = state.lengths[row]
    if item in state.items[row, :length]:
        return
    state.items[row, length] = item
    state.lengths[row] += 1
    state.having[item, state.counts[item] % PER_ITEM] = session
    state.counts[item] += 1

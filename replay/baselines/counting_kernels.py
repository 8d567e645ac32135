"""What the counting baselines compute, event by event, compiled.

    score(i) = prior * d(i) + sum over q = 1..window of  gap^(q-1) * S[x_q, i] / (C[x_q] + 5)^power

x_1 is the user's newest event, x_2 the one before, and so on, repeats included. d(i) is the share
of item i in all events so far, each event counting `fade` times what the next one counts. Learning
item i adds gap^(q-1) to S[x_q, i] and to C[x_q]. The smoothing 5 is fixed for all streams.

A row S[x] starts as a small hash table (open addressing, so its memory follows the stream) and
becomes a dense array of all items once it is well filled, while the budget for dense rows lasts.
All compiled functions are in this one file because numba's cache notices no change in another.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_SMOOTHING: Final = 5.0
_RESCALE: Final = 2.0**500
_FIRST_BITS: Final = 2

KNOWN, EVENTS, SEEN, POOL, LARGEST, DENSE = range(6)
"""Places in `State.counters`."""
_WEIGHT, _TOTAL = range(2)


class Settings(NamedTuple):
    """The constants of the score (module docstring), and what `Counting` adds from the task."""

    fade: float
    window: int
    gap: float
    power: float
    prior: float
    repeats: bool = False
    seed: int = 0
    recent_events: int = 0


class State(NamedTuple):
    """Everything learned, as arrays that the compiled loop changes in place.

    U users, N items, P hash slots, D dense rows, E seen pairs.
    """

    mass: NDArray[np.float64]  # (N,) popularity, in units that grow by 1/fade an event
    weights: NDArray[np.float64]  # what the next event adds to mass; the sum of mass
    counters: NDArray[np.int64]  # known items, events, used of E, used of P, largest row, used of D
    recent: NDArray[np.int32]  # (U, window) newest items of a user, newest first
    lengths: NDArray[np.int32]  # (U,) how many of them there are
    newest_event: NDArray[np.int64]  # (N,) the number of the item's newest event, or far below 0
    newest_seen: NDArray[np.int32]  # (U,) head of the chain of a user's distinct items, or -1
    seen_item: NDArray[np.int32]  # (E,)
    older_seen: NDArray[np.int32]  # (E,) next of the chain, or -1
    followed: NDArray[np.float64]  # (N,) C
    start: NDArray[np.int64]  # (N,) where the row's hash slots begin
    bits: NDArray[np.int8]  # (N,) the row has 2^bits slots; 0: none
    used: NDArray[np.int32]  # (N,) how many of them are taken
    key: NDArray[np.int32]  # (P,) item + 1; 0: free
    value: NDArray[np.float32]  # (P,)
    dense_row: NDArray[np.int32]  # (N,) the row's place among the dense ones, or -1
    dense: NDArray[np.float32]  # (D, N)
    scores: NDArray[np.float64]  # (N,) scratch


@njit(nogil=True, cache=True)
def advance(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    ranks: NDArray[np.int64],
    settings: Settings,
    state: State,
    dense_from: int,
) -> int:
    """Rank and learn events until done or until the pool of hash slots may not suffice.

    Returns how many events were done.
    """
    for event in range(len(users)):
        counters = state.counters
        if counters[POOL] + 2 * settings.window * counters[LARGEST] > len(state.key) - 64:
            return event
        user, item = users[event], items[event]
        known = item < counters[KNOWN]
        seen = known and not settings.repeats and _has_seen(state, user, item)
        offered = known and not seen
        if offered or settings.recent_events:
            scores = scores_of(state, user, settings) if settings.window else state.mass
            if settings.recent_events:
                ranks[event] = _rank_recent(state, scores, user, item, offered, settings)
            else:
                ranks[event] = _rank(state, scores, user, item, settings)
        _learn(state, user, item, seen, settings, dense_from)
    return len(users)


@njit(nogil=True, cache=True)
def scores_of(state: State, user: int, settings: Settings) -> NDArray[np.float64]:
    """The score of every known item, in the scratch array."""
    known = state.counters[KNOWN]
    scores = state.scores[:known]
    mass = state.mass[:known]
    prior = settings.prior / state.weights[_TOTAL] if state.weights[_TOTAL] else 0.0
    for i in range(known):
        scores[i] = prior * mass[i]
    share = 1.0
    for q in range(state.lengths[user]):
        x = state.recent[user, q]
        factor = share / (state.followed[x] + _SMOOTHING) ** settings.power
        if state.dense_row[x] >= 0:
            row = state.dense[state.dense_row[x], :known]
            for i in range(known):
                scores[i] += factor * row[i]
        elif state.bits[x]:
            for slot in range(state.start[x], state.start[x] + (1 << state.bits[x])):
                if state.key[slot]:
                    scores[state.key[slot] - 1] += factor * state.value[slot]
        share *= settings.gap
    return state.scores


@njit(nogil=True, cache=True)
def _rank(
    state: State, scores: NDArray[np.float64], user: int, item: int, settings: Settings
) -> int:
    """1 + candidates that score higher + a fair share of those that score the same."""
    target = scores[item]
    higher, same = 0, -1
    for i in range(state.counters[KNOWN]):  # in this form the compiler vectorises it
        if scores[i] > target:
            higher += 1
        if scores[i] == target:
            same += 1
    if not settings.repeats:
        node = state.newest_seen[user]
        while node >= 0:
            score = scores[state.seen_item[node]]
            higher -= score > target
            same -= score == target
            node = state.older_seen[node]
    return int(1 + higher + _draw(settings.seed, state.counters[EVENTS], same))


@njit(nogil=True, cache=True)
def _rank_recent(
    state: State,
    scores: NDArray[np.float64],
    user: int,
    item: int,
    offered: bool,
    settings: Settings,
) -> int:
    """`_rank` among the items of the newest events; behind them all where `item` is not offered."""
    oldest = state.counters[EVENTS] - settings.recent_events
    target = scores[item] if offered else -np.inf
    higher, same = 0, 0
    for i in range(state.counters[KNOWN]):
        if i != item and state.newest_event[i] >= oldest:
            higher += scores[i] > target
            same += scores[i] == target
    if not settings.repeats:
        node = state.newest_seen[user]
        while node >= 0:
            i = state.seen_item[node]
            if i != item and state.newest_event[i] >= oldest:
                higher -= scores[i] > target
                same -= scores[i] == target
            node = state.older_seen[node]
    return int(1 + higher + _draw(settings.seed, state.counters[EVENTS], same))


@njit(nogil=True, cache=True)
def _draw(seed: int, event: int, most: int) -> int:
    """A number from 0 to `most`, all equally likely, fixed by seed and event (SplitMix64)."""
    x = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(event + 1) * np.uint64(
        0x9E3779B97F4A7C15
    )
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return int(np.float64(x >> np.uint64(11)) * 2.0**-53 * (most + 1))


@njit(nogil=True, cache=True)
def _has_seen(state: State, user: int, item: int) -> bool:
    node = state.newest_seen[user]
    while node >= 0:
        if state.seen_item[node] == item:
            return True
        node = state.older_seen[node]
    return False


@njit(nogil=True, cache=True)
def _learn(
    state: State, user: int, item: int, seen: bool, settings: Settings, dense_from: int
) -> None:
    counters = state.counters
    state.newest_event[item] = counters[EVENTS]
    counters[EVENTS] += 1
    counters[KNOWN] = max(counters[KNOWN], item + 1)
    state.mass[item] += state.weights[_WEIGHT]
    state.weights[_TOTAL] += state.weights[_WEIGHT]
    state.weights[_WEIGHT] /= settings.fade
    if state.weights[_WEIGHT] > _RESCALE:
        state.mass[: counters[KNOWN]] /= _RESCALE
        state.weights[:] /= _RESCALE
    if settings.window:
        _learn_followed(state, user, item, settings, dense_from)
    if not settings.repeats and not seen:
        node = counters[SEEN]
        state.seen_item[node] = item
        state.older_seen[node] = state.newest_seen[user]
        state.newest_seen[user] = node
        counters[SEEN] += 1


@njit(nogil=True, cache=True)
def _learn_followed(
    state: State, user: int, item: int, settings: Settings, dense_from: int
) -> None:
    """Add the event to S and C, then put it before the user's recent items."""
    recent = state.recent[user]
    length = state.lengths[user]
    share = 1.0
    for q in range(length):
        _add(state, recent[q], item, share, dense_from)
        state.followed[recent[q]] += share
        share *= settings.gap
    if length < settings.window:
        length += 1
        state.lengths[user] = length
    for q in range(length - 1, 0, -1):
        recent[q] = recent[q - 1]
    recent[0] = item


@njit(nogil=True, cache=True)
def _add(state: State, x: int, item: int, amount: float, dense_from: int) -> None:
    """S[x, item] += amount."""
    if state.dense_row[x] < 0:
        slot = _slot(state, x, item)
        if state.key[slot] == 0:
            state.key[slot] = item + 1
            state.used[x] += 1
        state.value[slot] += np.float32(amount)
        if state.used[x] > dense_from and state.counters[DENSE] < len(state.dense):
            _make_dense(state, x)
    else:
        state.dense[state.dense_row[x], item] += np.float32(amount)


@njit(nogil=True, cache=True)
def _slot(state: State, x: int, item: int) -> int:
    """Where `item` is, or can be put, in the row of x; the row grows at three quarters full."""
    if state.bits[x] == 0 or 4 * state.used[x] >= 3 << state.bits[x]:
        _double_row(state, x)
    return _probe(state, state.start[x], state.bits[x], item)


@njit(nogil=True, cache=True)
def _probe(state: State, start: int, bits: int, item: int) -> int:
    mask = (1 << bits) - 1
    place = (item * 0x9E3779B1 >> 8) & mask
    while state.key[start + place] != 0 and state.key[start + place] != item + 1:
        place = (place + 1) & mask
    return start + place


@njit(nogil=True, cache=True)
def _double_row(state: State, x: int) -> None:
    """Move the row to twice as many slots at the end of the pool."""
    counters = state.counters
    bits = state.bits[x] + 1 if state.bits[x] else _FIRST_BITS
    start = counters[POOL]
    counters[POOL] += 1 << bits
    counters[LARGEST] = max(counters[LARGEST], 1 << bits)
    if state.bits[x]:
        for old in range(state.start[x], state.start[x] + (1 << state.bits[x])):
            if state.key[old]:
                new = _probe(state, start, bits, state.key[old] - 1)
                state.key[new] = state.key[old]
                state.value[new] = state.value[old]
    state.start[x] = start
    state.bits[x] = bits


@njit(nogil=True, cache=True)
def _make_dense(state: State, x: int) -> None:
    place = state.counters[DENSE]
    for slot in range(state.start[x], state.start[x] + (1 << state.bits[x])):
        if state.key[slot]:
            state.dense[place, state.key[slot] - 1] = state.value[slot]
    state.dense_row[x] = place
    state.counters[DENSE] += 1

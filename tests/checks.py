"""The contract of everything that ranks events and learns them, as checks on a factory.

A factory makes a fresh ranker from a `Task`; see `replay.baselines.base.Baseline` for what a
ranker promises.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from connectors.event import Event, EventBatch
from replay.baselines import Make, Task
from replay.prequential import reasons_of
from replay.stream import Rows, to_rows
from replay.synthetic import markov_stream

SHOWN = 10


def ranks_of(
    make: Make, rows: Rows, repeats: bool, seed: int = 0, cuts: Sequence[int] = ()
) -> np.ndarray:
    """The ranks of a fresh ranker on a stream that is cut before the events `cuts`."""
    ranker = make(Task(rows.n_users, rows.n_items, repeats, seed))
    bounds = itertools.pairwise([0, *cuts, len(rows.users)])
    parts = [ranker.rank_and_learn(rows.part(slice(*bound))) for bound in bounds]
    return np.concatenate(parts)


def _stream(predictability: float, n_events: int = 1_500, n_items: int = 60) -> Rows:
    rows = to_rows(markov_stream(20, n_items, n_events, predictability, seed=5))
    values = np.random.default_rng(5).integers(1, 6, n_events).astype(np.float32)
    return rows._replace(values=values)


def check_any_cut_gives_the_same_ranks(make: Make) -> None:
    rows = _stream(0.5)
    for repeats in (False, True):
        whole = ranks_of(make, rows, repeats)
        assert np.array_equal(whole, ranks_of(make, rows, repeats, cuts=[0, 1, 2, 700, 1_499]))
        assert np.array_equal(whole, ranks_of(make, rows, repeats, cuts=range(1, 1_500)))


def check_new_items_and_repeats_are_the_only_misses(make: Make) -> None:
    rows = _stream(0.5)
    for repeats in (False, True):
        missed = ranks_of(make, rows, repeats) == 0
        assert np.array_equal(missed, reasons_of(rows, repeats) != 0)


def check_ranks_stay_among_the_candidates(make: Make) -> None:
    """A user who has all known items but k is never answered with a rank beyond k."""
    rows = _stream(0.0)
    ranks = ranks_of(make, rows, repeats=False)
    has: dict[int, set[int]] = {}
    known: set[int] = set()
    for user, item, rank in zip(rows.users.tolist(), rows.items.tolist(), ranks, strict=True):
        mine = has.setdefault(user, set())
        assert rank <= len(known - mine)
        mine.add(item)
        known.add(item)


def check_a_seed_fixes_the_ranks(make: Make) -> None:
    rows = _stream(0.2)
    assert np.array_equal(ranks_of(make, rows, True, seed=1), ranks_of(make, rows, True, seed=1))


def check_near_chance_on_noise(make: Make) -> None:
    """Neither order nor ties may leak the answer. Few events an item, so that ties are many."""
    n_items, n_events = 300, 4_000
    ranks = ranks_of(make, _stream(0.0, n_events, n_items), repeats=True)[1_000:]
    deviation = np.sqrt(10 / n_items / len(ranks))
    assert abs(np.mean((ranks > 0) & (ranks <= 10)) - 10 / n_items) < 4 * deviation
    assert abs(np.mean(ranks) / n_items - 0.5) < 4 / np.sqrt(12 * len(ranks))


def check_what_is_shown_is_what_ranks_speak_of(make: Make) -> None:
    """Lists hold as many items as may be shown, each once, and the true one where it is a hit: but
    for ties, which ranks break at random."""
    rows = _stream(0.5)
    for repeats in (False, True):
        ranker = make(Task(rows.n_users, rows.n_items, repeats, 0))
        has: dict[int, set[int]] = {}
        known: set[int] = set()
        differ = []
        for event, (user, item) in enumerate(
            zip(rows.users.tolist(), rows.items.tolist(), strict=True)
        ):
            mine = has.setdefault(user, set())
            shown = ranker.recommend(user, SHOWN).tolist()
            offered = known if repeats else known - mine
            assert set(shown) <= offered
            assert len(set(shown)) == len(shown) == min(SHOWN, len(offered))
            rank = ranker.rank_and_learn(rows.part(slice(event, event + 1)))[0]
            differ.append((item in shown) != (0 < rank <= SHOWN))
            mine.add(item)
            known.add(item)
        assert np.mean(differ) < 0.05


def check_asking_changes_no_rank(make: Make) -> None:
    rows = _stream(0.5)
    ranker = make(Task(rows.n_users, rows.n_items, False, 0))
    ranks = []
    for event, user in enumerate(rows.users.tolist()):
        ranker.recommend(user, SHOWN)
        ranks.append(ranker.rank_and_learn(rows.part(slice(event, event + 1)))[0])
    assert np.array_equal(ranks, ranks_of(make, rows, repeats=False))


CHECKS = (
    check_any_cut_gives_the_same_ranks,
    check_new_items_and_repeats_are_the_only_misses,
    check_ranks_stay_among_the_candidates,
    check_a_seed_fixes_the_ranks,
    check_near_chance_on_noise,
    check_what_is_shown_is_what_ranks_speak_of,
    check_asking_changes_no_rank,
)
"""What every ranker passes."""


def check_finds_tastes(make: Make) -> None:
    """What a ranker that compares users or items passes: two crowds with 20 items each, who take
    the other crowd's now and then. Popularity puts an item at place 20 of 40."""
    random = np.random.default_rng(5)
    crowds, strange = random.integers(0, 2, 4_000), random.random(4_000) < 0.1
    users = 20 * crowds + random.integers(0, 20, 4_000)
    items = 20 * (crowds ^ strange) + random.integers(0, 20, 4_000)
    batch = EventBatch.from_events(
        Event(f"u{user}", f"i{item}", float(n))
        for n, (user, item) in enumerate(zip(users, items, strict=True))
    )
    ranks = ranks_of(make, to_rows(batch), repeats=True)[2_000:]
    assert np.median(ranks[~strange[2_000:]]) < 13
    assert np.median(ranks[strange[2_000:]]) > 25


def check_finds_the_pattern(make: Make) -> None:
    """What a ranker that looks at the user's newest items passes: almost sure on a sure walk."""
    rows = _stream(1.0)
    assert np.mean(ranks_of(make, rows, repeats=True)[1_000:] == 1) > 0.9

"""The baselines: the contract, ten events by hand, a slow reference, both layouts of the rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from engine.config import EngineConfig
from engine.metrics import Reason
from replay.baselines import BASELINES, COUNTING, Task, makers
from replay.baselines.counting import Counting
from replay.baselines.counting_kernels import Settings
from replay.prequential import Track, reasons_of
from replay.stream import Rows, first_of_each, to_rows
from replay.synthetic import markov_stream
from tests.checks import CHECKS, check_finds_the_pattern, ranks_of
from tests.replay.reference import rank_bounds

X, Y, Z, W = range(4)
A, B, C, D, E = range(5)
# user, item, rank by popularity with repeats off; what popularity knows beforehand
TEN_EVENTS = [
    (A, X, 0),  # nothing: a new item
    (B, X, 1),  # x 1
    (C, X, 1),  # x 2
    (A, Y, 0),  # x 3: a new item
    (B, Y, 1),  # x 3, y 1; b has x
    (C, Z, 0),  # x 3, y 2: a new item
    (D, X, 1),  # x 3, y 2, z 1
    (D, X, 0),  # x 4, y 2, z 1: d has x
    (D, Y, 1),  # x 5, y 2, z 1; d has x
    (E, Z, 3),  # x 5, y 3, z 1
]
HALF_LIFE = 0.5 ** (1 / 5_000)
SETTINGS = {
    "popularity": (1.0, 0, 1.0, 0.0, 1.0),
    "decayed_popularity": (0.9998, 0, 1.0, 0.0, 1.0),
    "fast_popularity": (0.5 ** (1 / 200), 0, 1.0, 0.0, 1.0),
    "transition": (1.0, 1, 1.0, 0.0, 0.5),
    "rules_long": (HALF_LIFE, 20, 0.9, 0.5, 1.0),
    "rules_short": (HALF_LIFE, 8, 0.8, 1.0, 0.3),
}


SMALL = EngineConfig(
    width=8,
    blocks=1,
    finetune_first=400,
    finetune_growth=1.0,
    train_tokens_early=0.0,
    train_tokens_per_event=1.0,
)


def rows_of(events: list[tuple[int, int]]) -> Rows:
    users, items = np.array(events, dtype=np.int32).T.copy()
    values = np.full(len(users), np.nan, dtype=np.float32)
    return Rows(users, items, values, int(users.max()) + 1, int(items.max()) + 1)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", BASELINES)
def test_contract(name: str, check: Callable[..., None]) -> None:
    check(makers(SMALL)[name])


@pytest.mark.parametrize("name", ["transition", "rules_long", "rules_short"])
def test_a_sure_walk_is_found(name: str) -> None:
    check_finds_the_pattern(BASELINES[name])


def test_ten_events_by_hand() -> None:
    rows = rows_of([(user, item) for user, item, _ in TEN_EVENTS])
    ranks = ranks_of(BASELINES["popularity"], rows, repeats=False)
    assert ranks.tolist() == [rank for *_, rank in TEN_EVENTS]
    reasons = reasons_of(rows, repeats=False)
    assert np.flatnonzero(reasons == Reason.NEW_ITEM).tolist() == [0, 3, 5]
    assert np.flatnonzero(reasons == Reason.REPEAT).tolist() == [7]
    unknown = first_of_each(rows.users)
    summary = Track(ranks, reasons, unknown, np.full(10, np.nan)).metrics().summary()
    assert summary["recall@1"] == pytest.approx(5 / 10)
    assert summary["recall@5"] == pytest.approx(6 / 10)
    assert summary["ndcg@5"] == pytest.approx((5 + 1 / 2) / 10)
    assert summary["mrr"] == pytest.approx((5 + 1 / 3) / 10)
    assert (summary["new_items"], summary["repeats"], summary["unknown_users"]) == (3, 1, 5)


def test_with_repeats_the_same_ten_events_compete_with_what_the_user_has() -> None:
    rows = rows_of([(user, item) for user, item, _ in TEN_EVENTS])
    ranks = ranks_of(BASELINES["popularity"], rows, repeats=True)
    assert ranks.tolist() == [0, 1, 1, 0, 2, 0, 1, 1, 2, 3]


def test_transition_prefers_what_followed_over_what_is_popular() -> None:
    """After x came y; w is the most popular by far. An unknown user gets w first."""
    events = [(A, X), (A, Y), (B, W - 1), (C, W - 1), (D, W - 1), (D, X), (D, Y), (E, W - 1)]
    ranks = ranks_of(BASELINES["transition"], rows_of(events), repeats=False)
    assert ranks[6] == 1
    assert ranks[7] == 1


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("name", COUNTING)
def test_equal_to_the_slow_reference(name: str, repeats: bool) -> None:
    rows = to_rows(markov_stream(12, 40, 500, predictability=0.4, seed=2))
    best, worst = rank_bounds(rows, Settings(*SETTINGS[name], repeats=repeats))
    ranks = ranks_of(BASELINES[name], rows, repeats)
    assert np.all((best <= ranks) & (ranks <= worst))


def test_ties_take_every_place_equally_often() -> None:
    """Nine items came once each; where a tenth user's event lands among them is left to chance."""
    places = np.zeros(10, dtype=int)
    rows = rows_of([(item, item) for item in range(9)] + [(9, 4)])
    for seed in range(1_800):
        places[ranks_of(BASELINES["popularity"], rows, repeats=False, seed=seed)[-1]] += 1
    assert places[0] == 0
    assert np.all(np.abs(places[1:] - 200) < 5 * np.sqrt(200))


def test_hashed_and_dense_rows_give_the_same_ranks() -> None:
    """Long enough for the pool of hash slots to grow."""
    rows = to_rows(markov_stream(50, 600, 6_000, predictability=0.3, seed=4))
    make = partial(
        Counting,
        "rules",
        Task(rows.n_users, rows.n_items, repeats=False, seed=0),
        Settings(*SETTINGS["rules_long"]),
    )
    hashed, dense, mixed, few = (
        model.rank_and_learn(rows)
        for model in (
            make(dense_bytes=0),
            make(dense_share=0),
            make(dense_share=1 / 8),
            make(dense_share=0, dense_bytes=4 * 600 * 50),
        )
    )
    assert np.array_equal(hashed, dense)
    assert np.array_equal(hashed, mixed)
    assert np.array_equal(hashed, few)


def test_fast_decay_stays_exact_over_many_half_lives() -> None:
    """Masses grow by 2^(1/200) an event and must be rescaled long before they overflow."""
    rows = to_rows(markov_stream(10, 30, 230_000, predictability=0.0, seed=6))
    newest = slice(len(rows.items) - 500, None)
    ranks = ranks_of(BASELINES["fast_popularity"], rows, repeats=True)[newest]
    fade = 0.5 ** (1 / 200)
    before = rows.items[-20_500:-500]
    mass = np.bincount(before, weights=fade ** np.arange(len(before) - 1, -1, -1.0), minlength=30)
    for item, rank in zip(rows.items[newest], ranks, strict=True):
        assert rank == 1 + np.sum(mass > mass[item])
        mass *= fade
        mass[item] += 1


@pytest.mark.parametrize("name", ["popularity", "isgd"])
def test_rows_that_cannot_be_are_refused(name: str) -> None:
    def learn(users: list[int], items: list[int]) -> None:
        ranker = BASELINES[name](Task(2, 3, repeats=False, seed=0))
        columns = (np.array(users, dtype=np.int32), np.array(items, dtype=np.int32))
        ranker.rank_and_learn(Rows(*columns, np.full(len(items), np.nan, dtype=np.float32), 2, 3))

    with pytest.raises(ValueError, match="rows 0 to 1"):
        learn([2], [0])
    with pytest.raises(ValueError, match="first appearance"):
        learn([0, 0], [0, 2])
    with pytest.raises(ValueError, match="first appearance"):
        learn([0, 0, 0, 0], [0, 1, 2, 3])
    with pytest.raises(ValueError, match="2 users with 1 items"):
        learn([0, 0], [0])

"""What would be shown: the lists are those the ranks speak of, and how they are summed up."""

from __future__ import annotations

import numpy as np
import pytest

from replay.baselines import BASELINES, Task
from replay.lists import EVERY, LENGTH, Watched, describe, gini, sampled
from replay.stream import to_rows
from replay.synthetic import markov_stream
from tests.replay.reports import Replayed, replayed

UNFED = {"biased_mf"}
"""The stream has no values."""


@pytest.fixture(scope="module")
def recorded() -> Replayed:
    return replayed()


def test_every_fiftieth_event_is_sampled_however_the_stream_is_cut() -> None:
    assert sampled(0, 120).tolist() == [0, 50, 100]
    assert sampled(120, 40).tolist() == [30]
    assert sampled(151, 20).tolist() == []


@pytest.mark.parametrize("model", ["engine", "lrurec", "rules_long", "fast_popularity"])
def test_a_hit_stands_in_the_list_at_its_rank(recorded: Replayed, model: str) -> None:
    items = to_rows(recorded.events).items[::EVERY]
    ranks = recorded.results.tracks[model].ranks[::EVERY]
    lists = recorded.recording.lists[model]
    assert lists.shape == (24, LENGTH)
    hits = np.flatnonzero((ranks > 0) & (ranks <= LENGTH))
    assert len(hits) >= 3
    np.testing.assert_array_equal(lists[hits, ranks[hits] - 1], items[hits])


def test_nobody_is_shown_what_he_has_or_what_nobody_has_seen(recorded: Replayed) -> None:
    rows = to_rows(recorded.events)
    for name, lists in recorded.recording.lists.items():
        for row, event in enumerate(range(0, len(rows.items), EVERY)):
            shown = set(lists[row].tolist()) - {-1}
            before = rows.items[:event]
            own = set(before[rows.users[:event] == rows.users[event]].tolist())
            assert shown <= set(before.tolist()) - own, (name, event)


def test_watching_changes_no_rank_wherever_the_stream_is_cut() -> None:
    rows = to_rows(markov_stream(10, 30, 300, predictability=0.7, seed=3))
    task = Task(rows.n_users, rows.n_items, repeats=True, seed=0)
    plain = BASELINES["rules_short"](task)
    watched = Watched(BASELINES["rules_short"](task))
    expected = plain.rank_and_learn(rows)
    ranks = [
        watched.rank_and_learn(rows.part(part))
        for part in (slice(0, 77), slice(77, 78), slice(78, 300))
    ]
    np.testing.assert_array_equal(np.concatenate(ranks), expected)
    assert watched.lists().shape == (6, LENGTH)
    assert (watched.lists()[0] == -1).all()


def test_every_model_is_described_on_the_same_events() -> None:
    made = replayed(("all",), events=150)
    lists = made.recording.lists
    assert lists.keys() == made.results.tracks.keys() == {"engine", "lrurec", *BASELINES} - UNFED
    assert {found.shape for found in lists.values()} == {(3, LENGTH)}
    found = describe(lists, to_rows(made.events).items)
    assert list(found) == [*lists, "the stream"]
    assert all(found[name]["coverage"] for name in lists)


def test_coverage_and_popularity_by_hand() -> None:
    items = np.array([0] * 40 + [1] * 9 + [2, 2], dtype=np.int32)  # 51 events, 2 are sampled
    lists = np.full((2, LENGTH), -1, dtype=np.int32)
    lists[1, :2] = [0, 2]  # before event 50: item 0 came 40 times, item 1 nine times, item 2 once
    found = describe({"model": lists}, items)
    assert found["model"]["coverage"] == pytest.approx(2 / 3)
    # Percentiles: item 0 is above two of three and level with itself, item 2 above none.
    assert found["model"]["popularity"] == pytest.approx((100 * 2.5 / 3 + 100 * 0.5 / 3) / 2)
    assert found["model"]["head"] == 0.5
    assert found["the stream"] == {
        "coverage": None,
        "gini": None,
        "popularity": pytest.approx(100 * 0.5 / 3),
        "head": 0.0,
    }


@pytest.mark.parametrize(
    ("times", "expected"), [([2, 2, 2, 2], 0.0), ([0, 0, 0, 4], 0.75), ([1, 3], 0.25)]
)
def test_the_gini_index_by_hand(times: list[int], expected: float) -> None:
    assert gini(np.array(times)) == pytest.approx(expected)

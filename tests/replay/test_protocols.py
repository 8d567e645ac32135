"""Every protocol on ten events: popularity by hand, and what the rules leave no model to choose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from connectors.event import Event, EventBatch
from engine.config import EngineConfig
from engine.engine import Engine
from engine.metrics import Reason
from engine.scoring import Scoring
from replay.baselines import BASELINES, COUNTING
from replay.compare import Comparison
from replay.prequential import Results, Track, run
from replay.protocols import PROTOCOLS, Protocol
from replay.synthetic import markov_stream

SMALL = EngineConfig(width=8, blocks=1, micro_batch=4, finetune_first=10**6)
VINAGRE, ALPENGLOW = PROTOCOLS["vinagre"], PROTOCOLS["alpenglow"]
FLURS = replace(PROTOCOLS["flurs"], recent_events=3)


def stream(events: list[tuple[str, str]]) -> EventBatch:
    return EventBatch.from_events(
        Event(user, item, float(n)) for n, (user, item) in enumerate(events)
    )


def by_popularity(events: EventBatch, protocol: Protocol, repeats: bool = False) -> Track:
    return run(None, ["popularity"], events, protocol=protocol, repeats=repeats).tracks[
        "popularity"
    ]


def by_the_engine(events: EventBatch, protocol: Protocol) -> Results:
    comparison = Comparison.of(["engine", "lrurec"], SMALL, protocol)
    return comparison.run(comparison.new_engine(), events)


def marked(track: Track, reason: Reason) -> list[int]:
    return np.flatnonzero(track.reasons == reason).tolist()


# user, item; what popularity knows; rank
UNIVERSE = stream(
    [
        ("a", "x"),  # unscored: an unknown user
        ("b", "y"),  # unscored
        ("a", "y"),  # y 1, z 0, a has x: 1
        ("b", "z"),  # x 1, z 0, b has y: 2, although z is new
        ("c", "x"),  # unscored
        ("c", "y"),  # y 2, z 1, c has x: 1
        ("a", "y"),  # a has y: a miss
        ("c", "z"),  # c has x and y, z alone is left: 1
        ("d", "z"),  # unscored
        ("d", "x"),  # x 2, y 4, d has z: 2
    ]
)


def test_vinagre_by_hand() -> None:
    track = by_popularity(UNIVERSE, VINAGRE)
    assert marked(track, Reason.UNSCORED) == [0, 1, 4, 8]
    assert marked(track, Reason.REPEAT) == [6]
    assert marked(track, Reason.NEW_ITEM) == []
    assert track.ranks[track.scored].tolist() == [1, 2, 1, 0, 1, 2]
    summary = track.metrics().summary()
    assert (summary["events"], summary["unknown_users"], summary["new_items"]) == (6, 0, 0)
    assert summary["recall@1"] == pytest.approx(3 / 6)
    assert summary["mrr"] == pytest.approx((3 + 2 / 2) / 6)


def test_vinagre_lets_the_engine_know_all_items() -> None:
    for track in by_the_engine(UNIVERSE, VINAGRE).tracks.values():
        assert marked(track, Reason.UNSCORED) == [0, 1, 4, 8]
        assert marked(track, Reason.REPEAT) == [6]
        assert track.ranks[[6, 7]].tolist() == [0, 1]
        assert set(track.ranks[[2, 3, 5, 9]]) <= {1, 2}
        assert np.isfinite(track.log_losses).tolist() == [n in (2, 3, 5, 7, 9) for n in range(10)]


RECENT = stream(
    [
        ("a", "x"),  # unscored: three of ten are the warm start
        ("b", "x"),  # unscored
        ("c", "x"),  # unscored
        ("a", "y"),  # lately x, which a has; y is new, and alone: 1
        ("b", "y"),  # lately x, y, b has x: 1
        ("c", "z"),  # lately x, y, c has x; y, then z, which is new: 2
        ("d", "x"),  # lately y, z; with x 3, y 2, z 1: 1
        ("e", "z"),  # lately y, z, x; x 4, y 2, z 1: 3
        ("d", "x"),  # lately z, x; d has x, so it comes last: 2
        ("f", "z"),  # lately x, z; x 5, z 2, and no y: 2
    ]
)
RECENT_RANKS = [1, 1, 2, 1, 3, 2, 2]


def test_flurs_by_hand() -> None:
    track = by_popularity(RECENT, FLURS)
    assert marked(track, Reason.UNSCORED) == [0, 1, 2]
    assert marked(track, Reason.NEW_ITEM) == [3, 5]
    assert marked(track, Reason.REPEAT) == [8]
    assert track.ranks[track.scored].tolist() == RECENT_RANKS
    assert track.metrics().summary()["recall@1"] == pytest.approx(3 / 7)


def test_flurs_with_repeats_ranks_what_the_user_has_by_its_score() -> None:
    track = by_popularity(RECENT, FLURS, repeats=True)
    assert track.ranks[track.scored].tolist() == [2, 2, 3, 1, 3, 1, 2]


def test_flurs_leaves_the_engine_the_same_candidates() -> None:
    for track in by_the_engine(RECENT, FLURS).tracks.values():
        assert marked(track, Reason.UNSCORED) == [0, 1, 2]
        assert track.ranks[[3, 4, 5, 8]].tolist() == [1, 1, 2, 2]  # what the rules decide alone
        assert np.all(track.ranks[[6, 7]] <= 3)
        assert track.ranks[9] <= 2


class Answers:
    """The engine's own answer before each event, as plain numbers by item."""

    def __init__(self, engine: Engine) -> None:
        self.names = engine.recommender.items.names
        self.all: list[dict[str, float]] = []
        engine.recommender.observers.append(self)

    def __call__(self, scoring: Scoring) -> None:
        for scores, candidates in zip(scoring.answers["engine"], scoring.candidates, strict=True):
            chosen = candidates.nonzero().squeeze(1).tolist()
            self.all.append({self.names[item]: float(scores[item]) for item in chosen})


def test_the_engine_is_ranked_by_its_own_answers_among_the_items_of_the_newest_events() -> None:
    events = markov_stream(15, 60, 900, predictability=0.5, seed=4)
    comparison = Comparison.of(["engine"], SMALL, replace(FLURS, recent_events=40))
    engine = comparison.new_engine()
    assert engine is not None
    answers = Answers(engine)
    found = comparison.run(engine, events).tracks["engine"].ranks
    for event in range(int(0.3 * 900), 900):
        answer, item = answers.all[event], events.items[event]
        others = set(events.items[event - 40 : event]) & answer.keys() - {item}
        if item not in answer:
            assert found[event] == 1 + len(others)
            continue
        better = sum(answer[other] > answer[item] for other in others)
        equal = sum(answer[other] == answer[item] for other in others)
        assert 1 + better <= found[event] <= 1 + better + equal


@pytest.mark.parametrize("name", sorted(BASELINES.keys() - COUNTING))
def test_every_other_baseline_obeys_them_too(name: str) -> None:
    """Users without history get what is popular, so that flurs leaves no choice at all."""

    def ranks(events: EventBatch, protocol: Protocol, repeats: bool = False) -> NDArray[np.int64]:
        track = run(None, [name], events, protocol=protocol, repeats=repeats).tracks[name]
        return track.ranks[track.scored]

    assert ranks(RECENT, FLURS).tolist() == RECENT_RANKS
    among_all = ranks(UNIVERSE, VINAGRE)
    assert among_all[[3, 4]].tolist() == [0, 1]
    assert set(among_all[[0, 1, 2, 5]]) <= {1, 2}
    assert np.flatnonzero(ranks(TEN, ALPENGLOW, repeats=True) == 0).tolist() == [0, 3, 5]


TEN = stream([*zip("abcabcddde", "xxxyyzxxyz", strict=True)])


def test_alpenglow_by_hand() -> None:
    """Ranks among all items so far, the user's own included: 0 1 1 0 2 0 1 1 2 3."""
    comparison = Comparison.of(["popularity"], SMALL, ALPENGLOW)
    assert comparison.config.repeats
    track = comparison.run(None, TEN).tracks["popularity"]
    assert track.ranks.tolist() == [0, 1, 1, 0, 2, 0, 1, 1, 2, 3]
    assert ALPENGLOW.metrics[-1] == "dcg@100"
    dcg = ALPENGLOW.gains(track.ranks)[:, -1]
    assert dcg.mean() == pytest.approx((4 * 1 + 2 * np.log(2) / np.log(3) + 1 / 2) / 10)


def test_dcg_ends_at_its_cutoff() -> None:
    dcg = ALPENGLOW.gains(np.array([0, 1, 100, 101]))[:, -1]
    assert dcg.tolist() == pytest.approx([0.0, 1.0, np.log(2) / np.log(101), 0.0])


def test_alpenglow_lets_the_engine_recommend_what_the_user_has() -> None:
    track = by_the_engine(TEN, ALPENGLOW).tracks["engine"]
    assert marked(track, Reason.REPEAT) == []
    assert np.flatnonzero(track.ranks == 0).tolist() == [0, 3, 5]


def test_a_protocol_changes_nothing_that_is_learned() -> None:
    """Every event that both score, and that has the same candidates, has the same rank."""
    events = markov_stream(20, 40, 600, predictability=0.5, seed=5)
    plain = by_the_engine(events, PROTOCOLS["deployable"]).tracks["engine"]
    warm = by_the_engine(events, Protocol("warm", unknown_users=False, warm_start=0.5))
    scored = warm.tracks["engine"].scored
    assert 200 < scored.sum() <= 300
    np.testing.assert_array_equal(warm.tracks["engine"].ranks[scored], plain.ranks[scored])

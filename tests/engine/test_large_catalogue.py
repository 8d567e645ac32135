"""Of a large catalogue only what some expert has among its best is weighed, and as all would be."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from connectors.event import Event, EventBatch
from engine.engine import Engine
from engine.large_catalogue import BEST
from engine.metrics import Reason
from engine.scoring import Scored, Scoring
from engine.union import Union, best_of_entries
from replay.among_recent import AmongRecent
from replay.record import Recorder
from tests.engine.running import stream, with_settings

FEW = EventBatch.from_events(stream(events=1_200, items=200))
MANY = EventBatch.from_events(stream(events=4_000, users=200, items=1_000))
ALL_KNOWN = torch.tensor([9, 9])


def engines(events: EventBatch, **settings: Any) -> tuple[Engine, Engine]:
    """Two that have learned the events: one weighs all items of those that follow, for the other
    the catalogue is large by then."""
    full = Engine(with_settings(**settings))
    full.process(events)
    best = copy.deepcopy(full)
    best.recommender.config = replace(full.config, full_catalogue=1)
    return full, best


@pytest.fixture
def all_among_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.large_catalogue.BEST", 1_000)


# ---- the union


def test_a_union_finds_items_where_they_stand_and_each_once() -> None:
    union = Union(torch.tensor([[5, 3, -1, 5], [-1, -1, 0, 8]]), known=9)
    asked = torch.tensor([[3, 5, 4, -1], [8, 0, 3, 5]])
    columns = union.columns(asked)
    assert (columns >= 0).tolist() == [[True, True, False, False], [True, True, False, False]]
    found = union.items.gather(1, columns.clamp(min=0))
    assert found[columns >= 0].tolist() == [3, 5, 8, 0]
    candidates = union.candidates(ALL_KNOWN, None)
    assert sorted(union.items[candidates == 1].tolist()) == [0, 3, 5, 8]
    seen = (torch.tensor([0, 1]), torch.tensor([5, 5]))
    candidates = union.candidates(torch.tensor([9, 8]), seen)
    assert union.items[candidates == 1].tolist() == [3, 0]


def test_entries_of_an_item_are_summed_and_the_best_are_proposed() -> None:
    events, items = torch.tensor([0, 0, 1, 0, 1]), torch.tensor([7, 2, 7, 7, 4])
    entries = (events, items, torch.tensor([1.0, 1.5, 3.0, 1.0, 2.0]))
    assert best_of_entries(entries, events=3, known=9, count=2).tolist() == [
        [7, 2],
        [7, 4],
        [-1, -1],
    ]
    union = Union(torch.tensor([[7, 2], [1, 7], [3, 3]]), known=9)
    assert union.sums(entries).tolist() == [[1.5, 2.0], [0.0, 3.0], [0.0, 0.0]]


# ---- the engine on it


def ranked(scored: Scored | None) -> Scored:
    assert scored is not None
    return scored


@pytest.mark.usefixtures("all_among_the_best")
@pytest.mark.parametrize("rules_bytes", [1 << 20, 1 << 15], ids=["dense", "bounded"])
@pytest.mark.parametrize("repeats", [False, True])
def test_where_every_item_is_among_the_best_nothing_changes(
    repeats: bool, rules_bytes: int
) -> None:
    full, best = engines(FEW[:600], repeats=repeats, rules_bytes=rules_bytes)
    expected, found = (ranked(engine.process(FEW[600:])) for engine in (full, best))
    assert full.recommender.experts.rules
    assert full.recommender.experts.rules.bounded == (rules_bytes == 1 << 15)
    assert (expected.reasons == found.reasons).all()
    for name in ("engine", "lrurec"):
        assert (expected.ranks[name] != found.ranks[name]).mean() < 0.01
        np.testing.assert_allclose(
            found.log_losses[name], expected.log_losses[name], rtol=1e-2, atol=1e-3
        )
    for user in ("user 3", "nobody"):
        items, scores = zip(*full.recommender.recommend(user, 5, ["item 7"]), strict=True)
        same, close = zip(*best.recommender.recommend(user, 5, ["item 7"]), strict=True)
        assert items == same
        assert "item 7" not in same
        np.testing.assert_allclose(close, scores, rtol=1e-2)


def test_of_many_items_the_same_are_found_and_the_rest_are_misses() -> None:
    full, best = engines(MANY[:2_000], repeats=True)
    expected, found = (ranked(engine.process(MANY[2_000:])) for engine in (full, best))
    hits, also = ((s.ranks["engine"] > 0) & (s.ranks["engine"] <= 10) for s in (expected, found))
    assert hits.mean() > 0.05
    assert abs(hits.mean() - also.mean()) < 0.01
    outside = (found.reasons == Reason.RANKED) & (found.ranks["engine"] == 0)
    assert outside.any()
    assert np.isnan(found.log_losses["engine"][outside]).all()
    assert (expected.ranks["lrurec"][outside] > BEST).all()
    offered = {name for name, _ in best.recommender.recommend("user 3", 1_000)}
    assert BEST <= len(offered) < len(best.recommender.items)


@pytest.mark.usefixtures("all_among_the_best")
def test_a_report_and_a_protocol_among_recent_items_see_the_same() -> None:
    recorded, among = [], []
    for engine in engines(FEW[:600], repeats=True):
        recorder = Recorder(engine)
        step = AmongRecent(engine.recommender, 100, recorder.step)
        among.append(step(FEW[600:]).ranks["engine"])
        recorded.append(recorder.recording())
    assert (among[0] != among[1]).mean() < 0.01
    for group in ("rules", "lrurec", "reranker"):
        assert (recorded[0].without[group] != recorded[1].without[group]).mean() < 0.01
    same = recorded[0].lists["engine"] == recorded[1].lists["engine"]
    assert same.mean() > 0.95


def test_what_is_weighed_does_not_grow_with_the_catalogue() -> None:
    _, best = engines(MANY[:2_000])
    widths: list[int] = []

    def note(scoring: Scoring) -> None:
        widths.append(scoring.candidates.shape[1])

    best.recommender.observers.append(note)
    best.process(MANY[2_000:])
    proposing = len(best.recommender.experts.names)
    assert max(widths) < (proposing + 2) * BEST
    assert len(best.recommender.items) > 950


def test_what_comes_true_has_no_part_in_what_is_proposed() -> None:
    """The last event of a batch, with one item or another: an unpopular one that was offered only
    because it comes true would be found too easily."""
    offered = []

    def note(scoring: Scoring) -> None:
        assert scoring.opinions.union
        offered.append(scoring.opinions.union.items[-1])

    for place in (0, 1):
        _, best = engines(MANY[:2_000])
        best.recommender.observers.append(note)
        item = best.recommender.experts.popularity.counts[0].argsort()[place]
        last = Event("user 3", best.recommender.items.names[item], 2e9)
        best.process(EventBatch.from_events([*MANY[2_000:2_009], last]))
    assert torch.equal(*offered)

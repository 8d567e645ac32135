"""Predict, then learn: events are learned once and in order, every question has an answer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from connectors.event import Event, EventBatch
from engine import recommender as recommender_module
from engine.engine import Engine
from engine.metrics import Reason
from engine.recommender import Recommender, choose_device
from engine.scoring import Scored
from lrurec.model import LRURec
from replay.synthetic import markov_stream
from tests.engine.running import assert_same, everything, stream, with_settings

EVENTS = EventBatch.from_events(stream(events=1_000))
NAMES = list(dict.fromkeys(EVENTS.items))


def batch(*pairs: tuple[str, str]) -> EventBatch:
    events = [Event(user, item, 1e9 + i) for i, (user, item) in enumerate(pairs)]
    return EventBatch.from_events(events)


def recommender(*pairs: tuple[str, str], **settings: Any) -> Recommender:
    """One that has learned these (user, item) events."""
    found = Recommender(with_settings(**settings))
    found.learn_many(batch(*pairs))
    return found


def names(answer: list[tuple[str, float]]) -> list[str]:
    return [name for name, _ in answer]


# ---- learning


@pytest.mark.parametrize("repeats", [False, True])
def test_learning_many_equals_learning_one_by_one(repeats: bool) -> None:
    """Histories, counts of all experts and states; items known beforehand, so that both models
    begin with the same rows."""
    many, one = (Engine(with_settings(repeats=repeats)) for _ in range(2))
    for engine in (many, one):
        engine.recommender.items.add(NAMES)
        engine.recommender.make_room()
        engine.process(EVENTS[:50])
    many.recommender.learn_many(EVENTS[50:], score=False)
    one.recommender.learn_one(EVENTS[50:])
    assert_same(many, one)


def test_scoring_does_not_change_what_is_learned() -> None:
    scored, silent = Engine(with_settings()), Engine(with_settings())
    for engine in (scored, silent):
        engine.process(EVENTS[:50])
    scored.recommender.learn_many(EVENTS[50:])
    silent.recommender.learn_many(EVENTS[50:], score=False)
    silent.recommender.mixture = scored.recommender.mixture
    silent.recommender.reranker = scored.recommender.reranker
    assert_same(scored, silent)


def test_learning_never_changes_the_weights_but_new_items_get_rows() -> None:
    learner = Recommender(with_settings())
    learner.learn_many(EVENTS[:200])
    model = learner.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    learner.learn_many(EVENTS[200:])
    assert learner.model is model
    assert len(learner.items) > len(before["item_bias"]) - 1
    for name, after in model.named_parameters():
        assert torch.equal(after[: len(before[name])], before[name]), name
        if name in ("embedding", "item_bias"):
            assert len(after) == len(learner.items) + 1
            assert torch.isfinite(after).all()


# ---- predicting before learning


def scored(micro_batch: int, events: EventBatch, **settings: Any) -> Scored:
    learner = Recommender(with_settings(micro_batch=micro_batch, **settings))
    learner.items.add(list(dict.fromkeys(events.items)))
    learner.make_room()
    found = learner.learn_many(events)
    assert found is not None
    return found


def recall(ranks: NDArray[np.int64], k: int = 10) -> float:
    return float(((ranks > 0) & (ranks <= k)).mean())


@pytest.mark.parametrize("long_stream", [recommender_module.LONG_STREAM, 1_000])
def test_the_size_of_a_micro_batch_hardly_matters(
    long_stream: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LRURec ranks alike; the mixture's weights lag by some events at most, whatever the size,
    and the counts of the rules by a micro-batch."""
    monkeypatch.setattr(recommender_module, "LONG_STREAM", long_stream)
    events = markov_stream(100, 60, 4_000, predictability=0.5, seed=4)
    one, some, many = (scored(size, events) for size in (1, 32, 256))
    for other in (some, many):
        np.testing.assert_array_equal(one.reasons, other.reasons)
        np.testing.assert_array_equal(one.new_user, other.new_user)
        np.testing.assert_array_equal(one.ranks["lrurec"], other.ranks["lrurec"])
        expected, found = (recall(scores.ranks["engine"][800:]) for scores in (one, other))
        assert expected > 0.4
        assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("full_catalogue", [20_000, 4])
def test_a_newcomer_gets_what_users_begin_with(full_catalogue: int) -> None:
    """Though all have more popular items, and others are as rare. By the experts alone: the
    re-ranker would find it out by itself."""
    pairs = [
        (f"u{user}", item)
        for user in range(300)
        for item in (f"begin{user % 3}", "a", "b", f"middle{user % 3}", "c", f"end{user % 50}")
    ]
    learner = recommender(*pairs, full_catalogue=full_catalogue)
    learner.reranker = None
    assert all(name.startswith("begin") for name in names(learner.recommend("newcomer", k=3)))


def test_lrurec_alone_answers_as_it_is() -> None:
    alone = Recommender(with_settings(experts=("lrurec",))).learn_many(EVENTS)
    assert alone is not None
    np.testing.assert_array_equal(alone.ranks["engine"], alone.ranks["lrurec"])


def test_a_question_gets_the_answer_that_is_scored() -> None:
    """The re-ranker's correction included."""
    learner = Recommender(with_settings())
    learner.learn_many(EVENTS)
    assert learner.reranker is not None
    assert learner.reranker.shortlist.corrector.weights.any()
    asked = dict(learner.recommend("user 3", k=5))
    answers: list[torch.Tensor] = []
    learner.observers.append(lambda scoring: answers.append(scoring.answers["engine"]))
    later = Event("user 3", NAMES[0], learner.histories.last_time.max())
    learner.event_time = later.timestamp
    learner.learn_many(EventBatch.from_events([later]))
    values, items = answers[0][0].topk(5)
    found = {learner.items.names[item]: float(p) for item, p in zip(items, values, strict=True)}
    assert found == pytest.approx(asked, rel=1e-4)


def test_an_item_can_be_recommended_right_after_it_was_first_seen() -> None:
    """In the middle of one micro-batch."""
    learner = recommender(("a", "x"), ("a", "y"))
    found = learner.learn_many(batch(("b", "new"), ("c", "new"), ("c", "newer"), ("b", "newer")))
    assert found is not None
    assert found.reasons.tolist() == [Reason.NEW_ITEM, Reason.RANKED] * 2
    for ranks in found.ranks.values():
        assert ranks[[0, 2]].tolist() == [0, 0]
        assert 1 <= ranks[1] <= 3  # among x, y, new
        assert 1 <= ranks[3] <= 3  # among x, y, newer: b has new
    assert np.isnan(found.log_losses["engine"]).tolist() == [True, False, True, False]


def test_a_repeat_is_a_miss_unless_repeats_are_on() -> None:
    pairs = batch(("a", "x"), ("a", "y"), ("a", "x"))
    off, on = (recommender(repeats=repeats).learn_many(pairs) for repeats in (False, True))
    assert off is not None and on is not None
    assert (off.reasons[2], off.ranks["engine"][2]) == (Reason.REPEAT, 0)
    assert (on.reasons[2], on.ranks["engine"][2]) == (Reason.RANKED, on.ranks["engine"][2])
    assert 1 <= on.ranks["engine"][2] <= 2


def test_an_event_is_never_ranked_with_what_it_teaches() -> None:
    """Whatever the last item of a micro-batch is, all before it are ranked the same."""
    start, last = EVENTS[:320], [batch(("user 3", name)) for name in NAMES[:5]]
    expected = None
    for end in last:
        learner = Recommender(with_settings())
        found = learner.learn_many(EventBatch.concat([start, end]))
        assert found is not None
        if expected is not None:
            np.testing.assert_array_equal(found.ranks["engine"][:320], expected)
        expected = found.ranks["engine"][:320]


# ---- answers


def test_an_empty_catalogue_has_no_answer() -> None:
    empty = Recommender(with_settings())
    assert empty.recommend("anyone") == []
    assert empty.learn_many(batch()) is None


def test_a_stranger_gets_what_is_popular() -> None:
    pairs = [(f"user {i}", "hit") for i in range(20)]
    pairs += [(f"user {i}", "second") for i in range(10)] + [("user 1", "rare")]
    for experts in (("popularity",), ("lrurec",), ("popularity", "rules", "ids", "lrurec")):
        answer = recommender(*pairs, experts=experts).recommend("stranger", k=3)
        assert names(answer) == ["hit", "second", "rare"], experts


def test_an_answer_is_the_best_k_with_their_probabilities() -> None:
    learner = Recommender(with_settings())
    learner.learn_many(EVENTS)
    for user in ("user 1", "stranger"):
        answer = learner.recommend(user, k=1_000)
        scores = [score for _, score in answer]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1.0, abs=1e-4)
        assert names(learner.recommend(user, k=7)) == names(answer)[:7]
        assert learner.recommend(user, k=0) == []
    assert len(names(learner.recommend("stranger", k=1_000))) == len(learner.items)


def test_excluded_items_stay_out_and_unknown_names_are_ignored() -> None:
    learner = recommender(("a", "x"), ("b", "y"), ("c", "z"))
    assert set(names(learner.recommend("a", exclude=["y", "no such item"]))) == {"z"}
    assert set(names(learner.recommend("stranger", exclude={"x", "y", "z"}))) == set()


def test_what_a_user_has_is_left_out_unless_repeats_are_on() -> None:
    pairs = [("a", "x"), ("a", "y"), ("b", "z")]
    assert names(recommender(*pairs).recommend("a")) == ["z"]
    assert set(names(recommender(*pairs, repeats=True).recommend("a"))) == {"x", "y", "z"}


def test_a_user_who_has_everything_gets_nothing() -> None:
    assert recommender(("a", "x"), ("a", "y"), ("b", "x")).recommend("a") == []


def test_what_a_user_has_stays_known_after_the_anchor_has_moved() -> None:
    learner = Recommender(with_settings(history=5))
    pairs = [("a", f"item {i}") for i in range(40)] + [("b", "other")]
    learner.learn_many(batch(*pairs))
    assert len(learner.histories.events.row(0)) < 10
    assert names(learner.recommend("a", k=100)) == ["other"]


@pytest.mark.parametrize("repeats", [False, True])
def test_a_question_changes_nothing(repeats: bool) -> None:
    asked, silent = (Engine(with_settings(repeats=repeats)) for _ in range(2))
    for engine in (asked, silent):
        engine.recommender.learn_many(EVENTS)
    for user in ("user 1", "user 2", "stranger"):
        asked.recommender.recommend(user, k=5, exclude=[NAMES[0], "no such item"])
    a, b = everything(asked), everything(silent)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_after_a_swap_every_answer_comes_from_the_new_model() -> None:
    """States and weights together: as if the new model had been there from the first event."""
    learner, other = (
        Recommender(with_settings(experts=("lrurec",), seed=seed)) for seed in (3, 77)
    )
    for one in (learner, other):
        one.items.add(NAMES)
        one.make_room()
        one.learn_many(EVENTS[:300], score=False)  # too few to move an anchor
    expected = pytest.approx(dict(other.recommend("user 1", k=80)), rel=1e-4)
    assert dict(learner.recommend("user 1", k=80)) != expected
    learner.swap(copy.deepcopy(other.model), version=4)
    assert dict(learner.recommend("user 1", k=80)) == expected


def test_a_model_that_lacks_the_newest_items_gets_them_in_a_swap() -> None:
    """Items can come while a fine-tune runs."""
    learner = recommender(("a", "x"), ("b", "y"))
    late = LRURec(learner.model.config, seed=5)
    learner.learn_many(batch(("a", "z"), ("b", "w")))
    learner.swap(late, version=1)
    assert set(names(learner.recommend("stranger"))) == {"x", "y", "z", "w"}
    learner.learn_many(batch(("c", "z")))


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "cuda:-1", "mps", "meta"])
def test_a_device_that_cannot_be_had_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=f"device: '?{name}'? .*give") as error:
        choose_device(name)
    assert "\n" not in str(error.value)


def test_the_processor_can_always_be_had() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")

"""Which models run side by side, and that they do not disturb each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from connectors.event import EventBatch
from engine.config import EngineConfig
from replay.baselines import BASELINES, COUNTING
from replay.compare import Comparison
from replay.prequential import Results
from replay.synthetic import markov_stream

SMALL = EngineConfig(width=16, blocks=1, finetune_first=300, train_tokens_cap=5.0)


def replayed(names: list[str], config: EngineConfig, events: EventBatch) -> Results:
    comparison = Comparison.of(names, config)
    return comparison.run(comparison.new_engine(), events)


def test_a_stream_without_events_is_refused() -> None:
    nothing = EventBatch.from_events([])
    with pytest.raises(ValueError, match="no event is left to replay"):
        replayed(["popularity"], SMALL, nothing)


def test_lrurec_ranks_the_same_beside_the_mixture_and_alone() -> None:
    events = markov_stream(n_users=40, n_items=60, n_events=1500, predictability=0.8, seed=1)
    beside = replayed(["engine", "lrurec"], SMALL, events).tracks
    alone = replayed(["lrurec"], SMALL, events).tracks
    assert list(alone) == ["lrurec"]
    np.testing.assert_array_equal(alone["lrurec"].ranks, beside["lrurec"].ranks)
    assert (beside["engine"].ranks != beside["lrurec"].ranks).any()


def test_the_fast_models_that_the_experts_allow_are_compared_unless_some_are_named() -> None:
    fast = Comparison.of([], EngineConfig())
    assert fast.engines == ("engine", "lrurec")
    assert fast.baselines == tuple(COUNTING)
    assert Comparison.of(["fast"], EngineConfig()) == fast
    more = Comparison.of(["isgd", "fast"], EngineConfig())
    assert more.baselines == (*COUNTING, "isgd")
    assert Comparison.of(["all"], EngineConfig()).baselines == tuple(BASELINES)
    counting = Comparison.of([], EngineConfig(experts=("popularity", "rules")))
    assert counting.engines == ("engine",)


def test_what_learns_from_values_is_left_out_of_all_and_refused_by_name_without_them() -> None:
    events = markov_stream(n_users=5, n_items=9, n_events=200, predictability=0.5, seed=2)
    few = replace(Comparison.of(["all"], SMALL), engines=(), baselines=("isgd", "biased_mf"))
    results = few.run(None, events)
    assert list(results.tracks) == ["isgd"]
    assert list(results.left_out) == ["biased_mf"]
    rated = replace(events, values=np.ones(200, dtype=np.float32))
    assert list(few.run(None, rated).tracks) == ["isgd", "biased_mf"]
    with pytest.raises(ValueError, match="biased_mf learns from values"):
        replayed(["isgd", "biased_mf"], SMALL, events)


def test_baselines_alone_need_no_engine() -> None:
    events = markov_stream(n_users=5, n_items=9, n_events=200, predictability=0.5, seed=2)
    assert Comparison.of(["transition"], SMALL).new_engine() is None
    assert list(replayed(["transition"], SMALL, events).tracks) == ["transition"]


@pytest.mark.parametrize(
    ("names", "experts"), [(["rulez"], ("rules", "lrurec")), (["lrurec"], ("rules",))]
)
def test_a_model_there_is_not_is_refused(names: list[str], experts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=f"model '{names[0]}' is not among engine, "):
        Comparison.of(names, EngineConfig(experts=experts))

"""What a recorder notes, and that it changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from connectors.event import EventBatch
from engine.config import EngineConfig
from engine.scoring import Scored
from replay.compare import Comparison
from replay.record import Recorder
from tests.replay.reports import CONFIG, Replayed, replayed


@pytest.fixture(scope="module")
def recorded() -> Replayed:
    return replayed()


def test_recording_changes_no_rank(recorded: Replayed) -> None:
    comparison = Comparison.of((), CONFIG)
    unwatched = comparison.run(comparison.new_engine(), recorded.events)
    assert list(unwatched.tracks) == list(recorded.results.tracks)
    for name, track in unwatched.tracks.items():
        np.testing.assert_array_equal(recorded.results.tracks[name].ranks, track.ranks)


@pytest.mark.parametrize("group", ["popularity", "rules", "ids", "lrurec"])
def test_the_engine_without_an_expert_is_one_that_never_had_it(
    recorded: Replayed, group: str
) -> None:
    others = tuple(name for name in CONFIG.experts if name != group)
    comparison = Comparison.of(("engine",), replace(CONFIG, experts=others))
    configured = comparison.run(comparison.new_engine(), recorded.events)
    np.testing.assert_array_equal(
        recorded.recording.without[group], configured.tracks["engine"].ranks
    )


def test_a_single_expert_leaves_nothing_to_take_away() -> None:
    recording = replayed(("lrurec",), events=200).recording
    assert recording.groups == ("lrurec",)
    assert recording.without == {}


def test_steps_cover_the_stream_and_tell_the_version_that_ranked(recorded: Replayed) -> None:
    steps = recorded.recording.steps
    assert [step.end for step in steps] == [*range(64, 1_200, 64), 1_200]
    first = recorded.recording.finetunes[0]
    assert (first.event, first.version, first.reason, first.accepted) == (320, 1, "count", True)
    assert {step.version for step in steps if step.end <= first.event} == {0}
    after = next(step for step in steps if step.end > first.event)
    assert after.version == 1
    tuned = {finetune.event for finetune in recorded.recording.finetunes}
    idle = max(step.finetune_seconds for step in steps if step.end not in tuned)
    assert min(step.finetune_seconds for step in steps if step.end in tuned) > idle
    assert all(step.seconds > 0 and step.rss_bytes > 1e6 for step in steps)


def test_a_drift_alarm_is_noted_where_it_was_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison.of(("engine",), EngineConfig(experts=("popularity",)))
    engine = comparison.new_engine()
    assert engine is not None
    recorder = Recorder(engine)
    events = replayed(("popularity",), events=96).events
    process = engine.process

    def alarmed(batch: EventBatch) -> Scored | None:
        engine.window.drift_alarms += len(batch) == 32
        return process(batch)

    monkeypatch.setattr(engine, "process", alarmed)
    for batch in events.micro_batches(64):
        recorder.step(batch)
    assert recorder.recording().alarms == [96]


def test_the_time_of_recording_is_not_the_engines() -> None:
    comparison = Comparison.of(("engine",), EngineConfig(experts=("popularity", "rules")))
    engine = comparison.new_engine()
    ticks = iter(range(1_000))
    recorder = Recorder(engine, clock=lambda: float(next(ticks)))
    recorder.step(replayed(("popularity",), events=32).events)
    # started, observing from, observing to, learned, tuned: 3 ticks to learn, 1 to observe.
    assert [step.seconds for step in recorder.recording().steps] == [2.0]


def test_the_shares_of_every_step_sum_to_one(recorded: Replayed) -> None:
    assert recorded.recording.groups == ("popularity", "rules", "ids", "lrurec")
    for step in recorded.recording.steps:
        assert sum(step.shares) == pytest.approx(1.0)
        assert min(step.shares) >= 0

"""The loop over a real store: crashes anywhere change nothing, and everything stays bounded."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from connectors.memory import Abort, Crash, Item, MemorySink
from engine import journal
from engine.background import FinetuneFailed
from engine.config import LoopConfig
from engine.engine import Engine
from engine.errors import VersionError
from tests.engine.running import CONFIG, CrashingStore, Run, assert_same, stream, with_settings

EVENTS = 1_000
STREAM = stream(EVENTS)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The engine after the whole stream: three swaps, anchors moved, snapshots on the way."""
    engine = Run(tmp_path_factory.mktemp("whole"), STREAM).until(EVENTS)
    assert engine.recommender.version == 3
    return engine


CRASHES = [
    ("before", "batch", 9),
    ("after", "batch", 9),
    ("before", "swap", 2),
    ("after", "swap", 2),
    ("before", "snapshot", 2),
    ("during", "snapshot", 2),
    ("during", "snapshot", 1),
    ("after", "snapshot", 2),
]


@pytest.mark.parametrize(("when", "what", "nth"), CRASHES)
def test_a_crash_anywhere_changes_nothing(
    when: str, what: str, nth: int, tmp_path: Path, uninterrupted: Engine
) -> None:
    crashing = Run(tmp_path, STREAM, store=lambda store: CrashingStore(store, when, what, nth))
    with pytest.raises(Crash):
        crashing.until(EVENTS)
    engine = Run(tmp_path, STREAM).until(EVENTS)
    assert_same(engine, uninterrupted)


def test_a_source_that_crashes_in_the_middle_changes_nothing(
    tmp_path: Path, uninterrupted: Engine
) -> None:
    script: list[Item] = [*STREAM[:333], Abort(), *STREAM[333:720], Abort(), *STREAM[720:]]
    for _ in range(2):
        with pytest.raises(Crash):
            Run(tmp_path, script).until(EVENTS)
    engine = Run(tmp_path, script).until(EVENTS)
    assert_same(engine, uninterrupted)


def test_a_stop_and_a_start_change_nothing_and_nothing_is_learned_again(
    tmp_path: Path, uninterrupted: Engine
) -> None:
    Run(tmp_path, STREAM).until(450)
    resumed = Run(tmp_path, STREAM)
    assert (resumed.recovered.events, resumed.recovered.users) == (0, set())
    assert_same(resumed.until(EVENTS), uninterrupted)


def test_queries_change_nothing(tmp_path: Path, uninterrupted: Engine) -> None:
    run = Run(tmp_path, STREAM)
    answers: list[int] = []

    def ask() -> None:
        while not run.loop._stopping.is_set():
            answers.append(len(run.loop.recommend(f"user {len(answers) % 40}", k=5)))
            json.dumps(run.loop.stats())

    asker = Thread(target=ask)
    asker.start()
    try:
        engine = run.until(EVENTS)
    finally:
        run.loop.stop()
        asker.join()
    assert max(answers) == 5
    assert_same(engine, uninterrupted)


def test_rejected_finetunes_use_their_window_also_after_a_crash(tmp_path: Path) -> None:
    config = with_settings(gate_tolerance=-100.0)
    whole = Run(tmp_path / "a", STREAM, config).until(EVENTS)
    with pytest.raises(Crash):
        Run(
            tmp_path / "b", STREAM, config, store=lambda s: CrashingStore(s, "after", "reject", 2)
        ).until(EVENTS)
    run = Run(tmp_path / "b", STREAM, config)
    engine = run.until(EVENTS)
    assert engine.recommender.version == 0
    assert [info.accepted for info in run.versions.list()] == [False] * 3
    assert engine.next_version == 4
    assert_same(engine, whole)


def test_dead_letters_are_stored_once_with_the_events_around_them(tmp_path: Path) -> None:
    good = [f'{{"user": "u", "item": "{i}", "timestamp": {i}}}'.encode() for i in range(1, 200)]
    script: list[Item] = [*good[:70], b"broken 1", *good[70:120], b"broken 2", *good[120:], b"{}"]
    with pytest.raises(Crash):
        Run(tmp_path, script, store=lambda s: CrashingStore(s, "after", "batch", 3)).until(199)
    run = Run(tmp_path, script, loop=LoopConfig(max_wait_s=0.0))
    run.loop.run(199)
    letters = run.database.dead_letters()
    run.database.close()
    assert [stored.letter.raw for stored in letters] == [b"broken 1", b"broken 2", b"{}"]
    assert run.engine.recommender.events == 199


def test_a_lone_event_is_learned_when_it_has_waited_long_enough(tmp_path: Path) -> None:
    now = [0.0]
    run = Run(tmp_path, STREAM[:7], loop=LoopConfig(max_wait_s=0.2), clock=lambda: now[0])
    run.loop._step(None)
    assert run.engine.recommender.events == 0
    now[0] = 0.3
    run.loop._step(None)
    assert run.engine.recommender.events == 7
    assert run.store.positions("events") == {0: 7}
    run.database.close()


def test_the_source_hears_what_is_durable_at_the_end(tmp_path: Path) -> None:
    run = Run(tmp_path, STREAM[:300])
    run.until(200)
    assert run.source.committed_positions == {0: 200}


def test_memory_stays_within_the_caps(tmp_path: Path) -> None:
    config = with_settings(max_users_resident=60, rules_bytes=400_000, finetune_every=1_000)
    run = Run(tmp_path, stream(4_000, users=300, items=600), config)
    run.until(4_000)
    caps = run.loop.stats()["caps"]
    assert caps["users_resident"] == {"size": 60, "cap": 60}
    assert run.engine.recommender.experts.rules is not None
    assert run.engine.recommender.experts.rules.bounded
    assert 0 < caps["rules_bytes"]["size"] <= 400_000
    assert 10 < caps["events_since_anchor"]["size"] < caps["events_since_anchor"]["cap"]
    assert caps["window_events"]["size"] < 1_000
    assert len(run.loop._pending) < CONFIG.micro_batch


def test_evicted_users_and_bounded_rules_come_back_the_same_after_a_crash(tmp_path: Path) -> None:
    config = with_settings(max_users_resident=60, rules_bytes=20_000, finetune_every=1_000)
    events = stream(2_500, users=200, items=300)
    whole = Run(tmp_path / "a", events, config).until(2_500)
    assert whole.recommender.experts.rules is not None
    assert whole.recommender.experts.rules.bounded
    with pytest.raises(Crash):
        Run(
            tmp_path / "b", events, config, store=lambda s: CrashingStore(s, "after", "batch", 35)
        ).until(2_500)
    assert_same(Run(tmp_path / "b", events, config).until(2_500), whole)


def test_recommendations_leave_for_the_users_of_each_batch(tmp_path: Path) -> None:
    sink = MemorySink()
    run = Run(tmp_path, STREAM, sink=sink, loop=LoopConfig(recommendations=3))
    engine = run.until(100)
    assert {r.user for r in sink.recommendations} == set(engine.recommender.users.names)
    assert all(len(r.items) == 3 for r in sink.recommendations[30:])
    assert sink.flushed == len(sink.recommendations)
    last = sink.recommendations[-1]
    assert last.timestamp == engine.recommender.event_time
    assert [item for item, _ in engine.recommender.recommend(last.user, 3)] == list(last.items)


def test_after_a_crash_recommendations_that_may_be_lost_leave_again(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        Run(
            tmp_path,
            STREAM,
            sink=MemorySink(),
            store=lambda s: CrashingStore(s, "after", "batch", 2),
        ).until(100)
    sink = MemorySink()
    run = Run(tmp_path, STREAM, sink=sink)
    run.until(100)
    assert {r.user for r in sink.recommendations} == {event.user for event in STREAM[:100]}


# ---- versions


def test_an_older_version_is_promoted_while_running_and_stays_after_a_start(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path, STREAM)
    run.loop.run(650)
    assert [(m["version"], m["live"]) for m in run.loop.models()] == [(1, False), (2, True)]
    run.database.close()

    run = Run(tmp_path, STREAM)
    asked = Thread(target=run.loop.rollback)
    asked.start()
    while run.loop.requests.empty:
        pass
    run.loop.run(800)
    asked.join()
    run.database.close()
    recommender = run.engine.recommender
    assert recommender.version == 1
    assert recommender.model.config.items == len(recommender.items)

    again = Run(tmp_path, STREAM)
    assert again.engine.recommender.version == 1
    assert_same(again.engine, run.engine)
    again.database.close()


def test_a_version_promoted_while_nothing_runs_is_live_at_the_next_start(tmp_path: Path) -> None:
    run = Run(tmp_path, STREAM)
    run.loop.run(650)
    assert journal.live_version(run.store) == 2
    with pytest.raises(VersionError, match="version 9: not in"):
        journal.promote(run.store, run.versions, 9)
    journal.promote(run.store, run.versions, 1)
    assert journal.live_version(run.store) == 1
    run.database.close()
    run = Run(tmp_path, STREAM)
    assert run.engine.recommender.version == 1
    run.database.close()


def test_a_version_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    run = Run(tmp_path, STREAM)
    run.loop.run(100)
    with pytest.raises(VersionError, match="version 7: not in"):
        run.loop.promote(7)
    with pytest.raises(VersionError, match="nothing to go back to"):
        run.loop.rollback()
    run.database.close()


# ---- fine-tunes that fail


class FailingTuner:
    """Fails `failures` times, then takes jobs for ever."""

    def __init__(self, failures: int) -> None:
        self.failures, self.submitted, self.busy = failures, [], False

    def submit(self, job: Any) -> None:
        self.submitted.append(job.window_end)
        self.busy = True

    def poll(self) -> None:
        if self.busy and self.failures:
            self.failures -= 1
            self.busy = False
            raise FinetuneFailed("the fine-tuning process ended with exit code -9")

    def close(self) -> None:
        self.busy = False


def test_a_failed_finetune_is_counted_and_tried_again_later(tmp_path: Path) -> None:
    tuner = FailingTuner(failures=2)
    run = Run(tmp_path, stream(3_000), tuner=tuner)
    run.until(3_000)
    assert tuner.submitted == [300, 1_300, 2_300]
    assert run.loop.stats()["finetunes"]["failed"] == 2
    assert run.engine.recommender.events == 3_000


def test_stats_name_what_a_person_asks_for(tmp_path: Path) -> None:
    run = Run(tmp_path, [*STREAM, b"broken"])
    run.until(700)
    stats = run.loop.stats()
    assert (stats["events"], stats["users"], stats["version"]) == (700, 30, 2)
    assert stats["metrics"]["events"] == 700
    assert stats["metrics"]["recall@10"] > 0.3  # a stream that is easy to foresee
    assert sum(stats["mixture"].values()) == pytest.approx(1.0, abs=1e-4)
    assert 0 < stats["reranker"]["trust"] < 1
    assert stats["reranker"]["steps"] > 0
    assert set(stats["lag"]) == {0}
    assert stats["finetunes"] == {"running": False, "accepted": 2, "rejected": 0, "failed": 0}
    assert stats["journal"]["position"] == stats["journal"]["snapshot_position"]
    assert stats["bytes_per_user"]["history"] > 0
    assert np.isfinite(stats["events_per_second"])

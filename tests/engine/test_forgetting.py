"""A user who is forgotten is gone from memory and store, and stays so whatever happens."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from connectors.base import StoreError
from connectors.database import Database
from connectors.event import Event, EventBatch
from connectors.memory import Crash
from engine.answers import StoredEngine
from engine.durable import unpack
from engine.engine import Engine
from engine.journal import batch_entry, forget_entry
from engine.stats import engine_stats
from tests.engine.running import (
    CONFIG,
    CrashingStore,
    Run,
    assert_same,
    everything,
    stream,
    with_settings,
)

STREAM = stream(1_000)
GONE = "user 3"


def forgetting(run: Run, user: str = GONE) -> bool:
    """Ask a loop that is about to run; it answers before its first event."""
    answers: list[bool | RuntimeError] = []

    def ask() -> None:
        try:
            answers.append(run.loop.forget(user))
        except RuntimeError as error:
            answers.append(error)

    asker = Thread(target=ask)
    asker.start()
    while run.loop.requests.empty:
        pass
    try:
        run.loop.run(run.engine.recommender.events)
    finally:
        asker.join()
        run.database.close()
    return answers == [True]


def stopped_after(events: int, folder: Path) -> Run:
    """A start on what a run of so many events has left."""
    Run(folder, STREAM).until(events)
    return Run(folder, STREAM)


def test_a_user_who_comes_back_is_a_new_one() -> None:
    one, other = (Engine(with_settings(repeats=False)) for _ in range(2))
    learned = EventBatch.from_events(STREAM[:400])
    for engine in (one, other):
        engine.process(learned)
    assert one.recommender.forget(GONE)
    assert one.recommender.users.row(GONE) == -1
    assert one.recommender.recommend(GONE) == other.recommender.recommend("a stranger")
    back = [Event(GONE, item, 2e9) for item in dict.fromkeys(learned.items)][:3]
    for engine, user in ((one, GONE), (other, "a stranger")):
        engine.process(EventBatch.from_events([Event(user, e.item, e.timestamp) for e in back]))
    answers = one.recommender.recommend(GONE), other.recommender.recommend("a stranger")
    assert [item for item, _ in answers[0]] == [item for item, _ in answers[1]]
    np.testing.assert_allclose(*([p for _, p in answer] for answer in answers), rtol=1e-4)


def test_what_all_users_taught_stays() -> None:
    engine = Engine(CONFIG)
    engine.process(EventBatch.from_events(STREAM[:400]))
    before = everything(engine)
    engine.recommender.forget(GONE)
    after = everything(engine)
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert changed == {"users", "hidden"} | {
        f"histories/0/{name}"
        for name in ("events", "events_lengths", "seen", "seen_lengths", "total", "last_time")
    }


def test_a_name_that_nobody_has_is_not_forgotten(tmp_path: Path) -> None:
    run = stopped_after(450, tmp_path)
    position = run.loop.position
    assert not forgetting(run, "nobody")
    assert run.loop.position == position


@pytest.mark.parametrize("running", [True, False])
def test_nothing_that_is_stored_names_the_user(running: bool, tmp_path: Path) -> None:
    """Neither snapshot nor journal; and the engine goes on, fine-tunes included."""
    run = stopped_after(450, tmp_path)
    if running:
        assert forgetting(run)
    else:
        assert StoredEngine(run.store, run.versions, CONFIG).forget(GONE)
        run.database.close()

    again = Run(tmp_path, STREAM)
    position, chunks = again.database.load_snapshot()
    stored = [json.loads(unpack(c.payload)["json"].tobytes()) for c in chunks if c.kind == "users"]
    names = [name for block in stored for name in block]
    assert GONE not in names
    assert len(set(names)) == 30  # the 29 others, and a row without a name
    assert list(again.database.tail(position)) == []
    assert engine_stats(again.engine)["users"] == 29
    engine = again.until(1_000)
    assert engine.recommender.version == 3
    assert engine_stats(engine)["users"] == 30  # who came back


def test_an_engine_that_runs_elsewhere_is_asked_first(tmp_path: Path) -> None:
    run = stopped_after(450, tmp_path)
    run.database.acquire_writer()
    other = Database.open(f"sqlite:///{tmp_path / 'engine.sqlite'}")
    with pytest.raises(StoreError, match="another engine writes to this database"):
        StoredEngine(other, run.versions, CONFIG).forget(GONE)
    other.close()
    run.database.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_while_forgetting_changes_nothing(when: str, tmp_path: Path) -> None:
    calm, crashed = tmp_path / "calm", tmp_path / "crashed"
    assert forgetting(stopped_after(450, calm))

    stopped_after(450, crashed).database.close()
    crashing = Run(crashed, STREAM, store=lambda store: CrashingStore(store, when, "forget", 1))
    with pytest.raises(Crash):
        forgetting(crashing)
    again = Run(crashed, STREAM)
    assert (again.engine.recommender.users.row(GONE) < 0) == (when == "after")
    if when == "before":
        assert forgetting(again)
    again.database.close()
    assert_same(Run(crashed, STREAM).until(1_000), Run(calm, STREAM).until(1_000))


def test_after_a_crash_no_recommendation_leaves_for_the_user(tmp_path: Path) -> None:
    run = stopped_after(450, tmp_path)
    tail, gone = STREAM[450:500], STREAM[450].user
    run.store.append([batch_entry(EventBatch.from_events(tail)), forget_entry(gone)])
    run.database.close()
    again = Run(tmp_path, STREAM)
    again.database.close()
    assert again.recovered.events == 50
    assert again.recovered.users == {event.user for event in tail} - {gone}

"""Driving models over a stream: the same events, in order, scored before they are learned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from connectors.event import Event, EventBatch
from engine.metrics import Reason
from engine.scoring import Scored
from replay.baselines import COUNTING, Task
from replay.prequential import BLOCK, reasons_of, run
from replay.stream import to_rows
from replay.synthetic import markov_stream

STREAM = markov_stream(30, 80, BLOCK + 1_000, predictability=0.6, seed=1)


class Recorder:
    """An engine that ranks event number n at place n and remembers what it was given."""

    def __init__(self) -> None:
        self.batches: list[EventBatch] = []
        self.seen = 0

    def __call__(self, batch: EventBatch) -> Scored:
        self.batches.append(batch)
        ranks = np.arange(self.seen, self.seen + len(batch), dtype=np.int64)
        self.seen += len(batch)
        return Scored(
            ranks={"engine": ranks, "lrurec": ranks + 1},
            reasons=np.zeros(len(batch), dtype=np.int8),
            log_losses={"engine": ranks / 2, "lrurec": ranks / 4},
            new_user=np.zeros(len(batch), dtype=bool),
        )


def test_the_engine_gets_every_event_once_in_order_and_in_micro_batches() -> None:
    engine = Recorder()
    results = run(engine, ["popularity"], STREAM, micro_batch=100)
    assert [len(batch) for batch in engine.batches] == [100] * 91 + [92]
    received = EventBatch.concat(engine.batches)
    assert received.users == STREAM.users
    assert received.items == STREAM.items
    assert list(results.tracks) == ["engine", "lrurec", "popularity"]
    assert results.tracks["engine"].ranks.tolist() == list(range(len(STREAM)))
    assert results.tracks["lrurec"].log_losses[8] == 2.0


def test_baselines_are_the_same_beside_the_engine_alone_and_in_one_call() -> None:
    rows = to_rows(STREAM)
    alone = run(None, list(COUNTING), STREAM, seed=3)
    beside = run(Recorder(), list(COUNTING), STREAM, seed=3, micro_batch=77)
    assert list(alone.tracks) == list(COUNTING)
    task = Task(rows.n_users, rows.n_items, repeats=False, seed=3)
    for name, make in COUNTING.items():
        expected = make(task).rank_and_learn(rows)
        assert np.array_equal(alone.tracks[name].ranks, expected)
        assert np.array_equal(beside.tracks[name].ranks, expected)


def test_progress_runs_to_the_end_with_the_leading_models_numbers() -> None:
    calls: list[tuple[int, int, float, float]] = []
    results = run(None, ["rules_short"], STREAM, progress=lambda *so_far: calls.append(so_far))
    summary = results.tracks["rules_short"].metrics().summary()
    assert [call[:2] for call in calls] == [(BLOCK, len(STREAM)), (len(STREAM), len(STREAM))]
    assert calls[-1][2:] == pytest.approx((summary["recall@10"], summary["ndcg@10"]))


def test_a_feed_may_cut_the_stream_its_own_way() -> None:
    engine = Recorder()

    def feed() -> Iterator[EventBatch]:
        yield STREAM[:3]
        yield STREAM[3:3]
        yield STREAM[3:9_000]
        yield STREAM[9_000:]

    results = run(engine, ["popularity"], STREAM, feed=feed())
    assert [len(batch) for batch in engine.batches] == [3, 8_997, len(STREAM) - 9_000]
    assert len(results.tracks["engine"].ranks) == results.events == len(STREAM)


def test_a_feed_with_another_number_of_events_is_refused() -> None:
    with pytest.raises(ValueError, match=f"ended after 10 of {len(STREAM)} events"):
        run(Recorder(), [], STREAM, feed=[STREAM[:10]])
    with pytest.raises(ValueError, match="more than the 10 events"):
        run(Recorder(), [], STREAM[:10], feed=[STREAM[:20]])


def test_an_unknown_baseline_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'rules'.*popularity.*rules_short"):
        run(None, ["rules"], STREAM)


def test_an_empty_stream_gives_empty_tracks() -> None:
    results = run(Recorder(), ["transition"], STREAM[:0])
    assert results.events == 0
    assert results.tracks["transition"].metrics().summary()["recall@10"] == 0


def test_reasons_depend_on_the_stream_alone() -> None:
    batch = EventBatch.from_events(Event(*pair, 0.0) for pair in ("ax", "ax", "bx", "ay"))
    new, ranked, repeat = Reason.NEW_ITEM, Reason.RANKED, Reason.REPEAT
    assert reasons_of(to_rows(batch), repeats=False).tolist() == [new, repeat, ranked, new]
    assert reasons_of(to_rows(batch), repeats=True).tolist() == [new, ranked, ranked, new]


def test_seconds_come_from_the_clock() -> None:
    ticks = iter([10.0, 12.5])
    assert run(None, ["popularity"], STREAM[:5], clock=lambda: next(ticks)).seconds == 2.5

"""Micro-batches out of polls: sizes, positions and dead letters."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import DeadLetter, Poll, SourceUnavailable
from connectors.event import Event, EventBatch
from connectors.memory import MemorySource, Pause
from engine.pending import Pending, micro_batches
from tests.engine.running import stream


def event(partition: int, offset: int) -> Event:
    return Event("u", f"{partition}/{offset}", 0.0, None, partition, offset)


def poll(records: list[tuple[int, int, bool]], ends: Mapping[int, int]) -> Poll:
    """Records (partition, offset, whether it is good)."""
    return Poll(
        EventBatch.from_events(event(p, o) for p, o, good in records if good),
        [DeadLetter("t", p, o, "", b"") for p, o, good in records if not good],
        ends,
    )


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=12), max_size=6),
    st.integers(1, 7),
)
def test_every_record_leaves_once_and_positions_cover_exactly_what_left(
    polls: list[list[tuple[int, bool]]], size: int
) -> None:
    pending = Pending()
    ends: dict[int, int] = {}
    came: set[tuple[int, int]] = set()
    left: set[tuple[int, int]] = set()
    stored: dict[int, int] = {}

    def leave(size: int) -> None:
        piece = pending.cut(size, 0.0)
        records = [(e.partition, e.offset) for e in piece.events]
        records += [(d.partition, d.offset) for d in piece.dead_letters]
        assert not left & set(records)
        left.update(records)
        assert all(position >= stored.get(p, 0) for p, position in piece.positions.items())
        stored.update(piece.positions)
        assert left == {(p, o) for p, o in came if o < stored.get(p, 0)}

    for records in polls:
        numbered = []
        for partition, good in sorted(records):
            numbered.append((partition, ends.get(partition, 0), good))
            ends[partition] = ends.get(partition, 0) + 1
        came.update((p, o) for p, o, _ in numbered)
        pending.add(poll(numbered, {p: ends[p] for p, _, _ in numbered}), 0.0)
        while len(pending) >= size:
            leave(size)
    leave(size)
    assert left == came
    assert stored == ends
    assert pending.empty


def test_micro_batches_are_the_same_whatever_the_polls_were() -> None:
    events = stream(500)
    script = [*events[:7], Pause(), *events[7:130], Pause(), *events[130:]]
    batches = list(micro_batches(MemorySource("t", script), 64, 400))
    assert [len(batch) for batch in batches] == [64] * 6 + [16]
    assert [item for batch in batches for item in batch.items] == [e.item for e in events[:400]]


def test_a_source_that_stays_silent_is_given_up() -> None:
    now = iter(range(1_000))
    feed = micro_batches(
        MemorySource("t", stream(100)), 64, 200, patience_s=10, clock=lambda: float(next(now))
    )
    with pytest.raises(SourceUnavailable, match="100 of 200 events came"):
        list(feed)

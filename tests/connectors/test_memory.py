"""The fakes keep the promises of Source and Sink: list in, list out."""

from __future__ import annotations

import pytest

from connectors.base import Recommendation, Sink, Source, SourceUnavailable
from connectors.codec import encode
from connectors.event import Event
from connectors.memory import Abort, Crash, Item, MemorySink, MemorySource, Pause


def event(user: str, partition: int = 0, offset: int = 0) -> Event:
    return Event(user, "item", 1.0, None, partition, offset)


def users(source: Source, max_events: int = 10) -> list[str]:
    return list(source.poll(max_events, 0.0).events.users)


def test_records_come_in_order_and_at_most_as_many_as_asked() -> None:
    source: Source = MemorySource("events", [event(user) for user in "abc"])
    assert users(source, 2) == ["a", "b"]
    assert source.lag() == {0: 1}
    assert users(source, 2) == ["c"]
    assert users(source, 2) == []
    assert source.lag() == {0: 0}


def test_offsets_count_within_each_partition() -> None:
    script: list[Item] = [
        event("a", 1),
        event("b", 0, offset=99),
        event("c", 1),
        encode(event("d")),
    ]
    poll = MemorySource("events", script).poll(10, 0.0)
    assert [(e.user, e.partition, e.offset) for e in poll.events] == [
        ("a", 1, 0),
        ("b", 0, 0),
        ("c", 1, 1),
        ("d", 0, 1),
    ]
    assert poll.positions == {0: 2, 1: 2}


def test_positions_cover_only_what_was_polled() -> None:
    source = MemorySource("events", [event("a", 1), event("b", 0)])
    assert source.poll(1, 0.0).positions == {1: 1}


def test_bytes_that_are_no_event_become_dead_letters() -> None:
    poll = MemorySource("events", [event("a"), b"nonsense", event("b")]).poll(10, 0.0)
    assert list(poll.events.users) == ["a", "b"]
    (letter,) = poll.dead_letters
    assert (letter.topic, letter.partition, letter.offset) == ("events", 0, 1)
    assert letter.raw == b"nonsense"
    assert letter.reason.startswith("not a JSON object")
    assert poll.positions == {0: 3}


def test_a_pause_is_one_empty_poll() -> None:
    source = MemorySource("events", [event("a"), Pause(), event("b")])
    assert [users(source) for _ in range(4)] == [["a"], [], ["b"], []]


def test_an_abort_comes_after_what_stands_before_it() -> None:
    source = MemorySource("events", [event("a"), Abort(), event("b")])
    assert users(source) == ["a"]
    with pytest.raises(Crash):
        source.poll(10, 0.0)


def test_an_abort_raises_what_it_is_given() -> None:
    with pytest.raises(KeyboardInterrupt):
        MemorySource("events", [Abort(KeyboardInterrupt())]).poll(10, 0.0)


def test_crash_and_resume_reads_everything_once() -> None:
    script: list[Item] = [event("a", 0), event("b", 1), Abort(), event("c", 0), event("d", 1)]
    stored: dict[int, int] = {}
    seen: list[str] = []

    def run() -> None:
        source = MemorySource("events", script, lambda topic: stored)
        while any(source.lag().values()):
            poll = source.poll(1, 0.0)
            seen.extend(poll.events.users)
            stored.update(poll.positions)

    with pytest.raises(Crash):
        run()
    run()
    assert seen == ["a", "b", "c", "d"]
    assert stored == {0: 2, 1: 2}


def test_positions_are_by_partition() -> None:
    script = [event("a", 0), event("b", 1), event("c", 0), event("d", 1)]
    source = MemorySource("events", script, {"events": {0: 1, 1: 2}}.__getitem__)
    assert source.lag() == {0: 1, 1: 0}
    poll = source.poll(10, 0.0)
    assert [(e.user, e.offset) for e in poll.events] == [("c", 1)]


def test_committed_positions_are_kept_and_a_closed_source_says_so() -> None:
    source = MemorySource("events", [event("a")])
    source.committed({0: 1})
    assert source.committed_positions == {0: 1}
    source.close()
    with pytest.raises(SourceUnavailable, match="'events' is closed"):
        source.poll(1, 0.0)


def test_sink_keeps_what_is_written_and_knows_what_was_flushed() -> None:
    sink = MemorySink()
    as_sink: Sink = sink
    first = Recommendation("u", ["i"], [1.0], 1.0, 0)
    as_sink.write([first])
    as_sink.flush()
    as_sink.write([first])
    assert (sink.recommendations, sink.flushed) == ([first, first], 1)
    as_sink.close()
    assert (sink.flushed, sink.closed) == (2, True)

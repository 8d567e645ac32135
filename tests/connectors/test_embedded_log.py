"""The embedded log, its source and its sink."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Literal

import pytest

from connectors import codec
from connectors.base import DeadLetter, InvalidRecord, Poll, Recommendation, SourceUnavailable
from connectors.embedded_log import EmbeddedLog, Record
from connectors.embedded_source import EmbeddedSink, EmbeddedSource
from connectors.event import Event

ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog.open(tmp_path / "events.log", clock=lambda: 1000.0)
    yield log
    log.close()


def decode(raw: bytes, partition: int, offset: int) -> Event:
    if raw == b"bad":
        raise InvalidRecord("bad is not good")
    return Event(raw.decode(), "item", 1.0, None, partition, offset)


def source(
    log: EmbeddedLog,
    stored: dict[int, int] | None = None,
    start: Literal["earliest", "latest"] = "earliest",
) -> EmbeddedSource:
    return EmbeddedSource(log, "events", decode, lambda topic: stored or {}, start)


def publish(log: EmbeddedLog, *values: str, key: str = "k") -> None:
    log.publish("events", [(key, value.encode(), 1.0) for value in values])


def keys_of_partitions(partitions: int) -> list[str]:
    """One key that lands in each partition."""
    return [
        next(str(n) for n in range(1000) if zlib.crc32(str(n).encode()) % partitions == p)
        for p in range(partitions)
    ]


# ---- the log


def test_records_come_back_in_order_after_reopening(tmp_path: Path) -> None:
    log = EmbeddedLog.open(tmp_path / "events.log", clock=lambda: 1000.0)
    assert log.publish("events", [("u", b"\x00a", 7.5), ("v", b"", None)]) == 2
    assert log.publish("events", iter([("u", b"c", 8.0)])) == 1
    log.close()
    reopened = EmbeddedLog.open(tmp_path / "events.log")
    expected = [Record(0, 7.5, b"\x00a"), Record(1, 1000.0, b""), Record(2, 8.0, b"c")]
    assert reopened.read("events", 0, 0, 100) == expected
    assert reopened.read("events", 0, 1, 1) == expected[1:2]
    assert reopened.read("events", 0, 3, 100) == []
    reopened.close()


def test_topics_are_apart(log: EmbeddedLog) -> None:
    log.publish("b", [("u", b"of b", 0.0)])
    log.publish("a", [])
    assert log.topics() == ["a", "b"]
    assert log.end_offsets("a") == {0: 0}
    assert log.end_offsets("b") == {0: 1}
    assert log.end_offsets("none") == {}
    assert log.read("a", 0, 0, 10) == [] == log.read("none", 0, 0, 10)


def test_a_topic_keeps_its_partitions(log: EmbeddedLog) -> None:
    assert log.ensure_topic("events", 4) == 4
    assert log.ensure_topic("events", 2) == 4
    with pytest.raises(SourceUnavailable, match="at least 1 partition, not 0"):
        log.ensure_topic("other", 0)


def test_a_key_has_one_partition_and_every_partition_counts_from_0(log: EmbeddedLog) -> None:
    log.ensure_topic("events", 4)
    users = [str(n % 50) for n in range(600)] + ["\ud800"]  # half a surrogate pair is a key, too
    for start in range(0, len(users), 100):
        records = [(u, u.encode(errors="replace"), 0.0) for u in users[start : start + 100]]
        log.publish("events", records)
    found: dict[bytes, set[int]] = {}
    for partition, end in log.end_offsets("events").items():
        records = log.read("events", partition, 0, 1000)
        assert [record.offset for record in records] == list(range(end))
        assert end > 0
        for record in records:
            found.setdefault(record.value, set()).add(partition)
    assert sum(log.end_offsets("events").values()) == 601
    assert all(len(partitions) == 1 for partitions in found.values())
    assert found[b"7"] == {zlib.crc32(b"7") % 4}


def test_publishing_is_all_or_nothing(log: EmbeddedLog) -> None:
    publish(log, "kept")
    with pytest.raises(SourceUnavailable) as error:
        log.publish("events", [("u", b"lost", 1.0), ("u", b"no time", float("nan"))])
    assert "\n" not in str(error.value) and "timestamp" in str(error.value)
    assert log.end_offsets("events") == {0: 1}
    assert log.read("events", 0, 0, 10) == [Record(0, 1.0, b"kept")]


PUBLISHER = """
import sys
from connectors.embedded_log import EmbeddedLog
log = EmbeddedLog.open(sys.argv[1])
for start in range(0, int(sys.argv[3]), 5):
    values = [f"{sys.argv[2]}{start + i}".encode() for i in range(5)]
    log.publish("events", [("k", value, 0.0) for value in values])
    print(start + 5, flush=True)
"""


def publisher(path: Path, name: str, records: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", PUBLISHER, str(path), name, str(records)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_processes_publish_at_once_and_every_record_is_there(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    processes = [publisher(path, name, 200) for name in "ab"]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    log = EmbeddedLog.open(path)
    records = log.read("events", 0, 0, 1000)
    assert [record.offset for record in records] == list(range(400))
    for name in "ab":
        own = [r.value.decode() for r in records if r.value.startswith(name.encode())]
        assert own == [f"{name}{i}" for i in range(200)]
    log.close()


def open_new_files(directory: Path, together: Barrier) -> None:
    for trial in range(50):
        together.wait()
        EmbeddedLog.open(directory / f"{trial}.log").close()


def test_a_new_file_is_opened_by_processes_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(4, timeout=30)  # broken, so that all end, when one fails
    processes = [spawn.Process(target=open_new_files, args=(tmp_path, together)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def test_a_killed_publisher_leaves_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    process = publisher(path, "a", 100_000)
    assert process.stdout is not None
    for _ in range(20):
        acknowledged = int(next(process.stdout))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    log = EmbeddedLog.open(path)
    end = log.end_offsets("events")[0]
    assert end >= acknowledged and end % 5 == 0
    values = [record.value.decode() for record in log.read("events", 0, 0, end + 10)]
    assert values == [f"a{i}" for i in range(end)]
    log.close()


def test_what_cannot_be_a_log_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a log at all " * 100)
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    for path, words in (
        (tmp_path / "missing" / "events.log", "does not exist: create it first"),
        (tmp_path, "is a directory"),
        (tmp_path / "text", "name another file"),
        (tmp_path / "newer", "format 99, this program reads 1: upgrade lrustream"),
    ):
        with pytest.raises(SourceUnavailable) as error:
            EmbeddedLog.open(path)
        assert words in str(error.value) and "\n" not in str(error.value)


# ---- the source


def test_polls_go_on_where_the_last_one_ended(log: EmbeddedLog) -> None:
    publish(log, "a", "b", "c", "d", "e")
    events = source(log)
    first, second, third = (events.poll(2, 0) for _ in range(3))
    assert [list(poll.events.users) for poll in (first, second, third)] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
    assert [poll.positions for poll in (first, second, third)] == [{0: 2}, {0: 4}, {0: 5}]
    assert list(first.events)[1] == Event("b", "item", 1.0, None, 0, 1)
    last = events.poll(2, 0)
    assert (len(last.events), last.dead_letters, last.positions) == (0, [], {})


def test_readers_do_not_disturb_each_other_and_stored_positions_are_the_start(
    log: EmbeddedLog,
) -> None:
    publish(log, "a", "b", "c")
    assert list(source(log).poll(10, 0).events.users) == ["a", "b", "c"]
    assert list(source(log, {0: 2}).poll(10, 0).events.users) == ["c"]
    assert list(source(log, {0: 3}).poll(10, 0).events.users) == []


def test_latest_skips_what_is_there_and_is_decided_once(log: EmbeddedLog) -> None:
    publish(log, "a", "b")
    events = source(log, start="latest")
    publish(log, "c")
    poll = events.poll(0, 0)
    assert (len(poll.events), poll.positions) == (0, {0: 2})
    again = source(log, dict(poll.positions), start="latest")
    assert list(again.poll(10, 0).events.users) == ["c"]


def test_another_log_than_the_one_that_was_read_is_refused(log: EmbeddedLog) -> None:
    publish(log, "a")
    with pytest.raises(SourceUnavailable, match="ends at 1, but was read up to 2"):
        source(log, {0: 2})


def test_invalid_records_are_dead_letters_and_the_stream_goes_on(log: EmbeddedLog) -> None:
    publish(log, "a", "bad", "c", "bad")
    poll = source(log).poll(10, 0)
    assert list(poll.events.users) == ["a", "c"]
    assert list(poll.dead_letters) == [
        DeadLetter("events", 0, 1, "bad is not good", b"bad"),
        DeadLetter("events", 0, 3, "bad is not good", b"bad"),
    ]
    assert poll.positions == {0: 4}


def test_the_codec_reads_what_it_wrote(log: EmbeddedLog) -> None:
    event = Event("user", "item", 1700000000.25, 4.5, 0, 0)
    log.publish("events", [(event.user, codec.encode(event), event.timestamp)])
    events = EmbeddedSource(
        log,
        "events",
        codec.decode,
        lambda topic: {},
    )
    assert list(events.poll(10, 0).events) == [event]


def served(polls: list[Poll], partitions: int) -> list[int]:
    counts = [0] * partitions
    for poll in polls:
        for partition in poll.events.partitions:
            counts[partition] += 1
    return counts


@pytest.mark.parametrize("max_events", [1, 2, 5, 7])
def test_partitions_are_served_evenly(log: EmbeddedLog, max_events: int) -> None:
    log.ensure_topic("events", 4)
    keys = keys_of_partitions(4)
    for partition in (0, 1, 3):  # one partition has nothing
        publish(log, *["x"] * 200, key=keys[partition])
    events = source(log)
    counts = served([events.poll(max_events, 0) for _ in range(60)], 4)
    assert counts[2] == 0
    assert sum(counts) == 60 * max_events
    assert max(counts) - min(counts[0], counts[1], counts[3]) <= 1 + max_events // 3


def test_a_poll_is_filled_where_one_partition_has_the_most(log: EmbeddedLog) -> None:
    log.ensure_topic("events", 2)
    few, many = keys_of_partitions(2)
    publish(log, "a", key=few)
    publish(log, *["b"] * 50, key=many)
    poll = source(log).poll(20, 0)
    assert served([poll], 2) == [1, 19]
    assert poll.positions == {0: 1, 1: 19}


def test_lag_counts_what_was_not_polled(log: EmbeddedLog) -> None:
    log.ensure_topic("events", 2)
    publish(log, "a", "b", "c", key=keys_of_partitions(2)[1])
    events = source(log)
    assert events.lag() == {0: 0, 1: 3}
    events.poll(2, 0)
    assert events.lag() == {0: 0, 1: 1}


def test_a_poll_waits_for_a_record_and_no_longer(log: EmbeddedLog) -> None:
    events = source(log)
    late = threading.Timer(0.1, publish, [log, "late"])
    late.start()
    begin = time.monotonic()
    poll = events.poll(10, timeout_s=60)
    assert list(poll.events.users) == ["late"]
    assert time.monotonic() - begin < 30
    late.join()


# ---- the sink


def test_recommendations_are_json_records(log: EmbeddedLog) -> None:
    sink = EmbeddedSink(log, "answers")
    recommendation = Recommendation("ü", ["i", "j"], [0.5, 0.25], 12.5, 3)
    sink.write([recommendation])
    sink.flush()
    [record] = log.read("answers", 0, 0, 10)
    assert record.timestamp == 12.5
    assert record.value == codec.encode_recommendation(recommendation)

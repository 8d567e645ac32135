"""Reading Kafka, a real broker: order, our positions first, crashes, members, errors."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from connectors.base import (
    ConnectorError,
    DeadLetter,
    InvalidRecord,
    Poll,
    SourceUnavailable,
)
from connectors.event import Event
from connectors.kafka import KafkaSource
from connectors.kafka_publisher import KafkaPublisher
from connectors.kafka_settings import KafkaSettings
from deploy.kafka.broker import Broker

WAIT_S = 60.0  # no wait of a test is longer


def decode(raw: bytes, partition: int, offset: int) -> Event:
    user, separator, item = raw.decode().partition(" ")
    if not separator:
        raise InvalidRecord(f"{raw!r} is not 'user item'")
    return Event(user, item, 1.0, None, partition, offset)


def until(reached: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + wait_s
    while not reached():
        assert time.monotonic() < deadline, f"not within {wait_s:.0f} s: {what}"


class Reader:
    """A member of the group with its database: `read` stores what a poll brought."""

    def __init__(self, settings: KafkaSettings, topic: str, stored: dict[int, int]) -> None:
        self.stored = stored
        self.events: list[Event] = []
        self.dead: list[DeadLetter] = []
        self.revoked = 0
        self.source = KafkaSource(settings, topic, decode, self._positions, self._on_revoke)

    def read(self, max_events: int = 1000, timeout_s: float = 0.2) -> Poll:
        poll = self.source.poll(max_events, timeout_s)
        for partition, position in poll.positions.items():
            assert position >= self.stored.get(partition, 0), "a position went backwards"
        self.events += poll.events
        self.dead += poll.dead_letters
        self.stored.update(poll.positions)
        self.source.committed(poll.positions)
        return poll

    def read_until(self, count: int) -> None:
        until(lambda: self.read() is not None and len(self.events) >= count, f"{count} events")

    def items(self) -> list[str]:
        return [event.item for event in self.events]

    def _positions(self, topic: str) -> dict[int, int]:
        assert threading.current_thread() is threading.main_thread()
        return dict(self.stored)

    def _on_revoke(self) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.revoked += 1


@pytest.fixture
def settings(kafka_broker: Broker) -> KafkaSettings:
    return KafkaSettings(
        kafka_broker.bootstrap, group=f"group-{uuid.uuid4()}", metadata_max_age_ms=1000
    )


@pytest.fixture
def publisher(settings: KafkaSettings) -> Iterator[KafkaPublisher]:
    publisher = KafkaPublisher(settings)
    yield publisher
    publisher.close()


@pytest.fixture
def topic(publisher: KafkaPublisher) -> str:
    """A fresh topic of two partitions."""
    name = f"events-{uuid.uuid4()}"
    assert publisher.ensure_topic(name, 2) == 2
    return name


@pytest.fixture
def reader(settings: KafkaSettings, topic: str) -> Iterator[Callable[..., Reader]]:
    """Makes readers of the topic, closed at the end."""
    readers: list[Reader] = []

    def make(stored: dict[int, int] | None = None, settings: KafkaSettings = settings) -> Reader:
        readers.append(Reader(settings, topic, {} if stored is None else stored))
        return readers[-1]

    yield make
    for each in readers:
        each.source.close()


def publish(publisher: KafkaPublisher, topic: str, first: int, last: int, users: int = 10) -> None:
    """Events first to last - 1: item `i` of user `i % users`."""
    publisher.publish(
        topic, ((f"u{i % users}", f"u{i % users} {i}".encode(), None) for i in range(first, last))
    )
    publisher.flush()


def numbers(first: int, last: int) -> list[str]:
    return sorted(str(i) for i in range(first, last))


def test_every_event_arrives_once_and_in_order_within_its_partition(publisher, topic, reader):
    publish(publisher, topic, 0, 500)
    ours = reader()
    sizes = []
    until(lambda: sizes.append(len(ours.read(64).events)) or len(ours.events) >= 500, "500 events")
    assert max(sizes) <= 64
    assert sorted(ours.items()) == numbers(0, 500)
    for partition in (0, 1):
        mine = [event for event in ours.events if event.partition == partition]
        assert [event.offset for event in mine] == list(range(len(mine)))
        assert [int(event.item) for event in mine] == sorted(int(event.item) for event in mine)
        assert ours.stored[partition] == len(mine) > 0
    assert {user: {e.partition for e in ours.events if e.user == user} for user in ["u3"]} in (
        {"u3": {0}},
        {"u3": {1}},
    )
    assert ours.source.lag() == {0: 0, 1: 0}


def test_our_positions_win_over_those_of_the_broker(publisher, topic, reader, settings):
    publish(publisher, topic, 0, 100)
    first = reader()
    first.read_until(100)
    told = KafkaConsumer(bootstrap_servers=settings.bootstrap_servers, group_id=settings.group)
    try:
        partition = TopicPartition(topic, 0)
        until(
            lambda: (
                first.read() is not None
                and told.committed(partition, timeout_ms=5000) == first.stored[0]
            ),
            "the broker knows our position",
        )
    finally:
        told.close()
    first.source.close()
    again = reader(stored={0: first.stored[0] - 3, 1: first.stored[1] - 4})
    again.read_until(7)
    assert again.read().events.users == []
    expected = [
        e.item
        for e in first.events
        if e.offset >= {0: first.stored[0] - 3, 1: first.stored[1] - 4}[e.partition]
    ]
    assert sorted(again.items()) == sorted(expected)


def test_latest_leaves_out_the_past_but_not_what_comes_while_nobody_reads(
    publisher, topic, reader, settings
):
    publish(publisher, topic, 0, 50)
    late = KafkaSettings(settings.bootstrap_servers, group=settings.group, start="latest")
    first = reader(settings=late)
    until(lambda: first.read() is not None and len(first.stored) == 2, "both starts are known")
    first.source.close()
    publish(publisher, topic, 50, 60)
    second = reader(stored=first.stored, settings=late)
    second.read_until(10)
    assert first.events == []
    assert sorted(second.items()) == numbers(50, 60)


def test_a_record_that_is_no_event_is_kept_and_the_stream_goes_on(publisher, topic, reader):
    publisher.publish(topic, [("u", b"u 1", None), ("u", b"\x00nonsense", None)])
    publisher._producer.send(topic, key=b"u", value=None)
    publisher.publish(topic, [("u", b"u 2", None)])
    publisher.flush()
    ours = reader()
    ours.read_until(2)
    assert ours.items() == ["1", "2"]
    partition = ours.events[0].partition
    assert [(d.topic, d.partition, d.offset, d.raw) for d in ours.dead] == [
        (topic, partition, 1, b"\x00nonsense"),
        (topic, partition, 2, b""),
    ]
    assert "is not 'user item'" in ours.dead[0].reason
    assert "tombstone" in ours.dead[1].reason
    assert ours.stored[partition] == 4


def test_two_members_share_the_partitions_and_hand_them_back(publisher, topic, reader):
    stored: dict[int, int] = {}
    publish(publisher, topic, 0, 100)
    first = reader(stored)
    first.read_until(100)
    second = reader(stored)

    def shared() -> bool:
        first.read()
        second.read()
        return set(first.source.lag()) | set(second.source.lag()) == {0, 1} and (
            len(first.source.lag()) == len(second.source.lag()) == 1
        )

    until(shared, "one partition each")
    assert first.revoked >= 1
    publish(publisher, topic, 100, 200)
    until(lambda: shared() and len(first.events + second.events) >= 200, "events 100 to 199")
    assert second.events
    before = second.revoked  # on a busy machine the group may have formed more than once
    second.source.close()
    assert second.revoked == before + 1
    publish(publisher, topic, 200, 300)
    first.read_until(300 - len(second.events))
    assert sorted(first.items() + second.items()) == numbers(0, 300)


def test_a_partition_added_while_reading_is_read_from_its_first_record(
    publisher, topic, reader, settings
):
    late = KafkaSettings(
        settings.bootstrap_servers, settings.group, start="latest", metadata_max_age_ms=500
    )
    ours = reader(settings=late)
    until(lambda: ours.read() is not None and len(ours.stored) == 2, "both starts are known")
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    try:
        admin.create_partitions({topic: 3})
        admin.wait_for_topics([topic])
    finally:
        admin.close()
    third = KafkaPublisher(settings)  # one that knows the new partition from the start
    try:
        publish(third, topic, 0, 60, users=60)
    finally:
        third.close()
    ours.read_until(60)
    assert sorted(ours.items()) == numbers(0, 60)
    assert {event.partition for event in ours.events} == {0, 1, 2}


def test_a_broker_that_crashes_and_comes_back_costs_no_event(
    kafka_broker, publisher, topic, reader, settings, caplog
):
    caplog.set_level(logging.WARNING, logger="connectors.kafka")
    impatient = KafkaSettings(
        settings.bootstrap_servers, settings.group, metadata_max_age_ms=1000, stall_timeout_s=1.0
    )
    publish(publisher, topic, 0, 300)
    ours = reader(settings=impatient)
    until(lambda: ours.read(20) is not None and len(ours.events) >= 100, "100 events")
    kafka_broker.kill()
    try:
        begin = time.monotonic()
        until(lambda: ours.read() is not None and "waiting for" in caplog.text, "a line in the log")
        assert time.monotonic() - begin < WAIT_S
    finally:
        kafka_broker.start()
    publish(publisher, topic, 300, 400)
    ours.read_until(400)
    assert sorted(ours.items()) == numbers(0, 400)
    assert caplog.text.count("waiting for") == 1
    publish(publisher, topic, 400, 410)
    ours.read_until(410)
    assert sorted(ours.items()) == numbers(0, 410)


def test_a_consumer_that_stands_still_is_made_anew(publisher, topic, reader, settings, caplog):
    impatient = KafkaSettings(settings.bootstrap_servers, settings.group, stall_timeout_s=0.5)
    publish(publisher, topic, 0, 20)
    ours = reader(settings=impatient)
    ours.read_until(20)
    stuck = ours.source._consumer
    stuck.pause(*stuck.assignment())
    publish(publisher, topic, 20, 40)
    ours.read_until(40)
    assert ours.source.stalls == 1
    assert ours.revoked == 1
    assert "stands still" in caplog.text
    assert sorted(ours.items()) == numbers(0, 40)


def test_records_that_retention_removed_are_passed_over_with_a_warning(
    publisher, topic, reader, settings, caplog
):
    publish(publisher, topic, 0, 100)
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    try:
        admin.delete_records({TopicPartition(topic, 0): 5, TopicPartition(topic, 1): 7})
    finally:
        admin.close()
    ours = reader(stored={0: 2, 1: 7})
    ours.read_until(88)
    assert min(e.offset for e in ours.events if e.partition == 0) == 5
    assert min(e.offset for e in ours.events if e.partition == 1) == 7
    assert "records 2 to 4 of partition 0" in caplog.text


def test_a_topic_made_anew_is_not_read_as_if_it_were_the_old_one(publisher, topic, reader):
    publish(publisher, topic, 0, 10)
    ours = reader(stored={0: 1000, 1: 0})
    with pytest.raises(ConnectorError, match=r"ends before offset 1000.*made anew"):
        until(lambda: ours.read() is None, "an error")


def test_what_the_database_raises_reaches_the_caller(topic, settings):
    def positions(_: str) -> dict[int, int]:
        raise OSError("the disk is gone")

    source = KafkaSource(settings, topic, decode, positions)
    try:
        with pytest.raises(OSError, match="the disk is gone"):
            until(lambda: source.poll(10, 0.2) is None, "an error")
    finally:
        source.close()


def test_a_missing_topic_is_named_with_the_way_to_make_it(settings):
    with pytest.raises(
        SourceUnavailable, match=r"'nothing-here' does not exist.*lrustream publish"
    ):
        KafkaSource(settings, "nothing-here", decode, lambda _: {})

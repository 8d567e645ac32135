"""Events from a Kafka topic, read from positions that our own database keeps.

The consumer group of the broker only shares out the partitions. Where to read is asked of the
database each time a partition is given to us, so what is stored there, in one transaction with the
events, is the whole truth; the offsets told to the broker afterwards are for its tools to show.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import (
    AuthorizationError,
    FencedInstanceIdError,
    KafkaError,
    OffsetOutOfRangeError,
    RetriableError,
    SaslAuthenticationFailedError,
)

from connectors.base import (
    ConnectorError,
    DeadLetter,
    Decode,
    InvalidRecord,
    Poll,
    Positions,
    SourceUnavailable,
)
from connectors.event import Event, EventBatch
from connectors.kafka_settings import (
    REQUEST_TIMEOUT_S,
    KafkaSettings,
    milliseconds,
    partition_count,
)
from connectors.relay import Relay

log = logging.getLogger(__name__)

Records = Mapping[TopicPartition, list[Any]]

CALLBACK_TIMEOUT_S = 60.0  # what storing or asking positions may take in a rebalance
JOIN_PATIENCE = 6  # forming a group waits for members that died: so many stall timeouts

REFUSED = (AuthorizationError, SaslAuthenticationFailedError, FencedInstanceIdError)


class KafkaSource(ConsumerRebalanceListener):
    """One topic as a member of a consumer group: the `Source` protocol.

    `before_revoke()` is called before partitions are given up (another member joins, the group has
    dropped us, the connection is made anew, `close`): it stores what was polled, or forgets it.
    Without it, store what a poll brought before polling again. It and `positions` are called inside
    `poll` or `close`, on the thread that called it.

    Raises SourceUnavailable where no broker answers, or the topic does not exist.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        decode: Decode,
        positions: Positions,
        before_revoke: Callable[[], None] | None = None,
    ) -> None:
        self.topic = topic
        self.before_revoke = before_revoke
        self.stalls = 0  # how often the consumer stood still and was made anew
        self._settings = settings
        self._consumer: KafkaConsumer | None = None
        self._decode = decode
        self._positions = positions
        self._relay = Relay("kafka-poll", CALLBACK_TIMEOUT_S)
        self._next: dict[TopicPartition, int] = {}  # assigned partitions: what to read next,
        self._ends: dict[TopicPartition, int] = {}  # and where they end
        self._unstored: set[TopicPartition] = set()  # whose start is to be told with a poll
        self._joined = False
        self._stale = False  # make the consumer anew before the next poll
        self._idle_s = 0.0
        self._suspicions = 0
        self._outage = False
        if not partition_count(settings, topic):
            raise SourceUnavailable(
                f"topic {topic!r} does not exist at {settings.bootstrap_servers}: create it, or let"
                f" `lrustream publish FILE --topic {topic}` create and fill it"
            )
        self._connected()

    # ---- the protocol

    def poll(self, max_events: int, timeout_s: float) -> Poll:
        """At most `max_events` records, in order within each partition.

        A broker that is away is waited for, with one line in the log. Every `stall_timeout_s` of
        waiting in vain the broker is asked for the ends of the partitions, which may take 5 s more
        where it is away. A start that `settings.start` decided is told as a position at once, so
        that it is decided only once.

        Raises SourceUnavailable where access is refused, ConnectorError where a stored position
        lies beyond the end of its partition: waiting would not help.
        """
        begin = time.monotonic()
        try:
            consumer = self._connected()
            records = self._fetch(consumer, max_events, timeout_s)
            if not records:
                self._watch(consumer, time.monotonic() - begin)
            return self._to_poll(consumer, records)
        except REFUSED as error:
            raise SourceUnavailable(f"Kafka refuses topic {self.topic!r}: {error}") from error
        except (KafkaError, SourceUnavailable) as error:
            self._note_outage(error)
            time.sleep(max(0.0, begin + timeout_s - time.monotonic()))
            return Poll(EventBatch.from_events([]))

    def committed(self, positions: Mapping[int, int]) -> None:
        """Tell the broker, for its tools; where that fails, a line in the log."""
        if self._consumer is None or not positions:
            return
        offsets = {
            partition: OffsetAndMetadata(offset)
            for number, offset in positions.items()
            if (partition := TopicPartition(self.topic, number)) in self._next
        }
        try:
            self._consumer.commit_async(offsets, callback=_log_failed_commit)
        except KafkaError as error:
            _log_failed_commit(offsets, error)

    def lag(self) -> Mapping[int, int]:
        """Records not yet polled by assigned partition, as of the newest answer of the broker."""
        ends = self._ends.copy()
        return {
            partition.partition: max(0, ends[partition] - position)
            for partition, position in self._next.copy().items()
            if partition in ends
        }

    def close(self) -> None:
        """Call `before_revoke`, leave the group, disconnect."""
        try:
            self._disconnect()
        finally:
            self._relay.close()

    # ---- records to events

    def _fetch(self, consumer: KafkaConsumer, max_events: int, timeout_s: float) -> Records:
        timeout_ms = milliseconds(timeout_s)
        try:
            return self._relay.run(
                lambda: consumer.poll(timeout_ms=timeout_ms, max_records=max_events)
            )
        except OffsetOutOfRangeError as error:
            self._leave_gap(consumer, error.args[0])
            return {}

    def _to_poll(self, consumer: KafkaConsumer, records: Records) -> Poll:
        events: list[Event] = []
        dead: list[DeadLetter] = []
        for partition, batch in records.items():
            for record in batch:
                try:
                    events.append(self._to_event(record))
                except InvalidRecord as error:
                    where = (self.topic, record.partition, record.offset)
                    dead.append(DeadLetter(*where, str(error), record.value or b""))
            self._next[partition] = batch[-1].offset + 1
        if records:
            self._idle_s, self._suspicions = 0.0, 0
            self._note_answer()
        moved = records.keys() | self._find_starts(consumer)
        self._unstored -= moved
        for partition in self._next:
            end = consumer.highwater(partition)
            if end is not None:
                self._ends[partition] = end
        return Poll(
            EventBatch.from_events(events),
            dead,
            {partition.partition: self._next[partition] for partition in sorted(moved)},
        )

    def _to_event(self, record: Any) -> Event:
        if record.value is None:
            raise InvalidRecord("a record without a value (a tombstone): expected a JSON object")
        return self._decode(record.value, record.partition, record.offset)

    def _find_starts(self, consumer: KafkaConsumer) -> set[TopicPartition]:
        """Partitions without a stored position of which it is known by now where they begin."""
        found = set()
        for partition in self._unstored - self._next.keys():
            try:
                start = consumer.position(partition, timeout_ms=milliseconds(REQUEST_TIMEOUT_S))
            except KafkaError:
                continue
            if start is not None:
                self._next[partition] = start
                found.add(partition)
        return found

    # ---- the group

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._relay.bring(lambda: self._take(assigned))

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        if revoked and self._joined:
            self._relay.bring(self._give_up)

    def _take(self, assigned: Collection[TopicPartition]) -> None:
        """Read on where our database says, whatever the broker remembers of the group."""
        assert self._consumer is not None
        self._stale = True  # unless this comes to its end
        stored = self._positions(self.topic)
        # A partition added to a topic that is read already holds nothing that may be left out.
        from_first = bool(stored) or self._settings.start == "earliest"
        for partition in assigned:
            if partition.partition in stored:
                self._next[partition] = int(stored[partition.partition])
                self._consumer.seek(partition, self._next[partition])
                continue
            self._unstored.add(partition)
            if from_first:
                self._consumer.seek_to_beginning(partition)
            else:
                self._consumer.seek_to_end(partition)
        self._joined = True
        self._stale = False

    def _give_up(self) -> None:
        self._joined = False
        self._stale = True  # unless this comes to its end
        if self.before_revoke is not None:
            self.before_revoke()
        self._forget_partitions()
        self._stale = False

    def _forget_partitions(self) -> None:
        self._joined = False
        self._next.clear()
        self._ends.clear()
        self._unstored.clear()

    # ---- the connection

    def _connected(self) -> KafkaConsumer:
        if self._stale:
            self._disconnect()
        if self._consumer is None:
            self._consumer = self._settings.connect(
                KafkaConsumer,
                client_id="lrustream",
                group_id=self._settings.group,
                auto_offset_reset="none",
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                isolation_level="read_committed",
                session_timeout_ms=10_000,
            )
            self._consumer.subscribe([self.topic], listener=self)
        return self._consumer

    def _disconnect(self) -> None:
        consumer = self._consumer
        try:
            if consumer is not None:
                timeout_ms = milliseconds(REQUEST_TIMEOUT_S)
                self._relay.run(lambda: consumer.close(autocommit=False, timeout_ms=timeout_ms))
        except KafkaError as error:
            log.warning("Kafka: leaving group %r failed: %s", self._settings.group, error)
        finally:
            self._consumer = None
            self._stale = False
            self._forget_partitions()

    def _watch(self, consumer: KafkaConsumer, waited_s: float) -> None:
        """Find out whether nothing comes because there is nothing.

        Twice in a row behind the end of a partition, `stall_timeout_s` of empty polls apart, is a
        stall: the consumer is made anew from our own positions, and `stalls` counts it.
        """
        self._idle_s += waited_s
        if self._idle_s < self._settings.stall_timeout_s:
            return
        self._idle_s = 0.0
        timeout_ms = milliseconds(REQUEST_TIMEOUT_S)
        self._ends = consumer.end_offsets(list(self._next), timeout_ms=timeout_ms)
        self._note_answer()
        for partition in self._next:  # the client also passes marks of transactions, no records
            self._next[partition] = consumer.position(partition, timeout_ms=timeout_ms)
        waiting = sum(self.lag().values())
        suspicious = waiting or self._unstored or not self._joined
        self._suspicions = self._suspicions + 1 if suspicious else 0
        if self._suspicions >= (2 if self._joined else JOIN_PATIENCE):
            self._suspicions = 0
            self._stale = True
            self.stalls += 1
            log.warning(
                "Kafka: topic %r stands still with %s: connecting anew from the stored positions",
                self.topic,
                f"{waiting} records waiting" if self._joined else "no partition assigned",
            )

    def _leave_gap(self, consumer: KafkaConsumer, lost: Mapping[TopicPartition, int]) -> None:
        """Go on behind records that the broker has removed before we read them."""
        begins = consumer.beginning_offsets(list(lost), timeout_ms=milliseconds(REQUEST_TIMEOUT_S))
        for partition, offset in lost.items():
            if begins[partition] < offset:
                raise ConnectorError(
                    f"partition {partition.partition} of topic {self.topic!r} ends before offset"
                    f" {offset}, where reading should go on: the topic was made anew; read it"
                    " under another name, or start with an empty database"
                )
            log.warning(
                "Kafka: records %d to %d of partition %d of topic %r are gone (retention), unread",
                offset,
                begins[partition] - 1,
                partition.partition,
                self.topic,
            )
            consumer.seek(partition, begins[partition])
            self._next[partition] = begins[partition]

    def _note_outage(self, error: Exception) -> None:
        if not isinstance(error, RetriableError | SourceUnavailable):
            self._stale = True
        if not self._outage:
            self._outage = True
            servers = self._settings.bootstrap_servers
            log.warning("Kafka: waiting for %s (%s)", servers, error)

    def _note_answer(self) -> None:
        if self._outage:
            self._outage = False
            log.info("Kafka: %s answers again", self._settings.bootstrap_servers)


def _log_failed_commit(offsets: object, answer: object) -> None:
    if isinstance(answer, Exception):
        log.info("Kafka: the broker was not told the offsets %s: %s", offsets, answer)

"""Records into Kafka topics: events that are published, recommendations that are answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError, RetriableError, TopicAlreadyExistsError

from connectors.base import ConnectorError, Recommendation, SourceUnavailable
from connectors.codec import encode_recommendation
from connectors.kafka_settings import (
    REQUEST_TIMEOUT_S,
    KafkaSettings,
    milliseconds,
    partition_count,
)

FLUSH_TIMEOUT_S = 60.0
FLUSH_EVERY = 10_000  # records: the client buffers without a limit of its own


class KafkaPublisher:
    """Writes keyed records; each is acknowledged by every replica in sync before `flush` returns.

    Raises SourceUnavailable where no broker answers, ConnectorError where it refuses a record.
    After an error some of the records since the last `flush` may be in the topic.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._failure: BaseException | None = None
        self._unflushed = 0
        self._producer = settings.connect(
            KafkaProducer,
            client_id="lrustream",
            acks="all",
            linger_ms=20,
            batch_size=131_072,
            max_block_ms=milliseconds(settings.connect_timeout_s),
            delivery_timeout_ms=milliseconds(FLUSH_TIMEOUT_S),
            allow_auto_create_topics=False,
        )

    def ensure_topic(self, topic: str, partitions: int = -1) -> int:
        """Create `topic` where it is missing (-1: as many partitions as the broker thinks good).

        Returns the number of partitions it has, which stays as it is where the topic was there. A
        topic made here keeps records by their time of arrival: published with the event times of
        an old stream, they would otherwise fall to the broker's retention at once.
        """
        existing = partition_count(self._settings, topic)
        if existing:
            return existing
        admin = self._settings.connect(
            KafkaAdminClient, request_timeout_ms=milliseconds(REQUEST_TIMEOUT_S)
        )
        configs = {"message.timestamp.type": "LogAppendTime"}
        wanted = {topic: {"num_partitions": partitions, "configs": configs}}
        try:
            admin.create_topics(wanted, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            pass  # made by somebody else meanwhile
        except (KafkaError, ValueError) as error:
            raise ConnectorError(f"cannot create topic {topic!r}: {error}") from error
        finally:
            admin.close()
        return partition_count(self._settings, topic)

    def publish(self, topic: str, records: Iterable[tuple[str, bytes, float | None]]) -> int:
        """Send records (key, value, Unix seconds or None for now) and return how many.

        A key always lands in the same partition, in order.
        """
        count = 0
        for key, value, timestamp in records:
            timestamp_ms = None if timestamp is None else milliseconds(timestamp)
            try:
                sent = self._producer.send(
                    topic, key=key.encode(), value=value, timestamp_ms=timestamp_ms
                )
            except (KafkaError, ValueError) as error:
                raise _as_ours(topic, error) from error
            sent.add_errback(self._note_failure)
            count += 1
            self._unflushed += 1
            if self._unflushed >= FLUSH_EVERY:
                self.flush()
        return count

    def flush(self) -> None:
        """Return when everything sent is acknowledged; raise what went wrong since the last one."""
        try:
            self._producer.flush(FLUSH_TIMEOUT_S)
        except KafkaError as error:
            raise _as_ours("", error) from error
        self._unflushed = 0
        failure, self._failure = self._failure, None
        if failure is not None:
            raise _as_ours("", failure) from failure

    def close(self) -> None:
        """Flush and disconnect."""
        try:
            self.flush()
        finally:
            self._producer.close(timeout=REQUEST_TIMEOUT_S)

    def _note_failure(self, error: BaseException) -> None:
        self._failure = self._failure or error


class KafkaSink:
    """Recommendations as JSON records keyed by user: the `Sink` protocol. Creates its topic."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._publisher = KafkaPublisher(settings)
        self._publisher.ensure_topic(topic)

    def write(self, recommendations: Sequence[Recommendation]) -> None:
        self._publisher.publish(
            self._topic,
            ((each.user, encode_recommendation(each), each.timestamp) for each in recommendations),
        )

    def flush(self) -> None:
        self._publisher.flush()

    def close(self) -> None:
        self._publisher.close()


def _as_ours(topic: str, error: BaseException) -> ConnectorError:
    to = f" to topic {topic!r}" if topic else ""
    if isinstance(error, RetriableError):
        return SourceUnavailable(f"Kafka did not take the records{to} in time: {error}")
    return ConnectorError(f"Kafka refuses a record{to}: {error}")

"""A stream pushed through a broker: published into a new topic, and read back from its start."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from connectors.base import ConnectorError, Source
from connectors.codec import records
from connectors.event import EventBatch
from connectors.kafka_settings import KafkaSettings
from connectors.places import Places

Broker = Literal["embedded", "kafka"]


@contextmanager
def through(
    broker: Broker, events: EventBatch, places: Places, kafka: KafkaSettings | None, partitions: int
) -> Iterator[Source]:
    """Publish `events` to a topic of their own, and yield the source that reads them.

    The topic is called like the one of `places`, with a random ending. An embedded log is a
    temporary one; at the brokers the topic stays. Raises ConnectorError.
    """
    if broker == "kafka" and kafka is None:
        raise ConnectorError("no Kafka broker is named: give --bootstrap-servers HOST:PORT")
    topic = f"{places.topic}-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="lrustream-") as folder:
        places = replace(places, topic=topic, state_dir=Path(folder))
        # A group of its own: an engine that runs is not to be disturbed.
        kafka = replace(kafka, group=topic) if broker == "kafka" and kafka else None
        publisher = places.open_publisher(kafka)
        try:
            publisher.ensure_topic(topic, partitions)
            publisher.publish(topic, records(events))
        finally:
            publisher.close()
        source = places.open_source(kafka, positions=lambda _: {})
        try:
            yield source
        finally:
            source.close()

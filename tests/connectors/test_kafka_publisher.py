"""Writing to Kafka, a real broker: what arrives, and what is refused."""

from __future__ import annotations

import uuid

import pytest
from kafka import KafkaConsumer

from connectors.base import ConnectorError, Recommendation
from connectors.codec import encode_recommendation
from connectors.kafka_publisher import KafkaPublisher, KafkaSink
from connectors.kafka_settings import KafkaSettings


def test_recommendations_arrive_as_json_keyed_by_user(kafka_broker):
    topic = f"answers-{uuid.uuid4()}"
    sink = KafkaSink(KafkaSettings(kafka_broker.bootstrap), topic)
    recommendation = Recommendation("ä", ["i1", "i2"], [0.5, 0.25], 12.0, 3)
    sink.write([recommendation])
    sink.flush()
    sink.close()
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=kafka_broker.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=60_000,
    )
    try:
        record = next(consumer)
    finally:
        consumer.close()
    assert record.key == "ä".encode()
    assert record.value == encode_recommendation(recommendation)


def test_a_record_the_broker_refuses_is_an_error(kafka_broker):
    topic = f"events-{uuid.uuid4()}"
    hasty = KafkaPublisher(KafkaSettings(kafka_broker.bootstrap, connect_timeout_s=3.0))
    try:
        hasty.ensure_topic(topic, 1)
        with pytest.raises(ConnectorError, match="refuses a record"):
            hasty.publish(topic, [("u", bytes(2_000_000), None)])
        with pytest.raises(ConnectorError, match="'no-such-topic'"):
            hasty.publish("no-such-topic", [("u", b"u 1", None)])
    finally:
        hasty.close()

"""What can be wrong with the settings of Kafka, and how it is said. No broker is needed."""

from __future__ import annotations

import re

import pytest
from kafka import KafkaConsumer

from connectors.base import ConnectorError, SourceUnavailable
from connectors.codec import decode
from connectors.kafka import KafkaSource
from connectors.kafka_publisher import KafkaPublisher
from connectors.kafka_settings import KafkaSettings
from deploy.kafka.broker import free_ports
from tests.connectors.errors import one_line


def test_an_unreachable_broker_is_named_with_the_next_step():
    port = free_ports(1)[0]
    nowhere = KafkaSettings(f"127.0.0.1:{port}", connect_timeout_s=0.5)
    for make in (
        lambda: KafkaSource(nowhere, "events", decode, lambda _: {}),
        lambda: KafkaPublisher(nowhere),
    ):
        with pytest.raises(SourceUnavailable) as error:
            make()
        assert re.search(rf"127\.0\.0\.1:{port}.*start one", one_line(error))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bootstrap_servers": " "}, "no Kafka address"),
        ({"start": "newest"}, "start is 'newest': use 'earliest' or 'latest'"),
        ({"extra": {"sasl_mechanisms": "PLAIN"}}, "did you mean 'sasl_mechanism'?"),
        ({"extra": {"security_protocol": "TLS"}}, "use one of PLAINTEXT, SSL, SASL_PLAINTEXT"),
        ({"extra": {"ssl_cafile": "/no/such.pem"}}, "ssl_cafile: there is no file '/no/such.pem'"),
        ({"extra": {"enable_auto_commit": True}}, "'enable_auto_commit' is not free"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(wrong, message):
    with pytest.raises(ConnectorError) as error:
        KafkaSettings(**{"bootstrap_servers": "127.0.0.1:9092", **wrong})
    assert message in one_line(error)


def test_a_setting_the_client_refuses_is_refused_in_one_line():
    settings = KafkaSettings("127.0.0.1:9092", extra={"request_timeout_ms": 1})
    with pytest.raises(ConnectorError) as error:
        settings.connect(KafkaConsumer)
    assert "Kafka refuses the settings" in one_line(error)

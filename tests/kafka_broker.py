"""A real Kafka broker for the tests: one for the whole run, started by the first test that asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kafka.broker import Broker, BrokerError


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker; a test that kills it restarts it. Skips where none can run.

    With LRUSTREAM_REQUIRE_SERVICES=1 a missing broker is a failure.
    """
    data: Path = tmp_path_factory.mktemp("kafka")
    broker = Broker(data)
    try:
        broker.start()
    except BrokerError as error:
        if os.environ.get("LRUSTREAM_REQUIRE_SERVICES") == "1":
            pytest.fail(f"no Kafka broker: {error}")
        pytest.skip(f"no Kafka broker: {error}")
    try:
        yield broker
    finally:
        broker.stop()

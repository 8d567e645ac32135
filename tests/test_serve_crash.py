"""`serve` on a real Kafka and PostgreSQL, killed in the middle: nothing lost, nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.database import Database
from connectors.event import EventBatch
from connectors.files import read_events
from connectors.kafka_publisher import KafkaPublisher
from connectors.kafka_settings import KafkaSettings
from deploy.kafka.broker import Broker
from engine.config import EngineConfig
from engine.engine import Engine
from engine.journal import recover
from engine.versions import Versions
from tests.engine.running import assert_same

ROOT = Path(__file__).parent.parent
EVENTS = 50_000
KILLED_FROM = 16_000  # behind a snapshot (12,000) and a swap after it (15,000)
WAIT_S = 150.0

# Fine-tunes at fixed positions; a micro-batch waits until it is full, so that all runs cut alike.
SETTINGS = """
[engine]
seed = 1
device = "cpu"
width = 16
blocks = 1
micro_batch = 250
rules_bytes = 60000000
precision = "float32"
finetune_mode = "inline"
finetune_first = 15000
finetune_every = 15000
finetune_growth = 10.0
finetune_on_drift = false
train_tokens_early = 0.0
train_tokens_per_event = 0.5

[loop]
max_wait_s = 600.0
snapshot_events = 12000
"""
CONFIG = EngineConfig(**tomllib.loads(SETTINGS)["engine"])


@pytest.fixture(scope="module")
def events() -> EventBatch:
    return read_events(ROOT / "data" / "movietweetings" / "ratings.csv.gz")[:EVENTS]


def publish(broker: Broker, topic: str, events: EventBatch) -> None:
    publisher = KafkaPublisher(KafkaSettings(broker.bootstrap))
    publisher.ensure_topic(topic, partitions=1)
    records = (
        (e.user, json.dumps({"user_id": e.user, "item_id": e.item, "timestamp": e.timestamp}))
        for e in events
    )
    assert publisher.publish(topic, ((user, line.encode(), None) for user, line in records))
    publisher.close()


def uninterrupted(events: EventBatch) -> Engine:
    engine = Engine(CONFIG)
    for batch in events.micro_batches(CONFIG.micro_batch):
        engine.process(batch)
        engine.finetune_if_due()
    return engine


def until(reached: Callable[[], bool], server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while not reached():
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.05)


@contextmanager
def serving(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        server = subprocess.Popen(
            [sys.executable, "cli.py", "serve", *arguments],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            yield server
        finally:
            server.kill()
            server.wait()


@pytest.mark.timeout(600)
def test_every_event_counts_exactly_once_across_a_kill(
    kafka_broker: Broker, postgres_database: str, events: EventBatch, tmp_path: Path
) -> None:
    topic = "serve-crash"
    publish(kafka_broker, topic, events)
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS)
    state, log = tmp_path / "state", tmp_path / "serve.log"
    arguments = ["--config", str(settings), "--topic", topic, "--port", "0"]
    arguments += ["--bootstrap-servers", kafka_broker.bootstrap, "--state-dir", str(state)]
    arguments += ["--database", postgres_database]
    reader = Database.open(postgres_database)

    def stored() -> int:
        return reader.positions(topic).get(0, 0)

    with ThreadPoolExecutor(1) as pool:
        expected = pool.submit(uninterrupted, events)
        with serving(arguments, log) as server:
            until(lambda: stored() >= KILLED_FROM, server, log)
            server.send_signal(signal.SIGKILL)
            server.wait()
        assert KILLED_FROM <= stored() < EVENTS - CONFIG.micro_batch
        with serving(arguments, log) as server:
            until(lambda: stored() == EVENTS, server, log)
            server.send_signal(signal.SIGTERM)
            assert server.wait(WAIT_S) == 0, log.read_text()[-3000:]

        engine = Engine(CONFIG)
        recovered = recover(engine, reader, Versions(state / "models"))
        reader.close()
        assert recovered.events == 0  # the stop wrote a snapshot
        recommender = engine.recommender
        assert recommender.events == engine.metrics.events == EVENTS
        totals = dict(zip(recommender.users.names, recommender.histories.total, strict=False))
        assert totals == Counter(events.users)
        assert_same(engine, expected.result())

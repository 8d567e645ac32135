"""Where a running engine reads, keeps and answers: one section of the settings, and its doors.

STATE_DIR/engine.sqlite    journal, positions, snapshot, dead letters (or `database`, a URL)
STATE_DIR/log.sqlite       the embedded log, where no Kafka broker is named
STATE_DIR/models/          versions of the model
STATE_DIR/serve.json       address of the engine that runs on them now
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from connectors.base import ConnectorError, Positions, Sink, Source
from connectors.codec import SPELLINGS, decode
from connectors.database import Database
from connectors.embedded_log import EmbeddedLog
from connectors.embedded_source import EmbeddedSink, EmbeddedSource
from connectors.event import Event
from connectors.http_client import HttpClient
from connectors.kafka import KafkaSource
from connectors.kafka_publisher import KafkaPublisher, KafkaSink
from connectors.kafka_settings import KafkaSettings


class Publisher(Protocol):
    """Writes records into topics; what was published is durable when `close` returns."""

    def ensure_topic(self, topic: str, partitions: int = 1) -> int: ...

    def publish(self, topic: str, records: Iterable[tuple[str, bytes, float | None]]) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Places:
    """The names of everything outside. `fields` maps our names of a record's fields to those it
    uses; an empty `output_topic` means that no recommendations are written.
    """

    topic: str = "events"
    output_topic: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    state_dir: Path = Path(".lrustream")
    database: str = ""
    host: str = "127.0.0.1"
    port: int = 8000

    def __post_init__(self) -> None:
        for name in ("topic", "host"):
            if not getattr(self, name):
                raise ValueError(f"{name}: is empty; give a name")
        if self.output_topic == self.topic:
            raise ValueError(f"output_topic: {self.topic!r} is the topic read; give another one")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: {self.port} is outside 0 to 65535; 0 takes any free one")
        for name in self.fields:
            if name not in SPELLINGS:
                raise ValueError(f"fields: {name!r} is none of {', '.join(SPELLINGS)}")

    @property
    def models(self) -> Path:
        return self.state_dir / "models"

    def prepare(self) -> None:
        """Make the state folder. Raises ConnectorError."""
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConnectorError(
                f"state folder {self.state_dir}: {error.strerror}; give another --state-dir"
            ) from None

    def open_database(self, read_only: bool = False, create: bool = False) -> Database:
        """Raises StoreError where it cannot be had or, without `create`, is not there yet."""
        url = self.database or f"sqlite:///{self.state_dir / 'engine.sqlite'}"
        return Database.open(url, read_only, create=create)

    def open_log(self) -> EmbeddedLog:
        self.prepare()
        return EmbeddedLog.open(self.state_dir / "log.sqlite")

    def open_source(
        self,
        kafka: KafkaSettings | None,
        positions: Positions,
        before_revoke: Callable[[], None] | None = None,
    ) -> Source:
        """The topic to learn from: of the brokers, or of the embedded log where there are none.

        `before_revoke`: see KafkaSource; the embedded log never takes partitions back.
        """
        if kafka is not None:
            return KafkaSource(kafka, self.topic, self.decode, positions, before_revoke)
        return EmbeddedSource(self.open_log(), self.topic, self.decode, positions)

    def open_sink(self, kafka: KafkaSettings | None) -> Sink | None:
        """Where recommendations go, if anywhere."""
        if not self.output_topic:
            return None
        if kafka is not None:
            return KafkaSink(kafka, self.output_topic)
        return EmbeddedSink(self.open_log(), self.output_topic)

    def open_publisher(self, kafka: KafkaSettings | None) -> Publisher:
        return KafkaPublisher(kafka) if kafka is not None else self.open_log()

    def decode(self, raw: bytes, partition: int, offset: int) -> Event:
        """`codec.decode` with the names that `fields` gives."""
        return decode(raw, partition, offset, self.fields)

    # ---- the engine that runs here, if any

    @contextmanager
    def announced(self, address: str) -> Iterator[None]:
        """Tell other processes where the engine answers, as long as it does."""
        partial_file = self._announcement.with_suffix(".partial")
        partial_file.write_text(json.dumps({"address": address, "pid": os.getpid()}) + "\n")
        partial_file.replace(self._announcement)
        try:
            yield
        finally:
            self._announcement.unlink(missing_ok=True)

    def running(self) -> HttpClient | None:
        """The engine that runs on this state folder; None where there is none, or it was killed."""
        try:
            announced = json.loads(self._announcement.read_text())
            client = HttpClient(announced["address"])
            return client if client.pid() == announced["pid"] else None
        except (OSError, ValueError, KeyError, TypeError, ConnectorError):
            return None

    @property
    def _announcement(self) -> Path:
        return self.state_dir / "serve.json"

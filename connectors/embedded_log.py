"""A durable, append-only log for one machine: what `serve` reads where no broker is named.

    topic ── partition 0 ── offsets 0, 1, 2, ...      a record: value (bytes), timestamp (s)
          └─ partition 1 ── offsets 0, 1, 2, ...      a key always lands in the same partition

One SQLite file with a write-ahead log: any number of processes publish and read at once, and
readers never wait. Records are kept for good; to start over, name another file.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Double,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    select,
    text,
)

from connectors.base import SourceUnavailable, StoreError
from connectors.sql import errors_in_one_line, open_engine, upsert

FORMAT = 1  # of the file, in SQLite's user_version

metadata = MetaData()

partition_table = Table(
    "partitions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("end_offset", Integer, nullable=False),
    UniqueConstraint("topic", "partition"),
)

# Without row ids a table lies on disk in the order of its key: a partition is read in one sweep.
record_table = Table(
    "records",
    metadata,
    Column("partition_id", Integer, primary_key=True),
    Column("offset", Integer, primary_key=True),
    Column("timestamp", Double, nullable=False),
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)


class Record(NamedTuple):
    """`timestamp` in Unix seconds, as published."""

    offset: int
    timestamp: float
    value: bytes


class EmbeddedLog:
    """Topics in one file; built by `EmbeddedLog.open`. May be shared by threads."""

    def __init__(self, url: URL, engine: Engine, clock: Callable[[], float]) -> None:
        self._url = url
        self._engine = engine
        self._clock = clock

    @classmethod
    def open(cls, path: str | Path, clock: Callable[[], float] = time.time) -> EmbeddedLog:
        """Open the log, made where it is missing; `clock` (Unix seconds) dates what has no time.

        Raises SourceUnavailable where the file cannot be used, or is of a newer format.
        """
        url = URL.create("sqlite+pysqlite", database=str(path))
        try:
            log = cls(url, open_engine(url), clock)
        except StoreError as error:
            raise SourceUnavailable(str(error)) from error
        try:
            with log._transaction(writes=True) as connection:
                log._prepare(connection)
        except BaseException:
            log.close()
            raise
        return log

    def _prepare(self, connection: Connection) -> None:
        found = connection.scalar(text("PRAGMA user_version"))
        if found not in (0, FORMAT):
            raise SourceUnavailable(
                f"{self._url.database}: is of format {found}, this program reads {FORMAT}: "
                "upgrade lrustream, or name another file"
            )
        if found == 0:
            metadata.create_all(connection)
            connection.execute(text(f"PRAGMA user_version = {FORMAT}"))

    def ensure_topic(self, topic: str, partitions: int = 1) -> int:
        """Create `topic` where it is missing. Returns the number of partitions it has, which stays
        as it is where the topic was there: the keys are spread by it.
        """
        if partitions < 1:
            raise SourceUnavailable(f"topic {topic!r} needs at least 1 partition, not {partitions}")
        with self._transaction(writes=True) as connection:
            return len(self._partitions(connection, topic, create=partitions))

    def publish(self, topic: str, records: Iterable[tuple[str, bytes, float | None]]) -> int:
        """Append records (key, value, Unix seconds or None for now) and return how many.

        One transaction, durable on return: all of them or, after an error, none. A topic that is
        missing is made, with one partition.
        """
        now = self._clock()
        taken = list(records)  # before the transaction: a slow iterable must not hold the lock
        with self._transaction(writes=True) as connection:
            partitions = self._partitions(connection, topic, create=1)
            rows = []
            for key, value, timestamp in taken:
                hashed = zlib.crc32(key.encode("utf-8", "surrogatepass"))
                place = partitions[hashed % len(partitions)]
                moment = now if timestamp is None else timestamp
                rows.append((place["id"], place["end_offset"], moment, value))
                place["end_offset"] += 1
            if rows:
                connection.execute(upsert(connection, partition_table), partitions)
                connection.exec_driver_sql("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
        return len(taken)

    def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        """At most `limit` records of one partition, in order, from `offset` on."""
        place = select(partition_table.c.id).where(
            partition_table.c.topic == topic, partition_table.c.partition == partition
        )
        columns = record_table.c
        query = select(columns.offset, columns.timestamp, columns.value).where(
            columns.partition_id == place.scalar_subquery(),
            columns.offset.between(offset, offset + limit - 1),
        )
        with self._transaction() as connection:
            return [Record(*row) for row in connection.execute(query)]

    def topics(self) -> list[str]:
        query = select(partition_table.c.topic).distinct().order_by(partition_table.c.topic)
        with self._transaction() as connection:
            return list(connection.scalars(query))

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The offset that the next record will get, by partition; empty for an unknown topic."""
        with self._transaction() as connection:
            rows = self._partitions(connection, topic)
            return {row["partition"]: row["end_offset"] for row in rows}

    def close(self) -> None:
        self._engine.dispose()

    @staticmethod
    def _partitions(connection: Connection, topic: str, create: int = 0) -> list[dict[str, Any]]:
        """The rows of the topic's partitions, in order; `create` so many where there is none."""
        query = select(partition_table).where(partition_table.c.topic == topic)
        query = query.order_by(partition_table.c.partition)
        rows = connection.execute(query).mappings().all()
        if create and not rows:
            new = [{"topic": topic, "partition": i, "end_offset": 0} for i in range(create)]
            connection.execute(partition_table.insert(), new)
            rows = connection.execute(query).mappings().all()
        return [dict(row) for row in rows]

    @contextmanager
    def _transaction(self, writes: bool = False) -> Iterator[Connection]:
        engine = self._engine.execution_options(writes=writes)
        with errors_in_one_line(self._url, SourceUnavailable), engine.begin() as connection:
            yield connection

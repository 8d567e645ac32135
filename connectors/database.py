"""The durable side of the engine over SQLAlchemy: SQLite by default, PostgreSQL by URL.

One process writes as the engine; it holds a lease on the database, so a second one is refused.
Everybody else reads. What `append` and `save_snapshot` return from is durable, and each of them
is one transaction: a killed process leaves all of it or nothing.

After an error in a write the engine's memory may differ from the database. The only sound answer
is to start again from what is durable; a lost connection is therefore never replaced silently.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any, BinaryIO

from sqlalchemy import URL, Connection, Engine, delete, func, select, text

from connectors import dead_letters as letters
from connectors import migrations
from connectors.base import Chunk, DeadLetter, JournalEntry, Store, StoreError
from connectors.dead_letters import StoredDeadLetter
from connectors.lease import lock_file, lock_session
from connectors.schema import chunks as chunk_table
from connectors.schema import journal, snapshot, source_positions
from connectors.sql import (
    NO_DATABASE,
    describe,
    errors_in_one_line,
    open_engine,
    parse_url,
    sqlite_path,
    upsert,
)

PAGE_ROWS = 500
MIGRATION_LOCK = text("SELECT pg_advisory_xact_lock(757002)")


class Database(Store):
    """Journal, source positions, snapshot and dead letters; built by `Database.open`."""

    def __init__(
        self, url: URL, engine: Engine, read_only: bool, create: bool, clock: Callable[[], float]
    ) -> None:
        self.name = describe(url)
        self._url = url
        self._engine = engine
        self._read_only = read_only
        self._create = create and not read_only
        self._clock = clock
        self._one_writer = threading.RLock()
        self._writer: Connection | None = None
        self._lease: BinaryIO | None = None

    @classmethod
    def open(
        cls,
        url: str,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
        create: bool = True,
    ) -> Database:
        """Open `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST:PORT/NAME`, tables included.

        A missing or older schema is brought to the newest version; `read_only` changes nothing
        and needs one that is there, and without `create` one must be there, too. `clock` (Unix
        seconds) dates the rows.
        Raises StoreError, in one line and without the password, where the database cannot be
        reached or used, or its schema is newer than this program.
        """
        parsed = parse_url(url)
        engine = open_engine(parsed, read_only, create)
        database = cls(parsed, engine, read_only, create, clock)
        try:
            database._prepare_schema()
        except BaseException:
            database.close()
            raise
        return database

    def _prepare_schema(self) -> None:
        with self._errors():
            with self._engine.connect() as connection:
                version = migrations.current(connection)
            if version == migrations.newest():
                return
            if version is None and not self._create:
                raise StoreError(f"{self.name}: {NO_DATABASE}")
            if self._read_only:
                raise StoreError(
                    f"{self.name}: has schema version {version}, this program reads "
                    f"{migrations.newest()}: start `lrustream serve` once to bring it there"
                )
            if version is not None:
                self.acquire_writer()  # never under a running engine of the older version
            with self._engine.execution_options(writes=True).begin() as connection:
                if self._is_postgres:
                    connection.execute(MIGRATION_LOCK)
                migrations.upgrade(connection)

    # ---- one writer

    def acquire_writer(self, wait_s: float = 2.0) -> None:
        """Take the lease of the one writing engine; it ends with `close` or with the process.

        The first write does so by itself; an engine asks at its start, to be refused early. The
        wait covers a server that has not yet noticed the end of a killed predecessor.
        Raises StoreError where another process holds the lease.
        """
        if self._read_only:
            raise StoreError(f"{self.name}: was opened read-only: open it for writing")
        with self._one_writer, self._errors():
            if self._writer is not None:
                return
            connection = self._engine.connect().execution_options(writes=True)
            connection.detach()  # closing it ends the session, and the lease with it
            try:
                self._wait_for_lease(connection, time.monotonic() + wait_s)
            except BaseException:
                connection.close()
                raise
            self._writer = connection

    def _wait_for_lease(self, connection: Connection, deadline: float) -> None:
        while not self._try_lease(connection):
            if time.monotonic() >= deadline:
                raise StoreError(
                    f"{self.name}: another engine writes to this database: "
                    "stop it first, or give this one a database of its own"
                )
            time.sleep(0.05)

    def _try_lease(self, connection: Connection) -> bool:
        if self._is_postgres:
            return lock_session(connection)
        path = sqlite_path(self._url)
        self._lease = lock_file(path.with_name(path.name + ".lock"))
        return self._lease is not None

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """One transaction of the writing engine."""
        with self._one_writer:
            self.acquire_writer()
            assert self._writer is not None
            if self._writer.invalidated:
                raise StoreError(
                    f"{self.name}: the connection was lost during a write, which may or may not "
                    "be stored: start again from what is durable"
                )
            with self._errors(), self._writer.begin():
                yield self._writer

    # ---- journal and positions

    def append(
        self,
        entries: Sequence[tuple[str, bytes]],
        topic: str = "",
        positions: Mapping[int, int] | None = None,
        dead_letters: Sequence[DeadLetter] = (),
    ) -> int:
        now = self._clock()
        with self._write() as connection:
            self._advance(connection, topic, positions or {})
            last = self._last_position(connection)
            rows = [
                {"position": last + i, "kind": kind, "payload": payload, "created_at": now}
                for i, (kind, payload) in enumerate(entries, start=1)
            ]
            if rows:
                connection.execute(journal.insert(), rows)
            letters.store(connection, dead_letters, now)
        return last + len(rows)

    def _advance(self, connection: Connection, topic: str, positions: Mapping[int, int]) -> None:
        if not positions:
            return
        stored = self._positions(connection, topic)
        for partition, offset in positions.items():
            if offset < stored.get(partition, 0):
                raise StoreError(
                    f"{self.name}: position {offset} of topic {topic!r}, partition {partition}, "
                    f"lies before the stored {stored[partition]}; nothing was stored: "
                    "start again from the stored positions"
                )
        rows = [
            {"topic": topic, "partition": int(partition), "next_offset": int(offset)}
            for partition, offset in positions.items()
        ]
        connection.execute(upsert(connection, source_positions), rows)

    def tail(self, after: int) -> Iterator[JournalEntry]:
        columns = select(journal.c.position, journal.c.kind, journal.c.payload)
        while True:
            page = columns.where(journal.c.position > after).order_by(journal.c.position)
            with self._errors(), self._engine.connect() as connection:
                rows = connection.execute(page.limit(PAGE_ROWS)).all()
                pruned = connection.scalar(select(snapshot.c.position)) or 0
            if after < pruned:  # asked after the page was read, so no prune can slip between
                raise StoreError(
                    f"{self.name}: journal entries after {after} were pruned, a snapshot stands "
                    f"at {pruned}: load that snapshot first"
                )
            for row in rows:
                yield JournalEntry(*row)
            if len(rows) < PAGE_ROWS:
                return
            after = rows[-1].position

    def positions(self, topic: str) -> dict[int, int]:
        with self._errors(), self._engine.connect() as connection:
            return self._positions(connection, topic)

    # ---- snapshot

    def save_snapshot(self, position: int, chunks: Iterable[Chunk]) -> None:
        """As the protocol says. Raises StoreError where `position` is not one of the journal's,
        or lies before the snapshot there is.
        """
        rows = ({"kind": c.kind, "key": int(c.key), "payload": c.payload} for c in chunks)
        with self._write() as connection:
            pruned = connection.scalar(select(snapshot.c.position)) or 0
            last = self._last_position(connection)
            if not pruned <= position <= last:
                raise StoreError(
                    f"{self.name}: a snapshot at journal position {position} is not between "
                    f"{pruned}, the snapshot there is, and {last}, the newest entry: "
                    "start again from what is durable"
                )
            while page := list(islice(rows, PAGE_ROWS)):
                connection.execute(upsert(connection, chunk_table), page)
            here = {"id": 1, "position": int(position), "created_at": self._clock()}
            connection.execute(upsert(connection, snapshot), here)
            connection.execute(delete(journal).where(journal.c.position <= position))

    def load_snapshot(self) -> tuple[int, Iterator[Chunk]]:
        rows = self._read_snapshot()
        return next(rows), rows

    def _read_snapshot(self) -> Iterator[Any]:
        """The position, then the chunks, of one moment, however long the reading takes."""
        page = select(chunk_table).order_by(chunk_table.c.kind, chunk_table.c.key)
        with self._errors(), self._engine.connect() as connection:
            if self._is_postgres:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection.scalar(select(snapshot.c.position)) or 0
            for row in connection.execution_options(yield_per=PAGE_ROWS).execute(page):
                yield Chunk(row.kind, row.key, row.payload)

    # ---- dead letters

    def dead_letters(
        self, limit: int = 100, after_id: int = 0, waiting: bool = False
    ) -> list[StoredDeadLetter]:
        """At most `limit` dead letters with an id above `after_id`, oldest first.

        `waiting`: only those that were not replayed.
        """
        with self._errors(), self._engine.connect() as connection:
            return letters.load(connection, limit, after_id, waiting)

    def mark_replayed(self, ids: Sequence[int]) -> None:
        """Note that these were sent again. Needs no lease: an engine may be running."""
        writing = self._engine.execution_options(writes=True)
        with self._errors(), writing.begin() as connection:
            letters.mark_replayed(connection, ids, self._clock())

    def close(self) -> None:
        """Give up the lease and every connection."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._lease is not None:
            self._lease.close()
            self._lease = None
        self._engine.dispose()

    # ---- small parts

    @property
    def _is_postgres(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    def _errors(self) -> AbstractContextManager[None]:
        return errors_in_one_line(self._url)

    @staticmethod
    def _positions(connection: Connection, topic: str) -> dict[int, int]:
        query = select(source_positions.c.partition, source_positions.c.next_offset)
        rows = connection.execute(query.where(source_positions.c.topic == topic))
        return {row.partition: row.next_offset for row in rows}

    @staticmethod
    def _last_position(connection: Connection) -> int:
        """The newest position ever given: the journal's, or the snapshot's where that is empty."""
        newest = select(func.max(journal.c.position)).scalar_subquery()
        pruned = select(snapshot.c.position).scalar_subquery()
        return connection.scalar(select(func.coalesce(newest, pruned, 0))) or 0

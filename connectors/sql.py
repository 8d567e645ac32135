"""SQLAlchemy engines for SQLite files and PostgreSQL servers, and their errors in one line."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from connectors.base import ConnectorError, StoreError

NO_DATABASE = "there is no such database yet: start `lrustream serve` first"
SQLITE_BUSY_S = 30
POSTGRES_CONNECT_S = 10

# What a database says, and what to do about it.
NEXT_STEPS = (
    ("password authentication failed", "correct user or password in the database URL"),
    ("no password supplied", "put the password into the database URL"),
    ("connection refused", "start the server, or correct host and port in the database URL"),
    ("resolve host", "correct the host in the database URL"),
    ("translate host name", "correct the host in the database URL"),
    ("timeout", "check that the server can be reached"),
    ("server closed the connection", "start again once the server is back"),
    ("terminating connection", "start again once the server is back"),
    ("not a database", "name another file, this one holds something else"),
    ("readonly database", "make the file and its directory writable"),
    ("unable to open database file", "make the file and its directory readable and writable"),
    ("disk is full", "free some space on the disk"),
    ("database is locked", "another process writes for too long, stop it or try again"),
    ("already exists", "name an empty database, this one holds tables of something else"),
    ("does not exist", "create it, or correct the database URL"),
)


def parse_url(url: str) -> URL:
    """A database URL with the driver this project uses. Raises StoreError for any other."""
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        backend = ""  # the text may hold a password, so it is not repeated
    if backend in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite+pysqlite")
    raise StoreError(
        "the database URL names no database this program knows: "
        "write sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME"
    )


def describe(url: URL) -> str:
    """The database in words, without password and options."""
    if url.get_backend_name() == "sqlite":
        return str(sqlite_path(url))
    return url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def open_engine(url: URL, read_only: bool = False, create: bool = True) -> Engine:
    """An engine that has not connected yet. Raises StoreError where that cannot succeed.

    SQLite runs with a write-ahead log, so readers and the writer never wait for each other, and
    with synchronous=FULL: NORMAL would survive a killed process, but a power loss could take
    commits back that a broker was already told of. One fsync a micro-batch is the price.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, read_only, create)
    try:
        return create_engine(url, connect_args={"connect_timeout": POSTGRES_CONNECT_S} | url.query)
    except ModuleNotFoundError as error:
        raise StoreError(
            "PostgreSQL needs the driver psycopg: pip install 'lrustream[postgres]'"
        ) from error


def sqlite_path(url: URL) -> Path:
    return Path(url.database or "").expanduser().resolve()


def _sqlite_engine(url: URL, read_only: bool, create: bool) -> Engine:
    path = sqlite_path(url)
    if path.is_dir():
        raise StoreError(f"{path}: is a directory: name a file in it")
    if (read_only or not create) and not path.exists():
        raise StoreError(f"{path}: {NO_DATABASE}")
    if not path.parent.is_dir():
        raise StoreError(f"{path}: the directory {path.parent} does not exist: create it first")
    mode = "ro" if read_only else "rwc"
    url = url.set(database=f"file:{quote(str(path))}?mode={mode}").update_query_dict(
        {"uri": "true"}
    )
    engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin below, never by themselves
        if not read_only:
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA journal_size_limit=67108864")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that will write takes its lock at once: upgrading later can fail.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log, which the file remembers.

    Of several processes that switch a new file at once SQLite fails all but one immediately,
    without the wait that other locks get: so the wait is here.
    """
    give_up = time.monotonic() + SQLITE_BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def insert(connection: Connection, table: Table) -> Any:
    """INSERT in the dialect of `connection`: both know ON CONFLICT, in the same words."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def upsert(connection: Connection, table: Table) -> Any:
    """INSERT that replaces the row of the same primary key."""
    statement = insert(connection, table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key},
    )


@contextmanager
def errors_in_one_line(url: URL, error_type: type[ConnectorError] = StoreError) -> Iterator[None]:
    """Turn what the database raises into one line: which database, what, what to do."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
        said = text.splitlines()[0]
        if url.password:
            said = said.replace(str(url.password), "***")
        lowered = said.lower()
        step = next((step for words, step in NEXT_STEPS if words in lowered), "check the database")
        raise error_type(f"{describe(url)}: {said}: {step}") from error

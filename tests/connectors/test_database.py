"""The durable store, on SQLite and on a real PostgreSQL: one suite for both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, event, text

from connectors import migrations
from connectors.base import Chunk, DeadLetter, JournalEntry, StoreError
from connectors.database import Database
from connectors.schema import metadata
from connectors.sql import parse_url
from tests.connectors.errors import one_line

# ---- journal and positions


def test_an_empty_database_has_nothing(database: Database) -> None:
    assert list(database.tail(0)) == []
    assert database.positions("events") == {}
    position, chunks = database.load_snapshot()
    assert (position, list(chunks)) == (0, [])
    assert database.dead_letters() == []
    assert database.dead_letters() == []


def test_what_was_appended_is_there_after_reopening(url: str) -> None:
    database = Database.open(url)
    assert database.append([("batch", b"\x00one"), ("swap", b"")], "events", {0: 5, 3: 2}) == 2
    assert database.append([("batch", b"three")], "events", {3: 2**40}) == 3
    database.close()
    reopened = Database.open(url)
    assert list(reopened.tail(0)) == [
        JournalEntry(1, "batch", b"\x00one"),
        JournalEntry(2, "swap", b""),
        JournalEntry(3, "batch", b"three"),
    ]
    assert [entry.position for entry in reopened.tail(2)] == [3]
    assert reopened.positions("events") == {0: 5, 3: 2**40}
    assert reopened.positions("other") == {}
    reopened.close()


def test_the_tail_comes_in_order_over_many_pages(database: Database) -> None:
    for start in range(0, 1300, 130):
        database.append([("batch", str(start + i).encode()) for i in range(130)])
    assert [int(entry.payload) for entry in database.tail(0)] == list(range(1300))
    assert [entry.position for entry in database.tail(1299)] == [1300]


def test_a_position_that_goes_backwards_stores_nothing(database: Database) -> None:
    database.append([("batch", b"kept")], "events", {0: 10, 1: 10})
    letter = DeadLetter("events", 1, 11, "bad", b"")
    with pytest.raises(StoreError) as error:
        database.append([("batch", b"lost")], "events", {1: 12, 0: 9}, [letter])
    assert "position 9" in one_line(error) and "stored 10" in one_line(error)
    assert [entry.payload for entry in database.tail(0)] == [b"kept"]
    assert database.positions("events") == {0: 10, 1: 10}
    assert database.dead_letters() == []
    assert database.append([("batch", b"next")], "events", {0: 11}) == 2


def test_positions_alone_can_advance(database: Database) -> None:
    database.append([("batch", b"")])
    assert database.append([], "events", {0: 4}) == 1
    assert database.positions("events") == {0: 4}


def test_numbers_may_come_out_of_arrays(database: Database) -> None:
    one, two = np.arange(1, 3)
    letter = DeadLetter("events", one, two, "not JSON", b"{")
    database.append([("batch", b"")], "events", {one: two}, [letter])
    database.save_snapshot(1, [Chunk("user", two, b"")])
    assert database.positions("events") == {1: 2}
    assert [chunk.key for chunk in database.load_snapshot()[1]] == [2]
    assert [row.letter for row in database.dead_letters()] == [
        DeadLetter("events", 1, 2, "not JSON", b"{")
    ]


# ---- snapshot


def test_a_snapshot_replaces_chunks_and_prunes_the_journal(database: Database) -> None:
    database.append([("batch", b"1"), ("batch", b"2"), ("batch", b"3")])
    database.save_snapshot(2, [Chunk("user", 1, b"a"), Chunk("user", -(2**40), b"b")])
    database.append([("batch", b"4")])
    database.save_snapshot(3, iter([Chunk("user", 1, b"A"), Chunk("mixture", 0, b"m")]))
    position, chunks = database.load_snapshot()
    assert position == 3
    assert list(chunks) == [
        Chunk("mixture", 0, b"m"),
        Chunk("user", -(2**40), b"b"),
        Chunk("user", 1, b"A"),
    ]
    assert list(database.tail(3)) == [JournalEntry(4, "batch", b"4")]


def test_positions_go_on_after_the_whole_journal_was_pruned(url: str) -> None:
    database = Database.open(url)
    database.append([("batch", b"")] * 7)
    database.save_snapshot(7, [])
    database.close()
    reopened = Database.open(url)
    assert list(reopened.tail(7)) == []
    assert reopened.append([("batch", b"8")]) == 8
    reopened.close()


def test_a_snapshot_is_all_or_nothing(database: Database) -> None:
    database.append([("batch", b"1"), ("batch", b"2")])
    database.save_snapshot(1, [Chunk("user", 1, b"old")])

    def breaks_off() -> Iterator[Chunk]:
        for key in range(1200):
            yield Chunk("user", key, b"new")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        database.save_snapshot(2, breaks_off())
    position, chunks = database.load_snapshot()
    assert (position, list(chunks)) == (1, [Chunk("user", 1, b"old")])
    assert [entry.position for entry in database.tail(1)] == [2]


@pytest.mark.parametrize("position", [0, 4])
def test_a_snapshot_elsewhere_than_in_the_journal_is_refused(
    database: Database, position: int
) -> None:
    database.append([("batch", b"")] * 3)
    database.save_snapshot(1, [])
    with pytest.raises(StoreError, match=f"journal position {position} is not between 1"):
        database.save_snapshot(position, [Chunk("user", 1, b"")])
    assert list(database.load_snapshot()[1]) == []


def test_a_pruned_tail_is_said_and_not_skipped(database: Database) -> None:
    database.append([("batch", b"")] * 3)
    database.save_snapshot(2, [])
    with pytest.raises(StoreError, match="load that snapshot first"):
        list(database.tail(1))


def test_a_snapshot_is_read_as_of_one_moment(url: str, database: Database) -> None:
    database.append([("batch", b"")] * 2)
    database.save_snapshot(1, (Chunk("user", key, b"old") for key in range(1200)))
    reader = Database.open(url, read_only=True)
    position, chunks = reader.load_snapshot()
    database.save_snapshot(2, (Chunk("user", key, b"new") for key in range(1300)))
    assert (position, [chunk.payload for chunk in chunks]) == (1, [b"old"] * 1200)
    reader.close()


def rows_of_an_append(database: Database, offset: int) -> list[int]:
    """How many rows each statement of one append sends or returns."""
    counts = []

    def count(
        _connection: Any, cursor: Any, _text: str, rows: Any, _context: Any, many: bool
    ) -> None:
        counts.append(len(rows) if many else abs(cursor.rowcount))

    event.listen(database._engine, "after_cursor_execute", count)
    database.append([("batch", b"x"), ("swap", b"y")], "events", {0: offset, 1: offset})
    event.remove(database._engine, "after_cursor_execute", count)
    return counts


def test_a_commit_touches_no_more_rows_on_a_large_state(database: Database) -> None:
    database.append([("batch", b"")], "events", {0: 1, 1: 1})
    small = rows_of_an_append(database, 2)
    database.save_snapshot(2, (Chunk("user", key, b"history") for key in range(2000)))
    database.append([("batch", b"")] * 500)
    assert rows_of_an_append(database, 3) == small
    assert sum(small) <= 10


def test_a_commit_writes_what_its_events_weigh(tmp_path: Path) -> None:
    """The bytes that one append adds to the write-ahead log, on a small and on a large state."""
    written = {}
    for users in (1, 50_000):
        path = tmp_path / f"{users}.db"
        database = Database.open(f"sqlite:///{path}")
        database.append([("batch", b"first")], "events", {0: 1})
        chunks = (Chunk("user", key, b"history" * 10) for key in range(users))
        database.save_snapshot(1, chunks)
        database.append([("batch", b"x" * 3000)] * (users // 500), "events", {0: 2})
        with create_engine(f"sqlite:///{path}").connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        database.append([("batch", b"x" * 3000)], "events", {0: 3})
        written[users] = (path.parent / f"{path.name}-wal").stat().st_size
        database.close()
    few_pages = 4 * 4096
    assert 3000 < written[50_000] <= written[1] + few_pages, written


# ---- one writer, many readers


def test_a_second_engine_is_refused_and_stores_nothing(url: str, database: Database) -> None:
    database.acquire_writer()
    second = Database.open(url)
    with pytest.raises(StoreError) as error:
        second.acquire_writer(wait_s=0)
    assert "another engine writes" in one_line(error) and "stop it first" in one_line(error)
    with pytest.raises(StoreError, match="another engine writes"):
        second.append([("batch", b"")])
    database.close()
    assert second.append([("batch", b"mine now")]) == 1
    second.close()


def test_readers_see_what_is_durable_while_an_engine_writes(url: str, database: Database) -> None:
    database.append([("batch", b"1")], "events", {0: 1})
    reader = Database.open(url, read_only=True)
    database.append([("batch", b"2")], "events", {0: 2})
    assert [entry.payload for entry in reader.tail(0)] == [b"1", b"2"]
    assert reader.positions("events") == {0: 2}
    with pytest.raises(StoreError, match="read-only"):
        reader.append([("batch", b"3")])
    reader.close()


WRITER = """
import sys
from connectors.base import Chunk
from connectors.database import Database
database = Database.open(sys.argv[1])
done = database.positions("events").get(0, 0)
while True:
    entries = [("batch", str(done + i).encode()) for i in range(1, 4)]
    done += len(entries)
    position = database.append(entries, "events", {0: done})
    print(done, flush=True)
    if done % 60 == 0:
        database.save_snapshot(position, [Chunk("total", 0, str(done).encode())])
"""


def test_kill_9_leaves_a_journal_without_gaps_and_the_positions_that_belong_to_it(
    url: str,
) -> None:
    root = str(Path(__file__).parents[2])
    for acknowledgements in (25, 40):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True, cwd=root
        )
        assert process.stdout is not None
        acknowledged = [int(next(process.stdout)) for _ in range(acknowledgements)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()

        reader = Database.open(url, read_only=True)
        durable = reader.positions("events")
        reader.close()
        database = Database.open(url)
        database.acquire_writer()
        snapshot, chunks = database.load_snapshot()
        total = sum(int(chunk.payload) for chunk in chunks)
        tail = list(database.tail(snapshot))
        expected = range(snapshot + 1, snapshot + 1 + len(tail))
        assert [entry.position for entry in tail] == list(expected)
        assert [int(entry.payload) for entry in tail] == list(expected)
        assert total == snapshot
        assert database.positions("events") == durable == {0: snapshot + len(tail)}
        assert snapshot + len(tail) >= acknowledged[-1]
        database.close()


def test_a_lost_connection_ends_the_writing(postgres_database: str) -> None:
    """Whether the last write was stored is unknown, so going on could count events twice."""
    database = Database.open(postgres_database)
    database.append([("batch", b"1")])
    with create_engine(parse_url(postgres_database)).connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    for _ in range(2):
        with pytest.raises(StoreError) as error:
            database.append([("batch", b"2")])
        assert "start again" in one_line(error)
    database.close()


# ---- schema


def test_the_migrations_make_the_tables_of_the_schema(url: str) -> None:
    Database.open(url).close()
    with create_engine(parse_url(url)).connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": migrations.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []
        assert migrations.current(connection) == migrations.newest()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_schema_is_refused(url: str, read_only: bool) -> None:
    Database.open(url).close()
    with create_engine(parse_url(url)).begin() as connection:
        connection.execute(text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreError) as error:
        Database.open(url, read_only=read_only)
    assert "'9999' is newer" in one_line(error) and "upgrade lrustream" in one_line(error)


def test_two_processes_can_create_the_same_database(url: str) -> None:
    code = "import sys; from connectors.database import Database; Database.open(sys.argv[1])"
    root = str(Path(__file__).parents[2])
    processes = [subprocess.Popen([sys.executable, "-c", code, url], cwd=root) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]

"""Records that could not be read, kept in the store: on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from connectors.base import DeadLetter
from connectors.database import Database


def letter(offset: int, reason: str = "not JSON", raw: bytes = b"\x00{") -> DeadLetter:
    return DeadLetter("events", 2, offset, reason, raw)


def test_dead_letters_are_kept_as_they_came_and_listed_in_pages(database: Database) -> None:
    letters = [letter(offset) for offset in range(5)]
    database.append([], "events", {2: 5}, letters)
    first = database.dead_letters(limit=3)
    rest = database.dead_letters(limit=3, after_id=first[-1].id)
    assert [row.letter for row in first + rest] == letters
    assert {row.created_at for row in first} == {1000.0}
    assert {row.replayed_at for row in first} == {None}


def test_a_dead_letter_polled_again_counts_once(database: Database) -> None:
    database.append([], "events", {2: 1}, [letter(0)])
    database.append([], "events", {2: 2}, [letter(0, "another reason"), letter(1)])
    assert [row.letter for row in database.dead_letters()] == [letter(0), letter(1)]
    assert len(database.dead_letters()) == 2


def test_a_replayed_dead_letter_waits_no_longer(url: str, database: Database) -> None:
    database.append([], dead_letters=[letter(0), letter(1)])
    beside = Database.open(url, clock=lambda: 2000.0)  # as a command beside the running engine
    beside.mark_replayed([row.id for row in beside.dead_letters(limit=1)])
    beside.close()
    assert [row.replayed_at for row in database.dead_letters()] == [2000.0, None]
    assert [row.letter.offset for row in database.dead_letters(waiting=True)] == [1]
    assert (len(database.dead_letters()), len(database.dead_letters(waiting=True))) == (2, 1)


def test_a_reason_may_quote_anything(database: Database) -> None:
    database.append([], dead_letters=[letter(0, "user '\0' and '\ud800' and 'é'")])
    [row] = database.dead_letters()
    assert row.letter.reason == "user '\\x00' and '\\ud800' and 'é'"

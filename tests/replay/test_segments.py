"""Segments: a stream by hand, and what must hold on any stream."""

from __future__ import annotations

import numpy as np

from replay.segments import history_lengths, segments_of
from replay.stream import to_rows
from replay.synthetic import markov_stream

A, B = 0, 1
X, Y, Z = 0, 1, 2
USERS = np.array([A, A, B, A, B, A, A, A], dtype=np.int32)
ITEMS = np.array([X, X, X, Y, Y, Z, X, Y], dtype=np.int32)


def events_of(name: str, repeats: bool = True) -> list[int]:
    return np.flatnonzero(segments_of(USERS, ITEMS, repeats)[name]).tolist()


def test_eight_events_by_hand() -> None:
    assert events_of("new user") == [0, 2]
    assert events_of("new item") == [0, 3, 5]
    assert events_of("repeat") == [1, 6, 7]
    assert events_of("history 0") == [0, 2]
    assert events_of("history 1-4") == [1, 3, 4, 5, 6]
    assert events_of("history 5-19") == [7]
    assert history_lengths(USERS).tolist() == [0, 1, 0, 2, 1, 3, 4, 5]


def test_a_repeat_that_cannot_be_right_is_no_segment() -> None:
    assert "repeat" not in segments_of(USERS, ITEMS, repeats=False)
    assert events_of("first time", repeats=False) == [0, 2, 3, 4, 5]


def test_each_division_takes_every_event_once() -> None:
    rows = to_rows(markov_stream(8, 40, 3_000, predictability=0.5, seed=3))
    segments = segments_of(rows.users, rows.items, repeats=True)
    by_history = [name for name in segments if name.startswith("history")]
    assert by_history[-2:] == ["history 20-99", "history 100+"]
    for names in (
        ["new user", "known user"],
        ["new item", "known item"],
        ["repeat", "first time"],
        by_history,
    ):
        assert np.all(np.sum([segments[name] for name in names], axis=0) == 1)
    assert segments["history 100+"].sum() == 3_000 - 8 * 100


def test_an_empty_stream_has_empty_segments() -> None:
    nothing = np.zeros(0, dtype=np.int32)
    assert {len(mask) for mask in segments_of(nothing, nothing, repeats=False).values()} == {0}

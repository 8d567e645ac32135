"""Pace: what is due when, on a clock that only `sleep` moves."""

from __future__ import annotations

import math

import pytest

from connectors.event import Event, EventBatch
from replay.pace import paced, parse_speed


def at(*timestamps: float) -> EventBatch:
    return EventBatch.from_events(
        Event(f"u{i}", "item", timestamp) for i, timestamp in enumerate(timestamps)
    )


def departures(events: EventBatch, speed: float) -> list[tuple[float, list[str]]]:
    now = 50.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    slices = paced(events, speed, clock=lambda: now, sleep=sleep)
    return [(now - 50.0, list(part.users)) for part in slices]


def test_events_leave_when_they_are_due() -> None:
    found = departures(at(1000, 1000, 1600, 2200), speed=60)
    assert found == [(0.0, ["u0", "u1"]), (10.0, ["u2"]), (20.0, ["u3"])]


def test_max_leaves_at_once() -> None:
    assert departures(at(1000, 2000, 9e9), math.inf) == [(0.0, ["u0", "u1", "u2"])]


def test_nothing_to_send_is_no_error() -> None:
    assert departures(at(), 1.0) == []


def test_speeds() -> None:
    assert parse_speed("100x") == parse_speed("100") == 100.0
    assert parse_speed("max") == math.inf


@pytest.mark.parametrize("text", ["fast", "0x", "-3x", "nanx", ""])
def test_a_speed_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"give how many times event time, as in 100x, or max"):
        parse_speed(text)

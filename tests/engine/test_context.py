"""What is known just before each event: a batch sees exactly what one event at a time would."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from engine.context import WINDOW, Context
from tests.engine.contexts import Rows, contexts, rows

STREAM = rows(events=600, users=12, items=60, seed=1)


def told_by_hand(stream: Rows) -> list[dict[str, Any]]:
    """One event at a time, with plain lists."""
    past: dict[int, list[int]] = {}
    last: dict[int, float] = {}
    told = []
    known = 0
    for user, item, time in zip(stream.users, stream.items, stream.times, strict=True):
        before = past.setdefault(int(user), [])
        told.append(
            {
                "recent": (before[::-1] + [-1] * WINDOW)[:WINDOW],
                "known": known,
                "length": len(before),
                "gap": time - last[user] if before else math.inf,
                "repeat": item in before,
                "seen": set(before),
            }
        )
        known = max(known, int(item) + 1)
        before.append(int(item))
        last[user] = time
    return told


def told(context: Context) -> list[dict[str, Any]]:
    events, items = context.seen
    assert (np.diff(events) >= 0).all()
    return [
        {
            "recent": context.recent[i].tolist(),
            "known": context.known[i],
            "length": context.length[i],
            "gap": context.gap[i],
            "repeat": context.repeat[i],
            "seen": set(items[events == i].tolist()),
        }
        for i in range(len(context))
    ]


@pytest.mark.parametrize("batch", [1, 7, 256, 600])
def test_an_event_knows_what_its_user_did_earlier_in_the_same_batch(batch: int) -> None:
    found = [event for context in contexts(STREAM, batch) for event in told(context)]
    assert found == told_by_hand(STREAM)


@pytest.mark.parametrize("size", [1, 32, 100, 600])
def test_the_parts_of_a_batch_tell_the_same_as_the_whole(size: int) -> None:
    (whole,) = contexts(STREAM, len(STREAM))
    parts = list(whole.split(size))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert [event for part in parts for event in told(part)] == told(whole)
    for name in ("users", "items"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_events_that_come_late_have_no_gap_below_zero() -> None:
    users, items = np.zeros(3, dtype=np.int64), np.arange(3)
    (context,) = contexts(Rows(users, items, np.array([100.0, 40.0, 70.0])), 3)
    assert context.gap.tolist() == [math.inf, 0.0, 30.0]

"""Pace: the events of a stream when they are due, in event time sped up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np

from connectors.event import EventBatch

AT_ONCE = 10_000
TICK_S = 0.05
"""Events due within a tick leave together."""


def parse_speed(text: str) -> float:
    """`100x` is a hundred times event time, `max` as fast as can be. Raises ValueError."""
    if text == "max":
        return math.inf
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = math.nan
    if not speed > 0:
        raise ValueError(f"speed is {text!r}: give how many times event time, as in 100x, or max")
    return speed


def paced(
    events: EventBatch,
    speed: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[EventBatch]:
    """Consecutive slices of ordered `events`, each yielded when its last event is due.

    The first event is due at once, any other (timestamp - first timestamp) / speed seconds later.
    """
    started = clock()
    due = (events.timestamps - events.timestamps[:1]) / speed
    done = 0
    while done < len(events):
        ready = int(np.searchsorted(due, clock() - started, side="right"))
        if ready <= done:
            sleep(max(TICK_S, float(due[done]) - (clock() - started)))
            continue
        ready = min(ready, done + AT_ONCE)
        yield events[done:ready]
        done = ready

"""Parts of a stream that are told apart in a report: who acted, on what, and how well known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from replay.stream import first_of_each

HISTORY_BOUNDS = (0, 1, 5, 20, 100)
"""History lengths at which the next segment begins."""


def segments_of(
    users: NDArray[np.integer], items: NDArray[np.integer], repeats: bool
) -> dict[str, NDArray[np.bool_]]:
    """Masks (n,) over the n events of a stream, by the name of the segment.

    users, items: (n,) rows. A history is all that a user did before the event; "repeat" is an item
    that the user already had. With repeats off every repeat is a miss by rule, so that segment is
    left out, and "first time" is what a model could get right.
    """
    new_user, new_item = first_of_each(users), first_of_each(items)
    width = int(items.max()) + 1 if len(items) else 1
    first_time = first_of_each(users.astype(np.int64) * width + items)
    segments = {
        "new user": new_user,
        "known user": ~new_user,
        "new item": new_item,
        "known item": ~new_item,
        **({"repeat": ~first_time} if repeats else {}),
        "first time": first_time,
    }
    history = history_lengths(users)
    for low, beyond in zip(HISTORY_BOUNDS, (*HISTORY_BOUNDS[1:], None), strict=True):
        segments[_history_name(low, beyond)] = (history >= low) & (
            True if beyond is None else history < beyond
        )
    return segments


def history_lengths(users: NDArray[np.integer]) -> NDArray[np.int64]:
    """(n,) how many events each event's user had before it."""
    order = np.argsort(users, kind="stable")
    _, first, counts = np.unique(users[order], return_index=True, return_counts=True)
    lengths = np.empty(len(users), dtype=np.int64)
    lengths[order] = np.arange(len(users)) - np.repeat(first, counts)
    return lengths


def _history_name(low: int, beyond: int | None) -> str:
    if beyond is None:
        return f"history {low}+"
    return f"history {low}" if beyond == low + 1 else f"history {low}-{beyond - 1}"

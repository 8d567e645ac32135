"""Made-up streams whose difficulty is known: seeded, no files."""

from __future__ import annotations

import numpy as np

from connectors.event import EventBatch


def markov_stream(
    n_users: int, n_items: int, n_events: int, predictability: float, seed: int
) -> EventBatch:
    """Users walk a hidden cycle through all items; now and then they jump anywhere.

    predictability: chance that an event is the successor of the user's last item; 1 is a walk
    without surprise after each user's first event, 0 is uniform noise. Whose turn it is is
    uniform too. Timestamps are 0, 1, 2, ... seconds. Raises ValueError for a chance out of [0, 1].
    """
    if not 0.0 <= predictability <= 1.0:
        raise ValueError(f"predictability is {predictability}: give a chance from 0 to 1")
    random = np.random.default_rng(seed)
    cycle = random.permutation(n_items)
    successor = np.empty(n_items, dtype=np.int64)
    successor[cycle] = np.roll(cycle, -1)
    users = random.integers(0, n_users, n_events)
    items = random.integers(0, n_items, n_events)
    follows = random.random(n_events) < predictability
    last: dict[int, int] = {}
    for event, user in enumerate(users.tolist()):
        if follows[event] and user in last:
            items[event] = successor[last[user]]
        last[user] = int(items[event])
    return EventBatch(
        users=[f"u{user}" for user in users],
        items=[f"i{item}" for item in items],
        timestamps=np.arange(n_events, dtype=np.float64),
        values=np.full(n_events, np.nan, dtype=np.float32),
        partitions=np.zeros(n_events, dtype=np.int32),
        offsets=np.arange(n_events, dtype=np.int64),
    )

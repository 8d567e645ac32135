"""Small random streams of rows, and their contexts batch by batch, for tests of the experts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.context import Context, read_context
from engine.history import Histories
from engine.ids import Vocabulary
from engine.ragged import IntArray


@dataclass(frozen=True)
class Rows:
    """Parallel columns; items are numbered in order of their first appearance."""

    users: IntArray
    items: IntArray
    times: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.users)


def rows(events: int, users: int, items: int, seed: int) -> Rows:
    """Users at random, items unevenly popular, times uneven; repeats and bursts included."""
    random = np.random.default_rng(seed)
    chosen = (items * random.random(events) ** 2).astype(int)
    return Rows(
        users=random.integers(0, users, events),
        items=Vocabulary().add([str(item) for item in chosen]),
        times=np.cumsum(random.exponential(10.0, events)),
    )


def contexts(stream: Rows, batch: int) -> Iterator[Context]:
    """The context of each batch, read from histories that learn in between."""
    histories = Histories(history=len(stream) + 1)
    histories.resize(int(stream.users.max()) + 1)
    known = 0
    for start in range(0, len(stream), batch):
        part = slice(start, start + batch)
        users, items, times = stream.users[part], stream.items[part], stream.times[part]
        context = read_context(histories, users, items, times, known)
        yield context
        partitions = np.zeros(len(users), dtype=np.int32)
        histories.learn(users, items, context.repeat, times, partitions)
        known = max(known, int(items.max()) + 1)

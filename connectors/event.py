"""The event: one interaction of a user with an item at a time; and batches of them.

Everything that enters the engine, from whatever source, is an `EventBatch`: parallel columns in
the order in which the events are to be learned. Only numpy is needed here.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Event:
    """One interaction.

    `timestamp` is event time in Unix seconds. `value` is a rating or weight, None where the
    stream has none. `partition` and `offset` say where the source holds the event.
    """

    user: str
    item: str
    timestamp: float
    value: float | None = None
    partition: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events as parallel columns, all of length n, in learning order.

    timestamps: float64 Unix seconds; values: float32, NaN where an event has none;
    partitions: int32; offsets: int64.
    """

    users: Sequence[str]
    items: Sequence[str]
    timestamps: NDArray[np.float64]
    values: NDArray[np.float32]
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def from_events(cls, events: Iterable[Event]) -> EventBatch:
        rows = list(events)
        return cls(
            users=[event.user for event in rows],
            items=[event.item for event in rows],
            timestamps=np.array([event.timestamp for event in rows], dtype=np.float64),
            values=np.array(
                [np.nan if event.value is None else event.value for event in rows],
                dtype=np.float32,
            ),
            partitions=np.array([event.partition for event in rows], dtype=np.int32),
            offsets=np.array([event.offset for event in rows], dtype=np.int64),
        )

    @classmethod
    def concat(cls, batches: Sequence[EventBatch]) -> EventBatch:
        if len(batches) == 1:
            return batches[0]
        if not batches:
            return cls.from_events([])
        return cls(
            users=[user for batch in batches for user in batch.users],
            items=[item for batch in batches for item in batch.items],
            timestamps=np.concatenate([batch.timestamps for batch in batches]),
            values=np.concatenate([batch.values for batch in batches]),
            partitions=np.concatenate([batch.partitions for batch in batches]),
            offsets=np.concatenate([batch.offsets for batch in batches]),
        )

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, rows: slice) -> EventBatch:
        return EventBatch(
            self.users[rows],
            self.items[rows],
            self.timestamps[rows],
            self.values[rows],
            self.partitions[rows],
            self.offsets[rows],
        )

    def __iter__(self) -> Iterator[Event]:
        for i in range(len(self)):
            value = float(self.values[i])
            yield Event(
                self.users[i],
                self.items[i],
                float(self.timestamps[i]),
                None if np.isnan(value) else value,
                int(self.partitions[i]),
                int(self.offsets[i]),
            )

    def micro_batches(self, size: int) -> Iterator[EventBatch]:
        """Consecutive slices of at most `size` events."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def to_bytes(self) -> bytes:
        """The packed columns, compressed: what the journal holds for one batch."""
        names = json.dumps([list(self.users), list(self.items)]).encode()
        columns = (self.timestamps, self.values, self.partitions, self.offsets)
        header = np.array([len(self), len(names)], dtype=np.int64).tobytes()
        return zlib.compress(header + names + b"".join(c.tobytes() for c in columns), level=1)

    @classmethod
    def from_bytes(cls, payload: bytes) -> EventBatch:
        """The inverse of `to_bytes`."""
        raw = zlib.decompress(payload)
        n, names_bytes = (int(x) for x in np.frombuffer(raw, dtype=np.int64, count=2))
        users, items = json.loads(raw[16 : 16 + names_bytes])
        position = 16 + names_bytes

        def column(dtype: type[np.generic]) -> NDArray[Any]:
            nonlocal position
            values = np.frombuffer(raw, dtype=dtype, count=n, offset=position)
            position += values.nbytes
            return values

        return cls(
            users,
            items,
            timestamps=column(np.float64),
            values=column(np.float32),
            partitions=column(np.int32),
            offsets=column(np.int64),
        )

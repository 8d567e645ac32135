"""What was polled and is not stored yet, cut into micro-batches whatever sizes the polls had."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from connectors.base import DeadLetter, Poll, Source, SourceUnavailable
from connectors.event import EventBatch

POLL_EVENTS = 2_048


@dataclass(frozen=True, slots=True)
class Piece:
    """A micro-batch, and what becomes durable with it: see `Poll`."""

    events: EventBatch
    positions: Mapping[int, int]
    dead_letters: Sequence[DeadLetter]


class Pending:
    """A queue of polled events; dead letters and positions leave it with the events around them."""

    def __init__(self) -> None:
        self.since = 0.0
        """When its oldest event came (of the caller's clock)."""
        self.clear()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def empty(self) -> bool:
        return not self._ends

    def clear(self) -> None:
        """Forget everything: it will be polled again from the stored positions."""
        self._events = EventBatch.from_events([])
        self._dead_letters: list[DeadLetter] = []
        self._ends: dict[int, int] = {}

    def add(self, poll: Poll, now: float) -> None:
        if self.empty:
            self.since = now
        self._events = EventBatch.concat([self._events, poll.events])
        self._dead_letters += poll.dead_letters
        self._ends.update(poll.positions)

    def cut(self, size: int, now: float) -> Piece:
        """The oldest `size` events, or all there are.

        The position of a partition becomes that of its first event that stays; where none stays,
        the end of its polls.
        """
        events, rest = self._events[:size], self._events[size:]
        partitions, first = np.unique(rest.partitions, return_index=True)
        stay = dict(zip(partitions.tolist(), rest.offsets[first].tolist(), strict=True))
        positions = self._ends | stay
        leaving = [d for d in self._dead_letters if d.offset < positions[d.partition]]
        staying = [d for d in self._dead_letters if d.offset >= positions[d.partition]]
        self._events, self._dead_letters = rest, staying
        self._ends = {p: end for p, end in self._ends.items() if p in stay}
        self.since = now
        return Piece(events, positions, leaving)


def micro_batches(
    source: Source,
    size: int,
    events: int,
    patience_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[EventBatch]:
    """The first `events` events of a source in micro-batches of `size`, the last one smaller.

    Nothing is stored: this is a stream read for an evaluation. Raises SourceUnavailable where
    nothing comes for `patience_s` seconds.
    """
    pending = Pending()
    done, heard = 0, clock()
    while done < events:
        poll = source.poll(POLL_EVENTS, 0.5)
        pending.add(poll, clock())
        if poll.positions:
            heard = clock()
        elif clock() - heard > patience_s:
            raise SourceUnavailable(
                f"topic {source.topic!r}: {done + len(pending)} of {events} events came, then none "
                f"for {patience_s:.0f} s; see that all were published"
            )
        while (wanted := min(size, events - done)) and len(pending) >= wanted:
            batch = pending.cut(wanted, clock()).events
            done += len(batch)
            yield batch

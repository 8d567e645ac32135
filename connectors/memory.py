"""A source and a sink that live in memory, for tests: what happens is a list.

    script = [Event("u", "i", 1.0), b"not json", Pause(), Abort(), Event("u", "j", 2.0)]
    source = MemorySource("events", script)

Pauses and crashes are items of the script, so that a test can run, crash, run again on the same
script and compare with a run that was never interrupted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from connectors.base import (
    DeadLetter,
    InvalidRecord,
    Poll,
    Positions,
    Recommendation,
    SourceUnavailable,
)
from connectors.codec import decode
from connectors.event import Event, EventBatch


class Crash(Exception):
    """What an Abort raises unless it is given something else."""


@dataclass(frozen=True, slots=True)
class Pause:
    """One poll that brings nothing."""


@dataclass(slots=True)
class Abort:
    """`exception` out of `poll`, once: a second source on the same script passes it by."""

    exception: BaseException = field(default_factory=lambda: Crash("the script says so"))
    happened: bool = False


Item = Event | bytes | Pause | Abort


class MemorySource:
    """A Source that plays a script, in its order; after the end every poll is empty.

    An event belongs to its partition, bytes to partition 0. Offsets count the records of a
    partition from 0: the offset an event carries is replaced. Records before the stored position
    of their partition are passed by; `positions` is asked at the start, and without it everything
    is read. `committed_positions` is what the reader said is durable.
    """

    def __init__(
        self, topic: str, script: Sequence[Item], positions: Positions = lambda topic: {}
    ) -> None:
        self.topic = topic
        self.committed_positions: dict[int, int] = {}
        self._closed = False
        self._next = 0
        self._items: list[Pause | Abort | tuple[int, int, Event | bytes]] = []
        ends: Counter[int] = Counter()
        starts = positions(topic)
        for item in script:
            if isinstance(item, Pause | Abort):
                if not (isinstance(item, Abort) and item.happened):
                    self._items.append(item)
                continue
            partition = item.partition if isinstance(item, Event) else 0
            if ends[partition] >= starts.get(partition, 0):
                self._items.append((partition, ends[partition], item))
            ends[partition] += 1
        self._left = {p: max(0, end - starts.get(p, 0)) for p, end in ends.items()}

    def poll(self, max_events: int, timeout_s: float) -> Poll:
        """At most `max_events` records, up to the next pause or crash; never waits.

        Raises what an Abort says where that comes first, SourceUnavailable after `close`.
        """
        if self._closed:
            raise SourceUnavailable(f"topic {self.topic!r} is closed: build a new source")
        events: list[Event] = []
        dead_letters: list[DeadLetter] = []
        positions: dict[int, int] = {}
        while self._next < len(self._items) and len(events) + len(dead_letters) < max_events:
            item = self._items[self._next]
            if isinstance(item, Pause | Abort) and positions:
                break
            self._next += 1
            if isinstance(item, Pause):
                break
            if isinstance(item, Abort):
                item.happened = True
                raise item.exception
            partition, offset, record = item
            if isinstance(record, Event):
                events.append(replace(record, offset=offset))
            else:
                try:
                    events.append(decode(record, partition, offset))
                except InvalidRecord as error:
                    dead_letters.append(
                        DeadLetter(self.topic, partition, offset, str(error), record)
                    )
            positions[partition] = offset + 1
            self._left[partition] -= 1
        return Poll(EventBatch.from_events(events), dead_letters, positions)

    def committed(self, positions: Mapping[int, int]) -> None:
        self.committed_positions.update(positions)

    def lag(self) -> Mapping[int, int]:
        """Records not yet polled, by partition of the script."""
        return dict(self._left)

    def close(self) -> None:
        self._closed = True


class MemorySink:
    """A Sink that keeps `recommendations`; the first `flushed` of them were waited for."""

    def __init__(self) -> None:
        self.recommendations: list[Recommendation] = []
        self.flushed = 0
        self.closed = False

    def write(self, recommendations: Sequence[Recommendation]) -> None:
        self.recommendations.extend(recommendations)

    def flush(self) -> None:
        self.flushed = len(self.recommendations)

    def close(self) -> None:
        self.flush()
        self.closed = True

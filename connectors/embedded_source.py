"""Events out of the embedded log, and recommendations into it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal

from connectors.base import (
    DeadLetter,
    Decode,
    InvalidRecord,
    Poll,
    Positions,
    Recommendation,
    SourceUnavailable,
)
from connectors.codec import encode_recommendation
from connectors.embedded_log import EmbeddedLog
from connectors.event import Event, EventBatch

LOOK_AGAIN_S = 0.02


class EmbeddedSource:
    """One topic of the log, all its partitions: the `Source` protocol.

    A partition without a stored position is read from `start`. A missing topic is made, with one
    partition. The log stays the caller's.

    Raises SourceUnavailable where a stored position lies behind the end of its partition: then
    this is not the log that was read before.
    """

    def __init__(
        self,
        log: EmbeddedLog,
        topic: str,
        decode: Decode,
        positions: Positions,
        start: Literal["earliest", "latest"] = "earliest",
    ) -> None:
        self.topic = topic
        self._log = log
        self._decode = decode
        log.ensure_topic(topic)
        stored = positions(topic)
        ends = log.end_offsets(topic)
        for partition, end in ends.items():
            if stored.get(partition, 0) > end:
                raise SourceUnavailable(
                    f"topic {topic!r}, partition {partition}, ends at {end}, but was read up to "
                    f"{stored[partition]}: this is another log, so name the one that was read, "
                    "or start with a new database"
                )
        begins = ends if start == "latest" else dict.fromkeys(ends, 0)
        self._next = {p: stored.get(p, begins[p]) for p in ends}
        # Where "latest" was is told as a position at once, so that it is decided only once.
        self._unstored = {p: self._next[p] for p in ends if self._next[p] != stored.get(p, 0)}
        self._turn = 0  # the partition that is served first

    def poll(self, max_events: int, timeout_s: float) -> Poll:
        """At most `max_events` records, in order within each partition."""
        deadline = time.monotonic() + timeout_s
        while True:
            shares = self._shares(max_events)
            rest = deadline - time.monotonic()
            if shares or self._unstored or rest <= 0:
                return self._read(shares)
            time.sleep(min(LOOK_AGAIN_S, rest))

    def committed(self, positions: Mapping[int, int]) -> None:
        """Nobody needs to know: the log keeps no positions."""

    def lag(self) -> Mapping[int, int]:
        ends = self._log.end_offsets(self.topic)
        return {p: ends[p] - offset for p, offset in self._next.items()}

    def close(self) -> None:
        """Nothing is held."""

    def _shares(self, max_events: int) -> dict[int, int]:
        """How many records to read of each partition that has some: as even as they allow.

        The next poll begins behind the partition that got the last record of this one.
        """
        waiting = {p: records for p, records in self.lag().items() if records}
        order = sorted(waiting, key=lambda p: (p - self._turn) % len(self._next))
        shares: dict[int, int] = {}
        left = max_events
        while waiting and left > 0:
            even = max(1, left // len(waiting))
            for partition in [p for p in order if p in waiting][:left]:
                taken = min(even, waiting[partition])
                shares[partition] = shares.get(partition, 0) + taken
                left -= taken
                self._turn = partition + 1
                waiting[partition] -= taken
                if not waiting[partition]:
                    del waiting[partition]
        return shares

    def _read(self, shares: Mapping[int, int]) -> Poll:
        events: list[Event] = []
        dead: list[DeadLetter] = []
        moved = dict(self._unstored)
        for partition, count in shares.items():
            begin = self._next[partition]
            for record in self._log.read(self.topic, partition, begin, count):
                where = (partition, record.offset)
                try:
                    events.append(self._decode(record.value, *where))
                except InvalidRecord as error:
                    dead.append(DeadLetter(self.topic, *where, str(error), record.value))
            moved[partition] = begin + count
        self._next.update(moved)
        self._unstored.clear()
        return Poll(EventBatch.from_events(events), dead, moved)


class EmbeddedSink:
    """Recommendations as JSON records in a topic of the log: the `Sink` protocol."""

    def __init__(self, log: EmbeddedLog, topic: str) -> None:
        self._log = log
        self._topic = topic

    def write(self, recommendations: Sequence[Recommendation]) -> None:
        """Durable on return."""
        self._log.publish(
            self._topic,
            ((each.user, encode_recommendation(each), each.timestamp) for each in recommendations),
        )

    def flush(self) -> None:
        """Nothing is pending: `write` has stored it."""

    def close(self) -> None:
        """The log stays the caller's."""

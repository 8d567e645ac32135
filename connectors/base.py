"""What the engine asks of the outside world: sources, sinks, a durable store; and their errors.

    ConnectorError                 anything outside the engine that went wrong
    ├── InvalidRecord              one record cannot be an event; the stream goes on without it
    ├── FileFormatError            a data file cannot be read as asked
    ├── SourceUnavailable          a broker or log cannot be reached
    └── StoreError                 the database cannot do what was asked

Each message names the value, the rule and the next step, in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from connectors.event import Event, EventBatch


class ConnectorError(Exception):
    """Anything outside the engine that went wrong, said in one line."""


class InvalidRecord(ConnectorError):
    """One record cannot be an event: it goes to the dead letters, and the stream goes on."""


class FileFormatError(ConnectorError):
    """A data file cannot be read as asked."""


class SourceUnavailable(ConnectorError):
    """A broker or log cannot be reached."""


class StoreError(ConnectorError):
    """The database cannot do what was asked."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not become an event, as it came."""

    topic: str
    partition: int
    offset: int
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll brought.

    `positions` maps each partition that moved to the offset to read *next*: it covers the events
    and the dead letters of this poll, and is stored in the transaction that stores them.
    """

    events: EventBatch
    dead_letters: Sequence[DeadLetter] = ()
    positions: Mapping[int, int] = field(default_factory=dict)


Decode = Callable[[bytes, int, int], Event]
"""The event in a record (raw, partition, offset). Raises InvalidRecord where that is none."""

Positions = Callable[[str], Mapping[int, int]]
"""The stored positions of a topic: by partition, the offset to read next."""


class Source(Protocol):
    """A topic read in order within each partition, from positions the caller keeps.

    A source is built with a `Positions` function, and asks it for those of its topic whenever it
    is given partitions; one without a stored position starts at the source's configured place.
    A source never decides by itself that an event has been handled.
    """

    topic: str

    def poll(self, max_events: int, timeout_s: float) -> Poll:
        """At most `max_events` records, after at most `timeout_s` seconds; empty where none came.

        Raises SourceUnavailable where the outside is gone for good.
        """
        ...

    def committed(self, positions: Mapping[int, int]) -> None:
        """Tell the outside what is durable here. A courtesy: losing it loses nothing."""
        ...

    def lag(self) -> Mapping[int, int]:
        """Records not yet polled, by assigned partition."""
        ...

    def close(self) -> None:
        """Leave; give up the partitions."""
        ...


@dataclass(frozen=True, slots=True)
class Recommendation:
    """An answer as it leaves for a topic: the user's top items, best first, as of `timestamp`."""

    user: str
    items: Sequence[str]
    scores: Sequence[float]
    timestamp: float
    model_version: int


class Sink(Protocol):
    """Where recommendations are written. Delivery is at least once."""

    def write(self, recommendations: Sequence[Recommendation]) -> None: ...

    def flush(self) -> None:
        """Return when everything written so far has been taken by the outside."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One durable step of the engine; the engine says which kinds there are."""

    position: int
    kind: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of a snapshot, replacing the piece of the same kind and key before it."""

    kind: str
    key: int
    payload: bytes


class Store(Protocol):
    """The durable side of the engine: journal, source positions, snapshot chunks, dead letters."""

    def append(
        self,
        entries: Sequence[tuple[str, bytes]],
        topic: str = "",
        positions: Mapping[int, int] | None = None,
        dead_letters: Sequence[DeadLetter] = (),
    ) -> int:
        """Journal entries (kind, payload), source positions, dead letters: one transaction.

        Returns the journal position of the last entry. Raises StoreError, and stores nothing,
        where a position would go backwards.
        """
        ...

    def tail(self, after: int) -> Iterator[JournalEntry]:
        """Journal entries with a position greater than `after`, in order."""
        ...

    def positions(self, topic: str) -> dict[int, int]:
        """The next offset to read, by partition."""
        ...

    def save_snapshot(self, position: int, chunks: Iterable[Chunk]) -> None:
        """Upsert `chunks` as of journal `position` and prune the journal up to it, atomically."""
        ...

    def load_snapshot(self) -> tuple[int, Iterator[Chunk]]:
        """The journal position of the snapshot (0: none) and its chunks."""
        ...

"""The journal: every step of the engine, as it was taken, and how a start takes them again.

batch     a micro-batch, stored before it is scored and learned
swap      a fine-tune whose model went live: {"version": 7, "window_end": 12000}
reject    a fine-tune that failed at the gate; its part of the window is used all the same
promote   another version made live by a person: {"version": 5}
forget    a user whom a person let be forgotten: {"user": "42"}
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field

from connectors.base import JournalEntry, Store
from connectors.event import EventBatch
from engine import checkpoint
from engine.durable import unpack
from engine.engine import Engine
from engine.errors import SnapshotError
from engine.finetune import Candidate
from engine.versions import Versions

BATCH, SWAP, REJECT, PROMOTE, FORGET = "batch", "swap", "reject", "promote", "forget"

log = logging.getLogger(__name__)

Entry = tuple[str, bytes]


@dataclass
class Recovered:
    """Where a start has come to: the journal position reached, whether the store held anything,
    and what came after the snapshot: how many events, of which users."""

    position: int = 0
    empty: bool = True
    events: int = 0
    users: set[str] = field(default_factory=set)


def batch_entry(batch: EventBatch) -> Entry:
    return BATCH, batch.to_bytes()


def finetune_entry(candidate: Candidate) -> Entry:
    payload = {"version": candidate.version, "window_end": candidate.window_end}
    return SWAP if candidate.accepted else REJECT, json.dumps(payload).encode()


def promote_entry(version: int) -> Entry:
    return PROMOTE, json.dumps({"version": version}).encode()


def forget_entry(user: str) -> Entry:
    return FORGET, json.dumps({"user": user}).encode()


def live_version(store: Store) -> int:
    """The version that a start from this store would make live; 0: the untrained model."""
    position, chunks = store.load_snapshot()
    live = next((int(unpack(c.payload)["version"]) for c in chunks if c.kind == "engine"), 0)
    for entry in store.tail(position):
        if entry.kind in (SWAP, PROMOTE):
            live = int(json.loads(entry.payload)["version"])
    return live


def promote(store: Store, versions: Versions, version: int) -> None:
    """Make a version live at the next start, where no engine runs on this store.

    Raises VersionError where there is no such version, StoreError where an engine runs.
    """
    versions.load(version)
    store.append([promote_entry(version)])


def recover(engine: Engine, store: Store, versions: Versions) -> Recovered:
    """Bring a new engine to where the store says it was: the snapshot, then the journal's tail.

    Equal to a run that was never stopped. Raises SnapshotError or VersionError where what is
    stored does not fit this engine.
    """
    position, chunks = store.load_snapshot()
    done = Recovered(position, empty=not checkpoint.restore(engine, chunks, versions))
    for entry in store.tail(position):
        _apply(engine, entry, versions, done)
        done.position = entry.position
    log.info(
        "recovered %d events of %d users, %d of them from the journal behind the snapshot",
        engine.recommender.events,
        len(engine.recommender.users),
        done.events,
    )
    return done


def _apply(engine: Engine, entry: JournalEntry, versions: Versions, done: Recovered) -> None:
    if entry.kind == BATCH:
        batch = EventBatch.from_bytes(entry.payload)
        engine.process(batch)
        done.events += len(batch)
        done.users.update(batch.users)
        return
    if entry.kind not in (SWAP, REJECT, PROMOTE, FORGET):
        raise SnapshotError(
            f"journal: entry {entry.position} is a {entry.kind!r}, which this program does not "
            "know; start with the version of lrustream that wrote it"
        )
    payload = json.loads(entry.payload)
    if entry.kind == FORGET:
        engine.recommender.forget(payload["user"])
        done.users.discard(payload["user"])
        return
    if entry.kind != PROMOTE:
        engine.settle(payload["version"], payload["window_end"])
    if entry.kind != REJECT:
        model, trained = versions.load(payload["version"], engine.recommender.device)
        engine.swap(model, trained, payload["version"])

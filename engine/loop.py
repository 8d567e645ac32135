"""The loop of `serve`: poll, store, score and learn, maintain; and answers beside it.

Start it with what `journal.recover` came to. Whatever kills it, a start from the store goes on
where it was: a micro-batch is durable before it is learned, and so is a swap before it happens.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event as Flag
from threading import Lock
from typing import Any

from torch import Tensor

from connectors.base import Recommendation, Sink, Source, Store
from engine.background import BackgroundTuner, FinetuneFailed, InlineTuner, Tuner
from engine.checkpoint import snapshot_chunks
from engine.config import LoopConfig
from engine.engine import Engine
from engine.finetune import Candidate
from engine.journal import Recovered, batch_entry, finetune_entry, forget_entry, promote_entry
from engine.pending import POLL_EVENTS, Pending, Piece
from engine.requests import Requests
from engine.stats import engine_stats
from engine.versions import Versions
from lrurec.model import LRURec

IDLE_S = 0.5
"""Longest wait for an event before the loop looks after other things."""
TELL_S = 1.0
"""Seconds between two reports of durable positions to the source."""
RATE_S = 10.0
"""Seconds over which events a second are counted."""
RETRY_EVENTS = 1_000
"""Events after a failed fine-tune before the next may begin."""

log = logging.getLogger(__name__)


class Loop:
    """`run` belongs to one thread; what answers questions, `promote`, `forget` and `stop` to any.

    Where the source gives up partitions to others, let it call `forget_pending` before.
    `clock` gives seconds, whatever it counts from.
    """

    def __init__(
        self,
        engine: Engine,
        source: Source,
        store: Store,
        versions: Versions,
        recovered: Recovered,
        config: LoopConfig | None = None,
        sink: Sink | None = None,
        tuner: Tuner | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine, self.source, self.store, self.versions = engine, source, store, versions
        self.config = config or LoopConfig()
        self.sink = sink
        inline = engine.config.finetune_mode == "inline"
        self.tuner: Tuner = tuner or (InlineTuner() if inline else BackgroundTuner())
        self.clock = clock
        self.position = recovered.position
        """Of the newest journal entry."""
        self._recovered = recovered
        self._pending = Pending()
        self._counts = dict.fromkeys(("dead_letters", "accepted", "rejected", "failed"), 0)
        self._turn, self._lock = Lock(), Lock()
        self.requests = Requests()
        self._stopping = Flag()
        self._untold: dict[int, int] = {}
        self._told_at = self._snapshot_at = clock()
        self._snapshot_position, self._snapshot_events = recovered.position, recovered.events
        self._resume_at = 0
        self._pace: deque[tuple[float, int]] = deque([(clock(), engine.recommender.events)])

    # ---- the loop

    def run(self, events: int | None = None) -> None:
        """Until `stop`, or until the engine has learned `events` events in all its life.

        Then the micro-batch at work is finished and a snapshot written; what was polled and not
        yet stored is left to the next start. An error leaves things as a crash would.
        """
        try:
            if self._recovered.empty:
                self._snapshot()
            self._recommend_to(self._recovered.users)
            self._maintain()
            while not self._ended(events):
                self._step(events)
            self._snapshot()
            self.source.committed(self._untold)
        finally:
            self.tuner.close()
            self.source.close()
            self.requests.refuse_all()

    def stop(self) -> None:
        """Ask the loop to end well. May be called from a signal handler."""
        self._stopping.set()

    def forget_pending(self) -> None:
        """Drop what was polled but not stored; call on the thread of `run`."""
        self._pending.clear()

    def _step(self, events: int | None) -> None:
        """One poll, and every micro-batch that is full or has waited long enough."""
        waited = self.clock() - self._pending.since
        patience = IDLE_S if self._pending.empty else self.config.max_wait_s - waited
        poll = self.source.poll(POLL_EVENTS, min(max(patience, 0.0), IDLE_S))
        self._pending.add(poll, self.clock())
        while self._ready() and not self._ended(events):
            self._handle(self._pending.cut(self.engine.config.micro_batch, self.clock()))
            self._maintain()
        self._maintain()

    def _ended(self, events: int | None) -> bool:
        learned = self.engine.recommender.events
        return self._stopping.is_set() or (events is not None and learned >= events)

    def _ready(self) -> bool:
        if len(self._pending) >= self.engine.config.micro_batch:
            return True
        waited = self.clock() - self._pending.since
        return not self._pending.empty and waited >= self.config.max_wait_s

    def _handle(self, piece: Piece) -> None:
        """Store, then score and learn, then tell."""
        entries = [batch_entry(piece.events)] if len(piece.events) else []
        self.position = self.store.append(
            entries, self.source.topic, piece.positions, piece.dead_letters
        )
        self._untold.update(piece.positions)
        self._counts["dead_letters"] += len(piece.dead_letters)
        if not entries:
            return
        with self._exclusive():
            self.engine.process(piece.events)
        self._snapshot_events += len(piece.events)
        self._recommend_to(dict.fromkeys(piece.events.users))

    def _maintain(self) -> None:
        """What is due between two micro-batches."""
        self._finetune()
        self.requests.do_all()
        now = self.clock()
        stale = now - self._snapshot_at >= self.config.snapshot_seconds
        if self._snapshot_events >= self.config.snapshot_events or (
            stale and self.position > self._snapshot_position
        ):
            self._snapshot()
        if self._untold and now - self._told_at >= TELL_S:
            self.source.committed(self._untold)
            self._untold, self._told_at = {}, now
        if now - self._pace[-1][0] >= 1.0:
            self._pace.append((now, self.engine.recommender.events))
            while now - self._pace[0][0] > RATE_S and len(self._pace) > 2:
                self._pace.popleft()

    # ---- fine-tunes and versions

    def _finetune(self) -> None:
        events = self.engine.recommender.events
        if not self.tuner.busy and events >= self._resume_at and (reason := self.engine.due()):
            self.tuner.submit(self.engine.prepare(reason))
        try:
            candidate = self.tuner.poll()
        except FinetuneFailed as error:
            log.warning("%s; the next one after %d more events", error, RETRY_EVENTS)
            self._counts["failed"] += 1
            self._resume_at = events + RETRY_EVENTS
            return
        if candidate is not None:
            self._settle(candidate)

    def _settle(self, candidate: Candidate) -> None:
        """First the files, then the journal, then the swap: a crash between loses nothing."""
        self.versions.save(candidate, self.engine.recommender.version, self.engine.config)
        self.position = self.store.append([finetune_entry(candidate)])
        self.engine.settle(candidate.version, candidate.window_end)
        verdict = "accepted" if candidate.accepted else "rejected"
        self._counts[verdict] += 1
        log.info(
            "version %d %s: %.4f nats, live %.4f, on %d held-out events (due by %s)",
            candidate.version,
            verdict,
            candidate.candidate_loss,
            candidate.live_loss,
            candidate.held_out,
            candidate.reason,
        )
        if candidate.accepted:
            self._go_live(candidate.model, candidate.trained, candidate.version)

    def _go_live(self, model: LRURec, trained: dict[str, Tensor] | None, version: int) -> None:
        """States are made beside the live ones while queries go on; then one flip."""
        recommender = self.engine.recommender
        with self._exclusive():
            recommender.histories.anchor_all()
        states = recommender.states_under(model)
        with self._exclusive():
            self.engine.swap(model, trained, version, states)

    def _promote(self, version: int) -> None:
        model, trained = self.versions.load(version, self.engine.recommender.device)
        self.position = self.store.append([promote_entry(version)])
        self.tuner.close()  # what it trains comes from the version that is left
        self._go_live(model, trained, version)
        log.info("version %d promoted", version)

    def _forget(self, user: str) -> bool:
        """The snapshot drops the journal's entries, which name the user."""
        if self.engine.recommender.users.row(user) < 0:
            return False
        self.position = self.store.append([forget_entry(user)])
        with self._exclusive():
            self.engine.recommender.forget(user)
        self._snapshot()
        log.info("a user was forgotten, as asked")
        return True

    # ---- snapshots and output

    def _snapshot(self) -> None:
        """Write what changed; then nothing needs the versions that have been replaced."""
        if self.sink is not None:
            self.sink.flush()
        self.store.save_snapshot(self.position, snapshot_chunks(self.engine))
        self._snapshot_at, self._snapshot_events = self.clock(), 0
        self._snapshot_position = self.position
        stats = engine_stats(self.engine)
        log.info(
            "snapshot at journal position %d: %d events, %d users, %d items; bytes a user: %s; %s",
            self.position,
            *(stats[name] for name in ("events", "users", "items")),
            ", ".join(f"{name} {size:.0f}" for name, size in stats["bytes_per_user"].items()),
            ", ".join(f"{n} {c['size']} of {c['cap']}" for n, c in stats["caps"].items()),
        )
        self.versions.prune(self.engine.recommender.version)

    def _recommend_to(self, users: Iterable[str]) -> None:
        if self.sink is None:
            return
        recommender = self.engine.recommender
        answers = []
        for user in users:
            best = self.recommend(user, self.config.recommendations)
            items, scores = [item for item, _ in best], [score for _, score in best]
            answers.append(
                Recommendation(user, items, scores, recommender.event_time, recommender.version)
            )
        self.sink.write(answers)

    # ---- for other threads

    def recommend(
        self, user: str, k: int = 10, exclude: Collection[str] = ()
    ) -> list[tuple[str, float]]:
        """`Recommender.recommend`; waits for one micro-batch at most."""
        with self._exclusive():
            return self.engine.recommender.recommend(user, k, exclude)

    def models(self) -> Sequence[dict[str, Any]]:
        """The versions there are, oldest first, and which is live: see `Versions.described`."""
        return self.versions.described(self.engine.recommender.version)

    def promote(self, version: int, timeout_s: float = 60.0) -> int:
        """Make another version live, durably; returns it when it is.

        Raises VersionError where there is no such version, TimeoutError where the loop is busy
        for so long.
        """
        self.versions.load(version)
        self.requests.ask(lambda: self._promote(version), timeout_s)
        return version

    def rollback(self) -> int:
        """Promote the version that was live before the present one came. Raises as `promote`."""
        return self.promote(self.versions.before(self.engine.recommender.version))

    def forget(self, user: str, timeout_s: float = 60.0) -> bool:
        """`Recommender.forget`, durably. Raises TimeoutError where the loop is busy for so long."""
        return self.requests.ask(lambda: self._forget(user), timeout_s)

    def stats(self) -> dict[str, Any]:
        """`engine_stats`, and what the loop knows: see docs of `GET /stats`.

        lag: records not yet polled, by partition; counts are of this run.
        """
        with self._exclusive():
            stats = engine_stats(self.engine)
        now = self.clock()
        began, before = self._pace[0]
        return stats | {
            "events_per_second": (stats["events"] - before) / max(now - began, 1e-9),
            "pending": len(self._pending),
            "lag": dict(self.source.lag()),
            "dead_letters": self._counts["dead_letters"],
            "finetunes": {
                "running": self.tuner.busy,
                **{name: self._counts[name] for name in ("accepted", "rejected", "failed")},
            },
            "journal": {
                "position": self.position,
                "snapshot_position": self._snapshot_position,
                "events_since_snapshot": self._snapshot_events,
                "snapshot_age_s": now - self._snapshot_at,
            },
        }

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Alone with the engine. Whoever waits comes next: the loop cannot overtake a query."""
        with self._turn:
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

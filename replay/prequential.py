"""Predict, then learn: one ordered stream through the engine and the baselines, ranks collected.

Protocol `deployable`: every event is scored, whoever the user is; an item new to the stream is a
miss, and so is one that the user already has while repeats are off. Others: `replay.protocols`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from connectors.event import EventBatch
from engine.metrics import PrequentialMetrics, Reason
from replay.baselines import BASELINES, Baseline, Make, Task
from replay.protocols import DEPLOYABLE, Protocol
from replay.segments import segments_of
from replay.stream import Rows, first_of_each, to_rows

if TYPE_CHECKING:
    from engine.scoring import Scored

BLOCK = 8_192
"""Events that the baselines take at a time, behind the engine."""

ScoreAndLearn = Callable[[EventBatch], "Scored"]
"""Ranks each event of a micro-batch with what was known before it, then learns it."""

Progress = Callable[[int, int, float, float], None]
"""Called with events done, events in all, and the leading model's Recall@10 and NDCG@10 so far."""


@dataclass(frozen=True, slots=True)
class Track:
    """How one model ranked the n events of a stream.

    ranks: int64 (n,), 0 = miss; reasons: int8 (n,) `Reason`; unknown_users: bool (n,);
    log_losses: float64 (n,) nats, NaN where an event or the model has none. An event that the
    protocol does not score counts in no metric; its reason is UNSCORED, its rank 0.
    """

    ranks: NDArray[np.int64]
    reasons: NDArray[np.int8]
    unknown_users: NDArray[np.bool_]
    log_losses: NDArray[np.float64]

    @property
    def scored(self) -> NDArray[np.bool_]:
        return self.reasons != Reason.UNSCORED

    def under(self, protocol: Protocol) -> Track:
        """The same events, with those that the protocol does not score marked."""
        unscored = protocol.unscored(self.unknown_users)
        return Track(
            np.where(unscored, 0, self.ranks),
            np.where(unscored, np.int8(Reason.UNSCORED), self.reasons),
            self.unknown_users,
            np.where(unscored, np.nan, self.log_losses),
        )

    def metrics(self) -> PrequentialMetrics:
        metrics = PrequentialMetrics()
        scored = self.scored
        metrics.update(
            self.ranks[scored],
            self.reasons[scored],
            self.log_losses[scored],
            self.unknown_users[scored],
        )
        return metrics


@dataclass(frozen=True, slots=True)
class Results:
    """What a replay gave: a track for each model, over the same number of events.

    segments: masks (n,) by name, see `segments_of`; none where a broker changed the order.
    left_out: models that were asked for and did not run, and why.
    """

    tracks: dict[str, Track]
    events: int
    seconds: float
    segments: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def run(
    score_and_learn: ScoreAndLearn | None,
    baselines: Sequence[str],
    batch: EventBatch,
    *,
    micro_batch: int = 256,
    repeats: bool = False,
    seed: int = 0,
    protocol: Protocol = DEPLOYABLE,
    progress: Progress | None = None,
    feed: Iterable[EventBatch] | None = None,
    makers: Mapping[str, Make] = BASELINES,
    watch: Callable[[Baseline], Baseline] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Results:
    """Drive the engine (where there is one) and the named baselines over an ordered stream.

    The engine gets `batch` in micro-batches, or takes them from `feed` where the events travel
    through a broker. The baselines, which `makers` make and `watch` may wrap, are exact after every
    event whatever the micro-batch; they run side by side in threads while the engine waits, as its
    own threads suffer from any beside them. Models come back in the order engine, lrurec,
    baselines as named.

    Raises ValueError for an unknown baseline, and where `feed` brings another number of events.
    """
    unknown = [name for name in baselines if name not in makers]
    if unknown:
        raise ValueError(f"baseline {unknown[0]!r} is not known: give one of {', '.join(makers)}")
    started = clock()
    total = len(batch)
    rows = to_rows(batch)
    task = Task(rows.n_users, rows.n_items, repeats, seed, protocol)
    models = [makers[name](task) for name in baselines]
    if watch:
        models = [watch(model) for model in models]
    baseline_ranks: list[list[NDArray[np.int64]]] = [[] for _ in models]
    scored: list[Scored] = []
    leading = PrequentialMetrics()
    reasons = reasons_of(rows, repeats, protocol)
    in_order = True
    micro_batches = iter(batch.micro_batches(micro_batch) if feed is None else feed)

    def report_progress(ranks: NDArray[np.int64], of: NDArray[np.int8]) -> None:
        leading.update(ranks, of)
        if progress is not None:
            so_far = leading.cumulative()
            progress(leading.events, total, so_far["recall@10"], so_far["ndcg@10"])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, total, BLOCK):
            block = slice(start, min(start + BLOCK, total))
            while score_and_learn is not None and leading.events < block.stop:
                part = _next(micro_batches, leading.events, total)
                sent = batch[leading.events : leading.events + len(part)]
                in_order = in_order and list(part.users) == list(sent.users)
                scored.append(score_and_learn(part))
                report_progress(scored[-1].ranks["engine"], scored[-1].reasons)
            futures = [pool.submit(model.rank_and_learn, rows.part(block)) for model in models]
            for collected, future in zip(baseline_ranks, futures, strict=True):
                collected.append(future.result())
            if score_and_learn is None and models:
                report_progress(baseline_ranks[0][-1], reasons[block])

    tracks = _engine_tracks(scored)
    for name, parts in zip(baselines, baseline_ranks, strict=True):
        ranks = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
        tracks[name] = Track(ranks, reasons, first_of_each(rows.users), np.full(total, np.nan))
    tracks = {name: track.under(protocol) for name, track in tracks.items()}
    segments = segments_of(rows.users, rows.items, repeats) if in_order else {}
    return Results(tracks, total, clock() - started, segments)


def reasons_of(rows: Rows, repeats: bool, protocol: Protocol = DEPLOYABLE) -> NDArray[np.int8]:
    """(n,) `Reason` of every event of a stream: it depends on the stream alone."""
    reasons = np.full(len(rows.users), Reason.RANKED, dtype=np.int8)
    if not repeats:
        pairs = rows.users.astype(np.int64) * rows.n_items + rows.items
        reasons[~first_of_each(pairs)] = Reason.REPEAT
    if not protocol.all_items:
        reasons[first_of_each(rows.items)] = Reason.NEW_ITEM
    return reasons


def _next(micro_batches: Iterator[EventBatch], done: int, total: int) -> EventBatch:
    micro_batch = next((batch for batch in micro_batches if len(batch)), None)
    if micro_batch is None:
        raise ValueError(f"the feed ended after {done} of {total} events; check its source")
    if done + len(micro_batch) > total:
        raise ValueError(f"the feed brings more than the {total} events of the stream")
    return micro_batch


def _engine_tracks(scored: Sequence[Scored]) -> dict[str, Track]:
    if not scored:
        return {}
    reasons = np.concatenate([part.reasons for part in scored])
    unknown_users = np.concatenate([part.new_user for part in scored])
    return {
        name: Track(
            np.concatenate([part.ranks[name] for part in scored]),
            reasons,
            unknown_users,
            np.concatenate([part.log_losses[name] for part in scored]),
        )
        for name in scored[0].ranks
    }

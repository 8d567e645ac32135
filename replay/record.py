"""What goes on inside the engine while it is replayed: recorded beside it, for the report."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from connectors.event import EventBatch
from engine.engine import Engine
from engine.finetune import Candidate
from engine.mixture import Mixture
from engine.opinions import Opinions
from engine.recommender import Recommender
from engine.reranker import Reranker
from engine.scoring import Scored, Scoring
from engine.topk import ranks_of
from replay.baselines import Baseline
from replay.lists import LENGTH, Lists, Watched, padded, sampled
from replay.protocols import DEPLOYABLE, Protocol
from replay.shares import Weights


@dataclass(frozen=True, slots=True)
class Step:
    """One micro-batch of the engine.

    end: events of the stream up to its last; seconds: to rank and learn it, recording left out;
    finetune_seconds: to fine-tune after it, near 0 where nothing was due; rss_bytes: memory of
    the process afterwards; version: of the model that ranked it; shares: of the answers to its
    events, by group of experts.
    """

    end: int
    seconds: float
    finetune_seconds: float
    rss_bytes: int
    version: int
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Finetune:
    """A fine-tune after `event` events, why, and how it passed the gate (losses in nats)."""

    event: int
    version: int
    reason: str
    accepted: bool
    live_loss: float
    candidate_loss: float


@dataclass(frozen=True, slots=True)
class Recording:
    """Of one replay of n events; without an engine, the lists of the baselines alone.

    groups: of experts, in the order of `Step.shares`; alarms: events after which the drift detector
    spoke; without: by group, the ranks int64 (n,) of an engine that never had its experts, and of
    one that never had the "reranker"; lists: by model.
    """

    groups: tuple[str, ...]
    steps: list[Step]
    finetunes: list[Finetune]
    alarms: list[int]
    without: dict[str, NDArray[np.int64]]
    lists: dict[str, Lists]


class Recorder:
    """Drives an engine as `compare.in_process` does, watches the baselines, and takes notes.

    All ranks stay as they are. For each group of experts a second mixture and re-ranker are scored
    and learned on what all others say, on the same events: what the engine would be without it.
    Under a protocol that ranks among some candidates only, that cannot be compared, and is left
    out.
    """

    def __init__(
        self,
        engine: Engine | None,
        protocol: Protocol = DEPLOYABLE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._process = psutil.Process()
        self._places: dict[str, list[int]] = {}
        self._others: dict[str, tuple[Mixture, Reranker | None]] = {}
        self._seconds_observing = 0.0
        self._steps: list[Step] = []
        self._finetunes: list[Finetune] = []
        self._alarms: list[int] = []
        self._without: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
        self._lists: dict[str, list[Lists]] = defaultdict(list)
        self._watched: list[Watched] = []
        self._items: dict[str, int] = {}
        if engine:
            self._attach(engine.recommender, comparable=not protocol.recent_events)

    def _attach(self, recommender: Recommender, comparable: bool) -> None:
        experts = recommender.experts
        for group, names in experts.groups.items():
            self._places[group] = [experts.names.index(name) for name in names]
        if len(self._places) > 1 and comparable:
            for group, places in self._places.items():
                others = len(experts.names) - len(places)
                mixture, reranker = Mixture(others, recommender.device), None
                if len(self._places) > 2:  # more than one group is left, as in `Recommender`
                    repeats = "repeat" in self._places and group != "repeat"
                    seed, device = recommender.config.seed, recommender.device
                    reranker = Reranker(others, repeats, seed, device)
                self._others[group] = mixture, reranker
        self._weights = Weights.of(recommender.mixture)
        self._used: list[torch.Tensor] = []
        recommender.observers.append(self._observe)

    def watch(self, baseline: Baseline) -> Baseline:
        """The baseline, with what it would show noted."""
        self._watched.append(Watched(baseline))
        return self._watched[-1]

    def step(self, batch: EventBatch) -> Scored:
        """One micro-batch through the engine (a `ScoreAndLearn`)."""
        engine, clock = self._engine, self._clock
        assert engine is not None
        version, alarms = engine.recommender.version, engine.window.drift_alarms
        observing = self._seconds_observing
        started = clock()
        scored = engine.process(batch)
        learned = clock()
        candidate = engine.finetune_if_due()
        tuned = clock()
        assert scored is not None
        end = engine.recommender.events
        for item in batch.items:
            self._items.setdefault(item, len(self._items))
        self._steps.append(
            Step(
                end=end,
                seconds=learned - started - (self._seconds_observing - observing),
                finetune_seconds=tuned - learned,
                rss_bytes=self._process.memory_info().rss,
                version=version,
                shares=self._shares(),
            )
        )
        if candidate:
            self._finetunes.append(_finetune(end, candidate))
        if engine.window.drift_alarms > alarms:
            self._alarms.append(end)
        return scored

    def recording(self) -> Recording:
        """Everything noted so far."""
        return Recording(
            groups=tuple(self._places),
            steps=list(self._steps),
            finetunes=list(self._finetunes),
            alarms=list(self._alarms),
            without={group: np.concatenate(parts) for group, parts in self._without.items()},
            lists=self._engine_lists() | {w.name: w.lists() for w in self._watched},
        )

    def _engine_lists(self) -> dict[str, Lists]:
        """In the rows of the stream: the engine's differ where it knew all items from the start."""
        if not self._engine:
            return {}
        names = self._engine.recommender.items.names
        rows = np.array([self._items.get(name, -1) for name in names] + [-1], dtype=np.int32)
        return {name: rows[np.concatenate(parts)] for name, parts in self._lists.items()}

    def _observe(self, scoring: Scoring) -> None:
        started = self._clock()
        ranked = scoring.columns >= 0
        true = torch.from_numpy(np.maximum(scoring.columns, 0)).to(scoring.candidates.device)
        for group, answer in self._answers_without(scoring).items():
            ranks = ranks_of(answer, true, scoring.draws)
            self._without[group].append(np.where(ranked, ranks, 0))
        events = torch.from_numpy(sampled(scoring.first, len(ranked))).to(true.device)
        for name, answer in scoring.answers.items():
            self._lists[name].append(_best(answer, scoring.opinions, events))
        self._note_shares(scoring.contexts)
        self._seconds_observing += self._clock() - started

    def _answers_without(self, scoring: Scoring) -> dict[str, torch.Tensor]:
        """(B, I) by group; each has learned from the events when it is returned."""
        answers = {"reranker": scoring.mixed} if self._others else {}
        for group, (mixture, reranker) in self._others.items():
            opinions, facts = scoring.opinions.without(self._places[group]), scoring.facts
            if group == "lrurec":
                facts = replace(facts, model=None)
            if group == "ids":
                facts = replace(facts, ids=None)
            answers[group] = mixture.mix_and_learn(
                opinions, scoring.candidates, scoring.contexts, scoring.columns
            )
            if reranker:
                reranker.grow(len(facts.counts))
                answers[group] = reranker.rerank_and_learn(
                    answers[group], opinions, facts, scoring.columns
                )
        return answers

    def _note_shares(self, contexts: torch.Tensor) -> None:
        """Of the answers, which were made before the mixture learned from their events."""
        assert self._engine is not None
        self._used.append(self._weights.shares(contexts))
        self._weights = Weights.of(self._engine.recommender.mixture)

    def _shares(self) -> tuple[float, ...]:
        """By group, the mean over the events scored since this was last asked for."""
        shares = torch.cat(self._used).mean(0).tolist()
        self._used.clear()
        return tuple(sum(shares[place] for place in places) for places in self._places.values())


def _best(answer: torch.Tensor, opinions: Opinions, events: torch.Tensor) -> Lists:
    """The best items of events (S,) by probabilities (B, I), without those of 0: no candidates."""
    values, columns = torch.topk(answer[events], min(LENGTH, answer.shape[1]))
    items = opinions.items_of(columns, events)
    shown = items.masked_fill(~(values > 0), -1).cpu().numpy()
    return np.array([padded(row) for row in shown], dtype=np.int32).reshape(-1, LENGTH)


def _finetune(event: int, candidate: Candidate) -> Finetune:
    return Finetune(
        event=event,
        version=candidate.version,
        reason=candidate.reason,
        accepted=candidate.accepted,
        live_loss=candidate.live_loss,
        candidate_loss=candidate.candidate_loss,
    )

"""The engine: a recommender that fine-tunes itself. Replay and serve drive this same object."""

from __future__ import annotations

from torch import Tensor

from connectors.event import EventBatch
from engine import finetune
from engine.config import EngineConfig
from engine.finetune import Candidate
from engine.metrics import PrequentialMetrics
from engine.recommender import Recommender, Scored
from engine.window import Window


class Engine:
    """Score and learn micro-batches; at their boundaries, fine-tune, gate and swap."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.recommender = Recommender(config)
        self.window = Window(config)
        self.metrics = PrequentialMetrics()
        self.trained: dict[str, Tensor] | None = None
        self.next_version = 1

    def process(self, batch: EventBatch, score: bool = True) -> Scored | None:
        """Rank each event of one micro-batch with what was known before it, then learn it."""
        scored = self.recommender.learn_many(batch, score)
        losses = scored.log_losses["engine"] if scored else None
        if scored:
            self.metrics.update(scored.ranks["engine"], scored.reasons, scored.log_losses["engine"])
        rows = self.recommender.users.add(batch.users)
        self.window.learn(rows, self.recommender.event_time, losses)
        return scored

    def finetune_if_due(self) -> Candidate | None:
        """Inline: train, gate and, where accepted, swap before the next event."""
        if not self.recommender.uses_model or (reason := self.window.due()) is None:
            return None
        candidate = finetune.run(self.prepare(reason))
        self.take(candidate)
        return candidate

    def prepare(self, reason: str) -> finetune.Job:
        """The next fine-tune as a job of plain arrays."""
        job = finetune.prepare(
            self.recommender, self.window, self.trained, self.next_version, reason
        )
        self.next_version += 1
        return job

    def take(self, candidate: Candidate) -> None:
        """Swap an accepted candidate in; drop a rejected one. Either way its window is used."""
        self.window.cut(candidate.window_end)
        if candidate.accepted:
            self.trained = candidate.trained
            self.recommender.swap(candidate.model, candidate.version)

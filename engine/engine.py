"""The engine: a recommender that fine-tunes itself. Replay and serve drive this same object."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from connectors.event import EventBatch
from engine import finetune
from engine.config import EngineConfig
from engine.durable import Arrays, Durable, Tensors
from engine.finetune import Candidate
from engine.metrics import PrequentialMetrics
from engine.recommender import Recommender
from engine.scoring import Scored
from engine.states import States
from engine.window import Window
from lrurec.model import LRURec


class Engine:
    """Score and learn micro-batches; at their boundaries, fine-tune, gate and swap."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.recommender = Recommender(config)
        self.window = Window(config)
        self.metrics = PrequentialMetrics()
        self.trained: dict[str, Tensor] | None = None
        """The trainer's state as the live version left it; None before the first."""
        self.next_version = 1
        self._waiting: tuple[Candidate, int] | None = None
        """A candidate, and after how many events of the stream it may come in."""

    def process(self, batch: EventBatch, score: bool = True) -> Scored | None:
        """Rank each event of one micro-batch with what was known before it, then learn it."""
        scored = self.recommender.learn_many(batch, score)
        losses = scored.log_losses.get("lrurec") if scored else None  # drift of what is trained
        if scored:
            answer = "engine"
            self.metrics.update(
                scored.ranks[answer], scored.reasons, scored.log_losses[answer], scored.new_user
            )
        rows = self.recommender.users.add(batch.users)
        self.window.learn(rows, self.recommender.event_time, losses)
        return scored

    def due(self) -> str | None:
        """Why a fine-tune is due now ("count", "time" or "drift"), or None."""
        return self.window.due() if self.recommender.uses_model else None

    def finetune_if_due(self) -> Candidate | None:
        """Inline: train and gate; where accepted, swap when `train_lag` more events have passed.

        Returns the candidate that was taken now. While one waits, no other is trained.
        """
        events = self.recommender.events
        if self._waiting is None and (reason := self.due()):
            candidate = finetune.run(self.prepare(reason))
            self._waiting = candidate, events + self.config.train_lag
        if self._waiting is None or events < self._waiting[1]:
            return None
        (candidate, _), self._waiting = self._waiting, None
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
        self.settle(candidate.version, candidate.window_end)
        if candidate.accepted:
            self.swap(candidate.model, candidate.trained, candidate.version)

    def settle(self, version: int, window_end: int) -> None:
        """The fine-tune of `version` is over: its part of the window is used."""
        self.window.cut(window_end)
        self.next_version = max(self.next_version, version + 1)

    def swap(
        self,
        model: LRURec,
        trained: dict[str, Tensor] | None,
        version: int,
        states: States | None = None,
    ) -> None:
        """Make a version live, together with the state of its trainer (None: not kept)."""
        self.trained = trained
        self.recommender.swap(model, version, states)

    # ---- what snapshots hold

    def parts(self) -> dict[str, Durable]:
        """Everything durable but the weights of versions, by name."""
        recommender = self.recommender
        reranker = recommender.reranker
        return {
            "engine": self,
            "users": recommender.users,
            "items": recommender.items,
            "histories": recommender.histories,
            "appearances": Tensors(recommender.appearances),
            "mixture": Tensors(recommender.mixture),
            **(reranker.parts() if reranker else {}),
            "metrics": self.metrics,
            "window": self.window,
            **recommender.experts.parts(),
        }

    def changes(self) -> Iterator[tuple[int, Arrays]]:
        """The counters, and the rows that the live model has grown since its version was trained
        (`Durable`): how a new item's row begins depends on when it came."""
        recommender = self.recommender
        model = recommender.model
        first = len(self.trained["model.item_bias"]) if self.trained else 1
        if not recommender.uses_model:
            first = len(model.item_bias)
        yield (
            0,
            {
                "events": np.array(recommender.events),
                "event_time": np.array(recommender.event_time),
                "version": np.array(recommender.version),
                "next_version": np.array(self.next_version),
                "first_row": np.array(first),
                "embedding": model.embedding[first:].detach().cpu().numpy(),
                "item_bias": model.item_bias[first:].detach().cpu().numpy(),
            },
        )

    def restore(self, block: int, arrays: Arrays) -> None:
        """Take back the counters and the grown rows; the live version's weights are in place."""
        recommender = self.recommender
        recommender.events = int(arrays["events"])
        recommender.event_time = float(arrays["event_time"])
        recommender.version = int(arrays["version"])
        self.next_version = int(arrays["next_version"])
        model, first = recommender.model, int(arrays["first_row"])
        rows = first + len(arrays["item_bias"])
        if rows > model.config.items + 1:
            model.grow(rows - 1)
        with torch.no_grad():
            for name in ("embedding", "item_bias"):
                values = getattr(model, name)
                values[first:rows] = torch.from_numpy(arrays[name]).to(values)

"""One fine-tune: data out of the histories, a trained candidate, and the gate it must pass.

`prepare` reads the recommender and returns a `Job` of plain arrays; `run` needs nothing but the
job, so it works the same inline and in another process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from engine import lesson
from engine.config import EngineConfig
from engine.lesson import Lesson, Sequence
from engine.recommender import Recommender
from engine.window import Window
from lrurec.batches import pack
from lrurec.config import TrainConfig
from lrurec.model import LRURec
from lrurec.train import Trainer, evaluate_loss


@dataclass(frozen=True)
class Job:
    """All that a fine-tune reads."""

    model: LRURec
    trained: dict[str, Tensor] | None
    lesson: Lesson
    window_end: int
    version: int
    reason: str
    config: EngineConfig


@dataclass(frozen=True)
class Candidate:
    """A trained model and how it compares with the live one on the held-out events (nats)."""

    model: LRURec
    trained: dict[str, Tensor]
    version: int
    window_end: int
    reason: str
    live_loss: float
    candidate_loss: float
    held_out: int
    tokens: int
    accepted: bool


def prepare(
    recommender: Recommender,
    window: Window,
    trained: dict[str, Tensor] | None,
    version: int,
    reason: str,
) -> Job:
    """Read what the fine-tune of `version` needs. A function of the recommender and the seed."""
    return Job(
        model=recommender.model,
        trained=trained,
        lesson=lesson.prepare(recommender.histories.events, window, recommender.config, version),
        window_end=window.end,
        version=version,
        reason=reason,
        config=recommender.config,
    )


def run(job: Job) -> Candidate:
    """Train a copy of the live model and judge it. Deterministic, given the job."""
    trainer = _trainer(job)
    tokens = 0
    for batch in lesson.batches(job.lesson, job.config, job.version):
        trainer.step(batch)
        tokens += len(batch)
    candidate = trainer.model.eval()
    live_loss, held = _held_out_loss(job.model, job.lesson.held_out)
    candidate_loss, _ = _held_out_loss(candidate, job.lesson.held_out)
    worse = held > 0 and not candidate_loss <= live_loss + job.config.gate_tolerance
    return Candidate(
        model=candidate,
        trained=trainer.state_dict(),
        version=job.version,
        window_end=job.window_end,
        reason=job.reason,
        live_loss=live_loss,
        candidate_loss=candidate_loss,
        held_out=held,
        tokens=tokens,
        accepted=not worse and bool(np.isfinite(candidate_loss) or not held),
    )


def _trainer(job: Job) -> Trainer:
    """The trainer as the last accepted fine-tune left it, with the items met since."""
    config = job.config
    settings = TrainConfig(
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        embedding_decay=lesson.embedding_decay(config, job.window_end),
        negatives=config.negatives,
        precision=config.precision,
    )
    seed, live = config.seed + job.version, job.model
    items = live.config.items
    if job.trained is not None:
        items = len(job.trained["model.item_bias"]) - 1
    dropout = lesson.dropout(config, job.window_end)
    shape = replace(live.config, items=items, dropout=dropout)
    model = LRURec(shape, seed).to(live.embedding.device)
    trainer = Trainer(model, settings, seed)
    if job.trained is None:
        model.load_state_dict(live.state_dict())
        return trainer
    trainer.load_state_dict(job.trained)
    trainer.grow(live.config.items, live.embedding[items + 1 :], live.item_bias[items + 1 :])
    model.trained_items = live.config.items
    return trainer


def _held_out_loss(model: LRURec, held_out: list[tuple[Sequence, int]]) -> tuple[float, int]:
    """Mean negative log likelihood (nats) of the held-out events, and their number."""
    total, count = 0.0, 0
    for start in range(0, len(held_out), 64):
        part = held_out[start : start + 64]
        lengths = np.array([len(sequence) - 1 for sequence, _ in part])
        batch = pack([sequence for sequence, _ in part], max_length=max(lengths))
        position = np.concatenate([np.arange(n) for n in lengths])
        first_held = np.array([n - own for n, (_, own) in zip(lengths, part, strict=True)])
        held = torch.from_numpy(position >= np.repeat(first_held, lengths))
        losses = evaluate_loss(model, batch, held)
        total += float(losses.sum())
        count += len(losses)
    return (total / count if count else float("nan")), count

"""One fine-tune: data out of the histories, a trained candidate, and the gate it must pass.

`prepare` reads the recommender and returns a `Job` of plain arrays; `run` needs nothing but the
job, so it works the same inline and in another process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.config import EngineConfig
from engine.recommender import Recommender
from engine.window import Window
from lrurec.batches import pack, token_batches
from lrurec.config import TrainConfig
from lrurec.model import LRURec
from lrurec.train import Trainer, evaluate_loss

Sequence = NDArray[np.int64]

HELD_OUT = 0.1
"""Share of the window's newest events that judge the candidate, held out of its training."""

NEW_SHARE = 0.5
"""Share of the training tokens spent on the users of the window; the rest replays others."""


@dataclass(frozen=True)
class Job:
    """All that a fine-tune reads. Sequences hold model item ids (1 = item row 0), oldest first.

    recent: of the window's users, without held-out events; older: a sample of other users;
    held_out: (sequence, number of held-out events at its end); tokens: how many to train on.
    """

    model: LRURec
    trained: dict[str, Tensor] | None
    recent: list[Sequence]
    older: list[Sequence]
    held_out: list[tuple[Sequence, int]]
    tokens: int
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


def tokens_per_event(config: EngineConfig, events: int) -> float:
    """Training tokens per event of the stream: many while data is small, then a steady rate."""
    early = config.train_tokens_early / max(events, 1)
    return max(config.train_tokens_per_event, min(config.train_tokens_cap, early))


def prepare(
    recommender: Recommender,
    window: Window,
    trained: dict[str, Tensor] | None,
    version: int,
    reason: str,
) -> Job:
    """Read what the fine-tune of `version` needs. A function of the recommender and the seed."""
    config, histories = recommender.config, recommender.histories
    rng = np.random.default_rng([config.seed, version])
    users = window.users
    held = users[len(users) - int(HELD_OUT * len(users)) :]
    held_counts = dict(zip(*(a.tolist() for a in np.unique(held, return_counts=True)), strict=True))
    recent: list[Sequence] = []
    held_out: list[tuple[Sequence, int]] = []
    window_users = np.unique(users)
    for user in window_users.tolist():
        events = histories.events.row(user).astype(np.int64) + 1
        count = min(held_counts.get(user, 0), len(events))
        if count and len(events) > 1:
            held_out.append((events[-config.history - 1 :], min(count, len(events) - 1)))
        recent += _windows(events[: len(events) - count], config.history)
    tokens = int(tokens_per_event(config, window.end) * len(users))
    older = _sample_older(recommender, window_users, int(tokens * (1 - NEW_SHARE)), rng)
    return Job(
        model=recommender.model,
        trained=trained,
        recent=recent,
        older=older,
        held_out=held_out,
        tokens=tokens,
        window_end=window.end,
        version=version,
        reason=reason,
        config=config,
    )


def run(job: Job) -> Candidate:
    """Train a copy of the live model and judge it. Deterministic, given the job."""
    config = job.config
    rng = np.random.default_rng([config.seed, job.version, 1])
    trainer = _trainer(job)
    tokens = 0
    while tokens < job.tokens and job.recent:
        for batch in token_batches(_epoch(job, rng), config.batch_tokens, rng):
            trainer.step(batch)
            tokens += len(batch)
            if tokens >= job.tokens:
                break
    candidate = trainer.model.eval()
    live_loss, held = _held_out_loss(job.model, job.held_out)
    candidate_loss, _ = _held_out_loss(candidate, job.held_out)
    worse = held > 0 and not candidate_loss <= live_loss + config.gate_tolerance
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
        negatives=config.negatives,
        precision=config.precision,
    )
    seed, live = config.seed + job.version, job.model
    items = live.config.items
    if job.trained is not None:
        items = len(job.trained["model.item_bias"]) - 1
    model = LRURec(replace(live.config, items=items), seed).to(live.embedding.device)
    trainer = Trainer(model, settings, seed)
    if job.trained is None:
        model.load_state_dict(live.state_dict())
        return trainer
    trainer.load_state_dict(job.trained)
    trainer.grow(live.config.items, live.embedding[items + 1 :], live.item_bias[items + 1 :])
    model.trained_items = live.config.items
    return trainer


def _windows(events: Sequence, length: int) -> list[Sequence]:
    """Consecutive pieces of at most `length` inputs from the end; each shares one event with the
    next, which is the target of one and the first input of the other."""
    pieces = []
    end = len(events)
    while end > 1:
        start = max(0, end - length - 1)
        pieces.append(events[start:end])
        end = start + 1 if start else 0
    return pieces


def _sample_older(
    recommender: Recommender, recent: NDArray[np.int32], tokens: int, rng: np.random.Generator
) -> list[Sequence]:
    """Newest windows of users drawn without replacement, about `tokens` tokens in all."""
    config, histories = recommender.config, recommender.histories
    count = len(recommender.users)
    lengths = histories.events.lengths(np.arange(count))
    eligible = np.setdiff1d(np.flatnonzero(lengths > 1), recent)
    chosen = rng.permutation(eligible)
    sizes = np.minimum(lengths[chosen] - 1, config.history)
    chosen = chosen[: int(np.searchsorted(np.cumsum(sizes), tokens)) + 1]
    return [
        histories.events.row(int(user))[-config.history - 1 :].astype(np.int64) + 1
        for user in chosen
    ]


def _epoch(job: Job, rng: np.random.Generator) -> list[Sequence]:
    """One pass over the window's users, and as many tokens of older users beside it."""
    recent_tokens = sum(len(s) - 1 for s in job.recent)
    wanted = recent_tokens * (1 - NEW_SHARE) / NEW_SHARE
    sequences = list(job.recent)
    for i in rng.permutation(len(job.older)):
        if wanted <= 0:
            break
        sequences.append(job.older[i])
        wanted -= len(job.older[i]) - 1
    return sequences


def _held_out_loss(model: LRURec, held_out: list[tuple[Sequence, int]]) -> tuple[float, int]:
    """Mean negative log likelihood (nats) of the held-out events, and their number."""
    total, count = 0.0, 0
    for start in range(0, len(held_out), 64):
        part = held_out[start : start + 64]
        lengths = np.array([len(sequence) - 1 for sequence, _ in part])
        batch = pack([sequence for sequence, _ in part], max_length=max(lengths))
        losses = evaluate_loss(model, batch)
        position = np.concatenate([np.arange(n) for n in lengths])
        first_held = np.array([n - held for n, (_, held) in zip(lengths, part, strict=True)])
        counted = torch.from_numpy(position >= np.repeat(first_held, lengths)).to(losses.device)
        total += float(losses[counted].sum())
        count += int(counted.sum())
    return (total / count if count else float("nan")), count

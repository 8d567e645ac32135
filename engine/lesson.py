"""What a fine-tune trains on: the window's users, a sample of the others, and how much of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.config import EngineConfig
from engine.ragged import RaggedRows
from engine.window import Window
from lrurec.batches import PackedBatch, token_batches

Sequence = NDArray[np.int64]

HELD_OUT = 0.1
"""Share of the window's newest events that judge the candidate, held out of its training."""

NEW_SHARE = 0.5
"""Share of the training tokens spent on the users of the window; the rest replays others."""


@dataclass(frozen=True)
class Lesson:
    """Sequences of model item ids (1 = item row 0), oldest first.

    recent: of the window's users, without held-out events; older: a sample of other users;
    held_out: (sequence, number of held-out events at its end); tokens: how many to train on.
    """

    recent: list[Sequence]
    older: list[Sequence]
    held_out: list[tuple[Sequence, int]]
    tokens: int


def tokens_per_event(config: EngineConfig, events: int) -> float:
    """Training tokens per event of the stream: many while data is small, then a steady rate."""
    early = config.train_tokens_early / max(events, 1)
    return max(config.train_tokens_per_event, min(config.train_tokens_cap, early))


def dropout(config: EngineConfig, events: int) -> float:
    """The dropout of a fine-tune: as configured while data is small, then less of it."""
    return config.dropout * min(1.0, _scarcity(config, events))


def embedding_decay(config: EngineConfig, events: int) -> float:
    """The embedding's decay in a fine-tune: the smaller, the more there is to learn from."""
    return min(config.embedding_decay_cap, config.embedding_decay * _scarcity(config, events))


def _scarcity(config: EngineConfig, events: int) -> float:
    """1 at `regularization_events`, and as their root relative to `events`."""
    return (config.regularization_events / max(events, 1)) ** 0.5


def prepare(events: RaggedRows, window: Window, config: EngineConfig, version: int) -> Lesson:
    """Read what the fine-tune of `version` needs. events: item rows by user row."""
    rng = np.random.default_rng([config.seed, version])
    users = window.users
    held = users[len(users) - int(HELD_OUT * len(users)) :]
    held_counts = dict(zip(*(a.tolist() for a in np.unique(held, return_counts=True)), strict=True))
    recent: list[Sequence] = []
    held_out: list[tuple[Sequence, int]] = []
    window_users = np.unique(users)
    for user in window_users.tolist():
        own = events.row(user).astype(np.int64) + 1
        count = min(held_counts.get(user, 0), len(own))
        if count and len(own) > 1:
            held_out.append((own[-config.history - 1 :], min(count, len(own) - 1)))
        recent += _windows(own[: len(own) - count], config.history)
    tokens = int(tokens_per_event(config, window.end) * len(users))
    wanted = int(tokens * (1 - NEW_SHARE))
    older = _sample_older(events, window_users, config.history, wanted, rng)
    return Lesson(recent, older, held_out, tokens)


def batches(lesson: Lesson, config: EngineConfig, version: int) -> Iterator[PackedBatch]:
    """Pass after pass until the budget is reached, shuffled by the seed and `version`."""
    rng = np.random.default_rng([config.seed, version, 1])
    tokens = 0
    while tokens < lesson.tokens and lesson.recent:
        for batch in token_batches(_epoch(lesson, rng), config.batch_tokens, rng):
            yield batch
            tokens += len(batch)
            if tokens >= lesson.tokens:
                break


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
    events: RaggedRows,
    recent: NDArray[np.int32],
    history: int,
    tokens: int,
    rng: np.random.Generator,
) -> list[Sequence]:
    """Newest windows of users drawn without replacement, about `tokens` tokens in all."""
    lengths = events.lengths(np.arange(len(events)))
    eligible = np.setdiff1d(np.flatnonzero(lengths > 1), recent)
    chosen = rng.permutation(eligible)
    sizes = np.minimum(lengths[chosen] - 1, history)
    chosen = chosen[: int(np.searchsorted(np.cumsum(sizes), tokens)) + 1]
    return [events.row(int(user))[-history - 1 :].astype(np.int64) + 1 for user in chosen]


def _epoch(lesson: Lesson, rng: np.random.Generator) -> list[Sequence]:
    """One pass over the window's users, and as many tokens of older users beside it."""
    recent_tokens = sum(len(s) - 1 for s in lesson.recent)
    wanted = recent_tokens * (1 - NEW_SHARE) / NEW_SHARE
    sequences = list(lesson.recent)
    for i in rng.permutation(len(lesson.older)):
        if wanted <= 0:
            break
        sequences.append(lesson.older[i])
        wanted -= len(lesson.older[i]) - 1
    return sequences

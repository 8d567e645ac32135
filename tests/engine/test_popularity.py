"""Popularity of late: equal to a decayed count by hand, inside a micro-batch as well."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine import popularity
from engine.popularity import HALF_LIVES, Popularity
from tests.engine.contexts import contexts, rows

CPU = torch.device("cpu")
STREAM = rows(events=640, users=10, items=40, seed=2)
ITEMS = int(STREAM.items.max()) + 1
DECAY = 0.5 ** (1.0 / np.array(HALF_LIVES))[:, None]
BATCHES = [1, 7, 32, 64, 128]
"""Up to the most events that the recommender scores at once."""


def by_hand() -> list[NDArray[np.float64]]:
    """The smoothed probabilities (K, I) just before each event, one event at a time, float64."""
    counts = np.zeros((len(HALF_LIVES), ITEMS))
    found = []
    for item in STREAM.items:
        smoothed = [
            (counts[0] + popularity.PRIOR_COUNT)
            / (counts[0].sum() + popularity.PRIOR_COUNT * ITEMS)
        ]
        for count in counts[1:]:
            lent = popularity.BACKOFF * smoothed[-1]
            smoothed.append((count + lent) / (count.sum() + popularity.BACKOFF))
        found.append(np.array(smoothed))
        counts *= DECAY
        counts[:, item] += 1
    return found


def found_by(batch: int) -> NDArray[np.float64]:
    """(B, K, I): the same from `probabilities` and `inside`, each normalised over the items."""
    learner = Popularity(CPU)
    learner.grow(ITEMS)
    found = []
    for context in contexts(STREAM, batch):
        base = learner.probabilities(ITEMS)
        touched, inside = learner.inside(context, ITEMS)
        weights = base[None].repeat(len(context), 1, 1)
        weights[:, :, touched] = inside.transpose(0, 1)
        found.append(weights.double().numpy())
        learner.learn(context)
    joined = np.concatenate(found)
    return joined / joined.sum(2, keepdims=True)


def test_one_event_at_a_time_is_the_smoothed_decayed_count() -> None:
    np.testing.assert_allclose(found_by(1), by_hand(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("batch", BATCHES)
def test_counts_are_exact_inside_a_batch(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With next to nothing lent: once every item has a count, only counts weigh."""
    monkeypatch.setattr(popularity, "PRIOR_COUNT", 1e-9)
    monkeypatch.setattr(popularity, "BACKOFF", 1e-9)
    expected, found = np.array(by_hand()), found_by(batch)
    begun = max(64, batch)
    np.testing.assert_allclose(found[begun:], expected[begun:], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("batch", BATCHES)
def test_what_is_lent_moves_the_answer_inside_a_batch_only_a_little(batch: int) -> None:
    """A faster popularity is lent some events by a slower one; the loan decays inside a batch."""
    moved = np.abs(found_by(batch) - np.array(by_hand())).sum(2) / 2  # (B, K) total variation
    started = moved[max(64, batch) :]
    assert started[:, :-1].max() < 1e-3
    assert started[:, -1].max() < (0.03 if batch <= 32 else 0.05)


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_batches_leave_the_counts_of_single_events(batch: int) -> None:
    one, many = Popularity(CPU), Popularity(CPU)
    for learner, size in ((one, 1), (many, batch)):
        learner.grow(ITEMS)
        for context in contexts(STREAM, size):
            learner.learn(context)
    torch.testing.assert_close(many.counts, one.counts, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(many.totals, many.counts.sum(1), rtol=1e-4, atol=0)


def test_an_item_that_is_new_is_as_popular_as_one_nobody_has_met_yet() -> None:
    learner = Popularity(CPU)
    learner.grow(3)
    (context,) = contexts(rows(5, 1, 3, seed=0), 5)
    learner.learn(context)
    learner.grow(5)
    weights = learner.probabilities(5)
    assert (weights > 0).all()
    torch.testing.assert_close(weights[:, 3], weights[:, 4])
    torch.testing.assert_close(weights.sum(1), torch.ones(len(HALF_LIVES)))

"""Ranks are honest: ties never favour the true item, and draws repeat with the seed."""

from __future__ import annotations

import numpy as np
import torch

from engine.topk import best, candidates_of, ranks_of, uniform_draws


def test_equal_scores_are_broken_by_the_draw_and_never_for_free() -> None:
    """Of ten equal items each rank is as likely; a constant answer earns what chance earns."""
    draws = uniform_draws(seed=1, start=0, count=5_000)
    ranks = ranks_of(torch.zeros(5_000, 10), torch.full((5_000,), 3), draws)
    counts = np.bincount(ranks, minlength=11)
    assert counts[0] == 0
    assert len(counts) == 11
    assert abs(counts[1:] - 500).max() < 100


def test_ties_count_only_among_equals() -> None:
    scores = torch.tensor([[5.0, 3.0, 3.0, 3.0, 1.0, -torch.inf]]).repeat(3, 1)
    ranks = ranks_of(scores, torch.full((3,), 2), np.array([0.0, 0.5, 0.999]))
    assert ranks.tolist() == [2, 3, 4]


def test_a_draw_depends_on_the_seed_and_the_event_alone() -> None:
    whole = uniform_draws(seed=7, start=0, count=1_000)
    parts = [uniform_draws(7, start, 100) for start in range(0, 1_000, 100)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (uniform_draws(8, 0, 1_000) != whole).all()
    assert ((whole >= 0) & (whole < 1)).all()


def test_only_items_met_before_and_not_excluded_can_be_recommended() -> None:
    seen = (torch.tensor([0, 1, 1]), torch.tensor([1, 0, 2]))
    candidates = candidates_of(torch.tensor([2, 4]), seen, events=2, items=5)
    assert candidates.tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 1, 0]]
    items, scores = best(candidates[1].log() + torch.arange(5), k=3)
    assert (items, scores) == ([3, 1], [3.0, 1.0])

"""The corrector learns what probabilities leave out, alike however its events are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.corrector import BLOCK, Corrector

CPU = torch.device("cpu")
OPTIONS, FEATURES = 10, 4
LEARNED = ("weights", "layer", "fisher", "fisher_inputs", "fisher_outputs", "mean", "variance")


def corrector() -> Corrector:
    return Corrector(FEATURES, seed=0, device=CPU)


def random(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def events(count: int, seed: int, anything_else: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """An even prior, features, and what came true: the option of the largest product of the first
    two features, which no single one tells."""
    features = 2.0 * random(count, OPTIONS, FEATURES, seed=seed) - 1.0
    prior = torch.full((count, OPTIONS), (1.0 - anything_else) / OPTIONS)
    hit = features[:, :, 0] * features[:, :, 1]
    hit = hit == hit.amax(1, keepdim=True)
    if anything_else:
        prior = torch.cat([prior, torch.full((count, 1), anything_else)], dim=1)
        hit = torch.cat([hit, torch.zeros(count, 1, dtype=torch.bool)], dim=1)
    return prior, features, hit


def taught(found: Corrector, blocks: int, size: int = BLOCK, anything_else: float = 0.0) -> Tensor:
    """The nats of what came true, event by event."""
    nats = []
    for seed in range(blocks):
        prior, features, hit = events(BLOCK, seed, anything_else)
        for start in range(0, BLOCK, size):
            part = slice(start, start + size)
            there = torch.ones_like(features[part, :, 0], dtype=torch.bool)
            correction = found.correct(prior[part], features[part], there)
            nats.append(-found.answer(correction)[hit[part]].log())
            found.learn(correction, hit[part])
    return torch.cat(nats)


def test_it_learns_what_no_single_feature_tells() -> None:
    nats = taught(corrector(), 60)
    assert nats[:BLOCK].mean() == pytest.approx(np.log(OPTIONS), abs=1e-4)
    assert nats[-10 * BLOCK :].mean() < np.log(OPTIONS) - 1.0


@pytest.mark.parametrize("size", [1, 7, 16])
def test_it_learns_the_same_however_its_events_are_cut(size: int) -> None:
    whole, cut = corrector(), corrector()
    taught(whole, 8)
    taught(cut, 8, size)
    assert cut.steps.tolist() == whole.steps.tolist() == [8, 8]
    for name in LEARNED:
        one, other = getattr(cut, name), getattr(whole, name)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(cut.trust, whole.trust, rtol=0, atol=0.05)  # its share of a block


def test_options_that_are_not_there_get_nothing_and_teach_nothing() -> None:
    plain, wider = corrector(), corrector()
    for seed in range(6):
        prior, features, hit = events(BLOCK, seed)
        there = torch.ones(BLOCK, OPTIONS, dtype=torch.bool)
        plain.learn(plain.correct(prior, features, there), hit)
        more = torch.cat([features, 50.0 * random(BLOCK, 5, FEATURES, seed=seed)], dim=1)
        prior, hit, there = (
            torch.cat([x, torch.zeros(BLOCK, 5, dtype=x.dtype)], dim=1) for x in (prior, hit, there)
        )
        correction = wider.correct(prior, more, there)
        assert (wider.answer(correction)[:, OPTIONS:] == 0).all()
        wider.learn(correction, hit)
    for name in (*LEARNED, "trust"):
        one, other = getattr(wider, name), getattr(plain, name)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)


def test_anything_else_has_a_probability_and_no_features() -> None:
    found = corrector()
    taught(found, 20, anything_else=0.5)
    prior, features, _ = events(8, 99, anything_else=0.5)
    there = torch.ones(8, OPTIONS, dtype=torch.bool)
    answer = found.answer(found.correct(prior, features, there))
    torch.testing.assert_close(answer.sum(1), torch.ones(8))
    assert (answer[:, -1] < 0.25).all()  # it never came true


def test_misled_for_long_it_is_no_longer_trusted() -> None:
    """What it has learned turns into its contrary: the price is bounded."""
    found = corrector()
    taught(found, 30)
    assert found.trust[1] > 0.9
    nats = []
    for seed in range(20):
        prior, features, _ = events(BLOCK, 1_000 + seed)
        worst = features[:, :, 0] * features[:, :, 1]
        hit = worst == worst.amin(1, keepdim=True)
        there = torch.ones(BLOCK, OPTIONS, dtype=torch.bool)
        correction = found.correct(prior, features, there)
        nats.append(-found.answer(correction)[hit].log().mean().item())
        found.learn(correction, hit)
    assert nats[0] > np.log(OPTIONS)
    assert nats[1] < np.log(OPTIONS) + 0.2
    assert nats[-1] < np.log(OPTIONS)


def test_it_starts_over_where_learning_has_lost_its_way() -> None:
    found, fresh = corrector(), corrector()
    taught(found, 10)
    found.weights[0] = 1e6
    assert torch.isfinite(taught(found, 1)).all()
    assert not found.weights.any()
    torch.testing.assert_close(taught(found, 10), taught(fresh, 10))

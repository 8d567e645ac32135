"""Training learns what can be learned, repeats itself, resumes exactly, and grows in place."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lrurec.batches import pack, token_batches
from lrurec.config import ModelConfig, TrainConfig
from lrurec.loss import ITEMS_STEP
from lrurec.model import LRURec
from lrurec.train import Trainer, evaluate_loss

ITEMS = 20


def cycles(rows, noise, seed=0):
    """Sequences that count upwards, wrapping round; or, with noise, anything at all."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, ITEMS, rows)
    ordered = [(start + np.arange(12)) % ITEMS + 1 for start in starts]
    return [rng.integers(1, ITEMS + 1, 12) for _ in ordered] if noise else ordered


def trained(sequences, steps=80, seed=0, **settings):
    model = LRURec(ModelConfig(ITEMS, width=16, dropout=0.1), seed=seed)
    trainer = Trainer(model, TrainConfig(learning_rate=1e-2, **settings), seed=seed)
    rng = np.random.default_rng(seed)
    done = 0
    while done < steps:
        for batch in token_batches(sequences, 200, rng):
            trainer.step(batch)
            done += 1
    return trainer


def weights_of(trainer):
    return [p.detach().clone() for p in trainer.model.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "settings", [{}, {"precision": "bfloat16"}, {"negatives": 15, "chunk": 64}]
)
def test_a_predictable_stream_is_learned(settings):
    trainer = trained(cycles(60, noise=False), **settings)
    held_out = pack(cycles(20, noise=False, seed=9), 50)
    assert evaluate_loss(trainer.model, held_out).mean() < 0.3


def test_a_noise_stream_stays_at_chance():
    trainer = trained(cycles(60, noise=True), steps=30)
    held_out = pack(cycles(40, noise=True, seed=9), 50)
    assert evaluate_loss(trainer.model, held_out).mean() > 0.95 * math.log(ITEMS)


def test_a_seed_repeats_the_run():
    sequences = cycles(30, noise=False)
    first, again, other = (weights_of(trained(sequences, 6, seed)) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("negatives", [None, 8])
def test_a_stopped_run_resumes_exactly(negatives):
    batches = [pack(cycles(10, noise=False, seed=i), 50) for i in range(6)]
    config = TrainConfig(negatives=negatives)
    whole = Trainer(LRURec(ModelConfig(ITEMS, width=8), seed=0), config, seed=0)
    for batch in batches[:3]:
        whole.step(batch)
    stopped = whole.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in stopped.values())
    resumed = Trainer(LRURec(ModelConfig(ITEMS, width=8), seed=5), config, seed=5)
    resumed.load_state_dict(stopped)
    losses = [(whole.step(batch), resumed.step(batch)) for batch in batches[3:]]
    assert all(one == other for one, other in losses)
    assert same(weights_of(whole), weights_of(resumed))


def test_weights_of_tokens_count():
    sequences = cycles(4, noise=False)
    batch = pack(sequences, 50)
    first_row = torch.zeros(len(batch))
    first_row[: int(batch.offsets[1])] = 2.0
    weighted = type(batch)(batch.items, batch.targets, batch.offsets, first_row)
    one, other = (
        Trainer(LRURec(ModelConfig(ITEMS, width=8, dropout=0.0), seed=0), TrainConfig(), seed=0)
        for _ in range(2)
    )
    assert one.step(weighted) == pytest.approx(other.step(pack(sequences[:1], 50)), abs=1e-6)
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_growing_disturbs_nothing():
    batch = pack(cycles(10, noise=False), 50)
    trainer = Trainer(LRURec(ModelConfig(ITEMS, width=8), seed=0), TrainConfig(), seed=0)
    trainer.step(batch)
    before = trainer.state_dict()
    trainer.grow(ITEMS + 5)
    after = trainer.state_dict()
    assert before.keys() == after.keys()
    for name, old in before.items():
        grows = name.endswith((".embedding", ".item_bias")) and ".step." not in name
        assert torch.equal(after[name][: len(old)] if grows else after[name], old), name
        assert not grows or len(after[name]) == len(old) + 5
        if grows and "exp_avg" in name:
            assert not after[name][len(old) :].any()
    new_items = pack([np.arange(ITEMS, ITEMS + 6)], 50)
    loss = trainer.step(new_items)
    for _ in range(20):
        trainer.step(new_items)
    assert trainer.step(new_items) < loss


def test_growing_before_the_first_step_and_from_nothing():
    trainer = Trainer(LRURec(ModelConfig(0, width=8), seed=0), TrainConfig(), seed=0)
    trainer.grow(ITEMS)
    assert math.isfinite(trainer.step(pack(cycles(3, noise=False), 50)))


def test_an_empty_batch_changes_nothing():
    trainer = Trainer(LRURec(ModelConfig(ITEMS, width=8), seed=0), TrainConfig(), seed=0)
    before = weights_of(trainer)
    assert trainer.step(pack([], 50)) == 0.0
    assert same(weights_of(trainer), before)


def test_evaluation_has_no_dropout_and_keeps_packed_order():
    model = LRURec(ModelConfig(ITEMS, width=8, dropout=0.5), seed=0).train()
    sequences = cycles(5, noise=False)
    together = evaluate_loss(model, pack(sequences, 50))
    alone = torch.cat([evaluate_loss(model, pack([s], 50)) for s in sequences])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert model.training


@pytest.mark.parametrize(
    "settings", [{"learning_rate": 0.0}, {"chunk": 0}, {"negatives": 0}, {"precision": "int4"}]
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        TrainConfig(**settings)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation gave."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


def test_a_step_holds_neither_all_scores_nor_padding():
    items, width, chunk = 1500, 8, 32
    rng = np.random.default_rng(0)
    batch = pack([rng.integers(1, items + 1, n) for n in (400, *[6] * 60)], 1000)
    padded_tokens = 61 * 399
    model = LRURec(ModelConfig(items, width=width), seed=0)
    trainer = Trainer(model, TrainConfig(chunk=chunk), seed=0)
    with Largest() as largest:
        trainer.step(batch)
    inner = len(batch) * 4 * width  # the widest layer, on real tokens
    scored = -(-(items + 1) // ITEMS_STEP) * ITEMS_STEP
    assert largest.elements == max(inner, chunk * scored)
    assert largest.elements < padded_tokens * width < len(batch) * (items + 1)

"""The authors' implementation, reproduced: scores, loss, gradients, five steps of AdamW."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lrurec.batches import PackedBatch
from lrurec.config import TrainConfig
from lrurec.loss import full_softmax_loss
from lrurec.train import Trainer, evaluate_loss
from lrurec.weights import import_checkpoint

FOLDER = Path(__file__).parent / "oracle"


@pytest.fixture(params=["lrurec-d16", "lrurec-d64"])
def oracle(request):
    recorded = dict(np.load(FOLDER / f"{request.param}.npz"))
    return import_checkpoint(FOLDER / f"{request.param}.pth", dropout=0.0), recorded


def packed(recorded) -> PackedBatch:
    """The real tokens of the padded recording; every one of them is counted."""
    real = recorded["labels"] > 0
    assert (real == (recorded["items"] > 0)).all()
    return PackedBatch(
        items=torch.from_numpy(recorded["items"][real]),
        targets=torch.from_numpy(recorded["labels"][real]),
        offsets=torch.from_numpy(np.concatenate(([0], np.cumsum(real.sum(1))))),
    )


@torch.no_grad()
def test_scores(oracle):
    model, recorded = oracle
    real = recorded["labels"] > 0
    padded = model.scores(model(torch.from_numpy(recorded["items"])))[torch.from_numpy(real)]
    batch = packed(recorded)
    states = model.initial_states(len(batch.offsets) - 1)
    ragged = model.scores(model.advance(batch.items, batch.offsets, states)[0])
    expected = torch.from_numpy(recorded["logits"][real])
    torch.testing.assert_close(padded, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(ragged, expected, rtol=0, atol=1e-5)


def test_loss_and_gradients(oracle):
    model, recorded = oracle
    batch = packed(recorded)
    states = model.initial_states(len(batch.offsets) - 1)
    hidden, _ = model.advance(batch.items, batch.offsets, states)
    loss = full_softmax_loss(hidden, model.embedding, model.item_bias, batch.targets, chunk=17)
    assert loss.item() == pytest.approx(float(recorded["loss"]), abs=1e-6)
    assert evaluate_loss(model, batch).mean().item() == pytest.approx(loss.item(), abs=1e-6)
    loss.backward()
    for name, found in published_gradients(model).items():
        recording = torch.from_numpy(recorded[f"grad/{name}"])
        scale = recording.abs().max()
        assert (found - recording).abs().max() <= 1e-4 * scale, name


def published_gradients(model):
    """Our gradients under the authors' names and in their complex form."""
    gradients = {
        "embedding.token.weight": model.embedding.grad,
        "embedding.layer_norm.weight": model.norm.weight.grad,
        "embedding.layer_norm.bias": model.norm.bias.grad,
        "model.bias": model.item_bias.grad,
    }
    for index, block in enumerate(model.blocks):
        lru, feed = block.lru, block.feed_forward
        c_re, minus_c_im = lru.out_weight.grad.chunk(2, 1)
        theirs = {
            "lru_layer.params_log": torch.stack(
                (lru.nu_log.grad, lru.theta_log.grad, lru.gamma_log.grad)
            ),
            "lru_layer.in_proj.weight": torch.complex(*lru.in_weight.grad.chunk(2)),
            "lru_layer.in_proj.bias": torch.complex(*lru.in_bias.grad.chunk(2)),
            "lru_layer.out_proj.weight": torch.complex(c_re, -minus_c_im),
            "lru_layer.out_proj.bias": torch.complex(
                lru.out_bias.grad, torch.zeros_like(lru.out_bias)
            ),
            "lru_layer.layer_norm.weight": lru.norm.weight.grad,
            "lru_layer.layer_norm.bias": lru.norm.bias.grad,
            "feed_forward.w_1.weight": feed.weight_1.grad,
            "feed_forward.w_1.bias": feed.bias_1.grad,
            "feed_forward.w_2.weight": feed.weight_2.grad,
            "feed_forward.w_2.bias": feed.bias_2.grad,
            "feed_forward.layer_norm.weight": feed.norm.weight.grad,
            "feed_forward.layer_norm.bias": feed.norm.bias.grad,
        }
        gradients |= {f"model.lru_blocks.{index}.{name}": g for name, g in theirs.items()}
    return gradients


def test_every_recorded_gradient_is_compared(oracle):
    model, recorded = oracle
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert {f"grad/{name}" for name in published_gradients(model)} == {
        name for name in recorded if name.startswith("grad/")
    }


def test_five_steps(oracle):
    model, recorded = oracle
    trainer = Trainer(model, TrainConfig(1e-3, weight_decay=0.01, clip_norm=5.0), seed=0)
    losses = [trainer.step(packed(recorded)) for _ in range(5)]
    np.testing.assert_allclose(losses, recorded["losses"], rtol=0, atol=1e-4)
    real = torch.from_numpy(recorded["labels"] > 0)
    with torch.no_grad():
        after = model.eval().scores(model(torch.from_numpy(recorded["items"])))
    expected = torch.from_numpy(recorded["logits_after"])
    torch.testing.assert_close(after[real], expected[real], rtol=0, atol=1e-3)

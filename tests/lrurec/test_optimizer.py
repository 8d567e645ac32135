"""AdamW steps as torch's own does, with a decay for the embedding alone."""

from __future__ import annotations

import copy

import pytest
import torch

from lrurec.config import ModelConfig, TrainConfig
from lrurec.model import LRURec
from lrurec.optimizer import AdamW


@pytest.mark.parametrize("embedding_decay", [None, 3.0])
def test_it_steps_as_torch_does(embedding_decay: float | None) -> None:
    config = TrainConfig(learning_rate=3e-3, weight_decay=0.1, embedding_decay=embedding_decay)
    ours = LRURec(ModelConfig(20, width=8), seed=0)
    theirs = copy.deepcopy(ours)
    decay = 0.1 if embedding_decay is None else embedding_decay
    optimizer = AdamW(ours, config)
    reference = torch.optim.AdamW(
        [
            {"params": [p for n, p in theirs.named_parameters() if n != "embedding"]},
            {"params": [theirs.embedding], "weight_decay": decay},
        ],
        lr=3e-3,
        weight_decay=0.1,
        eps=config.epsilon,
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        optimizer.step()
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert one.grad is None
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_what_has_no_gradient_stays_as_it_is() -> None:
    model = LRURec(ModelConfig(20, width=8), seed=0)
    before = copy.deepcopy(model.state_dict())
    model.embedding.grad = torch.ones_like(model.embedding)
    AdamW(model, TrainConfig()).step()
    for name, after in model.state_dict().items():
        assert torch.equal(after, before[name]) == (name != "embedding"), name

"""Training: AdamW on packed batches, with clipping. No files, no printing, no clock."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from lrurec.batches import PackedBatch
from lrurec.config import TrainConfig
from lrurec.loss import full_softmax_loss, sampled_softmax_loss, token_losses
from lrurec.model import LRURec
from lrurec.optimizer import AdamW
from lrurec.scan import Rows


class Trainer:
    """A model in training, its optimizer and its randomness (dropout, negatives) from `seed`.

    A run stopped after any step and resumed from `state_dict` goes on exactly as it would have.
    """

    def __init__(self, model: LRURec, config: TrainConfig, seed: int) -> None:
        self.model = model
        self.config = config
        self.generator = Generator(model.embedding.device).manual_seed(seed)
        self.optimizer = AdamW(model, config)

    def step(self, batch: PackedBatch) -> float:
        """One update; returns the loss before it: the (weighted) mean over the batch's tokens.

        A batch without tokens changes nothing and costs 0. Leaves the model in training mode.
        """
        if len(batch) == 0:
            return 0.0
        self.model.train()
        loss = self._loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return float(loss.detach())

    def _loss(self, batch: PackedBatch) -> Tensor:
        model, config, device = self.model, self.config, self.model.embedding.device
        rows = Rows.from_offsets(batch.offsets, device)
        items, targets = (rows.arrange(x.to(device)) for x in (batch.items, batch.targets))
        weights = None if batch.weights is None else rows.arrange(batch.weights.to(device))
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            hidden, _ = model.encode(items, rows, None, self.generator)
        if config.negatives is None:
            return full_softmax_loss(
                hidden,
                model.embedding,
                model.item_bias,
                targets,
                weights,
                config.chunk,
                torch.bfloat16 if config.precision == "bfloat16" else None,
            )
        return sampled_softmax_loss(
            hidden,
            model.embedding,
            model.item_bias,
            targets,
            config.negatives,
            self.generator,
            weights,
            config.chunk,
        )

    def grow(
        self, items: int, embeddings: Tensor | None = None, bias: Tensor | None = None
    ) -> None:
        """`LRURec.grow`, and the optimizer with it: new rows start with zero moments."""
        self.model.grow(items, embeddings, bias)
        for name in ("embedding", "item_bias"):
            self.optimizer.grow(name, items + 1)

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, moments, step counts and the state of the randomness, as plain tensors."""
        state = {
            f"model.{name}": parameter.detach().clone()
            for name, parameter in self.model.named_parameters()
        }
        for name, moments in self.optimizer.state.items():
            for key, value in moments.items():
                state[f"optimizer.{key}.{name}"] = value.clone()
        state["generator"] = self.generator.get_state()
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` gave; the model must have the same sizes."""
        self.model.load_state_dict(
            {key.removeprefix("model."): v for key, v in state.items() if key.startswith("model.")}
        )
        device = self.model.embedding.device
        self.optimizer.state = {}
        for key, value in state.items():
            if key.startswith("optimizer."):
                _, moment, name = key.split(".", 2)
                moments = self.optimizer.state.setdefault(name, {})
                moments[moment] = value.clone().to(device)
        self.generator.set_state(state["generator"].cpu())


@torch.no_grad()
def evaluate_loss(model: LRURec, batch: PackedBatch, chosen: Tensor | None = None) -> Tensor:
    """(N,) negative log likelihood of each token's target, in packed order, without dropout; of
    those that are `chosen` alone, (N,) bool."""
    device = model.embedding.device
    training = model.training
    model.eval()
    rows = Rows.from_offsets(batch.offsets, device)
    slotted, _ = model.encode(rows.arrange(batch.items.to(device)), rows, None, None)
    model.train(training)
    hidden, targets = rows.restore(slotted), batch.targets.to(device)
    if chosen is not None:
        hidden, targets = hidden[chosen.to(device)], targets[chosen.to(device)]
    return token_losses(hidden, model.embedding, model.item_bias, targets)

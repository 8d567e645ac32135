"""Training: AdamW on packed batches, with clipping. No files, no printing, no clock."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from lrurec.batches import PackedBatch
from lrurec.config import TrainConfig
from lrurec.loss import full_softmax_loss, sampled_softmax_loss, token_losses
from lrurec.model import LRURec
from lrurec.scan import Rows

MOMENTS = ("exp_avg", "exp_avg_sq")


def adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """The optimizer of a model that has an `embedding`: in the last of its two groups, since its
    decay may differ."""
    decays = (config.weight_decay, config.embedding_decay)
    groups = [
        {"params": parameters, "weight_decay": config.weight_decay if decay is None else decay}
        for parameters, decay in zip(_groups(model), decays, strict=True)
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, eps=config.epsilon, fused=True)


def _groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """All parameters but the embedding, and the embedding."""
    named = list(model.named_parameters())
    return (
        [parameter for name, parameter in named if name != "embedding"],
        [parameter for name, parameter in named if name == "embedding"],
    )


class Trainer:
    """A model in training, its optimizer and its randomness (dropout, negatives) from `seed`.

    Decay falls on every parameter, as the authors' optimizer has it. A run stopped after any step
    and resumed from `state_dict` goes on exactly as it would have.
    """

    def __init__(self, model: LRURec, config: TrainConfig, seed: int) -> None:
        self.model = model
        self.config = config
        self.generator = Generator(model.embedding.device).manual_seed(seed)
        self.optimizer = adamw(model, config)

    def step(self, batch: PackedBatch) -> float:
        """One update; returns the loss before it: the (weighted) mean over the batch's tokens.

        A batch without tokens changes nothing and costs 0. Leaves the model in training mode.
        """
        if len(batch) == 0:
            return 0.0
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
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
        old = (self.model.embedding, self.model.item_bias)
        self.model.grow(items, embeddings, bias)
        new = (self.model.embedding, self.model.item_bias)
        for before, after in zip(old, new, strict=True):
            state = self.optimizer.state.pop(before, None)
            if state is None:  # no step taken yet
                continue
            for moment in MOMENTS:
                grown = torch.zeros_like(after)
                grown[: len(before)] = state[moment]
                state[moment] = grown
            self.optimizer.state[after] = state
        for group, parameters in zip(self.optimizer.param_groups, _groups(self.model), strict=True):
            group["params"] = parameters

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, moments, step counts and the state of the randomness, as plain tensors."""
        state = {f"model.{name}": p.detach().clone() for name, p in self._parameters()}
        for name, parameter in self._parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                state[f"optimizer.{key}.{name}"] = value.clone()
        state["generator"] = self.generator.get_state()
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` gave; the model must have the same sizes."""
        self.model.load_state_dict(
            {key.removeprefix("model."): v for key, v in state.items() if key.startswith("model.")}
        )
        self.optimizer.state.clear()
        for name, parameter in self._parameters():
            moments = {
                key: state[f"optimizer.{key}.{name}"].clone().to(parameter.device)
                for key in ("step", *MOMENTS)
                if f"optimizer.{key}.{name}" in state
            }
            if moments:
                self.optimizer.state[parameter] = moments
        self.generator.set_state(state["generator"].cpu())

    def _parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return list(self.model.named_parameters())


@torch.no_grad()
def evaluate_loss(model: LRURec, batch: PackedBatch) -> Tensor:
    """(N,) negative log likelihood of each token's target, in packed order, without dropout."""
    device = model.embedding.device
    training = model.training
    model.eval()
    rows = Rows.from_offsets(batch.offsets, device)
    hidden, _ = model.encode(rows.arrange(batch.items.to(device)), rows, None, None)
    model.train(training)
    targets = rows.arrange(batch.targets.to(device))
    return rows.restore(token_losses(hidden, model.embedding, model.item_bias, targets))

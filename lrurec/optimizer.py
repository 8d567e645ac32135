"""AdamW (Loshchilov and Hutter 2019) on a model's parameters, with a decay of the embedding's own.

torch's functional form: its class imports torch's compiler, which takes seconds at every start.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from lrurec.config import TrainConfig

BETAS = (0.9, 0.999)
MOMENTS = ("exp_avg", "exp_avg_sq")
"""Running means of the gradient and of its square, in the parameter's shape."""


class AdamW:
    """For a model that has an `embedding`. Decay falls on every parameter, as the authors'
    optimizer has it.

    state: by parameter name its `MOMENTS` and `step`, the number of steps; none before the first.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.model = model
        self.config = config
        decay = config.embedding_decay
        self.embedding_decay = config.weight_decay if decay is None else decay
        self.state: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Move all parameters against their gradients, then let go of these."""
        named = dict(self.model.named_parameters())
        for name, parameter in named.items():
            if name not in self.state:
                moments = {moment: torch.zeros_like(parameter) for moment in MOMENTS}
                self.state[name] = {"step": torch.zeros((), device=parameter.device), **moments}
        embedding = named.pop("embedding")
        self._step(list(named.items()), self.config.weight_decay)
        self._step([("embedding", embedding)], self.embedding_decay)
        for parameter in self.model.parameters():
            parameter.grad = None

    def _step(self, named: list[tuple[str, nn.Parameter]], decay: float) -> None:
        parameters: list[Tensor] = []
        gradients: list[Tensor] = []
        states = []
        for name, parameter in named:
            if parameter.grad is not None:
                parameters.append(parameter)
                gradients.append(parameter.grad)
                states.append(self.state[name])
        means, squares = ([state[moment] for state in states] for moment in MOMENTS)
        adamw(
            parameters,
            gradients,
            means,
            squares,
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.config.learning_rate,
            weight_decay=decay,
            eps=self.config.epsilon,
            maximize=False,
        )

    def grow(self, name: str, rows: int) -> None:
        """Moments for a parameter that now has so many rows: zero for the new ones."""
        state = self.state.get(name, {})
        for moment in MOMENTS:
            if moment in state:
                old = state[moment]
                state[moment] = old.new_zeros(rows, *old.shape[1:])
                state[moment][: len(old)] = old

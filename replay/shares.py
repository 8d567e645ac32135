"""How much of the engine's answers each expert makes up: the mixture's three layers as one number.

Letters: M experts, B events.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from engine.mixture import Mixture


class Weights(NamedTuple):
    """A mixture's weights as they were: they change with the events that are scored next.

    linear (M + 2,), blend (LENGTHS, M), shared (M + 1,), by_context (CONTEXTS, M + 1): as there.
    """

    linear: Tensor
    blend: Tensor
    shared: Tensor
    by_context: Tensor

    @classmethod
    def of(cls, mixture: Mixture) -> Weights:
        """A copy of the present ones."""
        present = (getattr(mixture, name) for name in cls._fields)
        return cls(*(weights.to(torch.float64, copy=True) for weights in present))

    def shares(self, contexts: Tensor) -> Tensor:
        """(B, M) shares in the answers to events of `contexts` (B, KINDS); each row sums to 1.

        The linear layer's weights, where the weight of the blend is handed on by the blend's own
        weights, and that of the log-linear answer by the sizes of its coefficients, the blend's
        among them handed on likewise; both as they are in the event's contexts.
        """
        m = len(self.linear) - 2
        blend = self.blend[contexts[:, 0]]
        coefficients = self.shared + self.by_context[contexts].sum(1)
        joint = (coefficients[:, :m] + coefficients[:, m:] * blend).abs()
        joint /= joint.sum(1, keepdim=True)
        shares = self.linear[:m] + self.linear[m] * blend + self.linear[m + 1] * joint
        return shares / shares.sum(1, keepdim=True)

"""The answer of all experts together: three layers of weights, learned from every scored event.

1. blend: sum_m v_m p_m(i), v by online expectation maximisation (Cappe and Moulines 2009), which
   finds the best fixed blend, per context: the length of the user's history.
2. log-linear: log p(i) = a_blend log p_blend(i) + sum_m a_m log p_m(i) - log Z, by online natural
   gradient on the log loss (Amari 1998): the experts overlap, and the Fisher information, kept
   with exponential forgetting, tells them apart. a is a shared part and a part per context; it
   starts as the blend.
3. linear, Bayesian with a fixed share (Herbster and Warmuth 1998) over the experts, the blend and
   the log-linear answer: bounds the log-loss regret against the best of them in hindsight.

Letters: M experts, F = M + 1 features (the experts and the blend), B events, I items.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CONTEXT_BOUNDS = np.array([1, 2, 3, 5, 10, 20, 50, 200])
"""History lengths at which the next context begins."""

BLEND_RATE = 0.003
"""Smallest step of the blend: it forgets over some 1 / rate events of its context."""

MEMORY = 10_000
"""Events over which the Fisher information forgets."""

PRIOR_PRECISION = 20.0
CONTEXT_PRECISION = 100.0
"""Events' worth of belief that the weights, and their differences by context, are as at first."""

SHARE = 1e-3
FLOOR = 1e-30


class Mixture:
    """Weights of M experts in all layers."""

    def __init__(self, experts: int, device: torch.device) -> None:
        self.experts = m = experts
        contexts = len(CONTEXT_BOUNDS) + 1
        self.blend = torch.full((contexts, m), 1.0 / m, device=device)
        self.blend_events = torch.zeros(contexts, dtype=torch.float64)
        self.shared = torch.zeros(m + 1, device=device)
        self.shared[m] = 1.0
        self.by_context = torch.zeros(contexts, m + 1, device=device)
        self.shared_fisher = torch.zeros(m + 1, m + 1, device=device)
        self.context_fisher = torch.zeros(contexts, m + 1, m + 1, device=device)
        self.linear = torch.full((m + 2,), 0.25 / m, device=device)
        self.linear[m:] = 0.375

    def mix(self, logs: Tensor, masked: Tensor, lengths: NDArray[np.int64]) -> Tensor:
        """Probabilities (B, I) under the present weights; nothing is learned.

        logs (B, M, I) are unnormalised log-probabilities, finite; masked (B, I) is 0 for a
        candidate and -inf for the rest.
        """
        return self._answer(logs, masked, lengths, None)

    def mix_and_learn(
        self,
        logs: Tensor,
        masked: Tensor,
        lengths: NDArray[np.int64],
        items: NDArray[np.int64],
    ) -> Tensor:
        """As `mix`, event by event: each is answered, then learned from.

        items (B,) holds the item that came true, or -1 where nothing is to be learned.
        """
        return self._answer(logs, masked, lengths, items)

    def _answer(
        self,
        logs: Tensor,
        masked: Tensor,
        lengths: NDArray[np.int64],
        items: NDArray[np.int64] | None,
    ) -> Tensor:
        m = self.experts
        device = logs.device
        contexts = np.searchsorted(CONTEXT_BOUNDS, lengths, side="right").tolist()
        each = torch.softmax(logs + masked[:, None, :], dim=2)
        features = torch.empty(len(logs), m + 1, logs.shape[2], device=device)
        features[:, :m] = logs
        joints = torch.empty_like(masked)
        answers = torch.empty_like(masked)
        learned = [False] * len(logs)
        shared_step = torch.linalg.inv(
            self.shared_fisher + PRIOR_PRECISION * torch.eye(m + 1, device=device)
        )
        context_step = torch.linalg.inv(
            self.context_fisher + CONTEXT_PRECISION * torch.eye(m + 1, device=device)
        )
        truths = items.tolist() if items is not None else [-1] * len(logs)
        likelihood = torch.empty(m + 2, device=device)
        for b, (context, item) in enumerate(zip(contexts, truths, strict=True)):
            blend, own, feature = self.blend[context], self.by_context[context], features[b]
            blended = torch.mv(each[b].t(), blend)
            torch.log(blended.clamp_(min=FLOOR), out=feature[m])
            joint = torch.softmax(
                torch.addmv(masked[b], feature.t(), self.shared + own), dim=0, out=joints[b]
            )
            answer = torch.mv(each[b].t(), self.linear[:m], out=answers[b])
            answer.add_(blended.mul_(self.linear[m])).add_(joint * self.linear[m + 1])
            if item < 0:
                continue
            learned[b] = True
            gradient = torch.mv(feature, joint).sub_(feature[:, item])
            self.shared -= shared_step @ gradient
            own -= context_step[context] @ gradient
            likelihood[:m] = each[b, :, item]
            likelihood[m] = feature[m, item].exp()
            likelihood[m + 1] = joint[item]
            likelihood.add_(FLOOR)
            self.blend_events[context] += 1
            rate = max(BLEND_RATE, float(self.blend_events[context] + 10) ** -0.7)
            posterior = blend * likelihood[:m]
            blend.lerp_(posterior / posterior.sum(), rate)
            self.linear *= likelihood
            self.linear *= (1.0 - SHARE) / self.linear.sum()
            self.linear += SHARE / (m + 2)
        if any(learned):
            self._learn_fisher(features, joints, torch.tensor(learned), contexts)
        return answers

    def _learn_fisher(
        self, features: Tensor, joints: Tensor, learned: Tensor, contexts: list[int]
    ) -> None:
        """Add each learned event's covariance of the features under the log-linear answer."""
        features, joints = features[learned], joints[learned]
        means = torch.bmm(features, joints[:, :, None])
        weighted = features * joints[:, None, :]
        fisher = torch.bmm(weighted, features.transpose(1, 2)) - means @ means.transpose(1, 2)
        keep = (1.0 - 1.0 / MEMORY) ** len(fisher)
        self.shared_fisher.mul_(keep).add_(fisher.sum(0))
        index = torch.tensor(contexts, device=fisher.device)[learned]
        self.context_fisher.mul_(keep).index_add_(0, index, fisher)

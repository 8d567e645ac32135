"""The answer of all experts together: two layers of weights, learned from every scored event.

1. log-linear: log p(i) = sum_m a_m log p_m(i) - log Z, by online gradient on the log loss
   (AdaGrad, Duchi et al. 2011). The weights are a shared part and a part per context, the
   length of the user's history.
2. linear: sum_m w_m p_m(i) over the experts and the log-linear answer, w by Bayes' rule with a
   fixed share (Herbster and Warmuth 1998), which bounds the log-loss regret against the best.

Letters: M experts, B events, I items.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CONTEXT_BOUNDS = np.array([1, 2, 3, 5, 10, 20, 50, 200])
"""History lengths at which the next context begins."""

RATE = 0.05
SHARE = 1e-3
FLOOR = 1e-30


class Mixture:
    """Weights of M experts in both layers."""

    def __init__(self, experts: int, device: torch.device) -> None:
        self.experts = experts
        contexts = len(CONTEXT_BOUNDS) + 1
        self.shared = torch.full((experts,), 1.0 / experts, device=device)
        self.by_context = torch.zeros(contexts, experts, device=device)
        self.shared_squares = torch.zeros(experts, device=device)
        self.context_squares = torch.zeros(contexts, experts, device=device)
        self.linear = torch.full((experts + 1,), 0.5 / experts, device=device)
        self.linear[experts] = 0.5

    def mix(self, logs: Tensor, masked: Tensor, lengths: np.ndarray) -> Tensor:
        """Probabilities (B, I) under the present weights; nothing is learned.

        logs (B, M, I) are unnormalised log-probabilities, finite; masked (B, I) is 0 for a
        candidate and -inf for the rest.
        """
        contexts = np.searchsorted(CONTEXT_BOUNDS, lengths, side="right")
        weights = self.shared + self.by_context[contexts]
        joint = torch.softmax((weights[:, :, None] * logs).sum(1) + masked, dim=1)
        each = torch.softmax(logs + masked[:, None, :], dim=2)
        return (self.linear[:-1, None] * each).sum(1) + self.linear[-1] * joint

    def mix_and_learn(
        self, logs: Tensor, masked: Tensor, lengths: np.ndarray, items: np.ndarray
    ) -> Tensor:
        """As `mix`, event by event: each is answered, then learned from.

        items (B,) holds the item that came true, or -1 where nothing is to be learned.
        """
        contexts = np.searchsorted(CONTEXT_BOUNDS, lengths, side="right").tolist()
        each = torch.softmax(logs + masked[:, None, :], dim=2)
        answers = torch.empty_like(masked)
        linear = self.linear
        m = self.experts
        truth = torch.from_numpy(np.maximum(items, 0)).to(logs.device)
        index = truth[:, None, None].expand(-1, m, 1)
        true_logs = logs.gather(2, index).squeeze(2)
        true_each = each.gather(2, index).squeeze(2)
        likelihood = torch.empty(m + 1, device=logs.device)
        for b, (context, item) in enumerate(zip(contexts, items.tolist(), strict=True)):
            own = self.by_context[context]
            log = logs[b]
            joint = torch.softmax(torch.addmv(masked[b], log.t(), self.shared + own), dim=0)
            answer = torch.mv(each[b].t(), linear[:m], out=answers[b])
            answer.add_(joint * linear[m])
            if item < 0:
                continue
            gradient = torch.mv(log, joint).sub_(true_logs[b])
            square = gradient * gradient
            self.shared_squares += square
            self.context_squares[context] += square
            self.shared -= RATE * gradient / (self.shared_squares.sqrt() + 1e-6)
            own -= RATE * gradient / (self.context_squares[context].sqrt() + 1e-6)
            likelihood[:m] = true_each[b]
            likelihood[m] = joint[item]
            linear *= likelihood.add_(FLOOR)
            linear *= (1.0 - SHARE) / linear.sum()
            linear += SHARE / (m + 1)
        return answers

"""The answer of all experts together: three layers of weights, learned from every scored event.

The weights rest within a few events that are scored together (`recommender.SCORE_EVENTS`).

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

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.opinions import Opinions

LENGTH_BOUNDS = (1, 2, 3, 5, 10, 20, 50, 200)
"""Events of the user so far at which the next context begins."""

GAP_BOUNDS = (1.0, 10.0, 60.0, 300.0, 3600.0, 86_400.0, math.inf)
"""Seconds since the user's event before at which the next context begins."""

SUPPORT_BOUNDS = (1.0, 3.0, 6.0, 12.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0)
"""Occurrences of the user's newest item at which the next context begins."""

PATTERNS = 5
"""One event at most; the newest item is that of one event before; of two; of more; or new."""

LENGTHS = len(LENGTH_BOUNDS) + 1
CONTEXTS = LENGTHS + len(GAP_BOUNDS) + 1 + len(SUPPORT_BOUNDS) + 1 + PATTERNS
KINDS = 4

BLEND_RATE = 0.003
"""Smallest step of the blend: it forgets over some 1 / rate events of its context."""

MEMORY = 10_000
"""Events over which the Fisher information forgets."""

PRIOR_PRECISION = 20.0
CONTEXT_PRECISION = 100.0
"""Events' worth of belief that the weights, and their differences by context, are as at first."""

FISHER_STEP = 16
"""Of so many events, one tells the Fisher information."""

SHARE = 1e-3
FLOOR = 1e-30
EXCLUSION = 1e30
"""Nats that an item loses by being no candidate (five times faster than the logarithm of 0)."""


def contexts_of(recent: Tensor, lengths: Tensor, gaps: Tensor, supports: Tensor) -> Tensor:
    """Contexts (B, KINDS) of events, one of each kind: by the length of the user's history, by the
    seconds since its end, by how often its newest item has occurred, and by whether the user had
    had that item before. recent (B, W) newest first, -1 where there is none; the rest (B,)."""
    first, kinds = 0, []
    for values, bounds in (
        (lengths, LENGTH_BOUNDS),
        (gaps, GAP_BOUNDS),
        (supports, SUPPORT_BOUNDS),
    ):
        limits = torch.tensor(bounds, dtype=torch.float64, device=recent.device)
        kinds.append(first + torch.bucketize(values.double(), limits, right=True))
        first += len(bounds) + 1
    same = recent[:, 1:] == recent[:, :1]
    pattern = torch.where(same.any(1), 3, 4)
    pattern.masked_fill_(same[:, 1], 2).masked_fill_(same[:, 0], 1)
    kinds.append(first + pattern.masked_fill_(recent[:, 1] < 0, 0))
    return torch.stack(kinds, dim=1)


class Mixture:
    """Weights of M experts in all layers."""

    def __init__(self, experts: int, device: torch.device) -> None:
        self.experts = m = experts
        self.blend = torch.full((LENGTHS, m), 1.0 / m, device=device)
        self.blend_events = torch.zeros(LENGTHS, device=device)
        self.shared = torch.zeros(m + 1, device=device)
        self.shared[m] = 1.0
        self.by_context = torch.zeros(CONTEXTS, m + 1, device=device)
        self.shared_fisher = torch.zeros(m + 1, m + 1, device=device)
        self.context_fisher = torch.zeros(CONTEXTS, m + 1, m + 1, device=device)
        self.linear = torch.full((m + 2,), 0.25 / m, device=device)
        self.linear[m:] = 0.375
        self._one = torch.eye(m + 1, device=device)

    def mix(self, opinions: Opinions, candidates: Tensor, contexts: Tensor) -> Tensor:
        """Probabilities (B, I) under the present weights, 0 for what is no candidate; nothing is
        learned.

        candidates (B, I) is 1 for a candidate and 0 for the rest; contexts (B, KINDS) as of
        `contexts_of`. The room for the blend in `opinions.logs` is written.
        """
        return self._layers(opinions, candidates, contexts).answer

    def mix_and_learn(
        self,
        opinions: Opinions,
        candidates: Tensor,
        contexts: Tensor,
        items: NDArray[np.int64],
    ) -> Tensor:
        """As `mix`, then learn from all B events: within them the weights rest.

        items (B,) holds the item that came true, or -1 where nothing is to be learned.
        """
        device = candidates.device
        layers = self._layers(opinions, candidates, contexts)
        rows = torch.from_numpy(np.flatnonzero(items >= 0)).to(device)
        if len(rows):
            true = torch.from_numpy(items[items >= 0]).to(device)
            self._learn(layers, rows, true, contexts[rows])
        return layers.answer

    def _layers(self, opinions: Opinions, candidates: Tensor, contexts: Tensor) -> _Layers:
        """The experts are never normalised: the weights take on what that would divide by."""
        m = self.experts
        scale = 1.0 / opinions.weights.expect(candidates).clamp_(min=FLOOR)
        by_expert = torch.stack([self.blend[contexts[:, 0]], self.linear[:m].expand_as(scale)], 1)
        sums = opinions.weights.combine(by_expert * scale[:, None, :])
        blend, answer = sums.mul_(candidates[:, None, :]).unbind(1)
        torch.clamp(blend, min=FLOOR, out=opinions.logs.own[:, -1]).log_()
        by_feature = self.shared + self.by_context[contexts].sum(1)
        joint = opinions.logs.combine(by_feature[:, None, :]).squeeze(1)
        joint.add_(candidates - 1.0, alpha=EXCLUSION)
        torch.softmax(joint, dim=1, out=joint)
        joint.mul_(candidates)  # nothing where nobody is a candidate
        answer.add_(blend, alpha=float(self.linear[m])).add_(joint, alpha=float(self.linear[m + 1]))
        return _Layers(opinions, scale, blend, joint, answer)

    def _learn(self, layers: _Layers, rows: Tensor, true: Tensor, contexts: Tensor) -> None:
        m = self.experts
        at_truth = layers.opinions.logs.at(rows, true)
        likelihood = torch.cat(
            [
                layers.opinions.weights.at(rows, true) * layers.scale[rows],
                layers.blend[rows, true][:, None],
                layers.joint[rows, true][:, None],
            ],
            dim=1,
        ).add_(FLOOR)

        # Layer 2. The Fisher information takes in the events before their gradients are used.
        self._learn_fisher(layers, rows, contexts)
        expected = layers.opinions.logs.expect(layers.joint)
        gradient = expected[rows] - at_truth
        self.shared -= torch.linalg.solve(
            self.shared_fisher + PRIOR_PRECISION * self._one, gradient.sum(0)
        )
        self.by_context -= torch.linalg.solve(
            self.context_fisher + CONTEXT_PRECISION * self._one,
            torch.zeros_like(self.by_context).index_add_(
                0, contexts.flatten(), gradient.repeat_interleave(KINDS, dim=0)
            ),
        )

        # Layer 1: towards the mean posterior of the experts, history length by history length.
        contexts = contexts[:, 0]
        counts = torch.zeros_like(self.blend_events).index_add_(
            0, contexts, torch.ones_like(true, dtype=torch.float32)
        )
        posterior = self.blend[contexts] * likelihood[:, :m]
        posterior /= posterior.sum(1, keepdim=True)
        sums = torch.zeros_like(self.blend).index_add_(0, contexts, posterior)
        target = sums / counts.clamp(min=1)[:, None]
        self.blend_events += counts
        rate = (self.blend_events + 10).pow(-0.7).clamp(min=BLEND_RATE)
        self.blend.lerp_(target, (1 - (1 - rate) ** counts)[:, None])

        # Layer 3: Bayes, then the fixed share.
        self.linear = torch.softmax(self.linear.log() + likelihood.log().sum(0), dim=0)
        share = 1 - (1 - SHARE) ** len(true)
        self.linear = (1 - share) * self.linear + share / (m + 2)

    def _learn_fisher(self, layers: _Layers, rows: Tensor, contexts: Tensor) -> None:
        """Add the covariance of the features under the log-linear answer, from every
        `FISHER_STEP`-th event on behalf of all."""
        sample, sampled = rows[::FISHER_STEP], contexts[::FISHER_STEP]
        features, joint = layers.opinions.logs.rows(sample), layers.joint[sample]
        mean = torch.bmm(joint[:, None, :], features.transpose(1, 2))
        fisher = torch.bmm(features * joint[:, None, :], features.transpose(1, 2))
        fisher = (fisher - mean.transpose(1, 2) @ mean) * (len(rows) / len(sample))
        keep = (1.0 - 1.0 / MEMORY) ** len(rows)
        self.shared_fisher.mul_(keep).add_(fisher.sum(0))
        self.context_fisher.mul_(keep)
        self.context_fisher.index_add_(0, sampled.flatten(), fisher.repeat_interleave(KINDS, dim=0))


@dataclass(frozen=True)
class _Layers:
    """All layers' answers (B, I) for B events, and what makes the weights of the experts'
    opinions probabilities, scale (B, M)."""

    opinions: Opinions
    scale: Tensor
    blend: Tensor
    joint: Tensor
    answer: Tensor

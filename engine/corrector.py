"""A small network that corrects probabilities among options, and learns online.

Of K options with probabilities p and features x, log q(k) = log p(k) + f(x_k) - log Z; for anything
else, where that has a probability, f is 0. f has one hidden layer; it starts as 0 and learns from
every event by Adam on the log loss (Kingma and Ba 2015), one step for `BLOCK` events however these
are cut into batches. The answer is a linear mixture of p and q, Bayesian with a fixed share
(Herbster and Warmuth 1998), so that it is never far behind either.

Letters: B events, K options, C = K, or K + 1 with a last column for anything else; F features,
N = hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

HIDDEN = 64
BLOCK = 64
"""Events between two steps of learning."""

RATE = 5e-3
BETAS = (0.9, 0.999)
CLIP = 1.0
MEMORY = 500
"""Blocks over which the means and variances of the features forget."""

BOUND = 6.0
"""Standard deviations beyond which a feature is cut."""

SHARE = 1e-3
FLOOR = 1e-30


@dataclass(frozen=True)
class Correction:
    """Of the options of B events.

    prior and corrected (B, C), each sums to 1; there (B, K) bool: which options there are; features
    (B, K, F); inputs (B, K, F + 1) and hidden (B, K, N) of the network.
    """

    prior: Tensor
    corrected: Tensor
    there: Tensor
    features: Tensor
    inputs: Tensor
    hidden: Tensor


class Corrector:
    """The network, and how far it is trusted."""

    def __init__(self, features: int, seed: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(seed)
        start = torch.rand(features + 1, HIDDEN, generator=generator).mul_(2.0).sub_(1.0)
        self.input_weights = (start * features**-0.5).to(device)  # the last row: the biases
        self.output_weights = torch.zeros(HIDDEN, device=device)
        size = self.input_weights.numel() + HIDDEN
        self.gradient = torch.zeros(size, device=device)
        self.moments = torch.zeros(2, size, device=device)
        self.mean = torch.zeros(features, device=device)
        self.variance = torch.ones(features, device=device)
        self.sums = torch.zeros(2, features, device=device)
        self.block = torch.zeros(3, dtype=torch.long)
        """Since the last step: events, those that were learned from, options read."""
        self.steps = torch.zeros(2, dtype=torch.long)
        """Blocks so far, and those that changed the weights."""
        self.trust = torch.full((2,), 0.5, device=device)
        """Weights of the probabilities as they came and as they are corrected."""

    def correct(self, prior: Tensor, features: Tensor, there: Tensor) -> Correction:
        """prior (B, C) sums to 1; features (B, K, F); there (B, K) bool, prior is 0 elsewhere."""
        options = features.shape[1]
        centred = (features - self.mean) * (self.variance + 1e-3).rsqrt()
        inputs = functional.pad(centred.clamp_(-BOUND, BOUND), (0, 1), value=1.0)
        hidden = torch.matmul(inputs, self.input_weights).relu_()
        logs = prior.clamp(min=FLOOR).log_()
        logs[:, :options] += hidden @ self.output_weights
        corrected = torch.softmax(logs, dim=1)
        corrected[:, :options] *= there
        return Correction(prior, corrected, there, features, inputs, hidden)

    def answer(self, correction: Correction) -> Tensor:
        """Probabilities (B, C)."""
        return self.trust[0] * correction.prior + self.trust[1] * correction.corrected

    def learn(self, correction: Correction, hit: Tensor) -> None:
        """hit (B, C) bool: what came true; nothing is learned where there is nothing."""
        rows, options = hit.any(1).nonzero().squeeze(1), correction.there.shape[1]
        hit, corrected = hit[rows], correction.corrected[rows]

        errors = (corrected - hit.float())[:, :options].flatten()
        inputs, hidden = (x[rows].flatten(0, 1) for x in (correction.inputs, correction.hidden))
        back = torch.outer(errors, self.output_weights).mul_(hidden > 0)
        self.gradient += torch.cat([(inputs.t() @ back).view(-1), hidden.t() @ errors])

        likelihood = torch.stack([correction.prior[rows][hit], corrected[hit]]).add_(FLOOR)
        self.trust = torch.softmax(self.trust.log() + likelihood.log().sum(1), dim=0)
        kept = (1 - SHARE) ** len(rows)
        self.trust = kept * self.trust + (1 - kept) / 2

        flat, read = correction.features.flatten(0, 1), correction.there.flatten()
        self.sums += torch.stack([read.float() @ flat, read.float() @ flat.square()])
        self.block += torch.tensor([len(correction.prior), len(rows), int(read.sum())])
        if self.block[0] >= BLOCK:
            self._step()

    def _step(self) -> None:
        _, learned, read = self.block.tolist()
        self.steps[0] += 1
        if read:
            rate = max(1.0 / int(self.steps[0]), 1.0 / MEMORY)
            mean = self.sums[0] / read
            self.mean.lerp_(mean, rate)
            variance = (self.sums[1] / read - mean.square()).clamp_(min=0.0)
            self.variance.lerp_(variance, rate)
        if learned:
            self.steps[1] += 1
            self._adam(self.gradient / learned, int(self.steps[1]))
        for sums in (self.block, self.sums, self.gradient):
            sums.zero_()

    def _adam(self, gradient: Tensor, step: int) -> None:
        gradient *= (CLIP / gradient.norm().clamp(min=FLOOR)).clamp(max=1.0)
        self.moments[0].lerp_(gradient, 1 - BETAS[0])
        self.moments[1].lerp_(gradient.square(), 1 - BETAS[1])
        first, second = (m / (1 - b**step) for m, b in zip(self.moments, BETAS, strict=True))
        change = RATE * first / (second.sqrt() + 1e-8)
        size = self.input_weights.numel()
        self.input_weights -= change[:size].view_as(self.input_weights)
        self.output_weights -= change[size:]

"""A second opinion that corrects probabilities among options, and learns online.

Of K options with probabilities p and features x, log q(k) = log p(k) + w . phi(x_k) - log Z; for
anything else, where that has a probability, nothing is added. phi holds the features themselves,
and rectified sums of few of them with random weights (Rahimi and Recht 2008): what is learned is w
alone, which starts as 0. It is learned from every event by online natural gradient on the log loss
(Amari 1998), one step for `BLOCK` events however these are cut into batches; the Fisher information
is kept with exponential forgetting. The answer is a linear mixture of p and q, Bayesian with a
fixed share (Herbster and Warmuth 1998), so that it is never far behind either.

Letters: B events, K options, C = K, or K + 1 with a last column for anything else; F features,
P = F + `SUMS`: entries of phi.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SUMS = 256
OF = 3
"""Random sums, and the features in each of them."""

BLOCK = 64
"""Events between two steps of learning."""

MEMORY = 10_000
"""Events over which the Fisher information forgets."""

FISHER_STEP = 16
"""Of so many events, one tells the Fisher information."""

PRIOR_PRECISION = 20.0
"""Events' worth of belief that w is as it was."""

FEATURE_MEMORY = 500
"""Blocks over which the means and variances of the features forget."""

BOUND = 6.0
"""Standard deviations beyond which a feature is cut."""

SHARE = 1e-3
FLOOR = 1e-30


@dataclass(frozen=True)
class Correction:
    """Of the options of B events.

    prior and corrected (B, C), each sums to 1; there (B, K) bool: which options there are; features
    (B, K, F); centred (B, K, F) and sums (B, K, SUMS), together phi.
    """

    prior: Tensor
    corrected: Tensor
    there: Tensor
    features: Tensor
    centred: Tensor
    sums: Tensor


class Corrector:
    """What has been learned, and how far it is trusted."""

    def __init__(self, features: int, seed: int, device: torch.device) -> None:
        self.random = _random_sums(features, seed).to(device)
        size = features + SUMS
        self.weights = torch.zeros(size, device=device)
        self.gradient = torch.zeros(size, device=device)
        self.fisher = torch.zeros(size, size, device=device)
        self.fisher_of_block = torch.zeros(size, size, device=device)
        self.mean = torch.zeros(features, device=device)
        self.variance = torch.ones(features, device=device)
        self.sums = torch.zeros(2, features, device=device)
        self.block = torch.zeros(4, dtype=torch.long)
        """Since the last step: events, those that were learned from, those that told the Fisher
        information, options read."""
        self.steps = torch.zeros(2, dtype=torch.long)
        """Blocks so far, and those that changed the weights."""
        self.trust = torch.full((2,), 0.5, device=device)
        """Weights of the probabilities as they came and as they are corrected."""

    def correct(self, prior: Tensor, features: Tensor, there: Tensor) -> Correction:
        """prior (B, C) sums to 1; features (B, K, F); there (B, K) bool, prior is 0 elsewhere."""
        options = features.shape[1]
        centred = (features - self.mean) * (self.variance + 1e-3).rsqrt()
        centred.clamp_(-BOUND, BOUND)
        sums = torch.matmul(centred, self.random[:-1]).add_(self.random[-1]).relu_()
        logs = prior.clamp(min=FLOOR).log_()
        first = features.shape[2]
        logs[:, :options] += centred @ self.weights[:first] + sums @ self.weights[first:]
        corrected = torch.softmax(logs, dim=1)
        corrected[:, :options] *= there
        return Correction(prior, corrected, there, features, centred, sums)

    def answer(self, correction: Correction) -> Tensor:
        """Probabilities (B, C)."""
        return self.trust[0] * correction.prior + self.trust[1] * correction.corrected

    def learn(self, correction: Correction, hit: Tensor) -> None:
        """hit (B, C) bool: what came true; nothing is learned where there is nothing."""
        learned, options = hit.any(1), correction.there.shape[1]
        errors = (correction.corrected - hit.float())[:, :options] * learned[:, None]
        self.gradient += torch.cat(
            [
                errors.flatten() @ part.flatten(0, 1)
                for part in (correction.centred, correction.sums)
            ]
        )
        self._learn_trust(correction.prior[hit], correction.corrected[hit])

        position = torch.arange(len(hit)) + self.block[0]
        sample = (position % FISHER_STEP == 0).nonzero().squeeze(1)
        phi = torch.cat([correction.centred[sample], correction.sums[sample]], dim=2)
        weighted = phi * correction.corrected[sample, :options, None]
        mean = weighted.sum(1)
        self.fisher_of_block += weighted.flatten(0, 1).t() @ phi.flatten(0, 1) - mean.t() @ mean

        flat, read = correction.features.flatten(0, 1), correction.there.flatten()
        self.sums += torch.stack([read.float() @ flat, read.float() @ flat.square()])
        self.block += torch.tensor([len(hit), int(learned.sum()), len(sample), int(read.sum())])
        if self.block[0] >= BLOCK:
            self._step()

    def _learn_trust(self, prior: Tensor, corrected: Tensor) -> None:
        """prior and corrected (R,): of what came true."""
        likelihood = torch.stack([prior, corrected]).add_(FLOOR)
        self.trust = torch.softmax(self.trust.log() + likelihood.log().sum(1), dim=0)
        kept = (1 - SHARE) ** len(prior)
        self.trust = kept * self.trust + (1 - kept) / 2

    def _step(self) -> None:
        _, learned, sampled, read = self.block.tolist()
        self.steps[0] += 1
        if read:
            rate = max(1.0 / int(self.steps[0]), 1.0 / FEATURE_MEMORY)
            mean = self.sums[0] / read
            self.mean.lerp_(mean, rate)
            variance = (self.sums[1] / read - mean.square()).clamp_(min=0.0)
            self.variance.lerp_(variance, rate)
        if learned:
            self.steps[1] += 1
            self.fisher *= (1.0 - 1.0 / MEMORY) ** learned
            self.fisher += self.fisher_of_block * (learned / max(sampled, 1))
            precision = self.fisher.clone()
            precision.diagonal().add_(PRIOR_PRECISION)
            factor = torch.linalg.cholesky(precision)
            self.weights -= torch.cholesky_solve(self.gradient[:, None], factor).squeeze(1)
        for sums in (self.block, self.sums, self.gradient, self.fisher_of_block):
            sums.zero_()


def _random_sums(features: int, seed: int) -> Tensor:
    """(F + 1, SUMS): weights of `OF` features each, 0 of the others; the last row is a constant."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(features + 1, SUMS, generator=generator).mul_(2.0).sub_(1.0)
    order = torch.rand(features, SUMS, generator=generator).argsort(dim=0)
    weights[:-1] *= (order < OF) / OF**0.5
    weights[-1] *= features**-0.5
    return weights

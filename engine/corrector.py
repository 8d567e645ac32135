"""A second opinion that corrects probabilities among options, and learns online.

Of K options with probabilities p and features x, log q(k) = log p(k) + w . phi(x_k) - log Z; for
anything else, where that has a probability, nothing is added. phi holds the features themselves, a
constant, and a hidden layer, tanh(V x); w starts as 0, V at random. Both are learned from every
event by online natural gradient on the log loss (Amari 1998), one step for `BLOCK` events however
these are cut into smaller batches: w by its whole Fisher information, V by one in Kronecker factors
(Martens and Grosse 2015), both with exponential forgetting. The answer is a linear mixture of p and
q, Bayesian with a fixed share (Herbster and Warmuth 1998), so that it is never far behind either.

Letters: B events, K options, C = K, or K + 1 with a last column for anything else; F features, D =
F + 1 with a constant, U hidden units, P = D + U: entries of phi.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

UNITS = 64
"""Of the hidden layer."""

BLOCK = 64
"""Events between two steps of learning: so many, or more where more come at once."""

MEMORY = 10_000
"""Events over which the Fisher information forgets."""

FISHER_STEP = 4
"""Of so many events, one tells the Fisher information. Where a user's events come in a burst, they
are alike: fewer of them would tell too little of what else there is."""

PRIOR_PRECISION = 20.0
"""Events' worth of belief that w and V are as they were."""

FEATURE_MEMORY = 500
"""Blocks over which the means and variances of the features forget."""

BOUND = 6.0
"""Standard deviations beyond which a feature is cut."""

LEAST_VARIANCE = 1e-2
"""Of a feature: what has hardly varied so far says little where it differs at last."""

LARGEST_WEIGHT = 1e4
"""Beyond it, learning has lost its way and starts over."""

SHARE = 1e-3
FLOOR = 1e-30


@dataclass(frozen=True)
class Correction:
    """Of the options of B events.

    prior and corrected (B, C), each sums to 1; there (B, K) bool: which options there are; features
    (B, K, F); centred (B, K, D), with the constant last, and hidden (B, K, U), together phi.
    """

    prior: Tensor
    corrected: Tensor
    there: Tensor
    features: Tensor
    centred: Tensor
    hidden: Tensor


class Corrector:
    """What has been learned, and how far it is trusted."""

    def __init__(self, features: int, seed: int, device: torch.device) -> None:
        self._made_of = features, seed, device
        inputs = features + 1
        size = inputs + UNITS
        self.weights = torch.zeros(size, device=device)
        self.layer = _random_layer(inputs, seed).to(device)
        self.gradient = torch.zeros_like(self.weights)
        self.layer_gradient = torch.zeros_like(self.layer)
        self.fisher = torch.zeros(size, size, device=device)
        self.fisher_inputs = torch.zeros(inputs, inputs, device=device)
        self.fisher_outputs = torch.zeros(UNITS, UNITS, device=device)
        """The two factors of the layer's Fisher information."""
        self.fisher_events = torch.zeros((), device=device)
        """The Fisher information is the mean of so many events, those forgotten left out."""
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
        centred = (features - self.mean) * (self.variance + LEAST_VARIANCE).rsqrt()
        centred = functional.pad(centred.clamp_(-BOUND, BOUND), (0, 1), value=1.0)
        hidden = torch.matmul(centred, self.layer).tanh_()
        logs = prior.clamp(min=FLOOR).log_()
        of_features, of_hidden = self.weights[:-UNITS], self.weights[-UNITS:]
        logs[:, :options] += centred @ of_features + hidden @ of_hidden
        corrected = torch.softmax(logs, dim=1)
        corrected[:, :options] *= there
        return Correction(prior, corrected, there, features, centred, hidden)

    def answer(self, correction: Correction) -> Tensor:
        """Probabilities (B, C)."""
        return self.trust[0] * correction.prior + self.trust[1] * correction.corrected

    def learn(self, correction: Correction, hit: Tensor) -> None:
        """hit (B, C) bool: what came true; nothing is learned where there is nothing."""
        learned, options = hit.any(1), correction.there.shape[1]
        centred, hidden = correction.centred.flatten(0, 1), correction.hidden.flatten(0, 1)
        errors = (correction.corrected - hit.float())[:, :options] * learned[:, None]
        errors = errors.flatten()
        by_input = errors @ centred
        self.gradient += torch.cat([by_input, errors @ hidden])
        # tanh' = 1 - tanh^2, multiplied out: one matrix as large as the hidden units, not three.
        by_unit = by_input[:, None] - (centred * errors[:, None]).t() @ hidden.square()
        self.layer_gradient += by_unit * self.weights[-UNITS:]
        self._learn_trust(correction.prior[hit], correction.corrected[hit])

        place = torch.arange(len(hit)) + self.block[0]
        in_turn = (place % FISHER_STEP == 0).to(learned.device)
        self._learn_fisher(correction, (in_turn & learned).nonzero().squeeze(1))

        flat, read = correction.features.flatten(0, 1), correction.there.flatten().float()
        self.sums[0].addmv_(flat.t(), read)
        self.sums[1].addmv_(flat.square().t(), read)
        self.block += torch.tensor([len(hit), int(learned.sum()), int(read.sum())])
        if self.block[0] >= BLOCK:
            self._step()

    def _learn_trust(self, prior: Tensor, corrected: Tensor) -> None:
        """prior and corrected (R,): of what came true."""
        likelihood = torch.stack([prior, corrected]).add_(FLOOR)
        self.trust = torch.softmax(self.trust.log() + likelihood.log().sum(1), dim=0)
        kept = (1 - SHARE) ** len(prior)
        self.trust = kept * self.trust + (1 - kept) / 2

    def _learn_fisher(self, correction: Correction, sample: Tensor) -> None:
        """From events (R,), on behalf of all."""
        if not len(sample):
            return
        phi = torch.cat([correction.centred[sample], correction.hidden[sample]], dim=2)
        shares = correction.corrected[sample, : phi.shape[1], None]
        weighted = phi * shares
        mean, inputs = weighted.sum(1), len(self.fisher_inputs)
        squares = weighted.flatten(0, 1).t() @ phi.flatten(0, 1)
        slopes = self.weights[-UNITS:] * (1.0 - correction.hidden[sample].square())
        outputs = (slopes * shares).flatten(0, 1).t() @ slopes.flatten(0, 1)
        told = FISHER_STEP * len(sample)
        self.fisher_events += told
        rate = told / self.fisher_events
        for part, sums in (
            (self.fisher, squares - mean.t() @ mean),
            (self.fisher_inputs, squares[:inputs, :inputs]),
            (self.fisher_outputs, outputs),
        ):
            part.lerp_(sums / len(sample), rate)

    def _step(self) -> None:
        _, learned, read = self.block.tolist()
        self.steps[0] += 1
        if read:
            rate = max(1.0 / int(self.steps[0]), 1.0 / FEATURE_MEMORY)
            mean = self.sums[0] / read
            self.mean.lerp_(mean, rate)
            variance = (self.sums[1] / read - mean.square()).clamp_(min=0.0)
            self.variance.lerp_(variance, rate)
        if learned:
            self.steps[1] += 1
            self._learn_weights()
            self.fisher_events *= (1.0 - 1.0 / MEMORY) ** learned
        for sums in (self.block, self.sums, self.gradient, self.layer_gradient):
            sums.zero_()
        # Asked this way round, what is not a number is too large as well.
        if not all(part.abs().max() < LARGEST_WEIGHT for part in (self.weights, self.layer)):
            vars(self).update(vars(Corrector(*self._made_of)))

    def _learn_weights(self) -> None:
        events = self.fisher_events.clamp(min=1.0)
        prior = PRIOR_PRECISION / events
        step = _solved(self.fisher, prior, self.gradient[:, None] / events).squeeze(1)
        # The prior is split between the factors (Martens and Grosse 2015, section 6.3).
        inputs, outputs = self.fisher_inputs, self.fisher_outputs
        scales = [factor.diagonal().mean().clamp(min=FLOOR) for factor in (inputs, outputs)]
        split = (prior * scales[0] / scales[1]).sqrt()
        layer_step = _solved(inputs, split, self.layer_gradient / events)
        layer_step = _solved(outputs, prior / split, layer_step.t()).t()
        self.weights -= step
        self.layer -= layer_step


def _solved(matrix: Tensor, ridge: Tensor, right: Tensor) -> Tensor:
    """x of (matrix + ridge I) x = right; not finite where the matrix is not."""
    matrix = matrix.clone()
    matrix.diagonal().add_(ridge)
    return torch.cholesky_solve(right, torch.linalg.cholesky_ex(matrix).L)


def _random_layer(inputs: int, seed: int) -> Tensor:
    """(D, U), uniform within 1 / sqrt(D)."""
    generator = torch.Generator().manual_seed(seed)
    return (2.0 * torch.rand(inputs, UNITS, generator=generator) - 1.0) * inputs**-0.5

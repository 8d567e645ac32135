"""The re-ranker: a second stage that corrects the mixture among its best candidates.

The mixture weighs what the experts say alike for all candidates of an event. Here a small network
f reads, candidate by candidate, what each expert says, what is known of user and item
(`engine.facts`), and how the item fared of late against what the mixture expected of it. Among
the K best candidates, log q(i) = log p(i) + f(x_i) - log Z; together they keep the probability
they had. f starts as 0 and learns from every scored event whose item is among them, by Adam on
the log loss (Kingma and Ba 2015), one step for `BLOCK` events of the stream however these are cut
into batches. The answer is a linear mixture of p and q, Bayesian with a fixed share (Herbster and
Warmuth 1998), so that it is never far behind either.

Letters: B events, I items, K candidates, F features, N = hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.facts import FACTS, Facts
from engine.opinions import Opinions

CANDIDATES = 64
HIDDEN = 64
BLOCK = 64
"""Events between two steps of learning."""

RATE = 5e-3
BETAS = (0.9, 0.999)
CLIP = 1.0
MEMORY = 500
"""Blocks over which the means and variances of the features forget."""

HALF_LIVES = (300.0, 3000.0)
"""In events: of what came true of each item, and of what was expected."""

PLACE = 3 + len(HALF_LIVES)
"""Features of a candidate's place in the mixture's answer, and of how the item fared of late."""

BOUND = 6.0
"""Standard deviations beyond which a feature is cut."""

SHARE = 1e-3
FLOOR = 1e-30


class Reranker:
    """The network and what it has learned, for the answers of a mixture of so many experts."""

    def __init__(self, experts: int, seed: int, device: torch.device) -> None:
        self.device = device
        features = experts + 1 + FACTS + PLACE
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
        """Since the last step: events, those that were learned from, candidates read."""
        self.steps = torch.zeros(2, dtype=torch.long)
        """Blocks so far, and those that changed the weights."""
        self.came_true = torch.zeros(len(HALF_LIVES), 0, device=device)
        self.expected = torch.zeros(len(HALF_LIVES), 0, device=device)
        self.trust = torch.full((2,), 0.5, device=device)
        """Weights of the mixture's answer and of the corrected one."""

    @property
    def nbytes(self) -> int:
        return self.came_true.nbytes + self.expected.nbytes

    def grow(self, items: int) -> None:
        missing = max(0, items - self.expected.shape[1])
        self.came_true = functional.pad(self.came_true, (0, missing))
        self.expected = functional.pad(self.expected, (0, missing))

    def rerank(self, mixed: Tensor, opinions: Opinions, facts: Facts) -> Tensor:
        """The mixture's answer (B, I), corrected; nothing is learned.

        opinions: as the mixture has left them, its own blend among the logs.
        """
        return self._shortlist(mixed, opinions, facts).answer(mixed, self.trust)

    def rerank_and_learn(
        self, mixed: Tensor, opinions: Opinions, facts: Facts, columns: NDArray[np.int64]
    ) -> Tensor:
        """As `rerank`, then learn from the columns (B,) that came true, -1 where there is none."""
        shortlist = self._shortlist(mixed, opinions, facts)
        answer = shortlist.answer(mixed, self.trust)
        true = torch.from_numpy(columns).to(self.device)
        self._learn(shortlist, true)
        self._compare(mixed, opinions, true)
        return answer

    def _shortlist(self, mixed: Tensor, opinions: Opinions, facts: Facts) -> _Shortlist:
        likely, columns = torch.topk(mixed, min(CANDIDATES, mixed.shape[1]), dim=1)
        items = opinions.items_of(columns)
        logs = likely.clamp(min=FLOOR).log_()
        said = opinions.logs.among(columns).log_softmax(2).transpose(1, 2)
        features = torch.cat([said, facts.of(items), self._place(logs, items)], dim=2)
        centred = (features - self.mean) * (self.variance + 1e-3).rsqrt()
        inputs = functional.pad(centred.clamp_(-BOUND, BOUND), (0, 1), value=1.0)
        hidden = torch.matmul(inputs, self.input_weights).relu_()
        corrected = torch.softmax(logs + hidden @ self.output_weights, dim=1).mul_(likely > 0)
        return _Shortlist(columns, likely, features, inputs, hidden, corrected)

    def _place(self, logs: Tensor, items: Tensor) -> Tensor:
        """(B, K, PLACE)"""
        best = logs[:, :1].expand_as(logs)
        rank = torch.arange(logs.shape[1], device=self.device).log1p().expand_as(logs)
        fared = (self.came_true[:, items] + 1.0).log_()
        fared.sub_((self.expected[:, items] + 1.0).log_())
        return torch.stack([logs - best, best, rank, *fared], dim=2)

    def _learn(self, shortlist: _Shortlist, true: Tensor) -> None:
        hit = shortlist.columns == true[:, None]
        rows = hit.any(1).nonzero().squeeze(1)
        hit, corrected = hit[rows], shortlist.corrected[rows]
        share = shortlist.likely[rows] / shortlist.likely[rows].sum(1, keepdim=True)

        errors = (corrected - hit.float()).view(-1)
        inputs, hidden = (x[rows].flatten(0, 1) for x in (shortlist.inputs, shortlist.hidden))
        back = torch.outer(errors, self.output_weights).mul_(hidden > 0)
        self.gradient += torch.cat([(inputs.t() @ back).view(-1), hidden.t() @ errors])

        likelihood = torch.stack([share[hit], corrected[hit]]).add_(FLOOR)
        self.trust = torch.softmax(self.trust.log() + likelihood.log().sum(1), dim=0)
        kept = (1 - SHARE) ** len(rows)
        self.trust = kept * self.trust + (1 - kept) / 2

        flat = shortlist.features.flatten(0, 1)
        self.sums += torch.stack([flat.sum(0), flat.square().sum(0)])
        self.block += torch.tensor([len(true), len(rows), len(flat)])
        if self.block[0] >= BLOCK:
            self._step()

    def _step(self) -> None:
        _, learned, read = self.block.tolist()
        self.steps[0] += 1
        rate = max(1.0 / int(self.steps[0]), 1.0 / MEMORY)
        mean = self.sums[0] / read
        self.mean.lerp_(mean, rate)
        self.variance.lerp_((self.sums[1] / read - mean.square()).clamp_(min=0.0), rate)
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

    def _compare(self, mixed: Tensor, opinions: Opinions, true: Tensor) -> None:
        """Take in what the mixture expected of events that are ranked, and what came true."""
        rows = (true >= 0).nonzero().squeeze(1)
        n, items = len(rows), opinions.items_of(true.clamp(min=0)[:, None]).squeeze(1)[rows]
        keep = torch.tensor([0.5 ** (n / h) for h in HALF_LIVES], device=self.device)[:, None]
        self.expected.mul_(keep).add_(opinions.by_item(mixed, rows, self.expected.shape[1]))
        self.came_true.mul_(keep).index_add_(
            1, items, torch.ones(len(HALF_LIVES), n, device=self.device)
        )


@dataclass(frozen=True)
class _Shortlist:
    """The K best candidates of B events, best first, by their columns.

    columns (B, K); likely (B, K): the mixture's probabilities; features (B, K, F); inputs
    (B, K, F + 1) and hidden (B, K, N) of the network; corrected (B, K) sums to 1, 0 for what is
    no candidate.
    """

    columns: Tensor
    likely: Tensor
    features: Tensor
    inputs: Tensor
    hidden: Tensor
    corrected: Tensor

    def answer(self, mixed: Tensor, trust: Tensor) -> Tensor:
        together = self.likely.sum(1, keepdim=True)
        values = trust[0] * self.likely + trust[1] * together * self.corrected
        return mixed.scatter(1, self.columns, values)

"""Cross entropy over packed tokens, full or sampled, without the matrix of all scores.

The gradients of a chunk of tokens are computed in the forward pass, right when its scores are at
hand, so that scores are computed once and at most `chunk` x (I + 1) of them exist at any time
(both rounded up, see below).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

CHUNK_STEP = 32
ITEMS_STEP = 256
"""Multiples that the tokens of a chunk and the items scored in the full loss are rounded up to.

On the CPU oneDNN compiles a kernel for every shape and keeps a thousand: with a shape of its own
for each batch and catalogue, that takes a tenth of the time and a gigabyte of memory."""


def full_softmax_loss(
    hidden: Tensor,
    embedding: Tensor,
    bias: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    chunk: int = 512,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Weighted mean of -log softmax(hidden embedding^T + bias)[target] over the tokens; a scalar.

    hidden: (N, H); embedding: (I+1, H); bias: (I+1,); targets: (N,) int64; weights: (N,), None
    for all alike. Column 0 is part of the softmax, as in the authors' code. `dtype` of the score
    products (None: that of hidden). The value of a token is capped at -log of the smallest
    normal number (87 in float32); its gradient is exact.
    """
    return _FullSoftmax.apply(
        hidden, embedding, bias, targets, _shares(hidden, weights), chunk, dtype or hidden.dtype
    )


def sampled_softmax_loss(
    hidden: Tensor,
    embedding: Tensor,
    bias: Tensor,
    targets: Tensor,
    negatives: int,
    generator: Generator | None,
    weights: Tensor | None = None,
    chunk: int = 512,
) -> Tensor:
    """The full loss estimated from `negatives` items drawn uniformly for each chunk of tokens.

    Drawn scores are raised by log(I / negatives), so that their exponentials sum, in expectation,
    to those of all items 1..I; a draw that is the token's own target is left out of its sum.
    Arguments as in `full_softmax_loss`.
    """
    items = embedding.shape[0] - 1
    shift = math.log(items / negatives)
    shares = _shares(hidden, weights)
    total = hidden.new_zeros(())
    for begin in range(0, len(hidden), chunk):
        part = slice(begin, begin + chunk)
        h, target = hidden[part], targets[part]
        drawn = torch.randint(1, items + 1, (negatives,), device=h.device, generator=generator)
        positive = (h * F.embedding(target, embedding)).sum(-1) + bias[target]
        negative = F.linear(h, F.embedding(drawn, embedding), bias[drawn] + shift)
        negative = negative.masked_fill(target[:, None] == drawn, -math.inf)
        losses = torch.cat((positive[:, None], negative), 1).logsumexp(1) - positive
        total = total + (losses * shares[part]).sum()
    return total


@torch.no_grad()
def token_losses(
    hidden: Tensor, embedding: Tensor, bias: Tensor, targets: Tensor, chunk: int = 512
) -> Tensor:
    """(N,) -log softmax of each token's target, without gradient, in chunks."""
    losses = torch.empty_like(hidden[:, 0])
    for begin in range(0, len(hidden), chunk):
        part = slice(begin, begin + chunk)
        logits = F.linear(hidden[part], embedding, bias)
        losses[part] = F.cross_entropy(logits, targets[part], reduction="none")
    return losses


def _shares(hidden: Tensor, weights: Tensor | None) -> Tensor:
    """(N,) weights that sum to one."""
    if weights is None:
        return hidden.new_full(hidden.shape[:1], 1 / max(len(hidden), 1))
    weights = weights.to(hidden)
    return weights / weights.sum().clamp_min(torch.finfo(hidden.dtype).tiny)


def _rounded(size: int, step: int) -> int:
    return -(-size // step) * step


class _FullSoftmax(torch.autograd.Function):
    """d loss / d logits = share * (softmax - onehot(target)), used up chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        embedding: Tensor,
        bias: Tensor,
        targets: Tensor,
        shares: Tensor,
        chunk: int,
        dtype: torch.dtype,
    ) -> Tensor:
        tokens, items = len(hidden), len(embedding)
        chunks = max(-(-tokens // chunk), 1)
        size = max(_rounded(-(-tokens // chunks), CHUNK_STEP), CHUNK_STEP)
        missing = -tokens % size
        spare = _rounded(items, ITEMS_STEP) - items
        hidden, targets = F.pad(hidden, (0, 0, 0, missing)), F.pad(targets, (0, missing))
        shares = F.pad(shares, (0, missing))[:, None]  # tokens that pad weigh nothing
        low_embedding = F.pad(embedding.to(dtype), (0, 0, 0, spare))
        low_bias = F.pad(bias.to(dtype), (0, spare), value=-torch.inf)
        grad_hidden = torch.empty_like(hidden)
        grads = hidden.new_zeros(items + spare, embedding.shape[1] + 1)  # of [embedding | bias]
        total = hidden.new_zeros(())
        tiny = torch.finfo(hidden.dtype).tiny
        for begin in range(0, len(hidden), size):
            part = slice(begin, begin + size)
            h, target, share = hidden[part], targets[part], shares[part]
            logits = F.linear(h.to(dtype), low_embedding, low_bias)  # (size, I + 1 and spare)
            delta = torch.softmax(logits, 1, out=logits)
            at_target = (torch.arange(len(h), device=h.device), target)
            likelihood = delta[at_target].to(hidden.dtype)
            total -= likelihood.clamp_min(tiny).log() @ share[:, 0]
            delta[at_target] -= 1
            grad_hidden[part] = (delta @ low_embedding).to(hidden.dtype).mul_(share)
            grads += delta.t() @ torch.cat((h * share, share), 1).to(dtype)
        grad_hidden, grads = grad_hidden[:tokens], grads[:items]
        grad_embedding, grad_bias = grads[:, :-1], grads[:, -1]
        ctx.save_for_backward(grad_hidden, grad_embedding, grad_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_embedding, grad_bias = ctx.saved_tensors
        scale = grads[0]
        return (
            grad_hidden * scale,
            grad_embedding * scale,
            grad_bias * scale,
            None,
            None,
            None,
            None,
        )

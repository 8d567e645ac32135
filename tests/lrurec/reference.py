"""LRURec written a second time, event by event in complex numbers: what the tests compare with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lrurec.model import LRURec


def hidden_vectors(model: LRURec, items: list[int]) -> tuple[Tensor, Tensor]:
    """Hidden vectors (n, H) of one sequence without dropout, and its last states (blocks, D)."""
    states = [None] * len(model.blocks)
    hidden = []
    for item in items:
        x = F.layer_norm(
            model.embedding[item], model.embedding.shape[1:], model.norm.weight, model.norm.bias
        )
        for index, block in enumerate(model.blocks):
            x, states[index] = _block(block, x, states[index])
        hidden.append(x)
    return torch.stack(hidden), torch.stack(states)


def _block(block, x: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
    lru, feed = block.lru, block.feed_forward
    decay = torch.polar(torch.exp(-torch.exp(lru.nu_log)), torch.exp(lru.theta_log))
    b = torch.complex(*lru.in_weight.chunk(2))
    b_bias = torch.complex(*lru.in_bias.chunk(2))
    c_re, minus_c_im = lru.out_weight.chunk(2, 1)
    u = torch.exp(lru.gamma_log) * (b @ x.to(b.dtype) + b_bias)
    h = u if h is None else decay * h + u
    y = (torch.complex(c_re, -minus_c_im) @ h).real + lru.out_bias
    x = F.layer_norm(y + x, x.shape, lru.norm.weight, lru.norm.bias)
    inner = F.gelu(feed.weight_1 @ x + feed.bias_1)
    y = feed.weight_2 @ inner + feed.bias_2
    return F.layer_norm(y + x, x.shape, feed.norm.weight, feed.norm.bias), h

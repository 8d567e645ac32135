"""The unit of cost: one plain training step of LRURec, as the paper prints it.

Left padding to 256, the recursive parallelization (Algorithm 1) in complex64, all scores of all
positions at once, AdamW with clipping; a batch of 128 users of MovieLens-1M, their last 200
events. Nothing here is shared with the package it is compared with.
"""

from __future__ import annotations

import csv
import gzip
import math
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

USERS, LENGTH, WIDTH, BLOCKS, DROPOUT = 128, 200, 64, 2, 0.2
PADDED = 256  # the next power of two
WARM_UP = 1


def sample_users(ratings: Path, seed: int) -> tuple[list[NDArray[np.int64]], int]:
    """128 users' sequences of item rows (1..I, at most 201 events), in time order, and I."""
    rows: dict[str, int] = {}
    histories: dict[str, list[int]] = {}
    with gzip.open(ratings, "rt") as file:
        for record in csv.DictReader(file):
            row = rows.setdefault(record["item"], len(rows) + 1)
            histories.setdefault(record["user"], []).append(row)
    chosen = np.random.default_rng(seed).choice(len(histories), USERS, replace=False)
    sequences = list(histories.values())
    return [np.array(sequences[u][-LENGTH - 1 :], dtype=np.int64) for u in chosen], len(rows)


class PlainLRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        states = 2 * WIDTH
        radius = torch.empty(states).uniform_(0.8, 0.99)
        phase = torch.rand(states) * 2 * math.pi
        gamma = (1 - radius**2).sqrt()
        self.params_log = nn.Parameter(
            torch.stack((torch.log(-torch.log(radius)), torch.log(phase), torch.log(gamma)))
        )
        self.b = nn.Parameter(0.02 * torch.randn(states, WIDTH, dtype=torch.complex64))
        self.b_bias = nn.Parameter(torch.zeros(states, dtype=torch.complex64))
        self.c = nn.Parameter(0.02 * torch.randn(WIDTH, states, dtype=torch.complex64))
        self.c_bias = nn.Parameter(torch.zeros(WIDTH, dtype=torch.complex64))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (B, 256, H); mask: (B, 256), True at real events."""
        nu, theta, gamma = torch.exp(self.params_log)
        decay = torch.exp(torch.complex(-nu, theta))
        h = F.linear(x.to(torch.complex64), self.b, self.b_bias) * gamma
        h = self.parallel_scan(h, decay, mask)
        y = F.linear(h, self.c, self.c_bias).real
        return self.norm(F.dropout(y, DROPOUT) + x)

    @staticmethod
    def parallel_scan(h: Tensor, decay: Tensor, mask: Tensor) -> Tensor:
        """Algorithm 1: halves of 1, 2, 4, ... 128 positions, the left carried into the right."""
        batch, length, width = h.shape
        powers = decay[None]
        for level in range(length.bit_length() - 1):
            half = 1 << level
            pairs = h.reshape(batch * length // (2 * half), 2 * half, width)
            alive = mask.reshape(-1, 2 * half, 1)[:, half - 1 : half]
            left, right = pairs[:, :half], pairs[:, half:]
            right = right + powers * left[:, -1:] * alive
            h = torch.cat((left, right), 1)
            powers = torch.cat((powers, powers * powers[-1]))
        return h.reshape(batch, length, width)


class PlainFeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.dropout(F.gelu(self.w_1(x)), DROPOUT)
        return self.norm(F.dropout(self.w_2(inner), DROPOUT) + x)


class PlainLRURec(nn.Module):
    def __init__(self, items: int) -> None:
        super().__init__()
        self.token = nn.Embedding(items + 1, WIDTH)
        nn.init.trunc_normal_(self.token.weight, std=0.02, a=-0.04, b=0.04)
        self.norm = nn.LayerNorm(WIDTH)
        self.recurrences = nn.ModuleList(PlainLRU() for _ in range(BLOCKS))
        self.feed_forwards = nn.ModuleList(PlainFeedForward() for _ in range(BLOCKS))
        self.bias = nn.Parameter(torch.zeros(items + 1))

    def forward(self, items: Tensor) -> Tensor:
        """items: (B, 256), left-padded with 0. Returns all scores (B, 200, I + 1)."""
        mask = items > 0
        x = self.norm(F.dropout(self.token(items), DROPOUT))
        for recurrence, feed_forward in zip(self.recurrences, self.feed_forwards, strict=True):
            x = feed_forward(recurrence(x, mask))
        return F.linear(x[:, -LENGTH:], self.token.weight, self.bias)


def left_padded(sequences: list[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """Items (B, 256) and targets (B, 200), zeros on the left."""
    items = torch.zeros(len(sequences), PADDED, dtype=torch.int64)
    targets = torch.zeros(len(sequences), LENGTH, dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        events = len(sequence) - 1
        items[row, -events:] = torch.from_numpy(sequence[:-1])
        targets[row, -events:] = torch.from_numpy(sequence[1:])
    return items, targets


def plain_step_seconds(ratings: Path, seed: int = 0, repeats: int = 3) -> float:
    """Median seconds of one plain step on this machine, after one to warm up.

    `ratings`: ML-1M as csv.gz with a header naming user and item, oldest event first.
    """
    sequences, item_count = sample_users(ratings, seed)
    items, targets = left_padded(sequences)
    torch.manual_seed(seed)
    model = PlainLRURec(item_count)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    seconds = []
    for _ in range(WARM_UP + repeats):
        begin = time.perf_counter()
        optimizer.zero_grad()
        scores = model(items)
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=0)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[WARM_UP:])

"""Ranking: where the true item stands among the candidates, and the best k of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def candidates_of(
    known: Tensor, seen: tuple[Tensor, Tensor] | None, events: int, items: int
) -> Tensor:
    """(B, I): 1 for a candidate, 0 for an item not known yet or excluded by `seen`.

    known (B,) items are known before each event; seen holds event indices and items (S,) each.
    """
    candidates = torch.ones(events, items, device=known.device)
    fewest = int(known.min())
    late = torch.arange(fewest, items, device=known.device)
    candidates[:, fewest:].masked_fill_(late[None, :] >= known[:, None], 0.0)
    if seen is not None:
        candidates.view(-1).index_fill_(0, seen[0] * items + seen[1], 0.0)
    return candidates


def ranks_of(scores: Tensor, items: Tensor, draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank (B,) of items[b] in scores[b]: 1 + strictly better + a share of the equal ones.

    Items that are no candidates score lower than any other. draws (B,), uniform in [0, 1), break
    ties: never in favour of the true item.
    """
    true = scores.gather(1, items[:, None])
    # Comparing into floats and summing them is five times faster than by way of bool; the sums
    # are exact below 2^24 items.
    compared = torch.empty_like(scores)
    better = torch.gt(scores, true, out=compared).sum(1).cpu().numpy().astype(np.int64)
    equal = torch.eq(scores, true, out=compared).sum(1).cpu().numpy() - 1
    return 1 + better + np.floor(draws * (equal + 1)).astype(np.int64)


def strongest_first(groups: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The order (N,) of values by group, of each group the largest first, and the place in its
    group (N,), from 0, of each value so ordered. groups, values (N,)."""
    order = values.argsort(descending=True)
    order = order[groups[order].argsort(stable=True)]
    _, sizes = torch.unique_consecutive(groups[order], return_counts=True)
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return order, torch.arange(len(order), device=order.device) - first


def uniform_draws(seed: int, start: int, count: int) -> NDArray[np.float64]:
    """Uniform draws (count,) for events start, start + 1, ...: a function of both (splitmix64)."""
    with np.errstate(over="ignore"):
        step = np.uint64(0x9E3779B97F4A7C15)
        x = (np.uint64(seed) << np.uint64(32)) + np.arange(start, start + count, dtype=np.uint64)
        x = (x + np.uint64(1)) * step
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def best(scores: Tensor, k: int) -> tuple[list[int], list[float]]:
    """The k best items of one row of scores (I,) and their scores, best first, without -inf."""
    values, items = torch.topk(scores, min(k, len(scores)))
    kept = torch.isfinite(values)
    return items[kept].tolist(), values[kept].tolist()

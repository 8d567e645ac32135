"""Sequences of item rows to packed batches: real tokens one after another, no padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows of tokens, packed, on the CPU.

    items, targets: (N,) int64, each token and the item that followed it; offsets: (R+1,) int64,
    row r is items[offsets[r]:offsets[r+1]]; weights: (N,) float32 weight of each token in the
    loss, None for all alike.
    """

    items: Tensor
    targets: Tensor
    offsets: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        """N, the number of tokens."""
        return len(self.items)


def windows(sequences: Sequence[NDArray[np.integer]], max_length: int) -> list[NDArray[np.integer]]:
    """Cut sequences for training into pieces of at most `max_length` inputs (one event more).

    The paper's rule: a sequence of at least 2 x max_length events becomes consecutive windows
    from the end, what is left over at its start is dropped; a shorter one keeps its end.
    Neighbouring windows share one event, so that each event is predicted once. Sequences of
    fewer than 2 events have nothing to predict and give nothing.
    Raises ValueError where max_length is below 1.
    """
    if max_length < 1:
        raise ValueError(f"max_length={max_length}: must be at least 1")
    pieces = []
    for sequence in sequences:
        events = len(sequence)
        if events < 2:
            continue
        for k in range(max((events - 1) // max_length, 1)):
            end = events - k * max_length
            pieces.append(sequence[max(end - max_length - 1, 0) : end])
    return pieces


def pack(sequences: Sequence[NDArray[np.integer]], max_length: int) -> PackedBatch:
    """One batch of all sequences of item rows, cut by `windows`: inputs seq[:-1], targets seq[1:].

    >>> batch = pack([np.array([5, 6, 7]), np.array([8, 9])], max_length=50)
    >>> batch.items.tolist(), batch.targets.tolist(), batch.offsets.tolist()
    ([5, 6, 8], [6, 7, 9], [0, 2, 3])
    """
    return _pack_pieces(windows(sequences, max_length))


def token_batches(
    sequences: Sequence[NDArray[np.integer]], tokens_per_batch: int, rng: np.random.Generator
) -> Iterator[PackedBatch]:
    """All sequences once, shuffled, in batches of `tokens_per_batch` real tokens; the last of them
    may be smaller.

    The sequence that fills a batch loses the events at its start that do not fit: memory and
    compiled kernels are found again by their size, and so all full batches have the same. The
    others are taken whole: cut them with `windows` first. Raises ValueError where tokens_per_batch
    is below 1.
    """
    if tokens_per_batch < 1:
        raise ValueError(f"tokens_per_batch={tokens_per_batch}: must be at least 1")
    usable = [sequence for sequence in sequences if len(sequence) >= 2]
    pending: list[NDArray[np.integer]] = []
    tokens = 0
    for index in rng.permutation(len(usable)):
        room = tokens_per_batch - tokens
        pending.append(usable[index][-room - 1 :])
        tokens += len(pending[-1]) - 1
        if tokens == tokens_per_batch:
            yield _pack_pieces(pending)
            pending, tokens = [], 0
    if pending:
        yield _pack_pieces(pending)


def _pack_pieces(pieces: Sequence[NDArray[np.integer]]) -> PackedBatch:
    offsets = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum([len(piece) - 1 for piece in pieces], out=offsets[1:])

    def joined(parts: list[NDArray[np.integer]]) -> Tensor:
        empty = np.empty(0, dtype=np.int64)
        return torch.from_numpy(np.concatenate([empty, *parts]).astype(np.int64, copy=False))

    return PackedBatch(
        items=joined([piece[:-1] for piece in pieces]),
        targets=joined([piece[1:] for piece in pieces]),
        offsets=torch.from_numpy(offsets),
    )

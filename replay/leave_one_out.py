"""The paper's protocol, leave-one-out: how a data set is split, batched for training, and ranked.

Of a user with three items or more, the last one is the test item, the one before the validation
item, the rest trains. This is another question than the prequential one (the model has seen what
other users did later), so results of the two are never put side by side.

Yue et al., "Linear Recurrent Units for Sequential Recommendation", WSDM 2024, Sec. 5; where the
text leaves details open (windows, first items, exclusion), as the code that gave its Table 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray

from engine.metrics import RANK_METRICS, rank_gains
from engine.topk import ranks_of, uniform_draws
from lrurec.batches import PackedBatch, pack
from lrurec.model import PADDING, LRURec
from lrurec.scan import Rows

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
LEAST_ITEMS = 3
"""Of a user who is asked about: one to train on, one to validate, one to test."""

USERS_RANKED_AT_ONCE = 256

Items = NDArray[np.int64]
Window = list[Items]
"""One unit of training: rows of item rows, each predicting its next item, state by state."""


@dataclass(frozen=True, slots=True)
class Cases:
    """What is asked in an evaluation: inputs[n], item rows, oldest first, and the item that
    followed, targets (n,) int64."""

    inputs: list[Items]
    targets: Items


@dataclass(frozen=True, slots=True)
class Split:
    """A data set in three: items as rows 1..`items`, row 0 being the padding item."""

    training: list[Items]
    validation: Cases
    test: Cases
    items: int


def split(users: NDArray[np.int64], items: NDArray[np.int64]) -> Split:
    """Split events (n,), a user's together and oldest first.

    Users of fewer than three items only train. Raises ValueError where there is no other user.
    """
    names, rows = np.unique(items, return_inverse=True)
    sequences = np.split(rows + 1, np.flatnonzero(np.diff(users)) + 1)
    asked = [items for items in sequences if len(items) >= LEAST_ITEMS]
    if not asked:
        raise ValueError(
            f"no user has {LEAST_ITEMS} items or more: nobody is left to evaluate; "
            "give a larger file"
        )
    return Split(
        training=[items[:-2] if len(items) >= LEAST_ITEMS else items for items in sequences],
        validation=Cases([s[:-2] for s in asked], np.array([s[-2] for s in asked])),
        test=Cases([s[:-1] for s in asked], np.array([s[-1] for s in asked])),
        items=len(names),
    )


def windows(sequences: Sequence[Items], max_length: int) -> list[Window]:
    """Training sequences, cut as for the paper's results.

    At least 2 x max_length events become windows of max_length, consecutive, from the end; what
    is left at the start is dropped. A shorter sequence keeps its end: max_length inputs. Where a
    window's first event has no input before it, the padding item stands there, and passes no
    state on.
    """
    found = []
    for events in sequences:
        if len(events) < 2 * max_length:
            found.append(_window(events, max_length))
        else:
            ends = range(len(events), max_length - 1, -max_length)
            found += [_window(events[end - max_length : end], max_length) for end in ends]
    return found


def _window(events: Items, max_length: int) -> Window:
    if len(events) > max_length:
        return [events[-max_length - 1 :]]
    return [np.array([PADDING, events[0]]), events]


def batches(
    found: Sequence[Window], size: int, max_length: int, seed: int, start: int = 0
) -> Iterator[PackedBatch]:
    """Batches of `size` windows without end, from number `start` on, shuffled anew every epoch.

    The last batch of an epoch may be smaller. A batch is a function of `seed` and its number.
    """
    first, skipped = divmod(start, batches_per_epoch(found, size))
    for epoch in count(first):
        order = np.random.default_rng([seed, epoch]).permutation(len(found))
        for begin in range(skipped * size, len(order), size):
            chosen = (found[index] for index in order[begin : begin + size])
            yield pack([row for window in chosen for row in window], max_length)
        skipped = 0


def batches_per_epoch(found: Sequence[Window], size: int) -> int:
    """How many batches of `size` windows pass all windows by once."""
    return -(-len(found) // size)


@torch.no_grad()
def ranks(model: LRURec, cases: Cases, max_length: int, seed: int) -> NDArray[np.int64]:
    """(n,) the rank of each target among all items but those in its input's last `max_length`.

    1 is best; 0 is a target that is in the input itself, which nothing could find. Equal scores
    are broken at random by `seed`. Leaves the model in evaluation mode.
    """
    model.eval()
    device = model.embedding.device
    found = []
    for begin in range(0, len(cases.inputs), USERS_RANKED_AT_ONCE):
        part = slice(begin, begin + USERS_RANKED_AT_ONCE)
        inputs = [items[-max_length:] for items in cases.inputs[part]]
        lengths = np.array([len(items) for items in inputs])
        tokens = torch.from_numpy(np.concatenate(inputs)).to(device)
        targets = torch.from_numpy(cases.targets[part]).to(device)
        rows = Rows.from_offsets(np.concatenate(([0], np.cumsum(lengths))), device)
        hidden, _ = model.encode(rows.arrange(tokens), rows, None, None)
        scores = model.scores(hidden[rows.last])  # (users, I + 1)
        scores[:, PADDING] = -torch.inf
        owners = torch.from_numpy(np.repeat(np.arange(len(inputs)), lengths)).to(device)
        scores[owners, tokens] = -torch.inf
        rank = ranks_of(scores, targets, uniform_draws(seed, begin, len(inputs)))
        excluded = scores.gather(1, targets[:, None])[:, 0].isinf().cpu().numpy()
        found.append(np.where(excluded, 0, rank))
    return np.concatenate(found)


def metrics(ranks: NDArray[np.int64]) -> dict[str, float]:
    """`METRICS` by name, means over ranks (n,)."""
    means = dict(zip(RANK_METRICS, rank_gains(ranks).mean(0).tolist(), strict=True))
    return {name: means[name] for name in METRICS}

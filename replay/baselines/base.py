"""What every baseline promises."""

from __future__ import annotations

import typing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.protocols import DEPLOYABLE, Protocol
from replay.stream import Rows


@dataclass(frozen=True, slots=True)
class Task:
    """What a baseline is built from: how many users and items the stream will bring, whether an
    item may come to a user again, the seed of everything random, and how the stream is scored."""

    n_users: int
    n_items: int
    repeats: bool
    seed: int
    protocol: Protocol = DEPLOYABLE


class Baseline(typing.Protocol):
    """A recommender that a model has to beat, on the same events under the same rules.

    Built from a `Task`. Item rows are numbered by first appearance in the stream.
    """

    name: str

    def rank_and_learn(self, events: Rows) -> NDArray[np.int64]:
        """Rank each event's item with what was known before it, then learn the event.

        events: the next n of the stream, which may be cut into calls anywhere.

        Returns (n,) ranks: 1 + the number of candidates that score higher; candidates with the
        same score come before or after in an order drawn with the seed. 0 is a miss: a new item,
        or one that the user already has while repeats are off. Candidates are all items seen so
        far, without the user's own while repeats are off, unless the protocol has others.
        Raises ValueError for rows that cannot be.
        """
        ...

    def recommend(self, user: int, k: int) -> NDArray[np.int32]:
        """What a user would be shown now: at most k item rows, best first.

        Of all items known so far, without the user's own while repeats are off. To ask changes no
        rank that comes after.
        """
        ...


def best_of(scores: NDArray[np.floating], k: int) -> NDArray[np.int32]:
    """At most k rows of scores (I,), best first, equal ones in their order; none of -inf or NaN."""
    rows = np.argsort(-scores, kind="stable")[:k]
    return rows[np.isfinite(scores[rows])].astype(np.int32)


def check_rows(events: Rows, n_users: int, n_items: int, known: int) -> None:
    """Raises ValueError for rows that a baseline was not built for, where `known` items came."""
    users, items = events.users, events.items
    if len(users) != len(items):
        raise ValueError(f"{len(users)} users with {len(items)} items: give one of each")
    if not len(users):
        return
    if users.min() < 0 or users.max() >= n_users:
        raise ValueError(
            f"user rows run from {users.min()} to {users.max()}: "
            f"this baseline was built for rows 0 to {n_users - 1}"
        )
    known_before = np.maximum.accumulate(np.append(known - 1, items[:-1])) + 1
    if items.min() < 0 or items.max() >= n_items or np.any(items > known_before):
        raise ValueError(
            f"item rows must be 0 to {n_items - 1}, numbered by first appearance: "
            "see replay.stream.to_rows"
        )

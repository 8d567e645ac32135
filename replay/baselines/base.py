"""What every baseline promises."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Baseline(Protocol):
    """A recommender so simple that a model has to beat it, exact after every single event.

    Built with the number of users and of items the stream will bring, whether repeats are on, a
    seed, and a protocol. Item rows are numbered by first appearance in the stream.
    """

    name: str

    def rank_and_learn(
        self, users: NDArray[np.int32], items: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        """Rank each event's item with what was known before it, then learn the event.

        users, items: (n,) rows of the next n events. A stream may be cut into calls anywhere.

        Returns (n,) ranks: 1 + the number of candidates that score higher; candidates with the
        same score come before or after in an order drawn with the seed. 0 is a miss: a new item,
        or one that the user already has while repeats are off. Candidates are all items seen so
        far, without the user's own while repeats are off, unless the protocol has others.
        """
        ...

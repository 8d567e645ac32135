"""One scoring as the recommender sees it: for those who watch the engine without changing it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.opinions import Opinions


@dataclass(frozen=True)
class Scoring:
    """What went into ranking B consecutive events, and the answers, before they are learned.

    first: the stream's number of the first event; candidates (B, I) is 1 for a candidate and 0 for
    the rest; contexts (B, KINDS) as of `mixture.contexts_of`; items (B,) that came true, -1 where
    an event is not ranked; draws (B,) break ties; answers: by name, probabilities (B, I).
    """

    first: int
    opinions: Opinions
    candidates: Tensor
    contexts: Tensor
    items: NDArray[np.int64]
    draws: NDArray[np.float64]
    answers: dict[str, Tensor]

"""What a scoring gives, and what went into it for those who watch the engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.facts import Facts
from engine.opinions import Opinions


@dataclass(frozen=True)
class Scoring:
    """What went into ranking B consecutive events, and the answers, before they are learned.

    first: the stream's number of the first event; candidates (B, I) is 1 for a candidate and 0 for
    the rest; contexts (B, KINDS) as of `mixture.contexts_of`; columns (B,) that came true, -1 where
    an event is not ranked; draws (B,) break ties; mixed (B, I): the mixture's answer before it is
    re-ranked; answers: by name, probabilities (B, I). What columns are of, `opinions` knows.
    """

    first: int
    opinions: Opinions
    candidates: Tensor
    facts: Facts
    contexts: Tensor
    columns: NDArray[np.int64]
    draws: NDArray[np.float64]
    mixed: Tensor
    answers: dict[str, Tensor]


@dataclass(frozen=True)
class Scored:
    """How a micro-batch of B events was ranked before it was learned.

    ranks: by answer name ("engine", and "lrurec" for the pure model), int64 (B,), 0 = miss, as
    also where no expert has the item among its best in a large catalogue; reasons: (B,) `Reason`;
    log_losses: by answer name, float64 (B,) nats, NaN for a miss;
    new_user: (B,) the user had no event before.
    """

    ranks: dict[str, NDArray[np.int64]]
    reasons: NDArray[np.int8]
    log_losses: dict[str, NDArray[np.float64]]
    new_user: NDArray[np.bool_]


def joined(scored: list[Scored]) -> Scored:
    """Consecutive parts as one."""
    return Scored(
        ranks={n: np.concatenate([p.ranks[n] for p in scored]) for n in scored[0].ranks},
        reasons=np.concatenate([p.reasons for p in scored]),
        log_losses={
            n: np.concatenate([p.log_losses[n] for p in scored]) for n in scored[0].log_losses
        },
        new_user=np.concatenate([p.new_user for p in scored]),
    )

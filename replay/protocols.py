"""How a stream is scored: our own protocol, and three others that published numbers come from.

They differ in which events are scored, in who competes with the true item, and in the metric;
every event is learned under each of them. Numbers of different protocols share no column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.metrics import RANK_METRICS, rank_gains


@dataclass(frozen=True, slots=True)
class Protocol:
    """The candidates are the items seen so far, without the user's own while repeats are off,
    unless told otherwise.

    unknown_users: whether a user's first event is scored; warm_start: share of the stream that is
    learned before the first event is scored; all_items: candidates are all items of the stream,
    from its start; recent_events: where not 0, candidates are the items of so many newest events
    and the true one, last of them where it is new or the user's own; repeats: what it has to be,
    None for as asked; dcg: where not 0, DCG@k = ln 2 / ln(rank + 1) is given for this k as well.
    """

    name: str
    unknown_users: bool = True
    warm_start: float = 0.0
    all_items: bool = False
    recent_events: int = 0
    repeats: bool | None = None
    dcg: int = 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the columns of `gains`."""
        return (*RANK_METRICS, f"dcg@{self.dcg}") if self.dcg else RANK_METRICS

    def gains(self, ranks: NDArray[np.int64]) -> NDArray[np.float64]:
        """What each event adds to each of `metrics`: (n,) ranks, 0 = miss, to (n, metrics)."""
        gains = rank_gains(ranks)
        if not self.dcg:
            return gains
        dcg = np.log(2) / np.log(np.maximum(ranks, 1) + 1)
        return np.column_stack([gains, np.where((ranks > 0) & (ranks <= self.dcg), dcg, 0.0)])

    def unscored(self, unknown_users: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(n,) the events that are learned only; unknown_users: (n,) the user had no event."""
        warm = np.arange(len(unknown_users)) < int(self.warm_start * len(unknown_users))
        return warm if self.unknown_users else warm | unknown_users


DEPLOYABLE = Protocol("deployable")
"""Every event is scored, against what could have been recommended then."""

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        DEPLOYABLE,
        # Vinagre, Jorge and Gama, "Evaluation of recommender systems in streaming environments",
        # 2014.
        Protocol("vinagre", unknown_users=False, all_items=True),
        # Kitazawa, "FluRS: a Python library for streaming recommendation algorithms"; "Incremental
        # factorization machines for persistently cold-starting online item recommendation", 2016.
        Protocol("flurs", warm_start=0.3, recent_events=1_000),
        # Frigó, Pálovics, Kelen, Kocsis and Benczúr, "Alpenglow: open source recommender framework
        # with time-aware learning and evaluation", 2017.
        Protocol("alpenglow", repeats=True, dcg=100),
    )
}


def find(name: str) -> Protocol:
    """The protocol of this name. Raises ValueError where there is none."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol is {name!r}: give {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]

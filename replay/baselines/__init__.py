"""The baselines by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from replay.baselines.base import Baseline
from replay.baselines.popularity import decayed_popularity, fast_popularity, popularity
from replay.baselines.rules import rules_long, rules_short
from replay.baselines.transition import transition
from replay.protocols import Protocol

BASELINES: Mapping[str, Callable[[int, int, bool, int, Protocol], Baseline]] = MappingProxyType(
    {
        "popularity": popularity,
        "decayed_popularity": decayed_popularity,
        "fast_popularity": fast_popularity,
        "transition": transition,
        "rules_long": rules_long,
        "rules_short": rules_short,
    }
)
"""Each makes a baseline from (n_users, n_items, repeats, seed, protocol [deployable])."""

__all__ = ["BASELINES", "Baseline"]

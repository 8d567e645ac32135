"""The baselines by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from replay.baselines.base import Baseline
from replay.baselines.biased_mf import BiasedMF
from replay.baselines.bpr_mf import BPRMF
from replay.baselines.isgd import ISGD
from replay.baselines.item_knn import ItemKNN
from replay.baselines.popularity import decayed_popularity, fast_popularity, popularity
from replay.baselines.rules import rules_long, rules_short
from replay.baselines.session_knn import SessionKNN
from replay.baselines.transition import transition

COUNTING: Mapping[str, Callable[[int, int, bool, int], Baseline]] = MappingProxyType(
    {
        "popularity": popularity,
        "decayed_popularity": decayed_popularity,
        "fast_popularity": fast_popularity,
        "transition": transition,
        "rules_long": rules_long,
        "rules_short": rules_short,
    }
)
"""The fast ones: a few seconds for 100,000 events all together."""

BASELINES: Mapping[str, Callable[[int, int, bool, int], Baseline]] = MappingProxyType(
    {
        **COUNTING,
        "item_knn": ItemKNN,
        "session_knn": SessionKNN,
        "isgd": ISGD,
        "bpr_mf": BPRMF,
        "biased_mf": BiasedMF,
    }
)
"""Each makes a baseline from (n_users, n_items, repeats, seed)."""

FROM_VALUES = frozenset({"biased_mf"})
"""Those that learn nothing from an event without a value."""

__all__ = ["BASELINES", "COUNTING", "FROM_VALUES", "Baseline"]

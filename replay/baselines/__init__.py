"""The baselines by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from engine.config import EngineConfig
from replay.baselines.base import Baseline, Task
from replay.baselines.biased_mf import BiasedMF
from replay.baselines.bpr_mf import BPRMF
from replay.baselines.gru4rec import GRU4Rec
from replay.baselines.isgd import ISGD
from replay.baselines.item_knn import ItemKNN
from replay.baselines.popularity import decayed_popularity, fast_popularity, popularity
from replay.baselines.rules import rules_long, rules_short
from replay.baselines.sasrec import SASRec
from replay.baselines.session_knn import SessionKNN
from replay.baselines.transition import transition

Make = Callable[[Task], Baseline]

COUNTING: Mapping[str, Make] = MappingProxyType(
    {
        "popularity": popularity,
        "decayed_popularity": decayed_popularity,
        "fast_popularity": fast_popularity,
        "transition": transition,
        "rules_long": rules_long,
        "rules_short": rules_short,
    }
)
"""The fast ones: compiled, a few microseconds an event."""


def makers(config: EngineConfig) -> Mapping[str, Make]:
    """All baselines; `config` gives the networks the width, the windows and the budget of the
    engine that they are compared with."""
    return MappingProxyType(
        {
            **COUNTING,
            "item_knn": ItemKNN,
            "session_knn": SessionKNN,
            "isgd": ISGD,
            "bpr_mf": BPRMF,
            "biased_mf": BiasedMF,
            "gru4rec": partial(GRU4Rec, config=config),
            "sasrec": partial(SASRec, config=config),
        }
    )


BASELINES = makers(EngineConfig())

FROM_VALUES = frozenset({"biased_mf"})
"""Those that learn nothing from an event without a value."""

__all__ = ["BASELINES", "COUNTING", "FROM_VALUES", "Baseline", "Make", "Task", "makers"]

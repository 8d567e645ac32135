"""Proof that the model and the hot parts of the engine need torch and numpy, nothing else.

    python benchmarks/bare_machine.py [--device auto|cpu|cuda]

From the first import on, everything that installing torch and numpy does not bring is refused, as
it would be on a bare machine with a GPU (and triton too where there is none). Then a small seeded
stream is learned, scored before every update and asked for a recommendation.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import pkgutil
import re
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

NEEDS_A_LIBRARY = {"lrurec.weights"}  # safetensors
HOT_PARTS = (
    "engine.config",
    "engine.context",
    "engine.experts",
    "engine.history",
    "engine.ids",
    "engine.metrics",
    "engine.mixture",
    "engine.popularity",
    "engine.recommender",
    "engine.rules",
    "engine.states",
    "engine.topk",
)
EVENTS, USERS, ITEMS, SEED = 5_000, 300, 1_000, 0


def distribution_name(text: str) -> str:
    """`text` up to the version and the marker, in the spelling that compares: torch>=2 -> torch."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", text.strip(), maxsplit=1)[0]).lower()


def brought_by(roots: Sequence[str]) -> set[str]:
    """The distributions `roots` and all that is installed because of them."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = distribution_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another system
            continue
        waiting += [line for line in requires if "extra ==" not in line]
    return found


class BareMachine:
    """A meta path finder for which only the distributions `allowed` are installed."""

    def __init__(self, allowed: set[str]) -> None:
        owners = importlib.metadata.packages_distributions()
        self.refused = {
            module
            for module, names in owners.items()
            if allowed.isdisjoint(map(distribution_name, names))
        } - {"lrurec", "engine", "connectors"}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in self.refused:
            raise ModuleNotFoundError(f"{name} is not on a bare machine", name=name)
        return None


def run_stream(device: str) -> str:
    """Learn a seeded stream in which most users walk the catalogue in order; say how it went."""
    import numpy as np

    from connectors.event import Event, EventBatch
    from engine.config import EngineConfig
    from engine.recommender import Recommender

    rng = np.random.default_rng(SEED)
    users = rng.integers(USERS, size=EVENTS)
    walked = np.zeros(USERS, dtype=np.int64)
    items = np.empty(EVENTS, dtype=np.int64)
    for event, user in enumerate(users):
        walked[user] += 1
        items[event] = (37 * user + walked[user]) % ITEMS
    stream = EventBatch.from_events(
        Event(f"u{user}", f"i{item}", float(n))
        for n, (user, item) in enumerate(zip(users, items, strict=True))
    )

    recommender = Recommender(EngineConfig(seed=SEED, device=device))
    start = time.perf_counter()
    scored = recommender.learn_many(stream)
    top = recommender.recommend("u0", k=10)
    seconds = time.perf_counter() - start
    assert scored is not None and len(top) == 10
    ranks = scored.ranks["engine"]
    recall = float(((ranks > 0) & (ranks <= 10)).mean())
    return f"{EVENTS:,} events on {recommender.device} in {seconds:.1f} s, recall@10 {recall:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda[:n]")
    device = parser.parse_args().device

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    allowed = brought_by(["torch", "numpy"])
    if not Path("/dev/nvidiactl").exists():
        allowed.discard("triton")
    sys.meta_path.insert(0, BareMachine(allowed))

    import lrurec

    model = {f"lrurec.{module.name}" for module in pkgutil.iter_modules(lrurec.__path__)}
    for name in sorted(model - NEEDS_A_LIBRARY) + list(HOT_PARTS):
        importlib.import_module(name)
        print(f"imported {name}")
    print(run_stream(device))


if __name__ == "__main__":
    main()

"""A small engine on a small stream, run over a real store: shared by the tests of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from connectors.base import Sink
from connectors.database import Database
from connectors.event import Event
from connectors.memory import Crash, Item, MemorySource
from engine.config import EngineConfig, LoopConfig
from engine.engine import Engine
from engine.journal import recover
from engine.loop import Loop
from engine.versions import Versions

CONFIG = EngineConfig(
    seed=3,
    device="cpu",
    width=8,
    blocks=1,
    micro_batch=50,
    history=20,
    precision="float32",
    finetune_mode="inline",
    finetune_first=300,
    finetune_growth=10.0,
    finetune_every=300,
    finetune_on_drift=False,
    batch_tokens=256,
    train_tokens_per_event=2.0,
    train_tokens_early=0.0,
    gate_tolerance=100.0,
)


def stream(events: int = 1_000, users: int = 30, items: int = 80, seed: int = 0) -> list[Event]:
    """Users who mostly step from an item to the next one; few users, so anchors move."""
    rng = np.random.default_rng(seed)
    at = rng.integers(items, size=users)
    result = []
    for i in range(events):
        user = int(rng.integers(users))
        at[user] = (at[user] + 1 if rng.random() < 0.8 else rng.integers(items)) % items
        result.append(Event(f"user {user}", f"item {at[user]}", 1e9 + i))
    return result


class Run:
    """One start of the engine on a folder: what is there is recovered first."""

    def __init__(
        self,
        folder: Path,
        script: Sequence[Item],
        config: EngineConfig = CONFIG,
        loop: LoopConfig | None = None,
        store: Any = None,
        sink: Sink | None = None,
        **options: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.database = Database.open(f"sqlite:///{folder / 'engine.sqlite'}")
        self.store = store(self.database) if store else self.database
        self.versions = Versions(folder / "models")
        self.engine = Engine(config)
        self.recovered = recover(self.engine, self.store, self.versions)
        self.source = MemorySource("events", script, self.store.positions)
        self.loop = Loop(
            self.engine,
            self.source,
            self.store,
            self.versions,
            self.recovered,
            loop or LoopConfig(snapshot_events=350),
            sink,
            **({"clock": lambda: 0.0} | options),
        )

    def until(self, events: int) -> Engine:
        try:
            self.loop.run(events)
        finally:
            self.database.close()
        return self.engine


class CrashingStore:
    """A store whose `nth` call of a kind crashes, before or after it took effect."""

    def __init__(self, store: Database, when: str, what: str, nth: int) -> None:
        self.store, self.when, self.what, self.left = store, when, what, nth

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def append(self, entries: Sequence[tuple[str, bytes]], *rest: Any) -> int:
        hit = any(kind == self.what for kind, _ in entries) and self._count()
        self._crash_if(hit and self.when == "before")
        position = self.store.append(entries, *rest)
        self._crash_if(hit and self.when == "after")
        return position

    def save_snapshot(self, position: int, chunks: Any) -> None:
        hit = self.what == "snapshot" and self._count()
        self._crash_if(hit and self.when == "before")
        self.store.save_snapshot(position, self._cut(chunks) if hit else chunks)
        self._crash_if(hit and self.when == "after")

    def _cut(self, chunks: Any) -> Any:
        for i, chunk in enumerate(chunks):
            self._crash_if(self.when == "during" and i == 5)
            yield chunk

    def _count(self) -> bool:
        self.left -= 1
        return self.left == 0

    @staticmethod
    def _crash_if(now: bool) -> None:
        if now:
            raise Crash("as the test says")


def everything(engine: Engine) -> dict[str, NDArray[Any]]:
    """Every array that a snapshot of everything would hold, by its full name, and the states."""
    recommender = engine.recommender
    recommender.histories.changed[: len(recommender.users)] = True
    if recommender.experts.rules:
        recommender.experts.rules.changed[:] = True
    arrays = {
        f"{kind}/{block}/{name}": np.array(array)
        for kind, part in engine.parts().items()
        if kind not in ("users", "items")
        for block, blocks in part.changes()
        for name, array in blocks.items()
    }
    users = np.arange(len(recommender.users))
    hidden = recommender.states.hidden(users) if recommender.uses_model else torch.empty(0)
    return arrays | {
        "users": np.array(recommender.users.names),
        "items": np.array(recommender.items.names),
        "hidden": hidden.cpu().numpy(),
    }


def assert_same(left: Engine, right: Engine) -> None:
    """Histories and counts exactly; what comes from states, which are rebuilt, closely."""
    a, b = everything(left), everything(right)
    assert a.keys() == b.keys()
    for name in a:
        if name.endswith("recent_ranks"):
            assert (a[name] != b[name]).mean() < 0.01, name
        elif name == "hidden":
            np.testing.assert_allclose(a[name], b[name], atol=1e-5, err_msg=name)
        elif name == "metrics/0/ranked":
            np.testing.assert_allclose(a[name], b[name], rtol=1e-2, err_msg=name)
        elif "_corrector/0/fisher" in name:  # means, of some thousand events
            np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=2e-4, err_msg=name)
        elif "_corrector/" in name and a[name].dtype.kind == "f":  # sums of some thousand steps
            close = max(2e-3, 1e-6 * float(np.abs(a[name]).max()))
            np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=close, err_msg=name)
        elif a[name].dtype.kind == "f":
            np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert left.recommender.version == right.recommender.version


def with_settings(**settings: Any) -> EngineConfig:
    return replace(CONFIG, **settings)

"""What a stopped engine left behind answers the questions that a running loop answers."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

from connectors.base import Store
from engine import checkpoint, journal
from engine.config import EngineConfig
from engine.engine import Engine
from engine.stats import engine_stats
from engine.versions import Versions


class StoredEngine:
    """Reads the store only as far as a question needs it; the methods are those of `Loop`.

    The settings are those it ran with; only the device is taken from `config`. `store` may be
    read-only, unless a version is promoted or a user forgotten.
    """

    def __init__(self, store: Store, versions: Versions, config: EngineConfig) -> None:
        self._store, self._versions, self._config = store, versions, config

    def recommend(self, user: str, k: int, exclude: Collection[str]) -> list[tuple[str, float]]:
        return self._engine.recommender.recommend(user, k, exclude)

    def stats(self) -> dict[str, Any]:
        return engine_stats(self._engine)

    def models(self) -> Sequence[dict[str, Any]]:
        return self._versions.described(journal.live_version(self._store))

    def promote(self, version: int) -> int:
        journal.promote(self._store, self._versions, version)
        return version

    def rollback(self) -> int:
        return self.promote(self._versions.before(journal.live_version(self._store)))

    def forget(self, user: str) -> bool:
        self._store.append([])  # from here on, no other engine writes
        engine = self._recovered()
        if not engine.recommender.forget(user):
            return False
        position = self._store.append([journal.forget_entry(user)])
        self._store.save_snapshot(position, checkpoint.snapshot_chunks(engine))
        return True

    @cached_property
    def _engine(self) -> Engine:
        return self._recovered()

    def _recovered(self) -> Engine:
        engine = Engine(_stored_config(self._store, self._config))
        journal.recover(engine, self._store, self._versions)
        return engine


def _stored_config(store: Store, present: EngineConfig) -> EngineConfig:
    """The settings of the snapshot on the device of `present`; `present` where there is none."""
    _, chunks = store.load_snapshot()
    found = next((chunk for chunk in chunks if chunk.kind == checkpoint.SETTINGS), None)
    if found is None:
        return present
    config = json.loads(found.payload)["config"]
    known = {f.name: config[f.name] for f in fields(EngineConfig) if f.name in config}
    experts = tuple(known.pop("experts"))
    return EngineConfig(**known | {"experts": experts, "device": present.device})

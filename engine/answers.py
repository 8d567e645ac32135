"""What can be asked of an engine: of the one that runs, or of what a stopped one left behind.

Both answer the same questions; an HTTP client that asks a running engine is a third of the kind.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, fields
from functools import cached_property
from typing import Any

from connectors.base import Store
from engine import checkpoint, journal
from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import VersionError
from engine.loop import Loop
from engine.stats import engine_stats
from engine.versions import Versions


class RunningEngine:
    """The engine inside this process, while its loop runs. May be asked from any thread."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def recommend(self, user: str, k: int, exclude: Collection[str]) -> list[tuple[str, float]]:
        return self._loop.recommend(user, k, exclude)

    def stats(self) -> dict[str, Any]:
        return self._loop.stats()

    def models(self) -> list[dict[str, Any]]:
        return _described(self._loop.versions, self._live)

    def promote(self, version: int) -> int:
        self._loop.promote(version)
        return version

    def rollback(self) -> int:
        return self.promote(_before(self._loop.versions, self._live))

    @property
    def _live(self) -> int:
        return self._loop.engine.recommender.version


class StoredEngine:
    """An engine that does not run: read from the store, only as far as a question needs it.

    The settings are those it ran with; only the device is taken from `config`. `store` may be
    read-only, unless a version is promoted.
    """

    def __init__(self, store: Store, versions: Versions, config: EngineConfig) -> None:
        self._store, self._versions, self._config = store, versions, config

    def recommend(self, user: str, k: int, exclude: Collection[str]) -> list[tuple[str, float]]:
        return self._engine.recommender.recommend(user, k, exclude)

    def stats(self) -> dict[str, Any]:
        return engine_stats(self._engine)

    def models(self) -> list[dict[str, Any]]:
        return _described(self._versions, journal.live_version(self._store))

    def promote(self, version: int) -> int:
        journal.promote(self._store, self._versions, version)
        return version

    def rollback(self) -> int:
        return self.promote(_before(self._versions, journal.live_version(self._store)))

    @cached_property
    def _engine(self) -> Engine:
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


def _described(versions: Versions, live: int) -> list[dict[str, Any]]:
    """Oldest first; `live` marks the one that answers."""
    rows = [asdict(info) | {"live": info.version == live} for info in versions.list()]
    for row in rows:
        del row["config"]
    return rows


def _before(versions: Versions, live: int) -> int:
    """The version that `live` was trained from. Raises VersionError where there is none."""
    parent = versions.info(live).parent if live else 0
    if not parent:
        raise VersionError(f"version {live}: there is none before it; promote one instead")
    return parent

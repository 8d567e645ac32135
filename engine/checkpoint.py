"""Snapshots: what changed in the engine since the last one, as chunks for the store; and back.

The weights of a version lie in the folder of versions; a snapshot holds its number, and the rows
the model has grown since. States are no part of it: histories rebuild them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from typing import Any

from connectors.base import Chunk
from engine.durable import pack, unpack
from engine.engine import Engine
from engine.errors import SnapshotError
from engine.versions import Versions

FORMAT = 1

FIXED = ("seed", "repeats", "experts", "history", "width", "blocks")
"""Settings that what is stored depends on: they cannot change between a snapshot and a start."""

SETTINGS = "config"
"""The kind of the chunk that says what all others were made with."""


def snapshot_chunks(engine: Engine) -> Iterator[Chunk]:
    """What changed since the last call, or since `restore`; the first call gives everything.

    What was given out counts as stored: where storing it fails, start again from the store.
    """
    yield Chunk(SETTINGS, 0, json.dumps(_settings(engine)).encode())
    for kind, part in engine.parts().items():
        for block, arrays in part.changes():
            yield Chunk(kind, block, pack(arrays))


def restore(engine: Engine, chunks: Iterable[Chunk], versions: Versions) -> bool:
    """Bring a new engine to where it was at the snapshot made of `chunks`; False: there are none.

    Raises SnapshotError where they were made under settings that do not fit, VersionError where
    the weights are missing.
    """
    parts = engine.parts()
    found = False
    for chunk in _settings_first(chunks):
        found = True
        if chunk.kind == SETTINGS:
            _check(json.loads(chunk.payload), _settings(engine))
            continue
        if chunk.kind not in parts:
            raise SnapshotError(
                f"snapshot: {chunk.kind!r} is no part of this engine; "
                "start with the version of lrustream that wrote it, or with a new database"
            )
        arrays = unpack(chunk.payload)
        if chunk.kind == "engine" and (version := int(arrays["version"])):
            model, engine.trained = versions.load(version, engine.recommender.device)
            engine.recommender.install(model, version)
        parts[chunk.kind].restore(chunk.key, arrays)
    engine.recommender.make_room()
    return found


def _settings_first(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Whatever order the store keeps, the settings come before what was made with them."""
    waiting: list[Chunk] = []
    chunks = iter(chunks)
    for chunk in chunks:
        if chunk.kind == SETTINGS:
            yield chunk
            break
        waiting.append(chunk)
    yield from chain(waiting, chunks)


def _settings(engine: Engine) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(json.dumps(asdict(engine.config)))
    return {
        "format": FORMAT,
        "config": config,
        "experts": list(engine.recommender.experts.names),
    }


def _check(stored: dict[str, Any], present: dict[str, Any]) -> None:
    if stored["format"] != FORMAT:
        raise SnapshotError(
            f"snapshot: format {stored['format']}, this program reads {FORMAT}; "
            "start with the version of lrustream that wrote it, or with a new database"
        )
    for name in FIXED:
        before, now = stored["config"].get(name), present["config"][name]
        if before != now:
            raise SnapshotError(
                f"{name}: {now!r}, but the stored engine was made with {before!r}; "
                "give that again, or start with a new database"
            )
    if stored["experts"] != present["experts"]:
        raise SnapshotError(
            f"experts: the stored engine mixes {', '.join(stored['experts'])}, this program "
            f"{', '.join(present['experts'])}; start with a new database"
        )

"""Snapshots hold what changed, come back whole, and refuse another engine in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from connectors.base import Chunk
from connectors.event import EventBatch
from engine.checkpoint import restore, snapshot_chunks
from engine.config import EngineConfig
from engine.durable import pack, unpack
from engine.engine import Engine
from engine.errors import SnapshotError
from engine.versions import Versions
from tests.engine.running import CONFIG, assert_same, stream, with_settings

Snapshot = dict[tuple[str, int], Chunk]


def learn(engine: Engine, events: EventBatch) -> None:
    for batch in events.micro_batches(50):
        engine.process(batch)


def saved(engine: Engine) -> Snapshot:
    return {(chunk.kind, chunk.key): chunk for chunk in snapshot_chunks(engine)}


def restored(config: EngineConfig, snapshot: Snapshot, folder: Path) -> Engine:
    engine = Engine(config)
    # The order in which a store gives them back is its own.
    chunks = [snapshot[key] for key in sorted(snapshot, key=lambda key: (key[0][::-1], -key[1]))]
    assert restore(engine, chunks, Versions(folder))
    return engine


@given(
    st.dictionaries(
        st.text(max_size=5),
        arrays.arrays(
            st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]),
            arrays.array_shapes(min_dims=0, min_side=0),
        ),
    )
)
def test_packed_arrays_come_back(named: dict[str, Any]) -> None:
    back = unpack(pack(named))
    assert back.keys() == named.keys()
    for name, array in named.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repeats": True},
        {"experts": ("popularity", "rules")},
        {"experts": ("lrurec",)},
        {"rules_bytes": 20_000},
        {"finetune_on_drift": True},
    ],
    ids=str,
)
def test_snapshots_on_top_of_each_other_give_the_engine_back(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = with_settings(**settings)
    events = EventBatch.from_events(stream(700, users=200, items=300))
    engine = Engine(config)
    snapshot: Snapshot = {}
    for start in range(0, 600, 200):
        learn(engine, events[start : start + 200])
        snapshot |= saved(engine)
    back = restored(config, snapshot, tmp_path)
    for each in (engine, back):
        learn(each, events[600:])
    assert_same(back, engine)


def test_a_snapshot_costs_what_changed(tmp_path: Path) -> None:
    engine = Engine(CONFIG)
    events = stream(2_000, users=700, items=900)
    learn(engine, EventBatch.from_events(events))
    first = saved(engine)
    assert len([key for key in first if key[0] == "histories"]) > 8
    learn(engine, EventBatch.from_events(events[-1:]))
    second = saved(engine)
    changed = [kind for kind, _ in second]
    assert changed.count("histories") == 1
    assert changed.count("users") == changed.count("items") == 0
    assert 1 <= changed.count("rules") <= 20
    assert len(second) < len(first) / 3


def test_an_empty_store_restores_nothing(tmp_path: Path) -> None:
    assert not restore(Engine(CONFIG), [], Versions(tmp_path))


def test_an_empty_engine_comes_back_empty(tmp_path: Path) -> None:
    engine = restored(CONFIG, saved(Engine(CONFIG)), tmp_path)
    assert engine.recommender.recommend("anybody") == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 4}, "seed: 4, but the stored engine was made with 3; give that again"),
        ({"width": 16}, "width: 16, but the stored engine was made with 8"),
        ({"history": 50}, "history: 50, but the stored engine was made with 20"),
        ({"experts": ("rules",)}, "experts: .'rules'., but the stored engine was made with"),
        ({"repeats": True}, "repeats: True, but the stored engine was made with False"),
    ],
)
def test_another_engines_snapshot_is_refused_in_one_line(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    snapshot = saved(Engine(CONFIG))
    with pytest.raises(SnapshotError, match=message) as error:
        restored(with_settings(**settings), snapshot, tmp_path)
    assert "\n" not in str(error.value)


def test_what_may_change_between_starts_may_change(tmp_path: Path) -> None:
    snapshot = saved(Engine(CONFIG))
    restored(with_settings(micro_batch=10, max_users_resident=7), snapshot, tmp_path)


def test_a_part_this_program_does_not_know_is_refused(tmp_path: Path) -> None:
    snapshot = saved(Engine(CONFIG)) | {("zebra", 0): Chunk("zebra", 0, pack({}))}
    with pytest.raises(SnapshotError, match="'zebra' is no part of this engine"):
        restored(CONFIG, snapshot, tmp_path)


def test_a_part_that_has_other_arrays_by_now_is_refused(tmp_path: Path) -> None:
    snapshot = saved(Engine(CONFIG))
    snapshot["mixture", 0] = Chunk("mixture", 0, pack({"weights": np.zeros(3)}))
    with pytest.raises(SnapshotError, match="snapshot: holds weights of Mixture, this program has"):
        restored(CONFIG, snapshot, tmp_path)

"""Versions of the model as files: kept, found again, refused, removed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from connectors.event import EventBatch
from engine import finetune
from engine.engine import Engine
from engine.errors import VersionError
from engine.finetune import Candidate
from engine.versions import Versions
from tests.engine.running import CONFIG, stream

EVENTS = EventBatch.from_events(stream(400))


@pytest.fixture(scope="module")
def engine() -> Engine:
    """An engine at the moment a fine-tune is due."""
    engine = Engine(CONFIG)
    for batch in EVENTS[:300].micro_batches(50):
        engine.process(batch)
    return engine


@pytest.fixture(scope="module")
def candidate(engine: Engine) -> Candidate:
    return finetune.run(engine.prepare("count"))


def test_a_saved_version_is_the_model_and_its_numbers(candidate: Candidate, tmp_path: Path) -> None:
    versions = Versions(tmp_path / "new" / "models", clock=lambda: 123.0)
    info = versions.save(candidate, parent=0, config=CONFIG)
    assert versions.list() == [versions.info(1)]
    assert (info.version, info.parent, info.accepted, info.reason) == (1, 0, True, "count")
    assert (info.events, info.items, info.created) == (300, candidate.model.config.items, 123.0)
    assert info.candidate_loss == candidate.candidate_loss
    model, trained = versions.load(1)
    assert trained is not None
    for name, tensor in candidate.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert trained.keys() == candidate.trained.keys()
    for name, tensor in candidate.trained.items():
        assert torch.equal(trained[name], tensor), name


def test_the_next_finetune_goes_on_from_the_files_as_from_memory(
    engine: Engine, candidate: Candidate, tmp_path: Path
) -> None:
    versions = Versions(tmp_path)
    versions.save(candidate, 0, CONFIG)
    weights = []
    for model, trained in ((candidate.model, candidate.trained), versions.load(1)):
        one = Engine(CONFIG)
        for batch in EVENTS[:300].micro_batches(50):
            one.process(batch)
        one.settle(1, 300)
        one.swap(model, trained, 1)
        one.process(EVENTS[300:350])
        weights.append(finetune.run(one.prepare("count")).model.state_dict())
    for name in weights[0]:
        assert torch.equal(weights[0][name], weights[1][name]), name


def test_the_newest_and_the_live_one_stay(candidate: Candidate, tmp_path: Path) -> None:
    versions = Versions(tmp_path, keep=2)
    for number in range(1, 7):
        accepted = number < 6
        versions.save(replace(candidate, version=number, accepted=accepted), number - 1, CONFIG)
    versions.prune(live=1)
    assert [info.version for info in versions.list()] == [1, 4, 5, 6]
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} == {
        "v000001",
        "v000004",
        "v000005",
        "v000006",
    }
    versions.load(1)


def test_errors_say_what_to_do(candidate: Candidate, tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    with pytest.raises(VersionError, match=r"version 3: not in .*models list"):
        versions.load(3)
    with pytest.raises(VersionError, match="version 3: not in"):
        versions.info(3)
    versions.save(replace(candidate, accepted=False), 0, CONFIG)
    with pytest.raises(VersionError, match="version 1: was rejected at the gate"):
        versions.load(1)
    (tmp_path / "v000002.safetensors").write_bytes(b"half a file")
    with pytest.raises(VersionError, match=r"version 2: .*not a model file"):
        versions.load(2)


def test_what_a_crash_leaves_behind_is_no_version(tmp_path: Path) -> None:
    (tmp_path / "v000001.safetensors").write_bytes(b"")
    (tmp_path / "v000002.json.partial").write_bytes(b"{")
    assert list(Versions(tmp_path).list()) == []


def test_the_version_before(candidate: Candidate, tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.save(replace(candidate, version=4), 2, CONFIG)
    assert versions.before(4) == 2
    with pytest.raises(VersionError, match="nothing to go back to"):
        versions.before(0)

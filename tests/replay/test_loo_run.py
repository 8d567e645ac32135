"""A run learns, ends when patience does, and goes on exactly after any stop."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay import loo_report, loo_run
from replay.leave_one_out import Split, split
from replay.loo_run import LooConfig, LooRun, paper_config

CONFIG = LooConfig("video", "ab" * 32, max_length=8, evaluate_every=5, dropout=0.2)
ITEMS = 40


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loo_run, "BATCH_WINDOWS", 8)
    monkeypatch.setattr(loo_run, "PATIENCE", 2)
    monkeypatch.setattr(loo_run, "CHECKPOINT_STEPS", 3)


@pytest.fixture(scope="module")
def walks() -> Split:
    """40 users who walk a ring of items, so that the next one is sure."""
    starts = np.random.default_rng(0).integers(0, ITEMS, 40)
    items = (starts[:, None] + np.arange(10)) % ITEMS + 1
    return split(np.repeat(np.arange(40), 10), items.ravel())


def trained(data: Split, folder: Path, max_steps: int, config: LooConfig = CONFIG) -> LooRun:
    run = LooRun(data, config, folder)
    run.train(max_steps=max_steps)
    return run


def without_seconds(curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in curve]


def test_a_run_learns_the_walk_and_says_so(walks: Split, tmp_path: Path) -> None:
    run = trained(walks, tmp_path / "run", 60, replace(CONFIG, evaluate_every=40))
    result = loo_report.to_json(run)
    assert result["metrics"]["ndcg@10"] > 0.8
    assert [entry["step"] for entry in result["curve"]] == [40, 60]
    assert result["curve"][1]["loss"] < result["curve"][0]["loss"]
    assert result["paper"] == {"recall@10": 0.1134, "ndcg@10": 0.0620}
    expected = 100 * (result["metrics"]["ndcg@10"] / 0.0620 - 1)
    assert result["difference_percent"]["ndcg@10"] == pytest.approx(expected, abs=0.005)
    assert result["manifest"]["counts"] == {"items": ITEMS, "users": 40, "users tested": 40}
    curve = (tmp_path / "run" / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in curve] == run.curve


def test_a_stopped_run_ends_with_the_numbers_of_one_that_was_not(
    walks: Split, tmp_path: Path
) -> None:
    whole = trained(walks, tmp_path / "whole", 14)
    run = LooRun(walks, CONFIG, tmp_path / "stopped")
    run.train(lambda step, *_: run.stop() if step == 7 else None)
    assert run.stopped
    resumed = LooRun(walks, CONFIG, tmp_path / "stopped")
    assert resumed.step == 7
    resumed.train(max_steps=14)
    assert without_seconds(resumed.curve) == without_seconds(whole.curve)
    assert resumed.test() == whole.test()


def test_a_killed_run_goes_on_from_its_last_checkpoint(walks: Split, tmp_path: Path) -> None:
    whole = trained(walks, tmp_path / "whole", 14)
    killed = LooRun(walks, CONFIG, tmp_path / "killed")

    def kill(step: int, *_: object) -> None:
        if step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.train(kill)
    resumed = LooRun(walks, CONFIG, tmp_path / "killed")
    assert resumed.step == 6
    resumed.train(max_steps=14)
    assert without_seconds(resumed.curve) == without_seconds(whole.curve)
    assert resumed.test() == whole.test()


def test_a_kill_between_best_model_and_checkpoint_changes_nothing(
    walks: Split, tmp_path: Path
) -> None:
    run = trained(walks, tmp_path / "run", 3)
    before = tmp_path / "before.safetensors"
    shutil.copy(tmp_path / "run" / "training.safetensors", before)
    run.train(max_steps=10)
    shutil.copy(before, tmp_path / "run" / "training.safetensors")
    again = trained(walks, tmp_path / "run", 10)
    assert without_seconds(again.curve) == without_seconds(run.curve)
    assert again.test() == run.test()


def test_patience_ends_a_run_that_gets_no_better(
    walks: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalls = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    monkeypatch.setattr(loo_run, "metrics", lambda _: {"recall@10": next(recalls)})
    run = LooRun(walks, CONFIG, tmp_path)
    run.train()
    assert run.step == 20  # two evaluations after the best, which is the first of equals
    assert run.best is not None and run.best["step"] == 10
    LooRun(walks, CONFIG, tmp_path).train()  # a finished run takes no further step
    assert next(recalls) == 0.9


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, r"seed: 1, but the run in .* was begun with 0; give that again, or another"),
        ({"sha256": "cd" * 32}, r"sha256: 'cd.*was begun with 'ab"),
    ],
)
def test_a_run_of_other_settings_is_not_gone_on_with(
    walks: Split, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    trained(walks, tmp_path, 1)
    with pytest.raises(ValueError, match=message):
        LooRun(walks, replace(CONFIG, **changed), tmp_path)


def test_fewer_steps_than_done_are_refused(walks: Split, tmp_path: Path) -> None:
    run = trained(walks, tmp_path, 3)
    with pytest.raises(ValueError, match=r"max_steps: 2, but the run .* has 3 steps behind it"):
        run.train(max_steps=2)


def test_the_papers_settings_give_way_to_what_is_given() -> None:
    usual = paper_config("ml-1m", "ab", "cpu", seed=3, dropout=None, precision=None)
    assert (usual.max_length, usual.evaluate_every, usual.dropout) == (200, 500, 0.2)
    assert (usual.weight_decay, usual.precision, usual.seed) == (0.01, "float32", 3)
    assert paper_config("video", "ab", "cpu", dropout=0.4).dropout == 0.4

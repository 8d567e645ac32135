"""Several runs of one stream: means, Student intervals by hand, both orders of ties."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from engine.metrics import Reason
from replay import report
from replay.prequential import Results, Track
from replay.runs import Run, plan, save_json, to_json, to_table
from replay.stream import Ties
from tests.replay.test_report import MANIFEST


def run_with(ties: Ties, seed: int, ranks: list[int]) -> Run:
    n = len(ranks)
    nothing = np.zeros(n, dtype=bool)
    track = Track(np.array(ranks), np.full(n, Reason.RANKED, np.int8), nothing, np.full(n, np.nan))
    manifest = report.Manifest(**{**_fields(), "seed": seed})
    return Run(ties, Results({"m": track}, n, 2.0), manifest)


def _fields() -> dict[str, object]:
    return {name: getattr(MANIFEST, name) for name in MANIFEST.__slots__}


THREE = [run_with("file", 4, [1, 0]), run_with("file", 5, [1, 1]), run_with("file", 6, [2, 1])]
SHUFFLED = run_with("shuffle", 4, [0, 0])


def test_the_plan_takes_every_seed_in_every_order() -> None:
    assert plan("file", 7, 1) == [("file", 7)]
    assert plan("shuffle", 7, 2) == [("shuffle", 7), ("shuffle", 8)]
    assert plan("both", 0, 2) == [("file", 0), ("file", 1), ("shuffle", 0), ("shuffle", 1)]


def test_one_run_is_reported_as_it_is() -> None:
    assert to_json(THREE[:1]) == report.to_json(THREE[0].results, THREE[0].manifest)


def test_means_and_intervals_by_hand() -> None:
    """Recall@1 is 1/2, 1 and 1/2: mean 2/3, standard error 1/6, t of two degrees 4.3027."""
    found = to_json(THREE)
    assert list(found)[:5] == ["stream", "events", "protocol", "seconds", "models"]
    assert found["seconds"] == 6.0
    assert found["models"]["m"]["recall@1"] == pytest.approx(2 / 3)
    assert found["interval_95"]["m"]["recall@1"] == pytest.approx(4.3027 / 6, rel=1e-4)
    assert [one["manifest"]["seed"] for one in found["runs"]] == [4, 5, 6]
    assert found["runs"][1]["models"]["m"]["recall@1"] == 1.0


def test_both_orders_are_kept_apart(tmp_path: Path) -> None:
    save_json([THREE[0], SHUFFLED], tmp_path / "both.json")
    found = json.loads((tmp_path / "both.json").read_text())
    assert found["models"]["m"]["recall@1"] == 0.5
    assert found["shuffled"]["models"]["m"]["recall@1"] == 0.0


def test_the_table_gives_means_their_spread_and_both_orders() -> None:
    printed = io.StringIO()
    Console(file=printed, width=160).print(to_table([*THREE, SHUFFLED]))
    text = printed.getvalue()
    assert "mean of seeds 4 to 6" in text
    assert ".8333 ±.7171" in text
    assert text.count("R@10") == 2
    assert "event by event" in text

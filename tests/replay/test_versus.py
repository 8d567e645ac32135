"""Saved replays compared: the same events or none, differences by hand, windows and segments."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from rich.console import Console

from engine.metrics import Reason
from replay import saved, versus
from replay.prequential import run
from replay.stream import to_rows
from replay.synthetic import markov_stream

STREAM = markov_stream(200, 400, 12_000, predictability=0.7, seed=1)
ROWS = to_rows(STREAM)
TRACKS = run(None, ["popularity", "rules_short"], STREAM).tracks
REASONS = TRACKS["popularity"].reasons
MANIFEST = {"sha256": "ab", "order": "timestamp", "protocol": "deployable", "repeats": False}


def folder(
    path: Path, users: Any = ROWS.users, reasons: Any = REASONS, events: int = 12_000, **ranks: Any
) -> Path:
    """What `replay --report` writes, as far as it matters here."""
    path.mkdir()
    (path / "manifest.json").write_text(json.dumps(MANIFEST))
    columns = {
        "event": np.arange(12_000),
        "user": users,
        "item": ROWS.items,
        "reason": reasons,
        **{f"rank_{name}": np.asarray(r, dtype=np.int32) for name, r in ranks.items()},
    }
    table = pa.table({name: column[:events] for name, column in columns.items()})
    parquet.write_table(table, path / "events.parquet")
    return path


@pytest.fixture
def run_a(tmp_path: Path) -> saved.SavedRun:
    ranks = {"engine": TRACKS["rules_short"].ranks, "popularity": TRACKS["popularity"].ranks}
    return saved.read(folder(tmp_path / "a", **ranks))


def test_a_better_model_wins_by_what_the_metrics_say(run_a: saved.SavedRun) -> None:
    found = versus.in_run(run_a, "engine", "popularity")
    everything = found.segments["all events"]
    summaries = [TRACKS[name].metrics().summary() for name in ("rules_short", "popularity")]
    for metric in ("recall@10", "ndcg@10"):
        difference = everything.metrics[metric]
        assert (difference.a, difference.b) == pytest.approx([s[metric] for s in summaries])
        assert 0 < difference.lower < difference.difference < difference.upper
        assert found.windows[metric] == versus.Windows(won=3, lost=0, tied=0)
    assert everything.events == 12_000
    assert found.segments["new item"].metrics["recall@10"].difference == 0


def test_a_run_is_no_better_than_itself(run_a: saved.SavedRun, tmp_path: Path) -> None:
    again = saved.read(folder(tmp_path / "b", engine=TRACKS["rules_short"].ranks))
    found = versus.of_runs(run_a, again, "engine")
    assert found.a == f"engine of {tmp_path / 'a'}"
    assert found.windows["ndcg@10"] == versus.Windows(won=0, lost=0, tied=3)
    difference = found.segments["all events"].metrics["ndcg@10"]
    assert difference.lower < 0 == difference.difference < difference.upper


def test_what_is_not_scored_is_not_compared(tmp_path: Path) -> None:
    """Six events are scored: a has three of them at rank 1, b one at rank 3."""
    reasons = REASONS.copy()
    reasons[6:] = Reason.UNSCORED
    a, b = np.zeros((2, 12_000), dtype=np.int32)
    a[:3], b[2] = 1, 3
    one = saved.read(folder(tmp_path / "one", reasons=reasons, engine=a, other=b))
    everything = versus.in_run(one, "engine", "other").segments["all events"]
    assert everything.events == 6
    assert everything.metrics["recall@10"].difference == pytest.approx(2 / 6)
    assert everything.metrics["ndcg@10"].difference == pytest.approx((3 - 1 / 2) / 6)


def test_the_table_and_the_json_tell_both(run_a: saved.SavedRun) -> None:
    found = versus.in_run(run_a, "engine", "popularity")
    printed = io.StringIO()
    Console(file=printed, width=80).print(versus.to_table(found))
    text = printed.getvalue()
    for expected in ("a: engine", "b: popularity", "windows of 5,000 events: a won 3, lost 0"):
        assert expected in text
    assert "history 20-99" in text
    plain = json.loads(json.dumps(found.as_json()))
    assert plain["windows"]["recall@10"] == {"won": 3, "lost": 0, "tied": 0}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sha256", "cd", "sha256 is 'ab' in one and 'cd' in the other"),
        ("order", "shuffled", "order is 'timestamp' in one and 'shuffled' in the other"),
        ("repeats", True, "repeats is False in one and True in the other"),
    ],
)
def test_other_data_order_or_rules_are_refused(
    run_a: saved.SavedRun, tmp_path: Path, name: str, value: Any, message: str
) -> None:
    other = folder(tmp_path / "b", engine=TRACKS["popularity"].ranks)
    (other / "manifest.json").write_text(json.dumps(MANIFEST | {name: value}))
    with pytest.raises(ValueError, match=f"not runs over the same events: {message}"):
        versus.of_runs(run_a, saved.read(other), "engine")


def test_other_events_are_refused(run_a: saved.SavedRun, tmp_path: Path) -> None:
    short = folder(tmp_path / "short", events=900, engine=TRACKS["popularity"].ranks)
    with pytest.raises(ValueError, match="one has 12,000 events, the other 900"):
        versus.of_runs(run_a, saved.read(short), "engine")
    users = np.where(np.arange(12_000) == 77, ROWS.users + 1, ROWS.users)
    moved = folder(tmp_path / "moved", users=users, engine=TRACKS["popularity"].ranks)
    with pytest.raises(ValueError, match="users differ from event 77 on"):
        versus.of_runs(run_a, saved.read(moved), "engine")


def test_what_is_no_report_is_refused(run_a: saved.SavedRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no manifest\.json: give a folder"):
        saved.read(tmp_path)
    (tmp_path / "a" / "events.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="cannot be read"):
        saved.read(tmp_path / "a")
    with pytest.raises(ValueError, match="no model 'best': give one of engine, popularity"):
        versus.in_run(run_a, "engine", "best")

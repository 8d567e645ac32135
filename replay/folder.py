"""The folder of a report: a page to read, and everything it says as data.

report.html       the page, one file that needs no other
metrics.json      its numbers (`report.to_json` and `analysis.analyse`); of several runs the means,
                  and each by itself, below "all_runs" (`runs.to_json`)
manifest.json     how to repeat the run
events.parquet    one row an event: who, what, and at which rank each model had it
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from connectors.event import EventBatch
from replay import page, plots, report, runs
from replay.analysis import analyse
from replay.prequential import Results
from replay.record import Recorder, Recording
from replay.runs import Run
from replay.segments import history_lengths
from replay.stream import to_rows

__all__ = ["Recorder", "claim", "event_table", "write"]

FILES = ("report.html", "metrics.json", "manifest.json", "events.parquet")


def claim(folder: Path) -> None:
    """Make the folder. Raises ValueError where it holds what no report wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in FILES)
    if foreign:
        raise ValueError(f"{folder} holds {foreign[0]}, which is no report: name an empty folder")


def write(folder: Path, done: Sequence[Run], events: EventBatch, recording: Recording) -> None:
    """Write the four files; those of an earlier report are replaced.

    All but the means over `done` is of its first run: of that are `events` and `recording`.
    """
    results = done[0].results
    metrics = report.to_json(results, done[0].manifest)
    metrics["all_runs"] = runs.to_json(done) if len(done) > 1 else None
    facts = metrics.pop("manifest")
    metrics |= analyse(results, to_rows(events).items, recording)
    figures = plots.figures(results, metrics, recording)
    _write_json(folder / "metrics.json", metrics)
    _write_json(folder / "manifest.json", facts)
    parquet.write_table(event_table(results, events, recording), folder / "events.parquet")
    (folder / "report.html").write_text(page.render(metrics, facts, figures), encoding="utf-8")


def event_table(results: Results, events: EventBatch, recording: Recording) -> pa.Table:
    """One row an event, in replay order.

    event (int64, from 0); timestamp (float64, seconds); user, item (int32, numbered by first
    appearance); reason (int8, `engine.metrics.Reason`); history (int32, events of the user
    before); version (int32) of the model that ranked it, 0 before the first fine-tune and without
    an engine; rank_MODEL and rank_without_GROUP (int32), 0 for a miss.
    """
    rows = to_rows(events)
    ends = np.array([0] + [step.end for step in recording.steps])
    versions = np.repeat([step.version for step in recording.steps], np.diff(ends))
    ranks = {f"rank_{name}": track.ranks for name, track in results.tracks.items()}
    ranks |= {f"rank_without_{group}": r for group, r in recording.without.items()}
    return pa.table(
        {
            "event": np.arange(len(events)),
            "timestamp": events.timestamps,
            "user": rows.users,
            "item": rows.items,
            "reason": next(iter(results.tracks.values())).reasons,
            "history": history_lengths(rows.users).astype(np.int32),
            "version": (versions if recording.steps else np.zeros(len(events))).astype(np.int32),
            **{name: values.astype(np.int32) for name, values in ranks.items()},
        }
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")

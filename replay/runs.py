"""Several replays of one stream, with other seeds or another order of ties: means, how far they
spread, and every run by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text
from scipy.special import stdtrit

from replay import report
from replay.prequential import Results
from replay.protocols import PROTOCOLS
from replay.report import Manifest
from replay.stream import Ties

SHOWN = ("recall@10", "ndcg@10", "mrr", "dcg@100")
CONFIDENCE = 0.95

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One replay: how equal timestamps were ordered, and what came out."""

    ties: Ties
    results: Results
    manifest: Manifest


def plan(ties: str, seed: int, seeds: int) -> list[tuple[Ties, int]]:
    """The order of ties and the seed of each replay; `ties` may be "both"."""
    orders = [order for order in get_args(Ties) if ties in (order, "both")]
    return [(order, one) for order in orders for one in range(seed, seed + seeds)]


def to_json(runs: Sequence[Run]) -> Report:
    """The report of the runs that share the order of the first; the others', where there are
    any, below "shuffled".

    Of several seeds: "models" holds means, "interval_95" what to add and to take away, "seconds"
    the sum, "runs" the whole report of each.
    """
    first, others = _by_order(runs)
    shuffled = {"shuffled": to_json(others)} if others else {}
    reports = [report.to_json(run.results, run.manifest) for run in first]
    if len(reports) == 1:
        return reports[0] | shuffled
    models, interval = _mean_and_interval(reports)
    return {
        **{name: reports[0][name] for name in ("stream", "events", "protocol")},
        "seconds": sum(one["seconds"] for one in reports),
        "models": models,
        "interval_95": interval,
        "runs": reports,
        **shuffled,
    }


def save_json(runs: Sequence[Run], path: Path) -> None:
    """Write `to_json` to a file."""
    path.write_text(json.dumps(to_json(runs), indent=2) + "\n")


def to_table(runs: Sequence[Run]) -> Group:
    """For a terminal: a table for each order of ties."""
    first, others = _by_order(runs)
    shown = _one_order(first)
    return Group(shown, to_table(others)) if others else shown


def _one_order(runs: Sequence[Run]) -> Group:
    if len(runs) == 1:
        return report.to_table(runs[0].results, runs[0].manifest)
    manifest = runs[0].manifest
    means, interval = _mean_and_interval(
        [report.to_json(run.results, run.manifest) for run in runs]
    )
    seeds = f"seeds {manifest.seed} to {runs[-1].manifest.seed}"
    title = f"{manifest.stream}: mean of {seeds} ± {CONFIDENCE:.0%} interval"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model", no_wrap=True)
    metrics = [metric for metric in PROTOCOLS[manifest.protocol].metrics if metric in SHOWN]
    for metric in metrics:
        table.add_column(report.heading(metric), justify="right", no_wrap=True)
    for name, mean in means.items():
        cells = (f"{report.cell(mean[m])} ±{report.cell(interval[name][m])}" for m in metrics)
        table.add_row(name, *cells)
    notes = (f"{seeds}; of the first one:", *report.notes(runs[0].results, manifest))
    return Group(table, *(Text(line) for line in notes))


def _by_order(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    first = [run for run in runs if run.ties == runs[0].ties]
    return first, [run for run in runs if run.ties != runs[0].ties]


def _mean_and_interval(reports: Sequence[Report]) -> tuple[Report, Report]:
    """By model and metric: the mean over runs, and half the width of its Student t interval."""
    quantile = float(stdtrit(len(reports) - 1, (1 + CONFIDENCE) / 2))
    means: Report = {}
    interval: Report = {}
    for name, metrics in reports[0]["models"].items():
        values = np.array([list(one["models"][name].values()) for one in reports])
        error = values.std(axis=0, ddof=1) / np.sqrt(len(reports))
        means[name] = dict(zip(metrics, values.mean(axis=0).tolist(), strict=True))
        interval[name] = dict(zip(metrics, (quantile * error).tolist(), strict=True))
    return means, interval

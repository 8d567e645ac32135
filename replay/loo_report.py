"""The result of a leave-one-out run, beside the paper's, as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from replay.leave_one_out import METRICS
from replay.loo_run import LooRun, write
from replay.report import versions

PAPER: Final[dict[str, dict[str, float]]] = {
    "ml-1m": {"recall@10": 0.3264, "ndcg@10": 0.1930},
    "beauty": {"recall@10": 0.0528, "ndcg@10": 0.0309},
    "video": {"recall@10": 0.1134, "ndcg@10": 0.0620},
}
"""Yue et al., WSDM 2024, Table 3."""


def to_json(run: LooRun) -> dict[str, Any]:
    """Test the best model of a run that has been validated, and say all about the run."""
    tested, published = run.test(), PAPER[run.config.data_set]
    configuration = asdict(run.config)
    return {
        "data_set": configuration.pop("data_set"),
        "protocol": "leave-one-out",
        "metrics": tested,
        "paper": published,
        "difference_percent": {
            name: round(100 * (tested[name] / value - 1), 2) for name, value in published.items()
        },
        "steps": run.step,
        "best": run.best,
        "seconds": round(run.seconds, 1),
        "curve": run.curve,
        "manifest": {
            "sha256": configuration.pop("sha256"),
            "seed": configuration.pop("seed"),
            "device": configuration.pop("device"),
            "threads": torch.get_num_threads(),
            "configuration": configuration,
            "counts": {
                "items": run.data.items,
                "users": len(run.data.training),
                "users tested": len(run.data.test.targets),
            },
            "versions": versions(),
        },
    }


def save_json(result: dict[str, Any], path: Path) -> None:
    """Write `to_json`, replacing the file in one move."""
    write(path, json.dumps(result, indent=2) + "\n")


def to_table(result: dict[str, Any]) -> Group:
    """A row a metric: ours, the paper's where it prints one, the difference."""
    table = Table(title=f"{result['data_set']}: leave-one-out, test items", box=SIMPLE_HEAD)
    table.add_column("metric")
    for heading in ("ours", "paper", "difference"):
        table.add_column(heading, justify="right")
    for name in METRICS:
        published = result["paper"].get(name)
        beside = ["-", "-"]
        if published is not None:
            beside = [_cell(published), f"{result['difference_percent'][name]:+.1f} %"]
        table.add_row(name, _cell(result["metrics"][name]), *beside)
    manifest = result["manifest"]
    return Group(
        table,
        Text(
            f"{manifest['counts']['users tested']:,} users, {manifest['counts']['items']:,} items; "
            f"{result['steps']:,} steps in {result['seconds']:,.0f} s, "
            f"the best model after {result['best']['step']:,}"
        ),
        Text(
            f"seed {manifest['seed']}, device {manifest['device']}, "
            f"{manifest['threads']} threads, {manifest['configuration']['precision']}, "
            f"dropout {manifest['configuration']['dropout']}, "
            f"weight decay {manifest['configuration']['weight_decay']}"
        ),
    )


def _cell(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")

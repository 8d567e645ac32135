"""Results as a table to read and as JSON to keep, with all that is needed to repeat the run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from engine.config import EngineConfig
from engine.metrics import RANK_METRICS
from replay.prequential import Results
from replay.stream import Stream

_SHOWN = tuple(metric for metric in RANK_METRICS if metric != "ndcg@1")  # it is recall@1
_PACKAGES = ("lrustream", "torch", "numpy", "numba", "river")


@dataclass(frozen=True, slots=True)
class Manifest:
    """How a run can be repeated.

    skipped: events left out before the replay, by reason. order: how the stream was sorted.
    configuration: the engine's.
    """

    stream: str
    data_file: str
    sha256: str
    skipped: Mapping[str, int]
    micro_batch: int
    seed: int
    device: str
    repeats: bool = False
    order: str = "timestamp, ties in file order"
    protocol: str = "deployable"
    configuration: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, file: Path, stream: Stream, config: EngineConfig, device: str
    ) -> Manifest:
        """Of `stream`, called `name` and read from `file`."""
        return cls(
            stream=name,
            data_file=file.name,
            sha256=sha256_of(file),
            skipped=stream.skipped,
            micro_batch=config.micro_batch,
            seed=config.seed,
            device=device,
            repeats=config.repeats,
            order=stream.order,
            configuration=asdict(config),
        )


def sha256_of(path: str | Path) -> str:
    """The hash of a data file as it lies on disk, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Python and the packages that the numbers may depend on; one not installed is left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def to_json(results: Results, manifest: Manifest) -> dict[str, Any]:
    """The report as plain values: stream, events, protocol, seconds, models, manifest."""
    summaries = _summaries(results)
    facts = asdict(manifest)
    return {
        "stream": facts.pop("stream"),
        "events": results.events,
        "protocol": facts.pop("protocol"),
        "seconds": round(results.seconds, 3),
        "models": {
            name: {metric: summary[metric] for metric in RANK_METRICS}
            for name, summary in summaries.items()
        },
        "manifest": {
            **facts,
            "models_left_out": dict(results.left_out),
            "versions": versions(),
            "counts": {name: _counts(summary) for name, summary in summaries.items()},
            "log_loss": {name: summary["log_loss"] for name, summary in summaries.items()},
        },
    }


def save_json(results: Results, manifest: Manifest, path: str | Path) -> None:
    """Write `to_json` to a file."""
    Path(path).write_text(json.dumps(to_json(results, manifest), indent=2) + "\n")


def to_table(results: Results, manifest: Manifest) -> Group:
    """The report for a terminal: models as rows, the best of each column in bold."""
    summaries = _summaries(results)
    title = f"{manifest.stream}: ranked before learned, event by event"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model", no_wrap=True)
    for metric in _SHOWN:
        table.add_column(_heading(metric), justify="right", no_wrap=True)
    cells = {name: [_cell(s[metric]) for metric in _SHOWN] for name, s in summaries.items()}
    best = [max(column) for column in zip(*cells.values(), strict=True)]
    for name, row in cells.items():
        shown = (
            Text(cell, style="bold" if cell == top else "")
            for cell, top in zip(row, best, strict=True)
        )
        table.add_row(name, *shown)
    return Group(table, *(Text(line) for line in _notes(results, manifest, summaries)))


def _notes(
    results: Results, manifest: Manifest, summaries: Mapping[str, dict[str, Any]]
) -> list[str]:
    speed = results.events / results.seconds if results.seconds else 0.0
    skipped = ", ".join(f"{n:,} {reason}" for reason, n in manifest.skipped.items())
    by_counts: dict[str, list[str]] = {}
    for name, summary in summaries.items():
        counts = ", ".join(f"{n:,} {what}" for what, n in _counts(summary).items())
        by_counts.setdefault(counts, []).append(name)
    return [
        f"{results.events:,} events in {results.seconds:,.1f} s ({speed:,.0f} events/s), "
        f"protocol {manifest.protocol}, order: {manifest.order}, "
        f"repeats {'on' if manifest.repeats else 'off'}",
        *(
            f"among them: {counts}" + ("" if len(by_counts) == 1 else f" ({', '.join(names)})")
            for counts, names in by_counts.items()
        ),
        f"left out: {skipped or 'nothing'}",
        *(f"not compared: {name}: {reason}" for name, reason in results.left_out.items()),
        f"micro-batch {manifest.micro_batch}, seed {manifest.seed}, device {manifest.device}, "
        + ", ".join(f"{package} {version}" for package, version in versions().items()),
    ]


def _summaries(results: Results) -> dict[str, dict[str, Any]]:
    return {name: track.metrics().summary() for name, track in results.tracks.items()}


def _counts(summary: Mapping[str, Any]) -> dict[str, int]:
    return {
        "new items (misses)": summary["new_items"],
        "repeats (misses)": summary["repeats"],
        "unknown users": summary["unknown_users"],
    }


def _heading(metric: str) -> str:
    return metric.upper() if metric == "mrr" else metric.replace("recall", "R").replace("ndcg", "N")


def _cell(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")

"""Results as a table to read and as values to keep, with all that is needed to repeat the run."""

from __future__ import annotations

import hashlib
import importlib.metadata
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
from engine.metrics import Reason
from replay import measures
from replay.paired import WINDOW
from replay.prequential import Results, Track
from replay.protocols import DEPLOYABLE, PROTOCOLS, Protocol
from replay.stream import Stream

_PACKAGES = ("lrustream", "torch", "numpy", "numba", "river")


@dataclass(frozen=True, slots=True)
class Manifest:
    """How a run can be repeated.

    skipped: events left out before the replay, by reason. order: how the stream was sorted.
    configuration: the engine's. command: what was typed.
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
    command: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        file: Path,
        stream: Stream,
        config: EngineConfig,
        device: str,
        protocol: Protocol = DEPLOYABLE,
        command: str = "",
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
            protocol=protocol.name,
            configuration=asdict(config),
            command=command,
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
    """The report as plain values: stream, events, protocol, seconds, models; each metric by windows
    of `window` events, fading at the end of the stream, and by segment; manifest."""
    protocol, tracks = PROTOCOLS[manifest.protocol], results.tracks
    summaries = _summaries(results)
    facts = asdict(manifest)
    return {
        "stream": facts.pop("stream"),
        "events": results.events,
        "protocol": manifest.protocol,
        "seconds": round(results.seconds, 3),
        "models": {name: measures.overall(track, protocol) for name, track in tracks.items()},
        "window": WINDOW,
        "windows": {name: measures.by_window(track, protocol) for name, track in tracks.items()},
        "fading": {name: summary["fading"] for name, summary in summaries.items()},
        "segments": {
            name: measures.by_segment(track, protocol, results.segments)
            for name, track in tracks.items()
        },
        "manifest": {
            **facts,
            "models_left_out": dict(results.left_out),
            "versions": versions(),
            "counts": {
                name: _counts(tracks[name], summary, protocol)
                for name, summary in summaries.items()
            },
            "log_loss": {name: summary["log_loss"] for name, summary in summaries.items()},
        },
    }


def to_table(results: Results, manifest: Manifest) -> Group:
    """The report for a terminal: models as rows, the best of each column in bold."""
    protocol = PROTOCOLS[manifest.protocol]
    means = {name: measures.overall(track, protocol) for name, track in results.tracks.items()}
    # NDCG@1 is Recall@1; and a table has room for eight metrics on a terminal of 80 columns.
    hidden = ("ndcg@1", "ndcg@5") if protocol.dcg else ("ndcg@1",)
    metrics = [metric for metric in protocol.metrics if metric not in hidden]
    title = f"{manifest.stream}: ranked before learned, event by event"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model", no_wrap=True)
    for metric in metrics:
        table.add_column(heading(metric), justify="right", no_wrap=True)
    cells = {name: [cell(mean[metric]) for metric in metrics] for name, mean in means.items()}
    best = [max(column) for column in zip(*cells.values(), strict=True)]
    for name, row in cells.items():
        shown = (
            Text(text, style="bold" if text == top else "")
            for text, top in zip(row, best, strict=True)
        )
        table.add_row(name, *shown)
    return Group(table, *(Text(line) for line in notes(results, manifest)))


def notes(results: Results, manifest: Manifest) -> list[str]:
    """What the numbers depend on, line by line."""
    protocol = PROTOCOLS[manifest.protocol]
    lag = manifest.configuration.get("train_lag", 0)
    speed = results.events / results.seconds if results.seconds else 0.0
    skipped = ", ".join(f"{n:,} {reason}" for reason, n in manifest.skipped.items())
    by_counts: dict[str, list[str]] = {}
    for name, summary in _summaries(results).items():
        counts = ", ".join(
            f"{n:,} {what}" for what, n in _counts(results.tracks[name], summary, protocol).items()
        )
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
        f"micro-batch {manifest.micro_batch}, "
        + (f"train lag {lag:,} events, " if lag else "")
        + f"seed {manifest.seed}, device {manifest.device}, "
        + ", ".join(f"{package} {version}" for package, version in versions().items()),
    ]


def _summaries(results: Results) -> dict[str, dict[str, Any]]:
    return {name: track.metrics().summary() for name, track in results.tracks.items()}


def _counts(track: Track, summary: Mapping[str, Any], protocol: Protocol) -> dict[str, int]:
    fate = "last" if protocol.recent_events else "misses"
    unscored = len(track.ranks) - summary["events"]
    outside = int(((track.ranks == 0) & (track.reasons == Reason.RANKED)).sum())
    return {
        f"new items ({fate})": summary["new_items"],
        f"repeats ({fate})": summary["repeats"],
        **({"among no expert's best (misses)": outside} if outside else {}),
        "unknown users": summary["unknown_users"],
        **({"learned without being scored": unscored} if unscored else {}),
    }


def heading(metric: str) -> str:
    """A column's name: R, N and D are Recall, NDCG and DCG."""
    return metric.upper().replace("RECALL", "R").replace("NDCG", "N").replace("DCG", "D")


def cell(value: float) -> str:
    """A number below 1 without its 0."""
    return f"{value:.4f}".removeprefix("0")

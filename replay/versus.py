"""One model against another on the same events: by how much, where, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from engine.metrics import RANK_METRICS, rank_gains
from replay.paired import WINDOW, confidence_sequence, signed_mcnemar, window_tests
from replay.saved import SavedRun, check_same_events
from replay.segments import segments_of

METRICS = ("recall@10", "ndcg@10")
ALPHA = 0.05

Mask = NDArray[np.bool_]

Gains = Mapping[str, NDArray[np.float64]]
"""By metric of `METRICS`, (n,) what each event adds."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Means of a and b, and of a minus b with an interval that holds at any time (`ALPHA`)."""

    a: float
    b: float
    difference: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Windows:
    """How many windows a won, lost, and neither, at level `ALPHA` each."""

    won: int
    lost: int
    tied: int


@dataclass(frozen=True, slots=True)
class Segment:
    events: int
    metrics: dict[str, Difference]


@dataclass(frozen=True, slots=True)
class Versus:
    """a against b on scored events; windows by metric: McNemar's test on hits for Recall, a
    sign-flip test on gains for NDCG. "all events" is the first of the segments."""

    a: str
    b: str
    window: int
    windows: dict[str, Windows]
    segments: dict[str, Segment]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def of_runs(one: SavedRun, other: SavedRun, model: str) -> Versus:
    """The same model of two runs. Raises ValueError where they have other events, or lack it."""
    check_same_events(one, other)
    names = (f"{model} of {one.folder}", f"{model} of {other.folder}")
    return _versus(names, one.ranks_of(model), other.ranks_of(model), one)


def in_run(run: SavedRun, model: str, baseline: str) -> Versus:
    """Two models of one run. Raises ValueError where it lacks one."""
    return _versus((model, baseline), run.ranks_of(model), run.ranks_of(baseline), run)


def _versus(
    names: tuple[str, str], a: NDArray[np.int64], b: NDArray[np.int64], run: SavedRun
) -> Versus:
    scored = run.scored
    masks = {"all events": np.ones(len(a), dtype=bool)}
    masks |= segments_of(run.users, run.items, bool(run.manifest.get("repeats", False)))
    gains_a, gains_b = gains_of(a), gains_of(b)
    return Versus(
        *names,
        WINDOW,
        windows(gains_a, gains_b, scored),
        {
            name: Segment(int(mask.sum()), differences(gains_a, gains_b, mask))
            for name, mask in ((name, mask & scored) for name, mask in masks.items())
            if mask.any()
        },
    )


def gains_of(ranks: NDArray[np.int64]) -> Gains:
    """What each event adds to each of `METRICS`."""
    gains = rank_gains(ranks)
    return {metric: gains[:, RANK_METRICS.index(metric)] for metric in METRICS}


def windows(a: Gains, b: Gains, mask: Mask) -> dict[str, Windows]:
    """Windows of the masked events that a won, lost and neither, by metric."""
    hits_a, hits_b = (gains["recall@10"][mask] > 0 for gains in (a, b))
    mcnemar = signed_mcnemar(hits_a, hits_b).counts(ALPHA)
    flips = window_tests(a["ndcg@10"][mask], b["ndcg@10"][mask]).counts(ALPHA)
    return {"recall@10": Windows(*mcnemar), "ndcg@10": Windows(*flips)}


def differences(a: Gains, b: Gains, mask: Mask) -> dict[str, Difference]:
    """a against b over the masked events, by metric."""
    found = {}
    for metric in METRICS:
        one, other = a[metric][mask], b[metric][mask]
        lower, upper = confidence_sequence(one - other, ALPHA)
        found[metric] = Difference(
            float(one.mean()),
            float(other.mean()),
            float((one - other).mean()),
            float(lower[-1]),
            float(upper[-1]),
        )
    return found


def to_table(versus: Versus) -> Group:
    """For a terminal; a difference whose interval leaves out 0 is in bold."""
    return Group(
        Text(f"a: {versus.a}"),
        Text(f"b: {versus.b}"),
        *(part for metric in METRICS for part in _of_metric(metric, versus)),
        Text(
            f"{1 - ALPHA:.0%} intervals that hold whenever one looks; bold where 0 is outside. "
            f"A window is won or lost at level {ALPHA:g}, by McNemar's test on hits (Recall) or "
            "a sign-flip test on gains (NDCG)."
        ),
    )


def _of_metric(metric: str, versus: Versus) -> tuple[Table, Text]:
    table = Table(title=metric, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in ("events", "a", "b", "a - b", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, segment in versus.segments.items():
        found = segment.metrics[metric]
        sure = not found.lower <= 0 <= found.upper
        table.add_row(
            name,
            f"{segment.events:,}",
            f"{found.a:.4f}",
            f"{found.b:.4f}",
            Text(f"{found.difference:+.4f}", style="bold" if sure else ""),
            f"{found.lower:+.4f} {found.upper:+.4f}",
        )
    windows = versus.windows[metric]
    return table, Text(
        f"windows of {versus.window:,} events: a won {windows.won}, lost {windows.lost}, "
        f"tied {windows.tied}\n"
    )

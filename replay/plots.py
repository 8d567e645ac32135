"""The figures of the report page: curves over the stream, shares, differences, speed, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter
from numpy.typing import NDArray

from replay.analysis import HEADLINE, shares_of
from replay.drawing import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    SIZE,
    SKY,
    VERMILION,
    Style,
    in_percent,
    label_ends,
    new_axes,
    to_svg,
)
from replay.paired import WINDOW, confidence_sequence
from replay.prequential import Results
from replay.record import Recording
from replay.report import heading
from replay.versus import METRICS, gains_of

POINTS = 240
"""Points of a curve at most."""

LINES: dict[str, Style] = {
    "engine": {"color": VERMILION, "linewidth": 2.2, "zorder": 4},
    "lrurec": {"color": BLUE, "linewidth": 1.6, "zorder": 3},
}
COLOURS = (GREEN, PINK, ORANGE, SKY, INK)
DASHES: tuple[Any, ...] = ("--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
GROUPS = {
    "reranker": VERMILION,
    "popularity": ORANGE,
    "rules": GREEN,
    "ids": PINK,
    "repeat": SKY,
    "lrurec": BLUE,
}

Series = Mapping[str, NDArray[np.float64]]
"""Values (n,) of each scored event, by model."""


def figures(results: Results, metrics: Mapping[str, Any], recording: Recording) -> dict[str, str]:
    """All figures that there is something to draw for, by name; metrics as of metrics.json."""
    scored = next(iter(results.tracks.values())).scored
    places = np.flatnonzero(scored) + 1
    gains = {name: gains_of(track.ranks[scored]) for name, track in results.tracks.items()}
    drawn = {}
    for metric, means in product(METRICS, (windowed, cumulative)):
        series = {name: of_model[metric] for name, of_model in gains.items()}
        label = f"{heading(metric)}, {means.__name__}"
        drawn[f"{metric.partition('@')[0]}_{means.__name__}"] = over_time(
            series, means, places, recording, label
        )
    best = metrics["best_baseline"]
    bounds = {
        name: bounds_of(gains[name][HEADLINE] - gains[best][HEADLINE])
        for name in LINES
        if name in gains and best is not None
    }
    if bounds:
        label = "Difference to the best baseline"
        drawn["difference"] = difference(bounds, places, recording, label)
    if recording.steps:
        drawn["shares"] = shares(recording, "Shares of the experts in the answer")
        drawn["throughput"] = throughput(recording, "Events a second")
        drawn["memory"] = memory(recording, "Memory")
    if recording.without:
        lost = {group: what["lost"][HEADLINE] for group, what in metrics["without"].items()}
        drawn["lost"] = what_is_lost(lost, "What the engine loses without each part")
    return drawn


def lines_of(models: Sequence[str]) -> dict[str, Style]:
    """Colour and dashes of each model's line; baselines in their order."""
    baselines = [name for name in models if name not in LINES]
    return LINES | {
        name: {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": DASHES[i % len(DASHES)],
            "linewidth": 1.1,
        }
        for i, name in enumerate(baselines)
    }


def windowed(values: NDArray[np.float64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means over the newest `WINDOW` events before each of `ends`."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    starts = np.maximum(ends - WINDOW, 0)
    return (total[ends] - total[starts]) / (ends - starts)


def bounds_of(differences: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Mean so far, and its bounds: three times (n,)."""
    means = np.cumsum(differences) / np.arange(1, len(differences) + 1)
    return means, *confidence_sequence(differences)


def cumulative(values: NDArray[np.float64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means over all events before each of `ends`."""
    return np.cumsum(values)[ends - 1] / ends


def over_time(
    series: Series, means: Any, places: NDArray[np.int64], recording: Recording, label: str
) -> str:
    """One line a model, swaps and drift alarms marked.

    means: `windowed` or `cumulative`; places: (n,) the number of each scored event in the stream.
    """
    figure, axes = new_axes()
    ends = _ends(len(places))
    styles = lines_of(list(series))
    last = {}
    for name, values in series.items():
        curve = means(values, ends)
        axes.plot(places[ends - 1], curve, **styles[name])
        last[name] = float(curve[-1])
    axes.set_ylim(bottom=0)
    in_percent(axes)
    _mark_swaps(axes, recording)
    label_ends(axes, last, styles)
    axes.set_xlim(0, places[-1])
    return to_svg(figure, label)


def shares(recording: Recording, label: str) -> str:
    """Stacked shares of the groups of experts in the answers to the newest events."""
    figure, axes = new_axes()
    thinned = slice(None, None, max(1, len(recording.steps) // POINTS))
    ends = [step.end for step in recording.steps[thinned]]
    parts = shares_of(recording.steps)[thinned].T
    colours = [GROUPS[group] for group in recording.groups]
    axes.stackplot(ends, parts, colors=colours, linewidth=0.6, edgecolor="white")
    middles = np.cumsum(parts[:, -1]) - parts[:, -1] / 2
    in_percent(axes)
    axes.set_ylim(0, 1)
    axes.set_xlim(0, ends[-1])
    styles = {group: {"color": GROUPS[group], "linewidth": 6} for group in recording.groups}
    label_ends(axes, dict(zip(recording.groups, middles.tolist(), strict=True)), styles)
    return to_svg(figure, label)


def what_is_lost(lost: Mapping[str, Mapping[str, float]], label: str) -> str:
    """Bars: what the engine loses without each group, with its bounds, in percentage points.

    lost: by group, a `versus.Difference` as plain values.
    """
    figure, axes = new_axes((SIZE[0], 0.9 + 0.34 * len(lost)))
    groups = list(lost)[::-1]
    means = 100 * np.array([lost[group]["difference"] for group in groups])
    below = means - 100 * np.array([lost[group]["lower"] for group in groups])
    above = 100 * np.array([lost[group]["upper"] for group in groups]) - means
    axes.barh(groups, means, height=0.55, color=[GROUPS[group] for group in groups])
    axes.errorbar(
        means, groups, xerr=[below, above], fmt="none", ecolor=INK, elinewidth=1, capsize=3
    )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("percentage points")
    return to_svg(figure, label)


def difference(
    bounds: Mapping[str, tuple[NDArray[np.float64], ...]],
    places: NDArray[np.int64],
    recording: Recording,
    label: str,
) -> str:
    """Mean difference so far to the best baseline, with bounds that hold at all times at once.

    bounds: by model, mean, low and high, each (n,); places: as of `over_time`.
    """
    figure, axes = new_axes()
    ends = _ends(len(places))
    reach = 0.01
    last = {}
    for name, parts in bounds.items():
        mean, low, high = (100 * part[ends - 1] for part in parts)
        line = LINES[name]
        axes.fill_between(places[ends - 1], low, high, color=line["color"], alpha=0.2, linewidth=0)
        axes.plot(places[ends - 1], mean, **line)
        last[name] = float(mean[-1])
        settled = len(ends) // 8
        reach = max(reach, np.abs(low[settled:]).max(), np.abs(high[settled:]).max())
    axes.set_xlim(0, places[-1])
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_ylim(-1.05 * reach, 1.05 * reach)
    axes.set_ylabel("percentage points")
    _mark_swaps(axes, recording)
    label_ends(axes, last, LINES)
    return to_svg(figure, label)


def throughput(recording: Recording, label: str) -> str:
    """Events a second, with the time of fine-tunes and without."""
    figure, axes = new_axes()
    ends, learning, tuning = _binned(recording)
    events = np.diff(ends, prepend=0)
    styles: dict[str, Style] = {
        "learning": {"color": BLUE, "linestyle": "--"},
        "with fine-tunes": {"color": VERMILION},
    }
    last = {}
    for name, seconds in zip(styles, (learning, learning + tuning), strict=True):
        axes.stairs(events / seconds, [0, *ends], baseline=None, **styles[name])
        last[name] = float(events[-1] / seconds[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, ends[-1])
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    label_ends(axes, last, styles)
    return to_svg(figure, label)


def memory(recording: Recording, label: str) -> str:
    """Resident memory of the process, in MiB."""
    figure, axes = new_axes()
    steps = recording.steps[:: max(1, len(recording.steps) // POINTS)]
    axes.plot([s.end for s in steps], [s.rss_bytes / 2**20 for s in steps], color=BLUE)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, steps[-1].end)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return to_svg(figure, label)


def _ends(n: int) -> NDArray[np.int64]:
    """Where curves have their points: the first hundred events are too few for a mean."""
    return np.unique(np.linspace(min(n, max(100, n // POINTS)), n, POINTS).astype(np.int64))


def _binned(recording: Recording) -> tuple[NDArray[Any], ...]:
    """Ends of some twenty stretches, and the seconds of learning and of fine-tuning in each."""
    steps = recording.steps
    last = np.unique(np.linspace(0, len(steps), 21).astype(int))[1:] - 1
    learning = np.cumsum([step.seconds for step in steps])[last]
    tuning = np.cumsum([step.finetune_seconds for step in steps])[last]
    ends = np.array([steps[i].end for i in last])
    return ends, np.diff(learning, prepend=0.0), np.diff(tuning, prepend=0.0)


def _mark_swaps(axes: Axes, recording: Recording) -> None:
    """Swaps as ticks at the foot, rejected candidates as crosses, drift alarms as triangles."""
    swaps = [f.event for f in recording.finetunes if f.accepted]
    rejected = [f.event for f in recording.finetunes if not f.accepted]
    place = axes.get_xaxis_transform()
    axes.vlines(swaps, 0, 0.03, transform=place, color=INK, linewidth=0.7, alpha=0.7)
    for events, marker, height in ((rejected, "x", 0.05), (recording.alarms, "v", 0.97)):
        axes.plot(events, [height] * len(events), marker, color=INK, markersize=4, transform=place)

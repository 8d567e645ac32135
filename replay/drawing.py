"""How every figure looks, and how it becomes SVG that stands inside HTML.

Colours are those of Okabe and Ito (2008), which people with colour blindness tell apart; lines
differ in their dashes too, and carry their names. Ink is `currentColor`: it follows the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

Style = dict[str, Any]
"""Keywords of a line."""

INK = "#010203"
"""Stands for the colour of the text until the SVG is written."""
BLUE, GREEN, ORANGE, PINK, SKY, VERMILION = (
    *("#0072B2", "#009E73", "#E69F00"),
    *("#CC79A7", "#56B4E9", "#D55E00"),
)
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lrustream",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.5,
}
SIZE = (4.3, 2.9)
"""Inches: about the width of a phone, so that the text stays readable there."""


def new_axes(size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("events")
    return figure, axes


def in_percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))


def label_ends(axes: Axes, last: Mapping[str, float], styles: Mapping[str, Style]) -> None:
    """A piece of each line and its name, right of where it ends, kept apart from the others."""
    low, high = axes.get_ylim()
    heights = {name: (value - low) / (high - low) for name, value in last.items()}
    for name, height in spread(heights, gap=0.06).items():
        axes.plot(
            [1.025, 1.08], [height] * 2, transform=axes.transAxes, clip_on=False, **styles[name]
        )
        axes.annotate(
            name,
            (1.105, height),
            xycoords="axes fraction",
            va="center",
            fontsize=8,
            color=INK,
            fontweight="bold" if name == "engine" else "normal",
        )


def spread(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """The heights in order, each at least `gap` above the one before, moved as a whole to stay
    where they were on average, but between 0 and 1 where they can."""
    names = sorted(heights, key=lambda name: heights[name])
    placed: list[float] = []
    for name in names:
        placed.append(max(heights[name], placed[-1] + gap) if placed else heights[name])
    shift = (sum(placed) - sum(heights.values())) / len(placed)
    shift = min(max(shift, placed[-1] - 1), placed[0])
    return {name: height - shift for name, height in zip(names, placed, strict=True)}


def to_svg(figure: Figure, label: str) -> str:
    """Inline SVG with ids of its own, named `label` for those who hear the page."""
    buffer = io.StringIO()
    with rc_context(STYLE):
        about = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=about)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    prefix = re.sub(r"\W+", "-", label.lower())
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)

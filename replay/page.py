"""The report as one HTML page: no scripts, nothing loaded, good on paper and on a phone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from engine.metrics import RANK_METRICS
from replay.analysis import HEADLINE, METRICS
from replay.baselines import BASELINES
from replay.lists import EVERY, HEAD, LENGTH
from replay.report import SHOWN, cell, heading

TEMPLATE = "page.html.jinja"
ABOUT = {
    "engine": "What is served: all experts, mixed by what has proved itself so far.",
    "lrurec": "The network alone; decayed popularity for users without history.",
}
ABOUT_GROUPS = {
    "popularity": "What is popular, over short and long spans of time; what users begin with.",
    "rules": "What tends to follow the user's newest items.",
    "linear": "A linear model of the user's newest items.",
    "repeat": "The user's own earlier items.",
    "lrurec": "LRURec, the network.",
}

Figures = Mapping[str, str]
"""SVG by the name that the template gives its place."""


def render(metrics: Mapping[str, Any], manifest: Mapping[str, Any], figures: Figures) -> str:
    """The page of what metrics.json and manifest.json hold, and the figures of `plots.figures`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "percent": percent, "points": points, "heading": heading}
    models = metrics["models"]
    return environment.get_template(TEMPLATE).render(
        metrics=metrics,
        manifest=manifest,
        figures={name: Markup(svg) for name, svg in figures.items()},
        summary=summary(metrics, manifest),
        leader=leader(metrics),
        shown=SHOWN,
        best={metric: max(m[metric] for m in models.values()) for metric in RANK_METRICS},
        about={name: ABOUT.get(name) or _first_line(BASELINES[name]) for name in models},
        about_groups=ABOUT_GROUPS,
        reasons=Counter(f["reason"] for f in (metrics["engine"] or {}).get("finetunes", ())),
        headline=HEADLINE,
        compared=METRICS,
        lists={"every": EVERY, "length": LENGTH, "head": HEAD},
    )


def leader(metrics: Mapping[str, Any]) -> str | None:
    """Whom the page is about: the engine, else LRURec, else the best baseline."""
    models = metrics["models"]
    return next((name for name in ABOUT if name in models), metrics["best_baseline"])


def summary(metrics: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """What came out, in sentences for those who will read nothing else."""
    name, best, models = leader(metrics), metrics["best_baseline"], metrics["models"]
    found = models[name][HEADLINE]
    found_by = "the engine" if name == "engine" else name
    first = f"On this stream {found_by} put the next item among its first ten in {percent(found)}"
    if name == best or best is None:
        said = [f"{first} of cases."]
    else:
        said = [
            f"{first} of cases; the best simple method, {best}, did in "
            f"{percent(models[best][HEADLINE])}.",
            _verdict(metrics["paired"][name]["differences"][HEADLINE]),
        ]
    unseen = manifest["counts"][name]["new items (misses)"]
    if unseen:
        said.append(
            f"{percent(unseen / metrics['events'])} of all events brought an item that nobody had "
            "seen before: no method can name those."
        )
    return said


def _verdict(difference: Mapping[str, float]) -> str:
    mean, low, high = (difference[key] for key in ("mean", "low", "high"))
    bounds = f"between {points(low)} and {points(high)} percentage points"
    if low > 0 or high < 0:
        better = "better" if mean > 0 else "worse"
        return (
            f"It is {better}, and not by chance: the difference lies {bounds}, with 95 % certainty."
        )
    return f"That is too close to call: the difference lies {bounds}, with 95 % certainty."


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A difference of shares, in percentage points, with its sign."""
    return f"{100 * share:+.2f}".replace("-", "−")


def _first_line(function: Any) -> str:
    return (function.__doc__ or "").partition("\n")[0]

"""The report as one HTML page: no scripts, nothing loaded, good on paper and on a phone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from replay.analysis import HEADLINE
from replay.baselines import BASELINES
from replay.lists import EVERY, HEAD, LENGTH
from replay.protocols import PROTOCOLS, Protocol
from replay.report import cell, heading
from replay.runs import SHOWN
from replay.versus import METRICS

TEMPLATE = "page.html.jinja"
SAME = "ndcg@1"
"""It is recall@1, and not shown."""
ABOUT = {
    "engine": "What is served: all experts, mixed by what has proved itself so far, and re-ranked.",
    "lrurec": "The network alone; decayed popularity for users without history.",
}
ABOUT_GROUPS = {
    "reranker": "The correction of the mixture among its best candidates.",
    "popularity": "What is popular, over short and long spans of time.",
    "rules": "What tends to follow the user's newest items.",
    "ids": "What stands beside the user's newest items in the order of ids.",
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
    shown = [metric for metric in models[leader(metrics)] if metric != SAME]
    return environment.get_template(TEMPLATE).render(
        metrics=metrics,
        manifest=manifest,
        figures={name: Markup(svg) for name, svg in figures.items()},
        summary=summary(metrics, manifest),
        leader=leader(metrics),
        orders=list(orders(metrics)),
        averaged=[metric for metric in shown if metric in SHOWN],
        rules=rules(PROTOCOLS[metrics["protocol"]], manifest["repeats"]),
        scored=scored(metrics, manifest),
        shown=shown,
        best={metric: max(m[metric] for m in models.values()) for metric in shown},
        about={name: ABOUT.get(name) or _first_line(BASELINES[name]) for name in models},
        about_groups=ABOUT_GROUPS,
        reasons=Counter(f["reason"] for f in (metrics["engine"] or {}).get("finetunes", ())),
        headline=HEADLINE,
        compared=METRICS,
        lists={"every": EVERY, "length": LENGTH, "head": HEAD},
    )


def leader(metrics: Mapping[str, Any]) -> str:
    """Whom the page is about: the engine, else LRURec, else the best baseline."""
    return next((name for name in ABOUT if name in metrics["models"]), metrics["best_baseline"])


def orders(metrics: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What `runs.to_json` says of several runs, for each order of ties; of one run nothing."""
    found = metrics["all_runs"]
    while found:
        yield found
        found = found.get("shuffled")


def scored(metrics: Mapping[str, Any], manifest: Mapping[str, Any]) -> int:
    """How many events the metrics are means of."""
    counts = manifest["counts"][leader(metrics)]
    return int(metrics["events"] - counts.get("learned without being scored", 0))


def summary(metrics: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """What came out, in sentences for those who will read nothing else."""
    name, best, models = leader(metrics), metrics["best_baseline"], metrics["models"]
    found = models[name][HEADLINE]
    found_by = "the engine" if name == "engine" else name
    if name == best:
        found_by = f"the best baseline, {best},"
    first = f"On this stream {found_by} put the next item among its first ten in {percent(found)}"
    if best in (None, name):
        said = [f"{first} of cases."]
    else:
        said = [
            f"{first} of cases; the best baseline, {best}, did in "
            f"{percent(models[best][HEADLINE])}.",
            _verdict(metrics["paired"]["models"][name]["differences"][HEADLINE]),
        ]
    unseen = manifest["counts"][name].get("new items (misses)", 0)
    if unseen:
        said.append(
            f"{percent(unseen / scored(metrics, manifest))} of all events brought an item that "
            "nobody had seen before: no method can name those."
        )
    return said


def _verdict(difference: Mapping[str, float]) -> str:
    mean, low, high = (difference[key] for key in ("difference", "lower", "upper"))
    bounds = f"between {points(low)} and {points(high)} percentage points"
    if low > 0 or high < 0:
        better = "better" if mean > 0 else "worse"
        return (
            f"It is {better}, and not by chance: the difference lies {bounds}, with 95 % certainty."
        )
    return f"That is too close to call: the difference lies {bounds}, with 95 % certainty."


def rules(protocol: Protocol, repeats: bool) -> str:
    """A protocol in words."""
    first = (
        "every event is scored" if protocol.unknown_users else "a user's first event is not scored"
    )
    warm = f"the first {protocol.warm_start:.0%} is learned only; " if protocol.warm_start else ""
    candidates = "all items known so far are candidates"
    if protocol.all_items:
        candidates = "all items of the stream are candidates, from its start"
    if protocol.recent_events:
        candidates = f"the items of the {protocol.recent_events:,} newest events are candidates"
    own = "" if repeats else ", the user's own left out"
    return f"{warm}{first}; {candidates}{own}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A difference of shares, in percentage points, with its sign."""
    return f"{100 * share:+.2f}".replace("-", "−")


def _first_line(maker: Any) -> str:
    described = maker.func if isinstance(maker, partial) else maker
    return (described.__doc__ or "").partition("\n")[0]

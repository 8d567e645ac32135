"""What a replay's ranks say, as plain values: the numbers of the report page, and metrics.json."""

from __future__ import annotations

from dataclasses import asdict
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.event import EventBatch
from engine.metrics import RANK_METRICS, rank_gains
from replay.baselines import BASELINES
from replay.lists import describe
from replay.paired import WINDOW, confidence_sequence, signed_mcnemar, window_tests
from replay.prequential import Results
from replay.record import Recording
from replay.segments import segments_of
from replay.stream import to_rows

HEADLINE = "recall@10"
METRICS = (HEADLINE, "ndcg@10")
"""What is compared beside the table of all metrics."""


def analyse(
    results: Results, events: EventBatch, repeats: bool, recording: Recording
) -> dict[str, Any]:
    """Everything of metrics.json that `report.to_json` does not say.

    best_baseline: the leader in `HEADLINE`, None without a baseline; paired: each other model
    against it; segments: by name, events and each model's metrics; without: the engine without
    each group of experts, and what is lost; lists: coverage and popularity of what would be
    shown; engine: speed, memory, fine-tunes, drift alarms and final shares, None without one.
    """
    gains = {name: gains_of(track.ranks) for name, track in results.tracks.items()}
    rows = to_rows(events)
    best = best_baseline(gains)
    without = {group: gains_of(ranks) for group, ranks in recording.without.items()}
    return {
        "best_baseline": best,
        "paired": {
            name: _paired(of_model, gains[best])
            for name, of_model in gains.items()
            if best is not None and name != best
        },
        "segments": {
            name: {
                "events": int(mask.sum()),
                "models": {model: _means(g, mask) for model, g in gains.items()},
            }
            for name, mask in segments_of(rows.users, rows.items, repeats).items()
            if mask.any()
        },
        "without": {
            group: _means(others) | {"lost": _difference(gains["engine"], others)}
            for group, others in without.items()
        },
        "lists": describe({name: recording.lists[name] for name in gains}, rows.items),
        "engine": _engine(recording) if recording.steps else None,
    }


Gains = dict[str, NDArray[np.float64]]
"""By metric of `METRICS`, (n,) what each event adds."""


def gains_of(ranks: NDArray[np.int64]) -> Gains:
    columns = rank_gains(ranks)
    return {metric: columns[:, RANK_METRICS.index(metric)] for metric in METRICS}


def best_baseline(gains: dict[str, Gains]) -> str | None:
    """The baseline with the highest `HEADLINE`; of equal ones the first."""
    baselines = [name for name in gains if name in BASELINES]
    return max(baselines, key=lambda name: gains[name][HEADLINE].mean(), default=None)


def _paired(of_model: Gains, of_best: Gains) -> dict[str, Any]:
    """Differences with anytime-valid bounds, and windows won, lost and too close to call."""
    hits, best_hits = of_model[HEADLINE] > 0, of_best[HEADLINE] > 0
    recall = signed_mcnemar(hits, best_hits).counts()
    ndcg = window_tests(of_model["ndcg@10"], of_best["ndcg@10"])
    sure = ndcg.p < 0.05
    won, lost = int((sure & (ndcg.difference > 0)).sum()), int((sure & (ndcg.difference < 0)).sum())
    return {
        "differences": _difference(of_model, of_best),
        "only_this": int((hits & ~best_hits).sum()),
        "only_best": int((~hits & best_hits).sum()),
        "window": WINDOW,
        "windows": {
            HEADLINE: dict(zip(("won", "lost", "open"), recall, strict=True)),
            "ndcg@10": {"won": won, "lost": lost, "open": len(sure) - won - lost},
        },
    }


def _difference(a: Gains, b: Gains) -> dict[str, dict[str, float]]:
    """By metric: mean of a minus b, and its 95 % bounds, valid whenever one looks."""
    differences = {}
    for metric in METRICS:
        low, high = confidence_sequence(a[metric] - b[metric])
        mean = float((a[metric] - b[metric]).mean())
        differences[metric] = {"mean": mean, "low": float(low[-1]), "high": float(high[-1])}
    return differences


def _means(gains: Gains, mask: NDArray[np.bool_] | slice = slice(None)) -> dict[str, Any]:
    return {metric: float(gains[metric][mask].mean()) for metric in METRICS}


def _engine(recording: Recording) -> dict[str, Any]:
    steps = recording.steps
    ends = np.array([step.end for step in steps])
    events = np.diff(ends, prepend=0)
    learning = np.array([step.seconds for step in steps])
    tuning = np.array([step.finetune_seconds for step in steps])
    p50, p99 = np.percentile(1e3 * learning / events, [50, 99])
    return {
        "events_per_second": float(ends[-1] / (learning.sum() + tuning.sum())),
        "learning_seconds": float(learning.sum()),
        "finetuning_seconds": float(tuning.sum()),
        "ms_per_event": {"p50": float(p50), "p99": float(p99)},
        "ms_per_micro_batch": {
            "p50": float(np.percentile(1e3 * learning, 50)),
            "p99": float(np.percentile(1e3 * learning, 99)),
        },
        "peak_rss_bytes": max(step.rss_bytes for step in steps),
        "shares": dict(zip(recording.groups, steps[-1].shares, strict=True)),
        "finetunes": [_plain(asdict(finetune)) for finetune in recording.finetunes],
        "drift_alarms": recording.alarms,
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN: None instead."""
    return {k: None if isinstance(v, float) and isnan(v) else v for k, v in values.items()}

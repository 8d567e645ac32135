"""What a recorded replay says beside its metrics, as plain values: for the page, and to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.baselines import BASELINES
from replay.lists import describe
from replay.prequential import Results
from replay.record import Recording, Step
from replay.versus import ALPHA, METRICS, WINDOW, Gains, differences, gains_of, windows

HEADLINE = "recall@10"


def analyse(results: Results, items: NDArray[np.int32], recording: Recording) -> dict[str, Any]:
    """Everything of metrics.json that `report.to_json` does not say; items (n,): the stream's.

    best_baseline: the leader in `HEADLINE`, None without a baseline; paired: each other model
    against it; without: the engine without each group of experts, and what is lost; lists:
    coverage and popularity of what would be shown; engine: speed, memory, fine-tunes, drift
    alarms and the shares of the last window, None without one. Raises ValueError where no event
    is scored.
    """
    gains = {name: gains_of(track.ranks) for name, track in results.tracks.items()}
    scored = next(iter(results.tracks.values())).scored
    if not scored.any():
        raise ValueError("no event is scored: a report needs a longer stream or another protocol")
    best = best_baseline(gains)
    return {
        "best_baseline": best,
        "paired": {
            "window": WINDOW,
            "alpha": ALPHA,
            "models": {
                name: _paired(of_model, gains[best], scored)
                for name, of_model in gains.items()
                if best is not None and name != best
            },
        },
        "without": {
            group: _lost(gains["engine"], gains_of(ranks), scored)
            for group, ranks in recording.without.items()
        },
        "lists": describe({name: recording.lists[name] for name in gains}, items),
        "engine": _engine(recording) if recording.steps else None,
    }


def best_baseline(gains: dict[str, Gains]) -> str | None:
    """The baseline with the highest `HEADLINE`; of equal ones the first."""
    baselines = [name for name in gains if name in BASELINES]
    return max(baselines, key=lambda name: gains[name][HEADLINE].sum(), default=None)


def shares_of(steps: Sequence[Step]) -> NDArray[np.float64]:
    """(S, G) after each of S steps: mean shares of G groups in the answers to the newest events.

    Those are whole micro-batches, `WINDOW` events at most, or one micro-batch that has more.
    """
    ends = np.array([0] + [step.end for step in steps])
    shares = np.array([step.shares for step in steps])
    sums = np.cumsum(shares * np.diff(ends)[:, None], axis=0)
    sums = np.vstack([np.zeros_like(sums[:1]), sums])
    starts = np.minimum(np.searchsorted(ends, ends[1:] - WINDOW), np.arange(len(steps)))
    means: NDArray[np.float64] = (sums[1:] - sums[starts]) / (ends[1:] - ends[starts])[:, None]
    return means


def _paired(of_model: Gains, of_best: Gains, scored: NDArray[np.bool_]) -> dict[str, Any]:
    """Differences, windows, and how many events only one of both hit."""
    hits, best_hits = of_model[HEADLINE][scored] > 0, of_best[HEADLINE][scored] > 0
    return {
        "differences": _plain(differences(of_model, of_best, scored)),
        "windows": _plain(windows(of_model, of_best, scored)),
        "only_this": int((hits & ~best_hits).sum()),
        "only_best": int((~hits & best_hits).sum()),
    }


def _lost(engine: Gains, others: Gains, scored: NDArray[np.bool_]) -> dict[str, Any]:
    means = {metric: float(others[metric][scored].mean()) for metric in METRICS}
    return means | {"lost": _plain(differences(engine, others, scored))}


def _engine(recording: Recording) -> dict[str, Any]:
    steps = recording.steps
    ends = np.array([step.end for step in steps])
    events = np.diff(ends, prepend=0)
    learning = np.array([step.seconds for step in steps])
    tuning = np.array([step.finetune_seconds for step in steps])
    return {
        "events_per_second": float(ends[-1] / (learning.sum() + tuning.sum())),
        "learning_seconds": float(learning.sum()),
        "finetuning_seconds": float(tuning.sum()),
        "ms_per_event": _quantiles(1e3 * learning / events),
        "ms_per_micro_batch": _quantiles(1e3 * learning),
        "peak_rss_bytes": max(step.rss_bytes for step in steps),
        "shares": dict(zip(recording.groups, shares_of(steps)[-1].tolist(), strict=True)),
        "finetunes": [_without_nan(asdict(finetune)) for finetune in recording.finetunes],
        "drift_alarms": recording.alarms,
    }


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    return {"p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99))}


def _plain(by_metric: Any) -> dict[str, Any]:
    return {metric: asdict(found) for metric, found in by_metric.items()}


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN: None instead."""
    return {k: None if isinstance(v, float) and isnan(v) else v for k, v in values.items()}

"""What a running engine says of itself, for Prometheus to collect.

The numbers are those of `GET /stats`, read when they are asked for; only how long answers take is
counted here. Names follow Prometheus: seconds and bytes, `_total` for what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

Stats = Mapping[str, Any]
Family = CounterMetricFamily | GaugeMetricFamily


class Exposition:
    """The text that Prometheus reads; `stats` gives what `GET /stats` gives."""

    def __init__(self, stats: Callable[[], Stats]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_StatsCollector(stats))
        ProcessCollector(registry=self._registry)
        self._answers = Histogram(
            "lrustream_answer_seconds",
            "How long recommendations took, the wait for a micro-batch included.",
            buckets=BUCKETS_S,
            registry=self._registry,
        )

    def answer_timed(self) -> AbstractContextManager[Any]:
        """Around a recommendation: how long it takes is counted."""
        return self._answers.time()

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _StatsCollector(Collector):
    def __init__(self, stats: Callable[[], Stats]) -> None:
        self._stats = stats

    def describe(self) -> list[Family]:
        """Nothing, so that registering asks the engine nothing."""
        return []

    def collect(self) -> Iterator[Family]:
        stats = self._stats()
        metrics, finetunes, journal = stats["metrics"], stats["finetunes"], stats["journal"]
        yield _counter("events", "Events learned, in all starts together.", stats["events"])
        yield _gauge("users", "Users known.", stats["users"])
        yield _gauge("items", "Items known.", stats["items"])
        yield _gauge("model_version", "Version of the model that answers.", stats["version"])
        yield _by(
            "quality",
            "Mean over all events, over a window of the newest, or fading; ranked before learned.",
            ("metric", "over"),
            {
                (name, over): value
                for over, means in (
                    ("all", metrics),
                    ("window", metrics["window"]),
                    ("fading", metrics["fading"]),
                )
                for name, value in means.items()
                if name in metrics["fading"] and value is not None
            },
        )
        yield _by("mixture_weight", "Weight in the mixture.", ("expert",), stats["mixture"])
        yield _counter("drift_alarms", "Drift alarms on LRURec's loss.", stats["drift_alarms"])
        yield _by("lag", "Records not yet polled.", ("partition",), stats["lag"])
        yield _gauge("pending", "Events polled and not yet learned.", stats["pending"])
        yield _counter("dead_letters", "No events, of this run.", stats["dead_letters"])
        outcomes = CounterMetricFamily(
            "lrustream_finetunes", "Fine-tunes that ended, of this run.", labels=["outcome"]
        )
        for outcome in ("accepted", "rejected", "failed"):
            outcomes.add_metric([outcome], finetunes[outcome])
        yield outcomes
        yield _gauge("finetune_running", "1 while one is under way.", finetunes["running"])
        yield _gauge("snapshot_age_seconds", "Since the last snapshot.", journal["snapshot_age_s"])
        yield _gauge(
            "events_since_snapshot",
            "What a start would have to learn again.",
            journal["events_since_snapshot"],
        )
        yield _by("bytes", "Memory of a part.", ("part",), stats["bytes"])
        caps = stats["caps"]
        yield _by("used", "Of what is capped, in its unit.", ("what",), _each(caps, "size"))
        yield _by("cap", "How much there may be.", ("what",), _each(caps, "cap"))


def _counter(name: str, help_: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"lrustream_{name}", help_, value=value)


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lrustream_{name}", help_, value=float(value))


def _by(
    name: str, help_: str, labels: tuple[str, ...], values: Mapping[Any, float]
) -> GaugeMetricFamily:
    """One gauge with a value for each key, a tuple where there are more labels than one."""
    family = GaugeMetricFamily(f"lrustream_{name}", help_, labels=labels)
    for key, value in values.items():
        family.add_metric([str(part) for part in (key if len(labels) > 1 else (key,))], value)
    return family


def _each(caps: Mapping[str, Mapping[str, int]], which: str) -> dict[str, int]:
    return {name: sizes[which] for name, sizes in caps.items()}

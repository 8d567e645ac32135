"""What Prometheus reads: the numbers of `GET /stats`, under names it can collect."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from connectors.prometheus import Exposition


def stats(**changed: Any) -> dict[str, Any]:
    """As a loop gives them, with the parts that are read."""
    means = {"recall@10": 0.25, "log_loss": None}
    whole = {
        "events": 40,
        "users": 3,
        "items": 5,
        "version": 2,
        "metrics": {"events": 40, **means, "window": {"events": 20, **means}, "fading": means},
        "mixture": {"rules_long": 0.25, "joint": 0.75},
        "drift_alarms": 1,
        "lag": {0: 7, 2: 0},
        "pending": 4,
        "dead_letters": 6,
        "finetunes": {"running": True, "accepted": 3, "rejected": 1, "failed": 0},
        "journal": {"snapshot_age_s": 1.5, "events_since_snapshot": 8},
        "bytes": {"histories": 1024},
        "caps": {"users_resident": {"size": 3, "cap": 100}},
    }
    return whole | changed


def samples(exposition: Exposition) -> dict[str, float]:
    """By name and label values: "lag 0"."""
    return {
        " ".join([sample.name.removeprefix("lrustream_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(exposition.text().decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("events_total", 40),
        ("model_version", 2),
        ("quality recall@10 window", 0.25),
        ("mixture_weight joint", 0.75),
        ("lag 0", 7),
        ("lag 2", 0),
        ("dead_letters_total", 6),
        ("finetunes_total rejected", 1),
        ("finetune_running", 1),
        ("snapshot_age_seconds", 1.5),
        ("bytes histories", 1024),
        ("used users_resident", 3),
        ("cap users_resident", 100),
    ],
)
def test_every_number_has_a_name(name: str, value: float) -> None:
    assert samples(Exposition(stats))[name] == value


def test_what_is_not_known_yet_and_what_is_no_quality_is_left_out() -> None:
    names = samples(Exposition(stats))
    assert [name for name in names if name.startswith("quality")] == [
        f"quality recall@10 {over}" for over in ("all", "window", "fading")
    ]


def test_numbers_are_those_of_the_moment() -> None:
    events = iter((40, 41))
    exposition = Exposition(lambda: stats(events=next(events)))
    assert [samples(exposition)["events_total"] for _ in range(2)] == [40, 41]


def test_answers_are_counted_and_so_are_those_that_fail() -> None:
    exposition = Exposition(stats)
    with exposition.answer_timed():
        pass
    with pytest.raises(ValueError, match="engine"), exposition.answer_timed():
        raise ValueError("engine")
    assert samples(exposition)["answer_seconds_count"] == 2

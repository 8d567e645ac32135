"""Prequential metrics: arithmetic by hand, any cut of the stream, snapshots."""

import math

import numpy as np
import pytest

from engine.durable import pack, unpack
from engine.metrics import PrequentialMetrics, Reason

RANKS = np.array([1, 3, 0, 10, 11, 0], dtype=np.int64)
REASONS = np.array(
    [
        Reason.RANKED,
        Reason.RANKED,
        Reason.NEW_ITEM,
        Reason.RANKED,
        Reason.RANKED,
        Reason.REPEAT,
    ],
    dtype=np.int8,
)
LOSSES = np.array([1.0, 2.0, np.nan, 3.0, 4.0, np.nan])
UNKNOWN = np.array([True, False, True, False, False, False])


def random_events(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    ranks = random.integers(0, 40, n)
    losses = np.where(ranks > 0, random.random(n), np.nan)
    return ranks, np.where(ranks > 0, 0, 1).astype(np.int8), losses


def test_values_worked_by_hand() -> None:
    metrics = PrequentialMetrics()
    metrics.update(RANKS, REASONS, LOSSES, UNKNOWN)
    summary = metrics.summary()
    assert summary["events"] == 6
    assert summary["recall@1"] == pytest.approx(1 / 6)
    assert summary["recall@5"] == pytest.approx(2 / 6)
    assert summary["recall@10"] == pytest.approx(3 / 6)
    assert summary["recall@20"] == pytest.approx(4 / 6)
    assert summary["ndcg@1"] == pytest.approx(1 / 6)
    assert summary["ndcg@5"] == pytest.approx((1 + 1 / 2) / 6)
    assert summary["ndcg@10"] == pytest.approx((1 + 1 / 2 + 1 / math.log2(11)) / 6)
    assert summary["ndcg@20"] == pytest.approx(
        (1 + 1 / 2 + 1 / math.log2(11) + 1 / math.log2(12)) / 6
    )
    assert summary["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 10 + 1 / 11) / 6)
    assert summary["log_loss"] == pytest.approx(2.5)
    assert (summary["new_items"], summary["repeats"], summary["unknown_users"]) == (1, 1, 2)


def test_the_window_holds_the_newest_events_only() -> None:
    metrics = PrequentialMetrics(window=2)
    metrics.update(RANKS, REASONS, LOSSES)
    window = metrics.summary()["window"]
    assert window["events"] == 2
    assert window["recall@20"] == pytest.approx(1 / 2)
    assert window["recall@10"] == 0
    assert window["log_loss"] == pytest.approx(4.0)


def test_the_fading_mean_follows_its_recurrence() -> None:
    metrics = PrequentialMetrics(alpha=0.9)
    metrics.update(RANKS, REASONS, LOSSES)
    total = weight = 0.0
    for rank in RANKS:
        total = float(0 < rank <= 10) + 0.9 * total
        weight = 1.0 + 0.9 * weight
    assert metrics.summary()["fading"]["recall@10"] == pytest.approx(total / weight)


def test_the_fading_log_loss_skips_events_without_one() -> None:
    with_gaps, without = PrequentialMetrics(alpha=0.9), PrequentialMetrics(alpha=0.9)
    with_gaps.update(RANKS, REASONS, LOSSES)
    kept = ~np.isnan(LOSSES)
    without.update(RANKS[kept], REASONS[kept], LOSSES[kept])
    assert with_gaps.summary()["fading"]["log_loss"] == pytest.approx(
        without.summary()["fading"]["log_loss"]
    )


def test_any_cut_of_the_stream_gives_the_same_numbers() -> None:
    ranks, reasons, losses = random_events(1_000)
    whole, cut = PrequentialMetrics(window=300), PrequentialMetrics(window=300)
    whole.update(ranks, reasons, losses)
    for part in np.split(np.arange(1_000), [0, 1, 7, 400, 999]):
        cut.update(ranks[part], reasons[part], losses[part])
    left, right = whole.summary(), cut.summary()
    for group in ("window", "fading"):
        assert left.pop(group) == pytest.approx(right.pop(group))
    assert left == pytest.approx(right)


def test_a_snapshot_goes_on_as_if_nothing_had_happened() -> None:
    ranks, reasons, losses = random_events(1_000)
    kept = PrequentialMetrics(window=300, alpha=0.99)
    kept.update(ranks[:500], reasons[:500], losses[:500])
    restored = PrequentialMetrics(window=300, alpha=0.99)
    for block, arrays in kept.changes():
        restored.restore(block, unpack(pack(arrays)))
    for metrics in (kept, restored):
        metrics.update(ranks[500:], reasons[500:], losses[500:])
    assert restored.summary() == kept.summary()


def test_before_the_first_event_everything_is_zero() -> None:
    summary = PrequentialMetrics().summary()
    assert summary["events"] == 0
    assert summary["recall@10"] == 0
    assert summary["log_loss"] is None


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"6 ranks with 5 reasons"):
        PrequentialMetrics().update(RANKS, REASONS[:5])

"""Means by window and by segment: by hand, and adding up to the whole."""

from __future__ import annotations

import numpy as np
import pytest

from engine.metrics import Reason
from replay.measures import by_segment, by_window, overall
from replay.prequential import Track, run
from replay.protocols import DEPLOYABLE, PROTOCOLS
from replay.synthetic import markov_stream

RANKS = np.array([9, 1, 0, 2, 1, 1, 0])
REASONS = np.array([Reason.UNSCORED, 0, Reason.NEW_ITEM, 0, 0, 0, Reason.REPEAT], dtype=np.int8)
TRACK = Track(RANKS, REASONS, np.zeros(7, dtype=bool), np.full(7, np.nan))


def test_what_is_not_scored_counts_nowhere() -> None:
    assert overall(TRACK, DEPLOYABLE)["recall@10"] == pytest.approx(4 / 6)
    assert overall(TRACK, DEPLOYABLE)["mrr"] == pytest.approx(3.5 / 6)
    assert overall(TRACK, PROTOCOLS["alpenglow"])["dcg@100"] == pytest.approx(
        (3 + np.log(2) / np.log(3)) / 6
    )


def test_windows_by_hand() -> None:
    windows = by_window(TRACK, DEPLOYABLE, window=4)
    assert windows["recall@1"] == pytest.approx([2 / 4, 1 / 2])
    assert windows["mrr"] == pytest.approx([2.5 / 4, 1 / 2])


def test_segments_by_hand() -> None:
    odd = np.arange(7) % 2 == 1
    segments = by_segment(TRACK, DEPLOYABLE, {"odd": odd, "even": ~odd, "none": RANKS > 9})
    assert list(segments) == ["odd", "even"]
    assert segments["odd"]["events"] == segments["even"]["events"] == 3
    assert segments["odd"]["recall@1"] == pytest.approx(2 / 3)
    assert segments["even"]["recall@1"] == pytest.approx(1 / 3)


def test_parts_add_up_to_the_whole() -> None:
    results = run(None, ["rules_long"], markov_stream(30, 60, 2_345, 0.6, seed=1))
    track = results.tracks["rules_long"]
    summary = track.metrics().summary()
    counts = [1_000, 1_000, 345]
    segments = by_segment(track, DEPLOYABLE, results.segments)
    for metric, value in overall(track, DEPLOYABLE).items():
        assert value == pytest.approx(summary[metric])
        windows = by_window(track, DEPLOYABLE, window=1_000)[metric]
        assert np.average(windows, weights=counts) == pytest.approx(value)
        parts = [segments["known user"], segments["new user"]]
        weights = [part["events"] for part in parts]
        assert np.average([part[metric] for part in parts], weights=weights) == pytest.approx(value)
    assert segments["new item"]["recall@20"] == 0

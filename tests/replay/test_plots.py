"""What figures draw: means by hand, names that do not overlap, lines that can be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from replay import plots
from replay.baselines import BASELINES
from replay.drawing import spread


def test_windowed_and_cumulative_means_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "WINDOW", 2)
    values = np.array([1.0, 0.0, 1.0, 1.0])
    ends = np.array([1, 2, 3, 4])
    assert plots.windowed(values, ends).tolist() == [1.0, 0.5, 0.5, 1.0]
    assert plots.cumulative(values, ends).tolist() == pytest.approx([1.0, 0.5, 2 / 3, 0.75])


def test_names_keep_their_order_and_their_distance() -> None:
    heights = {"a": 0.50, "b": 0.51, "c": 0.90, "d": 0.495}
    placed = spread(heights, gap=0.06)
    assert list(placed) == ["d", "a", "b", "c"]
    places = list(placed.values())
    assert min(np.diff(places)) >= 0.06 - 1e-9
    assert sum(places) == pytest.approx(sum(heights.values()))


def test_names_do_not_leave_the_figure() -> None:
    placed = list(spread(dict.fromkeys("abcde", 0.95), gap=0.1).values())
    assert placed == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0])
    placed = list(spread(dict.fromkeys("abc", 0.0), gap=0.1).values())
    assert placed == pytest.approx([0.0, 0.1, 0.2])


def test_no_two_lines_look_the_same() -> None:
    styles = plots.lines_of(["engine", "lrurec", *BASELINES])
    looks = {(style["color"], style.get("linestyle", "-")) for style in styles.values()}
    assert len(looks) == len(styles) == len(BASELINES) + 2

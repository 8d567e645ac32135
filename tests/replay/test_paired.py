"""Paired comparison: windows by hand, tests that keep their level, intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from replay.paired import confidence_sequence, signed_mcnemar, window_tests


def hits(*windows: str) -> NDArray[np.bool_]:
    return np.array([letter == "1" for letter in "".join(windows)])


def test_mcnemar_by_hand() -> None:
    windows = signed_mcnemar(
        hits("1110", "0000", "1010", "1"), hits("0000", "0110", "1010", "0"), window=4
    )
    assert windows.n10.tolist() == [3, 0, 0, 1]
    assert windows.n01.tolist() == [0, 2, 0, 0]
    assert windows.statistic.tolist() == [3.0, -2.0, 0.0, 1.0]
    assert windows.p.tolist() == pytest.approx([2 / 8, 2 / 4, 1.0, 1.0])
    assert windows.counts(alpha=0.6) == (1, 1, 2)
    assert windows.counts() == (0, 0, 4)


def test_mcnemar_squares_the_lead_over_all_disagreements() -> None:
    one = hits("1" * 30 + "0" * 10 + "1" * 60)
    other = hits("0" * 30 + "1" * 10 + "1" * 60)
    found = signed_mcnemar(one, other)
    assert found.statistic.tolist() == [400 / 40]
    assert signed_mcnemar(other, one).statistic.tolist() == [-400 / 40]
    assert found.p[0] == pytest.approx(0.00222, abs=1e-5)  # two tails of binomial(40, 1/2)
    assert found.counts() == (1, 0, 0)


def test_gains_by_hand() -> None:
    found = window_tests(np.array([1.0, 0, 0, 0.5, 0]), np.array([0, 0.5, 0, 0, 0]), window=3)
    assert found.difference.tolist() == pytest.approx([0.5 / 3, 0.5 / 2])
    # sum 0.5 over sqrt(1.25) is z = 0.447; one difference alone can never say anything
    assert found.p.tolist() == pytest.approx([0.6547, 1.0], abs=1e-4)


def test_a_few_differences_are_no_proof() -> None:
    """Four events all one way: the flips can do that one time in eight."""
    better = np.zeros(5_000)
    better[:4] = 1.0
    assert window_tests(better, np.zeros(5_000)).p[0] == 1 / 8


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_the_window_tests_keep_their_level_and_see_a_difference(share: float) -> None:
    """`share` of the events differ, by skewed amounts; over 400 windows of 500."""
    random = np.random.default_rng(1)
    n, window = 200_000, 500
    values = random.exponential(0.2, (2, n)).clip(max=1.0) * (random.random(n) < share)
    level = float(np.mean(window_tests(values[0], values[1], window).p < 0.05))
    assert level < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    found = window_tests(2 * values[0], values[1], window)
    assert np.mean(found.p < 0.05) > 2 * level
    assert np.all(found.difference[found.p < 1e-4] > 0)


def drifting(random: np.random.Generator, n: int) -> tuple[NDArray, NDArray]:
    """Differences of NDCG, most of them 0, and their expected values, which wander."""
    mean = 0.15 * np.sin(np.arange(n) / 200 + random.random() * 6) + 0.05
    chance = 0.3 + np.abs(mean)
    sign = np.where(random.random(n) < 0.5 * (1 + mean / chance), 1.0, -1.0)
    return np.where(random.random(n) < chance, sign, 0.0), mean


def test_the_confidence_sequence_covers_at_all_times_together() -> None:
    random = np.random.default_rng(2)
    missed = 0
    for _ in range(400):
        differences, expected = drifting(random, 2_000)
        lower, upper = confidence_sequence(differences, alpha=0.2)
        running = np.cumsum(expected) / np.arange(1, 2_001)
        missed += bool(np.any((running < lower) | (running > upper)))
    assert missed / 400 < 0.2
    assert missed > 0  # an interval that never misses would be too wide


def test_the_interval_is_not_much_wider_than_one_for_a_single_look() -> None:
    random = np.random.default_rng(3)
    differences, _ = drifting(random, 20_000)
    lower, upper = confidence_sequence(differences)
    for events in (2_000, 20_000):
        once = 1.96 * differences[:events].std() / np.sqrt(events)
        assert once < (upper - lower)[events - 1] / 2 < 2 * once
    assert lower[-1] < differences.mean() < upper[-1]


def test_the_bound_is_the_unit() -> None:
    differences = np.random.default_rng(4).choice([-1.0, 0.0, 1.0], 500)
    plain, wide = (confidence_sequence(k * differences, bound=k) for k in (1.0, 4.0))
    np.testing.assert_allclose(wide[0], 4 * plain[0])
    assert plain[0][0] == -1.0
    assert plain[1][0] == 1.0


def test_models_that_never_differ_are_soon_known_to_be_alike() -> None:
    lower, upper = confidence_sequence(np.zeros(10_000))
    assert -0.01 < lower[-1] < 0 < upper[-1] < 0.01


def test_no_events_no_windows() -> None:
    nothing = np.zeros(0)
    assert signed_mcnemar(nothing > 0, nothing > 0).counts() == (0, 0, 0)
    assert len(window_tests(nothing, nothing).p) == 0
    assert len(confidence_sequence(nothing)[0]) == 0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="2 events of one model with 3"):
        signed_mcnemar(hits("11"), hits("111"))
    with pytest.raises(ValueError, match="window is 0"):
        window_tests(np.zeros(2), np.zeros(2), window=0)
    with pytest.raises(ValueError, match=r"1\.5 is beyond the bound 1"):
        confidence_sequence(np.array([0.0, -1.5]))
    with pytest.raises(ValueError, match="alpha is 1"):
        confidence_sequence(np.zeros(2), alpha=1.0)

"""Two models on the same events: who is better, where, and how sure that is.

Windows never overlap: overlapping ones share events, so that one lucky stretch counts many times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, gammainc, gammaln, ndtr

WINDOW = 5_000

TUNED_VARIANCE = 500.0
"""Sum of squared differences, in units of `bound`^2, at which a confidence sequence is tightest."""

GRID_STEP = 1.005
"""Ratio of the variances at which the boundary is solved; between them the next one is used."""


@dataclass(frozen=True, slots=True)
class McNemarWindows:
    """McNemar's test on W consecutive windows, the last of which may be shorter.

    n10, n01: (W,) int64, events that only a, or only b, got right; statistic: (W,) signed,
    positive where a is better; p: (W,) two-sided and exact: n10 is binomial with chance 1/2 of
    n10 + n01 where neither is better.
    """

    n10: NDArray[np.int64]
    n01: NDArray[np.int64]
    statistic: NDArray[np.float64]
    p: NDArray[np.float64]

    def counts(self, alpha: float = 0.05) -> tuple[int, int, int]:
        """Windows that a won, that a lost, and that were too close to call at level `alpha`."""
        return _counts(self.statistic, self.p, alpha)


@dataclass(frozen=True, slots=True)
class WindowTests:
    """Mean of a minus b, and its two-sided p, on W consecutive windows: both (W,)."""

    difference: NDArray[np.float64]
    p: NDArray[np.float64]

    def counts(self, alpha: float = 0.05) -> tuple[int, int, int]:
        """As `McNemarWindows.counts`."""
        return _counts(self.difference, self.p, alpha)


def signed_mcnemar(
    hits_a: NDArray[np.bool_], hits_b: NDArray[np.bool_], window: int = WINDOW
) -> McNemarWindows:
    """Compare hits (n,) of a and b event by event, window by window.

    The statistic is sign(n10 - n01) (n10 - n01)^2 / (n10 + n01), 0 where both are 0 (Gama,
    Sebastião and Rodrigues, "On evaluating stream learning algorithms", 2013; Vinagre, Jorge,
    Rocha and Gama, "Statistically robust evaluation of stream-based recommender systems", 2021).
    Raises ValueError where lengths differ or `window` is below 1.
    """
    starts = _starts(len(hits_a), len(hits_b), window)
    n10 = np.add.reduceat(hits_a & ~hits_b, starts, dtype=np.int64)
    n01 = np.add.reduceat(~hits_a & hits_b, starts, dtype=np.int64)
    both = n10 + n01
    statistic = np.sign(n10 - n01) * (n10 - n01) ** 2 / np.maximum(both, 1)
    p = np.minimum(2.0 * bdtr(np.minimum(n10, n01), both, 0.5), 1.0)
    return McNemarWindows(n10, n01, statistic, p)


def window_tests(
    gains_a: NDArray[np.float64], gains_b: NDArray[np.float64], window: int = WINDOW
) -> WindowTests:
    """Compare gains (n,), such as NDCG@10 by event, window by window, by a sign-flip test.

    Where neither model is better, each event's difference d could as well have had the other
    sign; over all flips sum(d) has mean 0 and variance sum(d^2), and is close to normal. Chosen
    over a paired t-test because most differences are exactly 0 and the rest far from normal; over
    drawing flips because it needs no seed. As m non-zero differences have 2^m flips, p never falls
    below 2^(1 - m). Raises ValueError where lengths differ or `window` is below 1.
    """
    starts = _starts(len(gains_a), len(gains_b), window)
    differences = gains_a - gains_b
    counts = np.diff(starts, append=len(differences))
    sums = np.add.reduceat(differences, starts)
    deviation = np.sqrt(np.add.reduceat(differences**2, starts))
    z = np.abs(sums) / np.where(deviation > 0, deviation, 1.0)
    flips = np.add.reduceat(differences != 0, starts, dtype=np.int64)
    p = np.clip(2.0 * ndtr(-z), np.exp2(1.0 - flips), 1.0)
    return WindowTests(sums / counts, p)


def confidence_sequence(
    differences: NDArray[np.float64], alpha: float = 0.05, bound: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper (n,) bounds of the mean difference so far, valid at all times together.

    With chance 1 - alpha no interval, however many are looked at and whenever one stops, misses
    the mean of the expected differences up to its event; these may drift with the stream.
    differences: (n,) in [-bound, bound]. The empirical-Bernstein confidence sequence (Howard,
    Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
    sequences", 2021, theorem 4 with the gamma-exponential mixture; Choe and Ramdas, "Comparing
    sequential forecasters", 2023). As the mean drifts, later intervals need not lie inside
    earlier ones. Raises ValueError for a difference out of bounds or an alpha out of (0, 1).
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha}: give a chance between 0 and 1")
    if len(differences) and not np.abs(differences).max() <= bound:
        largest = float(np.abs(differences).max())
        raise ValueError(f"a difference of {largest:g} is beyond the bound {bound:g}: raise it")
    counts = np.arange(1, len(differences) + 1)
    means = np.cumsum(differences) / counts
    expected = np.concatenate([[0.0], means[:-1]])[: len(means)]
    variance = np.cumsum((differences - expected) ** 2) / bound**2
    radius = bound * _boundary(variance, alpha / 2) / counts
    return np.maximum(means - radius, -bound), np.minimum(means + radius, bound)


def _boundary(variance: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """What a sum of differences in [-1, 1] exceeds with chance `alpha`, ever, by its variance.

    It grows with the variance (n,), so the next grid point's value holds below it too.
    """
    most = float(variance[-1]) if len(variance) else 0.0
    points = 2 + max(math.ceil(math.log(max(most, 1.0)) / math.log(GRID_STEP)), 0)
    grid = np.concatenate([[0.0], GRID_STEP ** np.arange(points)])
    return _solve(grid, alpha)[np.searchsorted(grid, variance)]


def _solve(variance: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """The s >= 0 at which the mixture martingale reaches 1 / alpha, by bisection."""
    low = np.zeros_like(variance)
    high = 10.0 * (1.0 - math.log(alpha) + np.sqrt(-math.log(alpha) * (variance + TUNED_VARIANCE)))
    for _ in range(60):
        middle = (low + high) / 2
        below = _log_mixture(middle, variance, alpha) < -math.log(alpha)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high


def _log_mixture(
    s: NDArray[np.float64], variance: NDArray[np.float64], alpha: float
) -> NDArray[np.float64]:
    """log of the gamma-exponential mixture (Howard et al. 2021, proposition 9), where c = 2: the
    largest step of differences in [-1, 1]. rho makes it tightest near `TUNED_VARIANCE`."""
    c = 2.0
    log_odds = 2.0 * math.log(1.0 / (2.0 * alpha))
    rho = TUNED_VARIANCE / (log_odds + math.log1p(log_odds))
    a, b, z = rho / c**2, (variance + rho) / c**2, (c * s + variance + rho) / c**2
    prior = a * math.log(a) - gammaln(a) - np.log(gammainc(a, a))
    posterior = gammaln(b) + np.log(gammainc(b, z)) - b * np.log(z)
    return prior + posterior + (c * s + variance) / c**2


def _counts(
    sign: NDArray[np.float64], p: NDArray[np.float64], alpha: float
) -> tuple[int, int, int]:
    won, lost = (p < alpha) & (sign > 0), (p < alpha) & (sign < 0)
    return int(won.sum()), int(lost.sum()), int((~won & ~lost).sum())


def _starts(n: int, other: int, window: int) -> NDArray[np.intp]:
    if n != other:
        raise ValueError(f"{n} events of one model with {other} of the other: give the same ones")
    if window < 1:
        raise ValueError(f"window is {window}: give a number of events from 1 on")
    return np.arange(0, n, window)

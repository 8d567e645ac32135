"""Sequential rules: every later item counts for each of the last items, less with the distance.

Kamehkhosh, Jannach and Ludewig, "A comparison of frequent pattern techniques and a deep learning
method for session-based recommendation", 2017; Ludewig and Jannach, "Evaluation of session-based
recommendation algorithms", 2018. The score is the one of `replay.baselines.counting_kernels`, with
popularity of half-life 5,000 events as the prior; the constants are the same on all streams.
"""

from __future__ import annotations

from replay.baselines.base import Baseline
from replay.baselines.counting import Counting
from replay.baselines.counting_kernels import Settings
from replay.protocols import DEPLOYABLE, Protocol

_FADE = 0.5 ** (1 / 5_000)


def rules_long(
    n_users: int, n_items: int, repeats: bool, seed: int, protocol: Protocol = DEPLOYABLE
) -> Baseline:
    """For long histories: 20 events back, gently weighed."""
    settings = Settings(
        fade=_FADE, window=20, gap=0.9, power=0.5, prior=1.0, repeats=repeats, seed=seed
    )
    return Counting("rules_long", n_users, n_items, settings, protocol)


def rules_short(
    n_users: int, n_items: int, repeats: bool, seed: int, protocol: Protocol = DEPLOYABLE
) -> Baseline:
    """For sessions: 8 events back, near ones far ahead, conditional probabilities."""
    settings = Settings(
        fade=_FADE, window=8, gap=0.8, power=1.0, prior=0.3, repeats=repeats, seed=seed
    )
    return Counting("rules_short", n_users, n_items, settings, protocol)

"""Sequential rules: every later item counts for each of the last items, less with the distance.

Kamehkhosh, Jannach and Ludewig, "A comparison of frequent pattern techniques and a deep learning
method for session-based recommendation", 2017; Ludewig and Jannach, "Evaluation of session-based
recommendation algorithms", 2018. The score is the one of `replay.baselines.counting_kernels`, with
popularity of half-life 5,000 events as the prior; the constants are the same on all streams.
"""

from __future__ import annotations

from replay.baselines.base import Baseline, Task
from replay.baselines.counting import Counting
from replay.baselines.counting_kernels import Settings

_FADE = 0.5 ** (1 / 5_000)


def rules_long(task: Task) -> Baseline:
    """For long histories: 20 events back, gently weighed."""
    settings = Settings(fade=_FADE, window=20, gap=0.9, power=0.5, prior=1.0)
    return Counting("rules_long", task, settings)


def rules_short(task: Task) -> Baseline:
    """For sessions: 8 events back, near ones far ahead, conditional probabilities."""
    settings = Settings(fade=_FADE, window=8, gap=0.8, power=1.0, prior=0.3)
    return Counting("rules_short", task, settings)

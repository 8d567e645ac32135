"""Last-item transition, then popularity: what most often came right after the user's newest item.

Equal counts are ordered by the all-time count, and so is everything where the newest item was
never followed: the prior d(i)/2 is below every whole transition, so it decides ties alone.
"""

from __future__ import annotations

from replay.baselines.base import Baseline, Task
from replay.baselines.counting import Counting
from replay.baselines.counting_kernels import Settings


def transition(task: Task) -> Baseline:
    """Transition counts, ties by popularity."""
    settings = Settings(fade=1.0, window=1, gap=1.0, power=0.0, prior=0.5)
    return Counting("transition", task, settings)

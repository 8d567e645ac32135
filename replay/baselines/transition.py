"""Last-item transition, then popularity: what most often came right after the user's newest item.

Equal counts are ordered by the all-time count, and so is everything where the newest item was
never followed: the prior d(i)/2 is below every whole transition, so it decides ties alone.
"""

from __future__ import annotations

from replay.baselines.base import Baseline
from replay.baselines.counting import Counting
from replay.baselines.counting_kernels import Settings
from replay.protocols import DEPLOYABLE, Protocol


def transition(
    n_users: int, n_items: int, repeats: bool, seed: int, protocol: Protocol = DEPLOYABLE
) -> Baseline:
    """Transition counts, ties by popularity."""
    settings = Settings(
        fade=1.0, window=1, gap=1.0, power=0.0, prior=0.5, repeats=repeats, seed=seed
    )
    return Counting("transition", n_users, n_items, settings, protocol)

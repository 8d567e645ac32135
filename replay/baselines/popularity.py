"""Popularity: the same list for everyone, by how often an item came, old events counting less."""

from __future__ import annotations

from replay.baselines.base import Baseline, Task
from replay.baselines.counting import Counting
from replay.baselines.counting_kernels import Settings


def popularity(task: Task) -> Baseline:
    """By all-time count."""
    return _faded("popularity", 1.0, task)


def decayed_popularity(task: Task) -> Baseline:
    """Counts multiplied by 0.9998 at every event: half of an event is forgotten after 3,465."""
    return _faded("decayed_popularity", 0.9998, task)


def fast_popularity(task: Task) -> Baseline:
    """Half of an event is forgotten after 200: what is popular this hour."""
    return _faded("fast_popularity", 0.5 ** (1 / 200), task)


def _faded(name: str, fade: float, task: Task) -> Baseline:
    return Counting(name, task, Settings(fade=fade, window=0, gap=1.0, power=0.0, prior=1.0))

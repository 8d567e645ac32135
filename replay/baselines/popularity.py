"""Popularity: the same list for everyone, by how often an item came, old events counting less."""

from __future__ import annotations

from replay.baselines.base import Baseline
from replay.baselines.counting import Counting
from replay.baselines.counting_kernels import Settings
from replay.protocols import DEPLOYABLE, Protocol


def popularity(
    n_users: int, n_items: int, repeats: bool, seed: int, protocol: Protocol = DEPLOYABLE
) -> Baseline:
    """By all-time count."""
    return _faded("popularity", 1.0, n_users, n_items, repeats, seed, protocol)


def decayed_popularity(
    n_users: int, n_items: int, repeats: bool, seed: int, protocol: Protocol = DEPLOYABLE
) -> Baseline:
    """Counts multiplied by 0.9998 at every event: half of an event is forgotten after 3,465."""
    return _faded("decayed_popularity", 0.9998, n_users, n_items, repeats, seed, protocol)


def fast_popularity(
    n_users: int, n_items: int, repeats: bool, seed: int, protocol: Protocol = DEPLOYABLE
) -> Baseline:
    """Half of an event is forgotten after 200: what is popular this hour."""
    return _faded("fast_popularity", 0.5 ** (1 / 200), n_users, n_items, repeats, seed, protocol)


def _faded(
    name: str,
    fade: float,
    n_users: int,
    n_items: int,
    repeats: bool,
    seed: int,
    protocol: Protocol,
) -> Baseline:
    settings = Settings(
        fade=fade, window=0, gap=1.0, power=0.0, prior=1.0, repeats=repeats, seed=seed
    )
    return Counting(name, n_users, n_items, settings, protocol)

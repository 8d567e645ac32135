"""The synthetic stream: as predictable as asked, the same with the same seed."""

from collections import defaultdict

import numpy as np
import pytest

from replay.synthetic import markov_stream


def share_of_commonest_successor(predictability: float) -> float:
    stream = markov_stream(20, 30, 20_000, predictability, seed=3)
    followers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    last: dict[str, str] = {}
    for event in stream:
        if event.user in last:
            followers[last[event.user]][event.item] += 1
        last[event.user] = event.item
    return float(np.mean([max(row.values()) / sum(row.values()) for row in followers.values()]))


def test_the_knob_is_the_chance_of_the_successor() -> None:
    assert share_of_commonest_successor(1.0) == 1.0
    assert share_of_commonest_successor(0.6) == pytest.approx(0.6 + 0.4 / 30, abs=0.03)
    assert share_of_commonest_successor(0.0) < 0.1


def test_a_walk_meets_every_item_before_any_twice() -> None:
    items = markov_stream(1, 30, 30, 1.0, seed=3).items
    assert len(set(items)) == 30


def test_the_seed_fixes_the_stream() -> None:
    assert markov_stream(5, 9, 50, 0.5, seed=1).items == markov_stream(5, 9, 50, 0.5, seed=1).items
    assert markov_stream(5, 9, 50, 0.5, seed=1).items != markov_stream(5, 9, 50, 0.5, seed=2).items


def test_a_chance_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match="predictability is 1"):
        markov_stream(5, 9, 50, 1.5, seed=1)

"""The order of ids: numbers by value, codes by their characters, however it grew."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from connectors.event import Event, EventBatch
from engine.id_order import IdOrder
from engine.recommender import Recommender
from tests.engine.running import with_settings

CPU = torch.device("cpu")


def test_numbers_stand_by_value_and_codes_by_their_characters() -> None:
    names = ["B00X", "10", "9", "B00A", "100", "2"]
    ids = IdOrder(CPU)
    ids.grow(names)
    in_order = [names[row] for row in ids.order.tolist()]
    assert in_order == ["2", "9", "10", "100", "B00A", "B00X"]
    assert ids.places(torch.arange(6)).tolist() == [5, 2, 1, 4, 3, 0]


@pytest.mark.parametrize("step", [1, 7, 60])
def test_the_order_is_the_same_however_it_grew(step: int) -> None:
    names = [str(number) for number in random.Random(0).sample(range(10_000), 60)]
    grown, whole = IdOrder(CPU), IdOrder(CPU)
    for end in range(step, 60 + step, step):
        grown.grow(names[:end])
    whole.grow(names)
    assert (
        grown.order.tolist() == whole.order.tolist() == np.argsort([int(n) for n in names]).tolist()
    )


def test_beside_ends_with_the_order_and_knows_no_strangers() -> None:
    ids, offsets = IdOrder(CPU), torch.tensor([-1, 1, 2])
    assert ids.beside(torch.tensor([0, -1]), offsets).tolist() == [[-1] * 3] * 2
    ids.grow(["20", "10", "30"])
    beside = ids.beside(torch.tensor([0, 1, 2, 3, -1]), offsets)
    assert beside.tolist() == [[1, 2, -1], [-1, 0, 2], [0, -1, -1], [-1] * 3, [-1] * 3]


def test_an_item_has_no_place_while_its_own_micro_batch_is_ranked() -> None:
    """What an event brings must not move what stands beside the user's items before it."""
    learner = Recommender(with_settings(experts=("popularity", "ids")))
    learner.learn_many(EventBatch.from_events([Event("a", "10", 1.0), Event("a", "30", 2.0)]))
    assert learner.experts.id_neighbours is not None
    ids, seen = learner.experts.id_neighbours.ids, []
    learner.observers.append(lambda _: seen.append(len(ids.order)))
    learner.learn_many(EventBatch.from_events([Event("a", "20", 3.0)]))
    assert seen == [2]
    learner.recommend("a")
    assert ids.order.tolist() == [0, 2, 1]

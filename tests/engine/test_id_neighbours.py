"""Neighbours by id: the order of ids, and what is learned of the items beside the user's own."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from engine.context import WINDOW
from engine.id_neighbours import REACH, SHARE, IdNeighbours
from engine.id_order import IdOrder
from tests.engine.contexts import Rows, contexts

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


def learned(steps: list[int], names: list[str], batch: int = 50) -> IdNeighbours:
    """Every user has the item of a number, then the one `step` places after it."""
    starts = np.random.default_rng(0).integers(0, len(names) - max(steps), 400)
    items = np.stack([starts, starts + np.resize(steps, 400)], axis=1).ravel()
    rows = {name: row for row, name in enumerate(names)}
    by_number = [rows[str(number)] for number in range(len(names))]
    stream = Rows(np.repeat(np.arange(400), 2), np.array(by_number)[items], np.arange(800.0))
    expert = IdNeighbours(CPU)
    expert.ids.grow(names)
    for context in contexts(stream, batch):
        expert.learn(context)
    return expert


def asked(expert: IdNeighbours, newest_first: list[int], items: int) -> torch.Tensor:
    recent = torch.full((1, WINDOW), -1)
    recent[0, : len(newest_first)] = torch.tensor(newest_first, dtype=torch.long)
    scores = torch.empty(1, items)
    expert.scores(recent, torch.full((1, items), 1.0 / items), out=scores)
    return scores[0]


def test_what_stands_two_places_after_is_found_beside_an_item_never_seen() -> None:
    """The two places are learned on all items alike, so a pair that never was is found."""
    names = [str(number) for number in random.Random(1).sample(range(300), 300)]
    expert = learned([2], names)
    scores = asked(expert, [names.index("150")], 300)
    assert names[int(scores.argmax())] == "152"
    assert scores[names.index("152")] > 0.9
    assert scores[names.index("148")] < 0.1


def test_nothing_but_popularity_is_said_without_history_or_out_of_reach() -> None:
    names = [str(number) for number in range(300)]
    expert = learned([2], names)
    popular = torch.full((300,), SHARE / 300)
    torch.testing.assert_close(asked(expert, [], 300), popular)
    out_of_reach = asked(expert, [0], 300)[REACH + 1 :]
    torch.testing.assert_close(out_of_reach, popular[REACH + 1 :])


def test_scores_are_the_share_of_popularity_and_the_entries() -> None:
    names = [str(number) for number in range(40)]
    expert = learned([1, 3], names)
    newest_first = [5, 7, 5]
    recent = torch.tensor([newest_first + [-1] * (WINDOW - 3)])
    expected = torch.full((40,), SHARE / 40)
    for event, item, value in zip(*expert.entries(recent), strict=True):
        assert event == 0
        expected[item] += value
    torch.testing.assert_close(asked(expert, newest_first, 40), expected)

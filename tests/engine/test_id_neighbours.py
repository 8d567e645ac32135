"""Neighbours by id: which places beside the user's items come true is learned on all alike."""

from __future__ import annotations

import random

import numpy as np
import torch

from engine.context import WINDOW
from engine.id_neighbours import REACH, SHARE, IdNeighbours
from tests.engine.contexts import Rows, contexts

CPU = torch.device("cpu")


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

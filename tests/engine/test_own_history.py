"""The user's own items: how likely each is to come back is counted by how long ago it was."""

from __future__ import annotations

import numpy as np
import torch

from engine.context import WINDOW
from engine.own_history import OwnHistory
from tests.engine.contexts import Rows, contexts

CPU = torch.device("cpu")


def learned(items: list[int], batch: int = 50) -> OwnHistory:
    """One user."""
    events = len(items)
    stream = Rows(np.zeros(events, dtype=np.int64), np.array(items), np.arange(events, dtype=float))
    expert = OwnHistory(CPU)
    for context in contexts(stream, batch):
        expert.learn(context)
    return expert


def asked(expert: OwnHistory, newest_first: list[int], items: int = 10) -> torch.Tensor:
    recent = torch.full((1, WINDOW), -1)
    recent[0, : len(newest_first)] = torch.tensor(newest_first)
    popularity = torch.full((1, items), 1.0 / items)
    scores = torch.empty(1, items)
    expert.scores(recent, recent.clamp(min=0), popularity, out=scores)
    return scores[0]


def test_an_item_comes_back_after_as_many_events_as_it_did_before() -> None:
    """Three items in turn: the one to come is always the third newest."""
    scores = asked(learned([0, 1, 2] * 100), [5, 7, 6, 8])
    assert scores.argmax() == 6
    assert scores[6] > 0.8


def test_an_item_that_occurs_twice_counts_once_at_its_newest_place() -> None:
    expert = learned([0, 1, 2] * 100)
    torch.testing.assert_close(asked(expert, [5, 7, 6, 5, 7, 6]), asked(expert, [5, 7, 6]))


def test_items_not_in_reach_share_what_popularity_has_left() -> None:
    expert = learned([0, 1, 2] * 100)
    nobody = asked(expert, [])
    torch.testing.assert_close(nobody, torch.full((10,), 0.1))
    scores = asked(expert, [5, 7, 6])
    others = scores[[0, 1, 2, 3, 4, 8, 9]]
    assert (others > 0).all()
    assert (others == others[0]).all()
    assert others[0] < 0.05


def test_batches_count_what_single_events_count() -> None:
    items = np.random.default_rng(0).integers(0, 15, 300)
    _, first = np.unique(items, return_index=True)
    order = np.argsort(np.argsort(first))[items].tolist()  # numbered by first appearance
    one, many = learned(order, batch=1), learned(order, batch=64)
    torch.testing.assert_close(many.hits, one.hits, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(many.tries, one.tries, rtol=1e-5, atol=1e-4)

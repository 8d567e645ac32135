"""The linear expert: least squares as numpy solves it, in bounded memory, whole after a restore."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine import linear
from engine.durable import pack, unpack
from engine.linear import GAP_DECAY, POPULARITY_SHARE, RIDGE, LinearTransition
from tests.engine.contexts import Rows, contexts, rows

CPU = torch.device("cpu")
STREAM = rows(events=1_000, users=10, items=30, seed=8)
ITEMS = int(STREAM.items.max()) + 1


def learned(stream: Rows = STREAM, batch: int = 100) -> LinearTransition:
    expert = LinearTransition(CPU)
    expert.grow(int(stream.items.max()) + 1)
    for context in contexts(stream, batch):
        expert.learn(context)
    return expert


def by_numpy(first: int) -> NDArray[np.float64]:
    """B (constant and items, items) by least squares over the events from `first` on; of those
    before it only the constant's rows are known, with no item as their target."""
    (context,) = contexts(STREAM, len(STREAM))
    inputs, targets = np.zeros((len(STREAM), 1 + ITEMS)), np.zeros((len(STREAM), ITEMS))
    inputs[:, 0] = 1.0
    for event in range(first, len(STREAM)):
        for q, item in enumerate(context.recent[event]):
            if item >= 0:
                inputs[event, 1 + item] += GAP_DECAY**q
        targets[event, context.items[event]] = 1.0
    ridge = np.sqrt(np.diag([1.0] + [RIDGE] * ITEMS))
    left = np.concatenate([inputs, ridge])
    right = np.concatenate([targets, np.zeros((1 + ITEMS, ITEMS))])
    return np.linalg.lstsq(left, right)[0]


def test_the_prediction_is_the_least_squares_solution_with_ridge() -> None:
    """Items get their places after the first 500 events; the second solve is after 1,000."""
    expert = learned()
    assert (expert.events, expert.solved) == (1_000, 1_000)
    expected = by_numpy(first=500)
    random = np.random.default_rng(0)
    recent = random.integers(0, ITEMS, (5, 20))
    recent[3, 2:] = -1
    recent[4] = -1
    popularity = random.random((5, ITEMS))
    predicted = np.tile(expected[0], (5, 1))
    for b, q in np.argwhere(recent >= 0):
        predicted[b] += GAP_DECAY**q * expected[1 + recent[b, q]]
    found = torch.empty(popularity.shape)
    expert.scores(torch.from_numpy(recent), torch.from_numpy(popularity).float(), out=found)
    by_hand = POPULARITY_SHARE * popularity + predicted.clip(min=0)
    np.testing.assert_allclose(found, by_hand, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 50, 500])
def test_batches_that_end_where_it_is_solved_change_nothing(batch: int) -> None:
    one, many = learned(batch=100), learned(batch=batch)
    torch.testing.assert_close(many.gram, one.gram)
    torch.testing.assert_close(many.cross, one.cross)
    torch.testing.assert_close(many.solution, one.solution, rtol=1e-3, atol=1e-5)


def shifting() -> Rows:
    """First the items 0 to 39 are common, then 40 to 79: all of them more often than before."""
    random = np.random.default_rng(9)
    early, late = random.integers(0, 40, 800), 40 + random.integers(0, 40, 3_200)
    items = np.concatenate([np.arange(80), early, late])
    return Rows(random.integers(0, 10, len(items)), items, np.arange(len(items), dtype=float))


def test_places_go_to_the_most_popular_items_and_memory_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linear, "SLOTS", 41)
    expert = learned(shifting())
    assert expert.nbytes == 3 * 4 * 41**2
    placed = expert.item_of[1:].tolist()
    assert len(set(placed)) == 40
    assert expert.slot_of[expert.item_of[1:]].tolist() == list(range(1, 41))
    assert (expert.slot_of > 0).sum() == 40
    assert sum(item >= 40 for item in placed) >= 35
    scores = torch.empty(1, 80)
    expert.scores(torch.full((1, 20), 5), torch.zeros(1, 80), out=scores)
    assert (scores[0, expert.slot_of == 0] == 0).all()


def test_an_item_that_takes_the_place_of_another_starts_from_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linear, "SLOTS", 41)
    monkeypatch.setattr(linear, "FIRST_SOLVE", 400)
    expert = LinearTransition(CPU)
    expert.grow(80)
    held = expert.item_of
    for context in contexts(shifting(), 100):
        expert.learn(context)
        came = (expert.item_of[: len(held)] != held).nonzero().squeeze(1)
        for name in linear.MATRICES:
            assert not getattr(expert, name)[came].any()
            assert not getattr(expert, name)[:, came].any()
        held = expert.item_of.clone()


def test_a_snapshot_of_what_changed_brings_it_back_and_both_go_on_alike() -> None:
    stream = rows(events=3_000, users=10, items=400, seed=10)
    items = int(stream.items.max()) + 1
    expert, back = LinearTransition(CPU), LinearTransition(CPU)
    snapshot: dict[int, bytes] = {}
    parts = list(contexts(stream, 100))
    expert.grow(items)
    for number, context in enumerate(parts[:20]):
        expert.learn(context)
        if number % 7 == 0 or number == 19:
            snapshot |= {block: pack(arrays) for block, arrays in expert.changes()}
    assert list(expert.changes())[1:] == []
    for block in sorted(snapshot, reverse=True):
        back.restore(block, unpack(snapshot[block]))
    back.grow(items)
    for context in parts[20:]:
        for one in (expert, back):
            one.learn(context)
    for name in (*linear.MATRICES, "slot_of", "item_of", "counts"):
        torch.testing.assert_close(getattr(back, name), getattr(expert, name), rtol=0, atol=0)

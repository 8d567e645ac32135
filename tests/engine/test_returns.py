"""The share of the user's own items: learned by habit, exact in what it leaves to all others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.appearances import Appearances
from engine.context import WINDOW
from engine.corrector import BLOCK
from engine.facts import Facts
from engine.opinions import Opinions, Table
from engine.reranker import Reranker
from engine.returns import Returns
from engine.union import Union

CPU = torch.device("cpu")
ITEMS = 50


def returns() -> Returns:
    found = Returns(seed=0, device=CPU)
    found.grow(ITEMS)
    return found


def opinions(events: int, union: Union | None = None) -> Opinions:
    """Of no experts: only what the columns are of matters here."""
    columns = ITEMS if union is None else union.items.shape[1]
    nothing = torch.zeros(0, columns), torch.zeros(0, dtype=torch.long), torch.zeros(events, 0, 0)
    said = torch.zeros(events, 1, columns)
    return Opinions(Table(*nothing, own=said), Table(*nothing, own=said), union)


def facts(recent: list[list[int]]) -> Facts:
    events = len(recent)
    padded = torch.full((events, WINDOW), -1)
    for row, items in enumerate(recent):
        padded[row, : len(items)] = torch.tensor(items, dtype=torch.long)
    appearances = Appearances(CPU)
    appearances.grow(ITEMS)
    return Facts(
        recent=padded,
        lengths=(padded >= 0).sum(1),
        gaps=torch.full((events,), 60.0, dtype=torch.float64),
        supports=torch.zeros(events),
        counts=torch.zeros(ITEMS),
        appearances=appearances,
        number=0,
        model=None,
        ids=None,
    )


def even(events: int) -> Tensor:
    return torch.full((events, ITEMS), 1.0 / ITEMS)


def two_habits(events: int, random: np.random.Generator) -> tuple[list[list[int]], list[int]]:
    """Half of the users have had each item twice, newest twice of late, and come back to it; the
    others never had one twice, and go on to another one."""
    recent, items = [], []
    for _ in range(events):
        a, b, c, d = random.choice(ITEMS, 4, replace=False).tolist()
        stays = random.random() < 0.5
        recent.append([a, a, b, b] if stays else [a, b, c])
        items.append(a if stays else d)
    return recent, items


def learned(found: Returns, parts: int, size: int = BLOCK) -> NDArray[np.float64]:
    """Teach it both habits; the nats it gave to what came true, event by event."""
    random, nats = np.random.default_rng(0), []
    for _ in range(parts):
        recent, items = two_habits(BLOCK, random)
        for start in range(0, BLOCK, size):
            some = recent[start : start + size]
            true = torch.tensor(items[start : start + size])
            known, said = facts(some), opinions(len(some))
            read = found.read(even(len(some)), said, known)
            nats.append(-found.answer(even(len(some)), read).gather(1, true[:, None]).log())
            found.learn(read, true)
    return torch.cat(nats).squeeze(1).double().numpy()


def share_of_newest(found: Returns, recent: list[int]) -> float:
    known, said = facts([recent]), opinions(1)
    return float(found.answer(even(1), found.read(even(1), said, known))[0, recent[0]])


def test_before_it_has_learned_nothing_changes() -> None:
    answer = torch.softmax(torch.randn(8, ITEMS, generator=torch.Generator().manual_seed(0)), 1)
    recent = [[3, 4, 3], [0], [], [7, 7], [1, 2, 3, 4], [0, 0, 5], [9], []]
    found = returns()
    same = found.answer(answer, found.read(answer, opinions(8), facts(recent)))
    torch.testing.assert_close(same, answer)


def test_it_learns_who_comes_back_and_who_does_not() -> None:
    found = returns()
    nats = learned(found, 40)
    assert nats[:BLOCK].mean() == pytest.approx(np.log(ITEMS))
    assert nats[-5 * BLOCK :].mean() < np.log(ITEMS) / 2 + 0.1
    assert share_of_newest(found, [30, 30, 31, 31]) > 0.9
    assert share_of_newest(found, [30, 31, 32]) < 0.1


def test_what_is_not_the_users_own_keeps_its_proportions_and_all_sums_to_one() -> None:
    found = returns()
    learned(found, 10)
    answer = torch.softmax(torch.randn(4, ITEMS, generator=torch.Generator().manual_seed(1)), 1)
    recent = [[3, 4, 3, 3], [0, 0], [], [49, 1]]
    changed = found.answer(answer, found.read(answer, opinions(4), facts(recent)))
    torch.testing.assert_close(changed.sum(1), torch.ones(4))
    torch.testing.assert_close(changed[2], answer[2])
    for row, items in enumerate(recent):
        others = [item for item in range(ITEMS) if item not in items]
        before, after = answer[row, others], changed[row, others]
        torch.testing.assert_close(after / after.sum(), before / before.sum())
    assert (changed[0] - answer[0]).abs().max() > 1e-3


def test_it_learns_alike_however_its_events_are_cut() -> None:
    whole, cut = returns(), returns()
    expected, found = learned(whole, 12), learned(cut, 12, size=7)
    assert cut.corrector.steps.tolist() == whole.corrector.steps.tolist() == [12, 12]
    assert found[-4 * BLOCK :].mean() == pytest.approx(expected[-4 * BLOCK :].mean(), abs=0.05)
    # How items were come back to is told to larger batches later, and counted alike.
    torch.testing.assert_close(cut.returns, whole.returns)
    torch.testing.assert_close(cut.tries, whole.tries)


def test_how_often_users_came_back_to_an_item_is_counted_by_its_place() -> None:
    found = returns()
    known = facts([[3, 4, 3], [4, 5], [6], []])
    found.learn(found.read(even(4), opinions(4), known), torch.tensor([3, 5, -1, 7]))
    assert found.returns.nonzero().tolist() == [[0, 3], [1, 5]]
    assert found.tries.nonzero().tolist() == [[0, 3], [0, 4], [1, 4], [1, 5]]


def test_in_a_large_catalogue_it_finds_the_columns_of_the_users_own() -> None:
    found = returns()
    learned(found, 20)
    recent = [[30, 30, 31, 31], [30, 31, 32]]
    union = Union(torch.stack([torch.arange(10, ITEMS), torch.arange(40)]), ITEMS)
    answer = torch.full(union.items.shape, 1.0 / union.items.shape[1])
    read = found.read(answer, opinions(2, union), facts(recent))
    columns = opinions(2, union).columns_of(torch.tensor([[30], [30]]))
    stays, leaves = found.answer(answer, read).gather(1, columns).squeeze(1).tolist()
    assert stays > 0.5 > leaves


def test_only_where_repeats_are_allowed() -> None:
    assert Reranker(2, False, 0, CPU).returns is None
    assert "returns_corrector" in Reranker(2, True, 0, CPU).parts()


def test_users_without_events_teach_nothing() -> None:
    found = returns()
    known = replace(facts([[]] * BLOCK), gaps=torch.full((BLOCK,), torch.inf, dtype=torch.float64))
    read = found.read(even(BLOCK), opinions(BLOCK), known)
    found.learn(read, torch.arange(BLOCK) % ITEMS)
    assert not found.corrector.weights.any()
    assert torch.isfinite(found.answer(even(BLOCK), read)).all()

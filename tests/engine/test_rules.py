"""Sequential rules: the formula by hand, and rows that keep the strongest when memory is short."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.rule_rows import WAYS, BoundedRows, DenseRows, Rows
from engine.rules import PRIOR, SETTINGS, RuleSetting, SequentialRules
from tests.engine.contexts import contexts, rows

CPU = torch.device("cpu")
STREAM = rows(events=500, users=12, items=50, seed=3)
ITEMS = int(STREAM.items.max()) + 1
PLENTY = 1 << 24


def learned(batch: int, max_bytes: int = PLENTY) -> SequentialRules:
    rules = SequentialRules(CPU, max_bytes)
    for context in contexts(STREAM, batch):
        rules.grow(int(context.items.max()) + 1)
        rules.learn(context)
    return rules


class ByHand:
    """Dictionaries, one event at a time."""

    def __init__(self, setting: RuleSetting) -> None:
        self.setting = setting
        self.follows: dict[tuple[int, int], float] = defaultdict(float)
        self.totals: dict[int, float] = defaultdict(float)
        past: dict[int, list[int]] = defaultdict(list)
        for user, item in zip(STREAM.users.tolist(), STREAM.items.tolist(), strict=True):
            for q, before in enumerate(past[user][::-1][: setting.window]):
                first, then = (item, before) if setting.backward else (before, item)
                self.follows[first, then] += setting.gap_decay**q
                self.totals[first] += setting.gap_decay**q
            past[user].append(item)

    def scores(self, recent: list[int], popularity: NDArray[np.float64]) -> NDArray[np.float64]:
        scores = self.setting.share * popularity
        for q, before in enumerate(recent[: self.setting.window]):
            weight = self.setting.gap_decay**q
            weight /= (self.totals[before] + PRIOR) ** self.setting.power
            scores += weight * np.array([self.follows[before, item] for item in range(ITEMS)])
        return scores


def asked() -> tuple[Tensor, Tensor]:
    """Some users' newest items, one of them without any, and a popularity."""
    random = np.random.default_rng(0)
    recent = random.integers(0, ITEMS, (4, 20))
    recent[1, 3:] = -1
    recent[2] = -1
    popularity = random.random((4, ITEMS)).astype(np.float32)
    return torch.from_numpy(recent), torch.from_numpy(popularity)


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_scores_are_those_of_the_formula_after_any_cut_into_batches(batch: int) -> None:
    recent, popularity = asked()
    found = torch.empty(len(recent), len(SETTINGS), popularity.shape[1])
    learned(batch).scores(recent, popularity, out=found)
    for k, setting in enumerate(SETTINGS):
        by_hand = ByHand(setting)
        for b in range(len(recent)):
            items = [item for item in recent[b].tolist() if item >= 0]
            expected = by_hand.scores(items, popularity[b].double().numpy())
            np.testing.assert_allclose(found[b, k], expected, rtol=1e-4)


def counts_of(table: Rows, items: int) -> Tensor:
    """S as one matrix, read by its sums."""
    return table.sums(torch.arange(items)[:, None], torch.ones(items, 1), items)


def heavy_tailed(pairs: int, items: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    random = np.random.default_rng(seed)
    return (
        torch.from_numpy(random.integers(0, items, pairs)),
        torch.from_numpy((items * random.random(pairs) ** 3).astype(np.int64)),
        torch.from_numpy(random.random(pairs).astype(np.float32)),
    )


def test_bounded_rows_are_dense_ones_while_everything_fits() -> None:
    dense, bounded = DenseRows(CPU), BoundedRows(CPU, PLENTY)
    antecedents, successors, weights = heavy_tailed(3_000, 60, seed=4)
    for start in range(0, 3_000, 10):
        part = slice(start, start + 10)
        for table in (dense, bounded):
            table.grow(20 + start // 75)  # while it learns, up to 59 items
            inside = (antecedents[part] < 20 + start // 75) & (successors[part] < 20 + start // 75)
            table.add(antecedents[part][inside], successors[part][inside], weights[part][inside])
    torch.testing.assert_close(counts_of(bounded, 59), counts_of(dense, 59))


def test_the_change_from_dense_to_bounded_keeps_every_count_that_fits() -> None:
    dense = DenseRows(CPU)
    dense.grow(300)
    dense.add(*heavy_tailed(4_000, 300, seed=5))
    bounded = BoundedRows.from_dense(dense, PLENTY)
    torch.testing.assert_close(counts_of(bounded, 300), counts_of(dense, 300))


def test_when_memory_is_short_the_strongest_successors_stay() -> None:
    """300 successors a row, places for 64 (8 sets of 8): of each row the 8 strongest survive."""
    dense = DenseRows(CPU)
    dense.grow(300)
    random = np.random.default_rng(6)
    dense.counts[:300, :300] = torch.from_numpy(random.pareto(1.0, (300, 300))).float()
    budget = 8 * 64 * (300 + 300 // 8)
    bounded = BoundedRows.from_dense(dense, budget)
    assert bounded.nbytes <= budget
    kept, all_counts = counts_of(bounded, 300), dense.counts[:300, :300]
    strongest = all_counts.topk(WAYS, dim=1).indices
    torch.testing.assert_close(kept.gather(1, strongest), all_counts.gather(1, strongest))
    assert ((kept == 0) | (kept == all_counts)).all()
    assert kept.sum() > 0.7 * all_counts.sum()


def test_a_habit_survives_among_many_chance_successors() -> None:
    """Learned as it streams: each row has one successor in five events, the rest is noise."""
    random = np.random.default_rng(7)
    items, events = 400, 20_000
    bounded = BoundedRows(CPU, 8 * 16 * (items + items // 8))
    bounded.grow(items)
    antecedents = random.integers(0, items, events)
    habit = (antecedents * 7 + 3) % items
    successors = np.where(random.random(events) < 0.2, habit, random.integers(0, items, events))
    for start in range(0, events, 256):
        part = slice(start, start + 256)
        before = torch.from_numpy(antecedents[part])
        bounded.add(before, torch.from_numpy(successors[part]), torch.ones(len(before)))
    best = counts_of(bounded, items).argmax(1).numpy()
    assert (best == (np.arange(items) * 7 + 3) % items).mean() > 0.95


def test_all_settings_together_stay_within_their_budget_as_the_catalogue_grows() -> None:
    budget = 3 << 20
    rules = SequentialRules(CPU, budget)
    (context,) = contexts(STREAM, len(STREAM))
    rules.grow(ITEMS)
    rules.learn(context)
    before = [counts_of(table, ITEMS) for table in rules.rows]
    layouts = set()
    for items in (100, 500, 1_000, 2_000, 4_000):
        rules.grow(items)
        layouts.add(rules.rows[0].layout)
        assert sum(table.nbytes for table in rules.rows) <= budget
    assert rules.bounded
    assert len(layouts) >= 4  # dense, then narrower and narrower
    for table, counts in zip(rules.rows, before, strict=True):
        strongest = counts.max(dim=1)
        after = counts_of(table, 4_000)[:ITEMS, :ITEMS]
        torch.testing.assert_close(after.max(dim=1).values, strongest.values)
        assert (after <= counts).all()

"""Rows that grow and are cut hold what plain lists would hold, in memory that stays in bounds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from engine.ragged import RaggedRows


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_changes_leaves_what_plain_lists_would_hold(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = RaggedRows()
    lists: list[list[int]] = []
    for _ in range(300):
        new = int(random.integers(0, 3))
        lists += [[] for _ in range(new)]
        rows.resize(len(lists))
        if not lists:
            continue
        operation = random.random()
        if operation < 0.7:
            # A few rows are far longer than the rest.
            size = int(random.integers(0, 200))
            owners = (len(lists) * random.random(size) ** 4).astype(np.int64)
            values = random.integers(-(2**31), 2**31, size)
            rows.append(owners, values)
            for owner, value in zip(owners.tolist(), values.tolist(), strict=True):
                lists[owner].append(value)
        else:
            row = int(random.integers(0, len(lists)))
            if operation < 0.85:
                count = int(random.integers(0, 30))
                rows.keep_last(row, count)
                lists[row] = lists[row][-count:] if count else []
            else:
                values = random.integers(0, 100, random.integers(0, 50))
                rows.replace(row, values.astype(np.int32))
                lists[row] = values.tolist()
        assert_holds(rows, lists, random)


def assert_holds(rows: RaggedRows, lists: list[list[int]], random: np.random.Generator) -> None:
    assert len(rows) == len(lists)
    for row, values in enumerate(lists):
        assert rows.row(row).tolist() == values
    asked = random.integers(0, len(lists), random.integers(0, 2 * len(lists)))
    assert rows.lengths(asked).tolist() == [len(lists[row]) for row in asked]
    values, offsets = rows.gather(asked)
    parts = [values[a:b].tolist() for a, b in pairwise(offsets)]
    assert parts == [lists[row] for row in asked]
    assert len(values) == offsets[-1]
    tails = [([-1] * 7 + lists[row])[-7:] for row in asked]
    assert rows.tails(asked, 7).tolist() == tails


def test_rows_that_are_always_cut_again_do_not_fill_memory() -> None:
    """A thousand users, each kept short while a hundred thousand events pass."""
    rows = RaggedRows()
    rows.resize(1_000)
    random = np.random.default_rng(0)
    for _ in range(100):
        rows.append(random.integers(0, 1_000, 1_000), np.arange(1_000))
        for row in np.flatnonzero(rows.lengths(np.arange(1_000)) >= 20).tolist():
            rows.keep_last(row, 10)
    assert rows.nbytes < 1_000 * (4 * 32 * 4 + 3 * 8 * 2)

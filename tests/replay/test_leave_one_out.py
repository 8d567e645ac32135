"""Leave-one-out: who is asked what, what trains, and ranks and metrics worked out by hand."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lrurec.config import ModelConfig
from lrurec.model import LRURec
from replay import leave_one_out
from replay.leave_one_out import Cases, batches, batches_per_epoch, metrics, ranks, split, windows


def array(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def lists(arrays: list[NDArray[np.int64]]) -> list[list[int]]:
    return [items.tolist() for items in arrays]


def test_the_last_item_tests_and_the_one_before_validates() -> None:
    # Items 10 20 30 40 are rows 1 2 3 4; user 5 has too few to be asked about.
    found = split(array(3, 3, 3, 3, 5, 5, 8, 8, 8), array(20, 40, 10, 30, 40, 20, 10, 20, 40))
    assert found.items == 4
    assert lists(found.training) == [[2, 4], [4, 2], [1]]
    assert lists(found.validation.inputs) == [[2, 4], [1]]
    assert found.validation.targets.tolist() == [1, 2]
    assert lists(found.test.inputs) == [[2, 4, 1], [1, 2]]  # the validation item is input now
    assert found.test.targets.tolist() == [3, 4]


def test_nobody_to_ask_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no user has 3 items or more.*give a larger file"):
        split(array(1, 1, 2), array(1, 2, 1))


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (1, [[[0, 1], [1]]]),
        (4, [[[0, 1], [1, 2, 3, 4]]]),
        (5, [[[1, 2, 3, 4, 5]]]),
        (7, [[[3, 4, 5, 6, 7]]]),
        (8, [[[0, 5], [5, 6, 7, 8]], [[0, 1], [1, 2, 3, 4]]]),
        (11, [[[0, 8], [8, 9, 10, 11]], [[0, 4], [4, 5, 6, 7]]]),
    ],
)
def test_only_twice_the_length_is_cut_into_windows(
    events: int, expected: list[list[list[int]]]
) -> None:
    found = windows([np.arange(1, events + 1)], max_length=4)
    assert [lists(window) for window in found] == expected


def test_the_first_item_follows_the_padding_in_a_row_of_its_own() -> None:
    batch = next(batches(windows([array(7, 8, 9)], 4), 1, 4, seed=0))
    assert batch.items.tolist() == [0, 7, 8]
    assert batch.targets.tolist() == [7, 8, 9]
    assert batch.offsets.tolist() == [0, 1, 3]


def test_batches_pass_every_window_by_once_an_epoch_and_start_anywhere() -> None:
    found = windows([array(n) for n in range(1, 8)], 4)
    assert batches_per_epoch(found, 3) == 3
    seen = [batch.targets.tolist() for batch in islice(batches(found, 3, 4, seed=1), 6)]
    assert [len(batch) for batch in seen] == [3, 3, 1, 3, 3, 1]
    for epoch in (seen[:3], seen[3:]):
        assert sorted(item for batch in epoch for item in batch) == list(range(1, 8))
    assert seen[:3] != seen[3:]
    later = [batch.targets.tolist() for batch in islice(batches(found, 3, 4, 1, start=4), 2)]
    assert later == seen[4:]


def popularity_model(order: list[int]) -> LRURec:
    """A model that scores items, best first, in this order, whatever the input."""
    model = LRURec(ModelConfig(items=len(order), width=4, blocks=1), seed=0)
    with torch.no_grad():
        model.embedding.zero_()
        model.item_bias[0] = 100.0  # padding never counts
        model.item_bias[order] = -torch.arange(float(len(order)))
    return model


def test_ranks_are_among_all_items_but_those_in_the_input() -> None:
    cases = Cases(
        inputs=[array(5), array(4, 2, 3), array(4, 2), array(3, 1)],
        targets=array(1, 1, 1, 3),
    )
    model = popularity_model([5, 4, 3, 2, 1])
    # 5 is out: 4 3 2 1. Of the last two, 2 3: 5 4 1. Then 5 3 1. Last, 3 is input itself.
    assert ranks(model, cases, max_length=2, seed=0).tolist() == [4, 3, 3, 0]


def test_ranks_are_those_of_one_user_at_a_time_by_the_padded_forward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(leave_one_out, "USERS_RANKED_AT_ONCE", 7)
    cases = Cases([rng.integers(1, 30, n) for n in rng.integers(1, 9, 20)], np.full(20, 30))
    model = LRURec(ModelConfig(items=30, width=8), seed=0).eval()
    expected = []
    for items in cases.inputs:
        scores = model.scores(model(torch.from_numpy(items[-5:])[None]))[0, -1]
        scores[[0, *items[-5:]]] = -torch.inf
        expected.append(1 + int((scores > scores[30]).sum()))
    assert ranks(model, cases, max_length=5, seed=0).tolist() == expected


def test_metrics_by_hand() -> None:
    found = metrics(array(1, 3, 11, 0))
    assert found == pytest.approx(
        {
            "recall@10": 2 / 4,
            "recall@20": 3 / 4,
            "ndcg@10": (1 + 1 / 2) / 4,  # 1 / log2(1 + 3) is a half
            "ndcg@20": (1 + 1 / 2 + 1 / np.log2(12)) / 4,
        }
    )

"""Sequences to packed batches: the shift by one, the windows, the shuffling."""

from itertools import pairwise

import numpy as np
import pytest

from lrurec.batches import pack, token_batches, windows


def lists(pieces):
    return [piece.tolist() for piece in pieces]


def test_inputs_and_targets_are_shifted_by_one():
    batch = pack([np.array([5, 6, 7]), np.array([8, 9])], max_length=50)
    assert batch.items.tolist() == [5, 6, 8]
    assert batch.targets.tolist() == [6, 7, 9]
    assert batch.offsets.tolist() == [0, 2, 3]
    assert batch.weights is None
    assert len(batch) == 3


@pytest.mark.parametrize(
    ("events", "pieces"),
    [
        (0, []),
        (1, []),
        (2, [[0, 1]]),
        (4, [[0, 1, 2, 3]]),
        (5, [[1, 2, 3, 4]]),  # below 2 x 3 events: the end alone
        (6, [[2, 3, 4, 5]]),  # one whole window, the start too short for another
        (7, [[3, 4, 5, 6], [0, 1, 2, 3]]),
        (9, [[5, 6, 7, 8], [2, 3, 4, 5]]),
        (10, [[6, 7, 8, 9], [3, 4, 5, 6], [0, 1, 2, 3]]),
    ],
)
def test_windows_from_the_end(events, pieces):
    assert lists(windows([np.arange(events)], max_length=3)) == pieces


def test_nothing_to_learn_gives_an_empty_batch():
    batch = pack([np.array([3])], max_length=10)
    assert len(batch) == 0
    assert batch.offsets.tolist() == [0]


def test_token_batches_are_full_and_hold_every_sequence_once():
    sequences = [100 * i + np.arange(2 + i % 7) for i in range(100)]
    batches = list(token_batches(sequences, 50, np.random.default_rng(0)))
    seen = []
    for batch in batches:
        rows = pairwise(batch.offsets.tolist())
        events = [[*batch.items[a:b].tolist(), int(batch.targets[b - 1])] for a, b in rows]
        *others, last = [(row, sequences[row[-1] // 100].tolist()) for row in events]
        assert all(row == whole for row, whole in others)
        assert last[0] == last[1][-len(last[0]) :], "what fills the batch loses its start alone"
        seen += [row[-1] // 100 for row in events]
    assert sorted(seen) == list(range(100))
    assert seen != sorted(seen), "shuffled"
    assert all(len(batch) == 50 for batch in batches[:-1])
    assert 0 < len(batches[-1]) <= 50


def test_the_seed_fixes_the_order():
    sequences = [np.arange(i, i + 5) for i in range(30)]
    first, again, other = (
        [b.items.tolist() for b in token_batches(sequences, 20, np.random.default_rng(seed))]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="max_length"):
        windows([np.arange(3)], 0)
    with pytest.raises(ValueError, match="tokens_per_batch"):
        next(token_batches([np.arange(3)], 0, np.random.default_rng(0)))

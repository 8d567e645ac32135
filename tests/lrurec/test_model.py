"""One event at a time, a ragged batch, and the whole padded sequence give the same answer."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrurec.config import ModelConfig
from lrurec.model import LRURec
from tests.lrurec.reference import hidden_vectors

ITEMS = 40
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return LRURec(ModelConfig(ITEMS, width=16), seed=3).eval()


def sequences(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, ITEMS + 1, n) for n in lengths]


def packed(parts):
    offsets = np.concatenate(([0], np.cumsum([len(p) for p in parts]))).astype(np.int64)
    items = np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)
    return torch.from_numpy(items), torch.from_numpy(offsets)


def left_padded(parts):
    longest = max(len(p) for p in parts)
    return torch.tensor([[0] * (longest - len(p)) + list(p) for p in parts])


@torch.no_grad()
def stepped(model, sequence):
    states, hidden = model.initial_states(1), []
    for item in sequence:
        h, states = model.step(torch.tensor([item]), states)
        hidden.append(h[0])
    return torch.stack(hidden), states[0]


@pytest.mark.parametrize("lengths", [[1], [2, 1], [300], [7, 64, 65, 1, 128, 100], [5] * 20])
@torch.no_grad()
def test_step_scan_and_forward_agree_with_the_definition(model, lengths):
    parts = sequences(lengths)
    items, offsets = packed(parts)
    hidden, states = model.advance(items, offsets, model.initial_states(len(parts)))
    full = model(left_padded(parts))
    for row, part in enumerate(parts):
        expected, expected_states = hidden_vectors(model, part.tolist())
        by_step, by_step_states = stepped(model, part)
        torch.testing.assert_close(by_step, expected, **CLOSE)
        torch.testing.assert_close(hidden[offsets[row] : offsets[row + 1]], expected, **CLOSE)
        torch.testing.assert_close(full[row, -len(part) :], expected, **CLOSE)
        torch.testing.assert_close(states[row], expected_states, **CLOSE)
        torch.testing.assert_close(by_step_states, expected_states, **CLOSE)


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=6),
    cuts=st.lists(st.floats(0, 1), min_size=1, max_size=4),
)
@settings(max_examples=25, deadline=None, derandomize=True)
@torch.no_grad()
def test_cut_anywhere_and_resumed_is_the_same(model, lengths, cuts):
    parts = sequences(lengths)
    whole, whole_states = model.advance(*packed(parts), model.initial_states(len(parts)))
    edges = [0.0, *sorted(cuts), 1.0]
    states = model.initial_states(len(parts))
    collected = [[] for _ in parts]
    for begin, end in pairwise(edges):
        pieces = [p[int(begin * len(p)) : int(end * len(p))] for p in parts]
        items, offsets = packed(pieces)
        hidden, states = model.advance(items, offsets, states)
        for row in range(len(parts)):
            collected[row].append(hidden[offsets[row] : offsets[row + 1]])
    again = torch.cat([torch.cat(pieces) for pieces in collected])
    torch.testing.assert_close(again, whole, **CLOSE)
    torch.testing.assert_close(states, whole_states, **CLOSE)


def test_gradients_of_the_packed_and_the_padded_pass_agree():
    parts = sequences([1, 9, 33, 2])
    padded = left_padded(parts)
    pull = torch.randn(45, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def gradients(run):
        model = LRURec(ModelConfig(ITEMS, width=8), seed=1).eval().double()
        (run(model) * pull).sum().backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    def ragged(model):
        return model.advance(*packed(parts), model.initial_states(len(parts)))[0]

    def dense(model):
        return model(padded)[padded > 0]

    torch.testing.assert_close(gradients(ragged), gradients(dense))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_what_the_cpu_gives(model):
    parts = sequences([1, 9, 300, 0, 64])
    states = model.initial_states(len(parts))
    expected, expected_states = model.advance(*packed(parts), states)
    pull = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    (expected_gradient,) = torch.autograd.grad((expected * pull).sum(), model.embedding)
    moved = copy.deepcopy(model).cuda()
    hidden, found_states = moved.advance(*packed(parts), states.cuda())
    (gradient,) = torch.autograd.grad((hidden * pull.cuda()).sum(), moved.embedding)
    torch.testing.assert_close(hidden.cpu(), expected, **CLOSE)
    torch.testing.assert_close(found_states.cpu(), expected_states, **CLOSE)
    torch.testing.assert_close(gradient.cpu(), expected_gradient, rtol=1e-3, atol=1e-2)


@torch.no_grad()
def test_padding_leaves_no_trace(model):
    part = sequences([10])[0].tolist()
    short = model(torch.tensor([part]))[0]
    long = model(torch.tensor([[0] * 23 + part]))[0, 23:]
    torch.testing.assert_close(long, short, **CLOSE)


@torch.no_grad()
def test_a_row_without_events_keeps_its_state(model):
    states = model.step(torch.tensor([1, 2, 3]), model.initial_states(3))[1]
    items, offsets = packed([np.array([4]), np.array([], dtype=np.int64), np.array([5, 6])])
    after = model.advance(items, offsets, states)[1]
    assert torch.equal(after[1], states[1])
    assert not torch.equal(after[0], states[0])
    hidden, after = model.advance(*packed([]), model.initial_states(0))
    assert hidden.shape == (0, 16)
    assert after.shape == (0, 2, 32)


def test_a_seed_fixes_the_model_and_its_dropout():
    config = ModelConfig(ITEMS, width=16)
    one, same, other = (LRURec(config, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.embedding, other.embedding)
    batch = (*packed(sequences([5, 8])), one.initial_states(2))
    first, again, different = (
        one.advance(*batch, generator=torch.Generator().manual_seed(seed))[0] for seed in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, different)


def test_the_start_is_the_ring_of_the_paper():
    model = LRURec(ModelConfig(ITEMS), seed=0)
    for block in model.blocks:
        radius = block.lru.decay().abs()
        assert radius.min() >= 0.8
        assert radius.max() <= 0.99
        assert radius.max() - radius.min() > 0.1
        torch.testing.assert_close(block.lru.gamma_log.exp(), (1 - radius**2).sqrt())
    assert model.embedding.abs().max() <= 0.04
    assert 0.015 < model.embedding.std() < 0.02


@torch.no_grad()
def test_growing_leaves_the_present_as_it_is():
    model = LRURec(ModelConfig(ITEMS, width=16), seed=0).eval()
    batch = (*packed(sequences([6, 3])), model.initial_states(2))
    hidden, _ = model.advance(*batch)
    before, scores = model.embedding.clone(), model.scores(hidden)
    model.grow(ITEMS + 3)
    assert model.config.items == ITEMS + 3
    assert torch.equal(model.embedding[: ITEMS + 1], before)
    grown_hidden, _ = model.advance(*batch)
    assert torch.equal(grown_hidden, hidden)
    torch.testing.assert_close(model.scores(hidden)[:, : ITEMS + 1], scores)
    new = model.embedding[ITEMS + 1 :]
    assert len(new.unique(dim=0)) == 3, "new items must differ as inputs"
    assert (new - before[1:].mean(0)).abs().max() <= 0.04
    assert (model.item_bias[ITEMS + 1 :] <= model.item_bias[1 : ITEMS + 1].median()).all()


@torch.no_grad()
def test_growing_takes_given_values():
    model = LRURec(ModelConfig(0, width=4), seed=0)
    model.grow(2, torch.arange(8.0).view(2, 4), torch.tensor([5.0, 6.0]))
    assert model.embedding[1:].flatten().tolist() == list(range(8))
    assert model.item_bias[1:].tolist() == [5.0, 6.0]
    with pytest.raises(ValueError, match="cannot shrink"):
        model.grow(1)
    with pytest.raises(ValueError, match="do not fit"):
        model.grow(3, torch.zeros(2, 4))


@pytest.mark.parametrize(
    "sizes", [{"items": -1}, {"items": 1, "width": 0}, {"items": 1, "dropout": 1.0}]
)
def test_sizes_that_make_no_sense_are_refused(sizes):
    with pytest.raises(ValueError, match=max(sizes, key=lambda name: name != "items")):
        ModelConfig(**sizes)

"""Every way to compute the recurrence gives what its definition gives, gradients included."""

import numpy as np
import pytest
import torch

from lrurec.scan import Rows, scan

FAST = ("stepwise", "recursive")
RAGGED = {
    "one token": [1],
    "one row of 300": [300],
    "powers of two": [1, 2, 4, 8, 16, 32, 64],
    "around powers of two": [3, 5, 7, 9, 15, 17, 31, 33, 127, 129],
    "empty rows": [0, 5, 0, 0, 1, 12, 0],
    "single events": [1] * 9,
    "one long, many short": [1, 2, 1, 200, 1, 3],
    "all equal": [20] * 6,
}


def offsets_of(lengths):
    return torch.tensor(np.concatenate(([0], np.cumsum(lengths))), dtype=torch.int64)


def problem(lengths, width=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    double, complex_double = torch.float64, torch.complex128
    inputs = torch.randn(sum(lengths), width, generator=generator, dtype=complex_double)
    initial = torch.randn(len(lengths), width, generator=generator, dtype=complex_double)
    radius = 0.8 + 0.19 * torch.rand(width, generator=generator, dtype=double)
    phase = 6.28 * torch.rand(width, generator=generator, dtype=double)
    return inputs, torch.polar(radius, phase), initial


def packed_scan(inputs, decay, initial, offsets, method):
    rows = Rows.from_offsets(offsets, method=method)
    states, final = scan(rows.arrange(inputs), decay, initial, rows)
    return rows.restore(states), final


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("lengths", RAGGED.values(), ids=RAGGED.keys())
def test_states_and_finals_equal_the_reference(lengths, method):
    inputs, decay, initial = problem(lengths)
    expected = packed_scan(inputs, decay, initial, offsets_of(lengths), "sequential")
    found = packed_scan(inputs, decay, initial, offsets_of(lengths), method)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("method", FAST)
def test_every_length_from_1_to_300(method):
    decay = problem([1])[1]
    inputs, _, initial = problem([300])
    states, _ = packed_scan(inputs, decay, initial, offsets_of([300]), "sequential")
    for length in range(1, 301):
        found, final = packed_scan(inputs[:length], decay, initial, offsets_of([length]), method)
        torch.testing.assert_close(found, states[:length])
        torch.testing.assert_close(final, states[length - 1 : length])


def test_the_reference_is_the_definition():
    inputs, decay, initial = problem([4, 2], width=1)
    (lam,) = decay.tolist()
    expected = []
    for begin, end, row in ((0, 4, 0), (4, 6, 1)):
        (h,) = initial[row].tolist()
        for k in range(begin, end):
            h = lam * h + inputs[k].item()
            expected.append([h])
    states, final = packed_scan(inputs, decay, initial, offsets_of([4, 2]), "sequential")
    torch.testing.assert_close(states, torch.tensor(expected, dtype=torch.complex128))
    torch.testing.assert_close(final, states[[3, 5]])


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("lengths", [[1], [5], [0, 3, 1, 0, 6], [1, 1, 1], [2, 4, 8]])
def test_gradients_of_every_input(lengths, method):
    inputs, decay, initial = (x.requires_grad_() for x in problem(lengths, width=2))

    def run(inputs, decay, initial):
        return packed_scan(inputs, decay, initial, offsets_of(lengths), method)

    assert torch.autograd.gradcheck(run, (inputs, decay, initial))


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("lengths", RAGGED.values(), ids=RAGGED.keys())
def test_gradients_equal_autograd_of_the_reference(lengths, method):
    def gradients(which):
        leaves = [x.requires_grad_() for x in problem(lengths)]
        states, final = packed_scan(*leaves, offsets_of(lengths), which)
        (states.abs().square().sum() + (final * torch.arange(3)).real.sum()).backward()
        return [leaf.grad for leaf in leaves]

    torch.testing.assert_close(gradients(method), gradients("sequential"))


@pytest.mark.parametrize("method", FAST)
def test_no_tokens_at_all_keeps_the_states(method):
    inputs, decay, initial = problem([0, 0])
    states, final = packed_scan(inputs, decay, initial, offsets_of([0, 0]), method)
    assert states.shape == (0, 3)
    assert torch.equal(final, initial)
    states, final = packed_scan(inputs, decay, initial[:0], offsets_of([]), method)
    assert states.shape == final.shape == (0, 3)


def test_the_method_follows_the_shape():
    assert Rows.from_offsets(offsets_of([9] * 20)).method == "stepwise"
    assert Rows.from_offsets(offsets_of([300])).method == "recursive"
    assert Rows.from_offsets(offsets_of([1])).method == "stepwise"


@pytest.mark.parametrize("offsets", [[1, 2], [0, 3, 2], []])
def test_offsets_that_are_none_are_refused(offsets):
    with pytest.raises(ValueError, match="offsets"):
        Rows.from_offsets(torch.tensor(offsets, dtype=torch.int64))


def test_shapes_that_do_not_fit_are_refused():
    inputs, decay, initial = problem([3, 2])
    rows = Rows.from_offsets(offsets_of([3, 2]))
    with pytest.raises(ValueError, match="tokens"):
        scan(inputs[:4], decay, initial, rows)
    with pytest.raises(ValueError, match="initial"):
        scan(inputs, decay, initial[:1], rows)

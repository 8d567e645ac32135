"""The chunked losses are the plain ones, gradients included."""

import math

import pytest
import torch
import torch.nn.functional as F

from lrurec.loss import full_softmax_loss, sampled_softmax_loss, token_losses


def problem(tokens=23, items=11, width=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    hidden, embedding, bias = (
        torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()
        for shape in ((tokens, width), (items + 1, width), (items + 1,))
    )
    targets = torch.randint(1, items + 1, (tokens,), generator=generator)
    weights = torch.rand(tokens, generator=generator, dtype=dtype)
    return hidden, embedding, bias, targets, weights


def plain(hidden, embedding, bias, targets, weights):
    losses = F.cross_entropy(F.linear(hidden, embedding, bias), targets, reduction="none")
    return losses.mean() if weights is None else (losses * weights).sum() / weights.sum()


@pytest.mark.parametrize("chunk", [1, 7, 23, 100])
@pytest.mark.parametrize("weighted", [False, True])
def test_full_softmax_equals_cross_entropy(chunk, weighted):
    *inputs, targets, weights = problem()
    weights = weights if weighted else None
    expected = plain(*inputs, targets, weights)
    found = full_softmax_loss(*inputs, targets, weights, chunk)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(3 * found, inputs), torch.autograd.grad(3 * expected, inputs)
    )


def test_full_softmax_gradcheck():
    *inputs, targets, weights = problem(tokens=6)

    def loss(*leaves):
        return full_softmax_loss(*leaves, targets, weights, 4)

    assert torch.autograd.gradcheck(loss, inputs)


def test_bfloat16_scores_stay_close():
    *inputs, targets, _ = problem(tokens=400, items=60, width=16, dtype=torch.float32)
    inputs = [x.detach().mul(0.5).requires_grad_() for x in inputs]
    exact = full_softmax_loss(*inputs, targets)
    rounded = full_softmax_loss(*inputs, targets, dtype=torch.bfloat16)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), abs=5e-3)
    for low, high in zip(
        torch.autograd.grad(rounded, inputs), torch.autograd.grad(exact, inputs), strict=True
    ):
        assert (low - high).norm() <= 0.02 * high.norm()


def test_a_hopeless_token_costs_a_finite_loss():
    hidden = torch.tensor([[1000.0]], requires_grad=True)
    embedding, bias = torch.tensor([[0.0], [1.0], [-1.0]]), torch.zeros(3)
    loss = full_softmax_loss(hidden, embedding, bias, torch.tensor([2]))
    loss.backward()
    assert math.isfinite(loss.item()) and loss.item() > 80
    assert hidden.grad.item() == pytest.approx(2.0)


def test_token_losses_are_the_terms_of_the_loss():
    *inputs, targets, _ = problem()
    losses = token_losses(*inputs, targets, chunk=5)
    torch.testing.assert_close(losses.mean(), plain(*inputs, targets, None))
    assert not losses.requires_grad


def test_no_tokens_cost_nothing():
    *inputs, targets, _ = problem(tokens=0)
    assert full_softmax_loss(*inputs, targets).item() == 0
    assert sampled_softmax_loss(*inputs, targets, 5, None).item() == 0
    assert token_losses(*inputs, targets).shape == (0,)


def test_sampled_softmax_estimates_the_full_one():
    *inputs, targets, weights = problem(items=30)
    inputs[2].data[0] = -100.0  # padding is never drawn: take it out of the full softmax too
    expected = plain(*inputs, targets, weights)
    generator = torch.Generator().manual_seed(0)
    found = sampled_softmax_loss(*inputs, targets, 20_000, generator, weights, chunk=8)
    assert found.item() == pytest.approx(expected.item(), rel=0.02)
    for sampled, full in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        assert (sampled - full).norm() <= 0.05 * full.norm()


def test_sampling_touches_only_what_it_drew():
    *inputs, targets, _ = problem(tokens=2, items=1000)
    loss = sampled_softmax_loss(*inputs, targets, 10, torch.Generator().manual_seed(0))
    touched = torch.autograd.grad(loss, inputs[1])[0].any(1).sum()
    assert touched <= 12

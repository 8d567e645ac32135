"""Dropout: the rate asked for, the mean kept, the same entries in the gradient."""

import pytest
import torch

from lrurec.layers import dropout


@pytest.mark.parametrize("rate", [0.001, 0.2, 0.5, 0.9])
def test_dropout_has_its_rate_and_keeps_the_mean(rate):
    x = torch.ones(501, 401, requires_grad=True)
    y = dropout(x, rate, torch.Generator().manual_seed(0))
    error = 5 * (rate * (1 - rate) / x.numel()) ** 0.5
    assert (y == 0).float().mean().item() == pytest.approx(rate, abs=error)
    assert y[y > 0].unique().item() == pytest.approx(1 / (1 - rate), rel=1e-3)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y)


def test_neighbouring_entries_drop_independently():
    dropped = dropout(torch.ones(200_000), 0.5, torch.Generator().manual_seed(0)) == 0
    for distance in (1, 2, 3, 4):
        both = (dropped[distance:] & dropped[:-distance]).float().mean().item()
        assert both == pytest.approx(0.25, abs=0.01)

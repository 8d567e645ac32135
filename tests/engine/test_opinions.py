"""Tables compute what the dense (B, M, I) numbers give, whoever is in common."""

from __future__ import annotations

import pytest
import torch

from engine.opinions import Table

EVENTS, COMMON, OWN, ITEMS = 6, 3, 2, 30


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("common", [0, COMMON])
@pytest.mark.parametrize("touched", [[], [4], [7, 0, 29, 13]])
def test_tables_compute_what_dense_numbers_give(common: int, touched: list[int]) -> None:
    columns = torch.tensor(touched, dtype=torch.long)
    table = Table(
        common=normal(common, ITEMS, seed=1),
        touched=columns,
        difference=normal(EVENTS, common, len(touched), seed=2),
        own=normal(EVENTS, OWN, ITEMS, seed=3),
    )
    dense = torch.cat([table.common.expand(EVENTS, -1, -1), table.own], dim=1)
    dense[:, :common, columns] += table.difference

    weights = normal(EVENTS, 4, common + OWN, seed=4)
    torch.testing.assert_close(table.combine(weights), weights @ dense)
    shares = normal(EVENTS, ITEMS, seed=5)
    torch.testing.assert_close(table.expect(shares), torch.einsum("bi,bmi->bm", shares, dense))
    events, items = torch.tensor([5, 0, 0, 2]), torch.tensor([7, 4, 1, 29])
    torch.testing.assert_close(table.at(events, items), dense[events, :, items])
    torch.testing.assert_close(table.rows(events), dense[events])
    some = torch.randint(ITEMS, (EVENTS, 7), generator=torch.Generator().manual_seed(6))
    wanted = dense.gather(2, some[:, None, :].expand(-1, common + OWN, -1))
    torch.testing.assert_close(table.among(some), wanted)

    left = [place for place in range(common + OWN) if place not in (1, common)]
    fewer = table.without([1, common])
    torch.testing.assert_close(fewer.rows(torch.arange(EVENTS)), dense[:, left])

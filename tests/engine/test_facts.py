"""Facts of users and candidates: when, how often, how alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.appearances import NEVER, Appearances
from engine.facts import FACTS, FARTHEST, UNIT, Facts
from engine.id_order import IdOrder
from lrurec.config import ModelConfig
from lrurec.model import LRURec
from tests.engine.contexts import contexts, rows

CPU = torch.device("cpu")
STREAM = rows(events=300, users=9, items=25, seed=2)


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_appearances_are_those_of_the_stream_however_it_is_cut(batch: int) -> None:
    appearances, number = Appearances(CPU), 0
    for context in contexts(STREAM, batch):
        appearances.grow(int(STREAM.items.max()) + 2)
        appearances.learn(context, number)
        number += len(context)
    for item in np.unique(STREAM.items):
        places = np.flatnonzero(STREAM.items == item)
        first, newest = appearances.since(len(STREAM), torch.tensor([item]))
        assert (int(first), int(newest)) == (len(STREAM) - places[0], len(STREAM) - places[-1])
    assert appearances.first[-1] == NEVER


def some_facts(model: LRURec | None = None, ids: IdOrder | None = None) -> Facts:
    """Of a newcomer, and of a user with items 2, 1, 2."""
    appearances = Appearances(CPU)
    appearances.grow(4)
    appearances.first[:] = torch.tensor([0, 64, 100, NEVER])
    appearances.newest[:] = torch.tensor([128, 64, 127, 0])
    return Facts(
        recent=torch.tensor([[-1, -1, -1, -1], [2, 1, 2, -1]]),
        lengths=torch.tensor([0, 3]),
        gaps=torch.tensor([math.inf, 60.0], dtype=torch.float64),
        supports=torch.tensor([0.0, 7.0]),
        counts=torch.tensor([5.0, 1.0, 7.0, 0.0]),
        appearances=appearances,
        number=128,
        model=model,
        ids=ids,
    )


def test_facts_of_the_stream_are_logarithms() -> None:
    found = some_facts().of(torch.tensor([[0, 3], [1, 2]]))
    assert found.shape == (2, 2, FACTS)
    of_item_1 = [1.0, 64 / UNIT, 64 / UNIT, 3.0, 60.0, 7.0]
    np.testing.assert_allclose(found[1, 0, :6], np.log1p(of_item_1), rtol=1e-6)
    of_nothing = [0.0, 0.0, 128 / UNIT, 0.0, 1e8, 0.0]
    np.testing.assert_allclose(found[0, 1, :6], np.log1p(of_nothing), rtol=1e-6)
    assert not found[:, :, 6:].any()


def test_likeness_is_the_cosine_of_embeddings() -> None:
    model = LRURec(ModelConfig(items=4, width=8, blocks=1, dropout=0.0), seed=0)
    found = some_facts(model).of(torch.tensor([[0, 3], [1, 0]]))[:, :, 6:10]
    bias = model.item_bias.detach()
    assert found[0, :, :3].tolist() == [[0.0] * 3] * 2  # nothing to be like
    assert found[0, 1, 3] == bias[4]
    embedding = model.embedding.detach()[1:]
    to_2, to_1 = (float(torch.cosine_similarity(embedding[0], embedding[i], dim=0)) for i in (2, 1))
    expected = [to_2, max(to_1, to_2), (2 * to_2 + to_1) / 3, float(bias[1])]
    np.testing.assert_allclose(found[1, 1], expected, rtol=1e-5, atol=1e-6)
    assert float(found[1, 0, 1]) == pytest.approx(1.0)  # item 1 is among the user's own


def test_distances_are_places_in_the_order_of_ids() -> None:
    ids = IdOrder(CPU)
    ids.grow(["40", "7", "50"])  # in order: 7, 40, 50; item 3 has no place yet
    found = some_facts(ids=ids).of(torch.tensor([[0, 1], [1, 3]]))[:, :, 10:]
    far = np.log1p(FARTHEST)
    np.testing.assert_allclose(found[0], [[far, far]] * 2)  # a newcomer is near to nothing
    np.testing.assert_allclose(found[1], [[np.log1p(2), 0.0], [far, far]])

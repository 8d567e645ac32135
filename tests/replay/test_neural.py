"""Networks fine-tuned online: they learn, repeat by seed, and rank as they were trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.config import EngineConfig
from replay.baselines import Task, makers
from replay.baselines.gru4rec import GRUNetwork
from replay.baselines.neural import Network, Neural
from replay.baselines.sasrec import SANetwork
from replay.stream import to_rows
from replay.synthetic import markov_stream
from tests.checks import ranks_of

CONFIG = EngineConfig(
    history=20,
    width=16,
    blocks=1,
    dropout=0.1,
    learning_rate=1e-2,
    embedding_decay=1.0,
    finetune_first=500,
    finetune_growth=0.3,
    batch_tokens=256,
    train_tokens_early=0.0,
    train_tokens_per_event=15.0,
)
NAMES = ("gru4rec", "sasrec")
STREAM = to_rows(markov_stream(20, 40, 2_000, predictability=0.95, seed=6))


@pytest.fixture(params=[GRUNetwork, SANetwork])
def network(request: pytest.FixtureRequest) -> Network:
    made: Network = request.param(30, CONFIG)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=made.generator)
    return made.eval()


@pytest.mark.parametrize("name", NAMES)
def test_what_can_be_predicted_is_learned(name: str) -> None:
    ranks = ranks_of(makers(CONFIG)[name], STREAM, repeats=True)
    assert np.mean(ranks[-500:] == 1) > 0.7
    untrained = replace(CONFIG, finetune_first=10**6)
    assert np.mean(ranks_of(makers(untrained)[name], STREAM, repeats=True)[-500:] == 1) < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_decides(name: str) -> None:
    """Not what else draws from torch meanwhile."""
    rows = STREAM.part(slice(0, 900))
    ranks = []
    for torchs, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(torchs)
        ranks.append(ranks_of(makers(CONFIG)[name], rows, repeats=True, seed=seed))
    assert np.array_equal(ranks[0], ranks[1])
    assert not np.array_equal(ranks[0], ranks[2])


@torch.no_grad()
def test_ranking_sees_what_training_sees(network: Network) -> None:
    """Grown event by event, asked for now and then, and cut to the newest `history` at the start:
    the hidden vector is that of the sequence in training."""
    history = np.random.default_rng(1).integers(0, 30, 20).astype(np.int32)
    rows = torch.tensor([1, 2, 3, *(history + 1), 4, 5])
    trained = network(rows, torch.tensor([0, 3, 23, 25]))[3:23]
    for length in (1, 2, 5, 6, 19, 20):
        found = network.hidden(7, history[:length])
        torch.testing.assert_close(found, trained[length - 1], atol=1e-5, rtol=1e-4)
    older = np.append(np.array([9, 8, 7], dtype=np.int32), history)
    torch.testing.assert_close(network.hidden(8, older), trained[-1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_after_new_weights_nothing_old_is_used() -> None:
    network = GRUNetwork(30, CONFIG).eval()
    history = np.arange(6, dtype=np.int32)
    network.hidden(0, history)
    network.gru.weight_hh_l0 += 0.5
    network.forget()
    assert torch.equal(network.hidden(0, history), network.hidden(1, history))


@torch.no_grad()
def test_a_new_item_begins_amid_those_before_it(network: Network) -> None:
    network.item_bias[1:4] = torch.tensor([1.0, 2.0, 5.0])
    noise = network.embedding[4].clone()
    network.begin(3)
    expected = network.embedding[1:4].mean(0) + noise
    torch.testing.assert_close(network.embedding[4], expected)
    assert network.item_bias[4] == 1.5  # the lowest quarter


@pytest.mark.parametrize("name", NAMES)
def test_the_calendar_and_the_width_are_the_engines(name: str) -> None:
    model = makers(CONFIG)[name](Task(20, 40, repeats=True, seed=0))
    assert isinstance(model, Neural)
    model.rank_and_learn(STREAM.part(slice(0, 499)))
    assert model.versions == 0
    model.rank_and_learn(STREAM.part(slice(499, 1_001)))
    assert model.versions == 2  # after 500 and 1,000 events
    assert model.model.embedding.shape == (41, 16)

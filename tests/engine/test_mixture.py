"""The mixture trusts who is right, follows a change of who is right, and is never far behind."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.context import WINDOW
from engine.mixture import SHARE, Mixture, contexts_of
from engine.opinions import Opinions, Table

CPU = torch.device("cpu")
EXPERTS, ITEMS = 3, 20


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def opinions(right: NDArray[np.int64], seed: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Logs (B, M, I) in which expert right[b] holds the distribution that event b's item is drawn
    from, and the others hold noise; and the items (B,)."""
    logs = torch.log_softmax(2.0 * normal(len(right), EXPERTS, ITEMS, seed=seed), dim=2)
    truth = logs[torch.arange(len(right)), torch.from_numpy(right)].exp()
    items = torch.multinomial(truth, 1, generator=torch.Generator().manual_seed(seed))
    return logs, items[:, 0].numpy()


def said(logs: Tensor) -> Opinions:
    """Opinions with these logarithms (B, M, I), up to a constant that must not matter."""
    nothing = torch.zeros(0, ITEMS), torch.zeros(0, dtype=torch.long), torch.zeros(len(logs), 0, 0)
    room = torch.zeros_like(logs[:, :1])
    return Opinions(
        weights=Table(*nothing, own=0.5 * logs.exp()),
        logs=Table(*nothing, own=torch.cat([logs + 3.0, room], dim=1)),
    )


def contexts(events: int) -> Tensor:
    random = np.random.default_rng(0)
    columns = (
        random.integers(0, 5, (events, WINDOW)),
        random.integers(0, 60, events),
        random.exponential(600.0, events),
        random.integers(0, 500, events),
    )
    return contexts_of(*(torch.from_numpy(column) for column in columns))


def losses(
    logs: Tensor, items: NDArray[np.int64], batch: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nats of each event under the mixture (B,), which learns meanwhile, and the experts (B, M)."""
    mixture, where = Mixture(EXPERTS, CPU), contexts(len(items))
    answers = [
        mixture.mix_and_learn(said(logs[s]), torch.ones(len(items[s]), ITEMS), where[s], items[s])
        for s in (slice(start, start + batch) for start in range(0, len(items), batch))
    ]
    events = np.arange(len(items))
    mixed = -torch.cat(answers)[events, items].double().log().numpy()
    return mixed, -logs[events, :, items].double().numpy()


@pytest.mark.parametrize("batch", [1, 32])
def test_the_expert_who_knows_is_soon_trusted(batch: int) -> None:
    mixed, each = losses(*opinions(np.full(1_500, 1), seed=1), batch)
    late = slice(300, None)
    assert mixed[late].mean() < each[late, 1].mean() + 0.02
    assert mixed[late].mean() < each[late, [0, 2]].mean() - 1.0


@pytest.mark.parametrize("batch", [1, 32])
def test_a_change_of_who_is_right_is_followed_within_some_events(batch: int) -> None:
    right = np.repeat([0, 2, 0], 400)
    mixed, each = losses(*opinions(right, seed=2), batch)
    by_oracle = each[np.arange(len(right)), right]
    assert mixed.sum() < each.sum(0).min() - 100
    for change in (400, 800):
        settled = slice(change + 100, change + 400)
        assert mixed[settled].mean() < by_oracle[settled].mean() + 0.1
    if batch == 1:
        # Herbster and Warmuth: the cost of the first choice, of each change, and of sharing.
        changes = 2 * np.log((EXPERTS + 2) / SHARE)
        sharing = -len(right) * np.log(1 - SHARE)
        assert mixed.sum() <= by_oracle.sum() + np.log(4 * EXPERTS) + changes + sharing


def test_experts_who_each_know_a_part_are_better_together() -> None:
    """The truth is the product of two opinions: only the log-linear layer can hold it."""
    logs = torch.log_softmax(1.5 * normal(3_000, EXPERTS, ITEMS, seed=3), dim=2)
    truth = torch.softmax(logs[:, 0] + logs[:, 1], dim=1)
    items = torch.multinomial(truth, 1, generator=torch.Generator().manual_seed(3))[:, 0].numpy()
    mixed, each = losses(logs, items, batch=32)
    best_possible = -truth[np.arange(3_000), items].log().numpy()
    assert mixed[1_000:].mean() < each[1_000:].mean(0).min() - 0.2
    assert mixed[1_000:].mean() < best_possible[1_000:].mean() + 0.05


def tensors(mixture: Mixture) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in vars(mixture).items() if isinstance(v, Tensor)}


def experienced() -> Mixture:
    mixture = Mixture(EXPERTS, CPU)
    logs, items = opinions(np.full(64, 1), seed=4)
    mixture.mix_and_learn(said(logs), torch.ones(64, ITEMS), contexts(64), items)
    return mixture


def some_candidates(events: int) -> Tensor:
    """Half of the items, another half for each event."""
    return (normal(events, ITEMS, seed=5) > 0).float()


def test_a_query_and_an_event_get_the_same_answer_from_the_same_weights() -> None:
    mixture, candidates = experienced(), some_candidates(40)
    logs, items = opinions(np.full(40, 1), seed=6)
    items = np.where(candidates[np.arange(40), items] == 0, -1, items)
    asked = mixture.mix(said(logs), candidates, contexts(40))
    scored = mixture.mix_and_learn(said(logs), candidates, contexts(40), items)
    torch.testing.assert_close(asked, scored, rtol=0, atol=0)


def test_answers_are_probabilities_over_the_candidates() -> None:
    candidates = some_candidates(40)
    logs, _ = opinions(np.full(40, 1), seed=7)
    answer = experienced().mix(said(logs), candidates, contexts(40))
    torch.testing.assert_close(answer.sum(1), torch.ones(40))
    assert (answer[candidates == 0] == 0).all()
    assert (answer[candidates == 1] > 0).all()


def test_a_query_and_events_without_a_rankable_item_change_nothing() -> None:
    mixture = experienced()
    before = tensors(mixture)
    logs, _ = opinions(np.full(10, 1), seed=8)
    candidates = torch.ones(10, ITEMS)
    mixture.mix(said(logs), candidates, contexts(10))
    mixture.mix_and_learn(said(logs), candidates, contexts(10), np.full(10, -1))
    after = tensors(mixture)
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name], after[name]), name


def test_events_to_learn_from_weigh_the_same_beside_others() -> None:
    logs, items = opinions(np.full(40, 1), seed=9)
    candidates, where = torch.ones(40, ITEMS), contexts(40)
    alone, beside = experienced(), experienced()
    alone.mix_and_learn(said(logs[::2]), candidates[::2], where[::2], items[::2])
    learned = np.where(np.arange(40) % 2, -1, items)
    beside.mix_and_learn(said(logs), candidates, where, learned)
    for name, tensor in tensors(alone).items():
        torch.testing.assert_close(tensors(beside)[name], tensor, msg=name)


def test_contexts_begin_at_their_bounds() -> None:
    lengths = torch.tensor([0, 1, 2, 199, 200, 10_000])
    gaps = torch.tensor([torch.inf, 0.0, 0.99, 1.0, 86_399.0, 86_400.0], dtype=torch.float64)
    supports = torch.tensor([0.0, 1.0, 2.0, 3.0, 799.0, 800.0])
    recent = torch.full((6, WINDOW), -1)
    recent[:, :4] = torch.tensor(
        [[1, -1, -1, -1], [1, 1, -1, -1], [1, 2, 1, 1], [1, 2, 3, 1], [1, 2, 3, 3], [4, 3, 2, 1]]
    )
    kinds = contexts_of(recent, lengths, gaps, supports).T.tolist()
    by_length, by_gap, by_support, by_pattern = kinds
    assert by_length == sorted(by_length)
    assert len(set(by_length)) == 5
    assert by_length[4] == by_length[5]
    assert by_gap[1] == by_gap[2] < by_gap[3] < by_gap[4] < by_gap[5] < by_gap[0]
    assert by_support[0] < by_support[1] == by_support[2] < by_support[3] < by_support[4]
    assert by_support[4] < by_support[5]
    assert [kind - by_pattern[0] for kind in by_pattern] == [0, 1, 2, 3, 4, 4]
    assert all(max(a) < min(b) for a, b in itertools.pairwise(kinds))

"""The re-ranker learns what the mixture cannot say, and is never far behind it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.appearances import Appearances
from engine.corrector import BLOCK
from engine.facts import Facts
from engine.opinions import Opinions, Table
from engine.reranker import Reranker
from engine.shortlist import CANDIDATES

CPU = torch.device("cpu")
EXPERTS, ITEMS, WINDOW = 2, 100, 4


def a_reranker(seed: int = 0) -> Reranker:
    found = Reranker(EXPERTS, False, seed, CPU)
    found.grow(ITEMS)
    return found


def random(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def mixtures(events: int, seed: int) -> Tensor:
    """(B, I) probabilities."""
    return torch.softmax(2.0 * random(events, ITEMS, seed=seed), dim=1)


def said(mixed: Tensor, seed: int = 0, first: int = 0) -> Opinions:
    """Experts who know nothing, and the mixture's own answer as the blend, for events of which the
    first has this place among those of the seed."""
    noise = random(first + len(mixed), EXPERTS, ITEMS, seed=seed)[first:].add_(0.1)
    nothing = torch.zeros(0, ITEMS), torch.zeros(0, dtype=torch.long), torch.zeros(len(mixed), 0, 0)
    logs = torch.cat([noise, mixed[:, None, :]], dim=1).log()
    return Opinions(Table(*nothing, own=noise), Table(*nothing, own=logs))


def facts(events: int, counts: Tensor | None = None) -> Facts:
    appearances = Appearances(CPU)
    appearances.grow(ITEMS)
    return Facts(
        recent=torch.full((events, WINDOW), -1),
        lengths=torch.zeros(events, dtype=torch.long),
        gaps=torch.full((events,), torch.inf, dtype=torch.float64),
        supports=torch.zeros(events),
        counts=torch.zeros(ITEMS) if counts is None else counts,
        appearances=appearances,
        number=0,
        model=None,
        ids=None,
    )


def everything(reranker: Reranker) -> dict[str, NDArray[np.float64]]:
    """All that snapshots hold of it."""
    return {
        f"{kind}/{name}": array.copy()
        for kind, part in reranker.parts().items()
        for _, arrays in part.changes()
        for name, array in arrays.items()
    }


def nats(answer: Tensor, items: NDArray[np.int64]) -> NDArray[np.float64]:
    return -answer[torch.arange(len(items)), torch.from_numpy(items)].log().double().numpy()


def test_before_it_has_learned_it_answers_as_the_mixture() -> None:
    mixed = mixtures(20, seed=1)
    answer = a_reranker().rerank(mixed, said(mixed), facts(20))
    torch.testing.assert_close(answer, mixed)


@pytest.fixture(scope="module")
def learned() -> tuple[Reranker, Tensor, NDArray[np.float64], NDArray[np.float64]]:
    """One for whom rare items come true, which the mixture does not see: with the counts of the
    items, and the nats of the mixture and of the corrected answers, event by event."""
    reranker, counts = a_reranker(), torch.arange(ITEMS).float() * 10
    random_items, before, after = np.random.default_rng(0), [], []
    for part in range(40):
        mixed = mixtures(BLOCK, seed=part)
        items = random_items.integers(0, ITEMS // 5, BLOCK)
        answer = reranker.rerank_and_learn(
            mixed, said(mixed, seed=part), facts(BLOCK, counts), items
        )
        before.append(nats(mixed, items))
        after.append(nats(answer, items))
    return reranker, counts, np.concatenate(before), np.concatenate(after)


def test_it_learns_what_candidates_that_come_true_have_in_common(
    learned: tuple[Reranker, Tensor, NDArray[np.float64], NDArray[np.float64]],
) -> None:
    _, _, before, after = learned
    newest = slice(-10 * BLOCK, None)
    assert after[newest].mean() < before[newest].mean() - 0.5


def test_the_answer_is_a_probability_and_what_is_not_on_the_shortlist_keeps_its_own(
    learned: tuple[Reranker, Tensor, NDArray[np.float64], NDArray[np.float64]],
) -> None:
    reranker, counts, _, _ = learned
    mixed = mixtures(8, seed=99)
    mixed[:, ::3] = 0.0  # no candidates
    mixed /= mixed.sum(1, keepdim=True)
    answer = reranker.rerank(mixed, said(mixed.clamp(min=1e-30)), facts(8, counts))
    torch.testing.assert_close(answer.sum(1), torch.ones(8))
    assert (answer[:, ::3] == 0).all()
    assert ((answer - mixed).abs() > 1e-3).any()
    left = mixed.argsort(dim=1, descending=True)[:, CANDIDATES:]
    assert torch.equal(answer.gather(1, left), mixed.gather(1, left))


def test_asking_changes_nothing(
    learned: tuple[Reranker, Tensor, NDArray[np.float64], NDArray[np.float64]],
) -> None:
    reranker, counts, _, _ = learned
    before = everything(reranker)
    mixed = mixtures(8, seed=99)
    reranker.rerank(mixed, said(mixed), facts(8, counts))
    for name, value in everything(reranker).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_where_there_is_nothing_to_learn_it_loses_next_to_nothing() -> None:
    """The mixture's answer is the truth: a thousandth of a nat an event is the price."""
    reranker, before, after = a_reranker(), [], []
    for part in range(60):
        mixed = mixtures(BLOCK, seed=part)
        generator = torch.Generator().manual_seed(1_000 + part)
        items = torch.multinomial(mixed, 1, generator=generator)[:, 0].numpy()
        answer = reranker.rerank_and_learn(mixed, said(mixed, seed=part), facts(BLOCK), items)
        before.append(nats(mixed, items))
        after.append(nats(answer, items))
    assert np.concatenate(after).mean() < np.concatenate(before).mean() + 0.001


@pytest.mark.parametrize("size", [1, 7])
def test_it_learns_alike_however_its_events_are_cut(size: int) -> None:
    """It steps after the same events; only how items fared is told to larger batches later."""
    counts, items = torch.arange(ITEMS).float(), np.random.default_rng(1).integers(0, 20, BLOCK)
    losses = []
    for step in (BLOCK, size):
        reranker, found = a_reranker(), []
        for block in range(24):
            mixed = mixtures(BLOCK, seed=block)
            for start in range(0, BLOCK, step):
                part = slice(start, min(start + step, BLOCK))
                opinions = said(mixed[part], seed=block, first=start)
                known = facts(part.stop - start, counts)
                answer = reranker.rerank_and_learn(mixed[part], opinions, known, items[part])
                found.append(nats(answer, items[part]))
        assert reranker.shortlist.corrector.steps.tolist() == [24, 24]
        losses.append(np.concatenate(found)[-4 * BLOCK :].mean())
    assert losses[1] == pytest.approx(losses[0], abs=0.05)
    assert losses[1] < math.log(ITEMS) - 0.3


def test_events_without_a_ranked_item_teach_nothing() -> None:
    reranker = a_reranker()
    mixed = mixtures(2 * BLOCK, seed=5)
    reranker.rerank_and_learn(mixed, said(mixed), facts(len(mixed)), np.full(len(mixed), -1))
    shortlist = reranker.shortlist
    assert not shortlist.corrector.weights.any()
    assert not shortlist.came_true.any() and not shortlist.expected.any()
    assert shortlist.corrector.trust.tolist() == [0.5, 0.5]


def test_no_candidate_at_all_is_no_trouble() -> None:
    mixed = torch.zeros(3, ITEMS)
    opinions = said(mixed.clamp(min=1e-30))
    answer = a_reranker().rerank_and_learn(mixed, opinions, facts(3), np.full(3, -1))
    assert torch.equal(answer, mixed)

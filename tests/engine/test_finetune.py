"""A fine-tune learns what can be learned, judges itself on events it has not seen, and repeats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectors.event import Event, EventBatch
from engine import finetune
from engine.config import EngineConfig
from engine.engine import Engine
from engine.finetune import Candidate
from engine.lesson import dropout, embedding_decay, tokens_per_event
from lrurec.model import LRURec
from replay.synthetic import markov_stream

CONFIG = EngineConfig(
    seed=1,
    device="cpu",
    repeats=True,
    experts=("popularity", "lrurec"),
    micro_batch=50,
    history=20,
    width=16,
    blocks=1,
    dropout=0.1,
    learning_rate=5e-3,
    precision="float32",
    finetune_mode="inline",
    finetune_first=500,
    finetune_growth=10.0,
    finetune_every=500,
    finetune_on_drift=False,
    batch_tokens=256,
    train_tokens_per_event=15.0,
    train_tokens_early=0.0,
)
ITEMS = 50
PREDICTABLE = markov_stream(40, ITEMS, 3_000, predictability=0.9, seed=6)
NOISE = markov_stream(40, ITEMS, 3_000, predictability=0.0, seed=6)


def learned(events: EventBatch, **settings: Any) -> tuple[Engine, list[Candidate]]:
    """An engine after these events, and the fine-tunes that were due meanwhile."""
    engine = Engine(replace(CONFIG, **settings))
    candidates = []
    for batch in events.micro_batches(CONFIG.micro_batch):
        engine.process(batch)
        if candidate := engine.finetune_if_due():
            candidates.append(candidate)
    return engine, candidates


def weights(model: LRURec) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def recalls(events: EventBatch, **settings: Any) -> dict[str, float]:
    """Recall@5 of every answer over the last third of the stream: chance is 5 of 50."""
    engine = Engine(replace(CONFIG, **settings))
    ranks: dict[str, list[NDArray[np.int64]]] = {}
    for batch in events.micro_batches(CONFIG.micro_batch):
        scored = engine.process(batch)
        assert scored is not None
        engine.finetune_if_due()
        for name, some in scored.ranks.items():
            ranks.setdefault(name, []).append(some)
    late = {name: np.concatenate(parts)[-1_000:] for name, parts in ranks.items()}
    return {name: float(((some > 0) & (some <= 5)).mean()) for name, some in late.items()}


def test_what_can_be_predicted_is_learned_from_fine_tune_to_fine_tune() -> None:
    _, candidates = learned(PREDICTABLE)
    assert [c.version for c in candidates] == [1, 2, 3, 4, 5, 6]
    assert all(c.accepted for c in candidates)
    assert all(c.candidate_loss < c.live_loss - 0.1 for c in candidates[:3])
    assert candidates[0].live_loss == pytest.approx(np.log(ITEMS), abs=0.2)
    assert candidates[-1].candidate_loss < 2.0


def test_predictable_users_are_predicted_far_better_than_by_popularity() -> None:
    found = recalls(PREDICTABLE)
    assert recalls(PREDICTABLE, experts=("popularity",))["engine"] < 0.2
    assert found["lrurec"] > 0.7
    assert found["engine"] > 0.7


def test_noise_stays_near_chance() -> None:
    found = recalls(NOISE)
    for name, value in found.items():
        assert 0.05 < value < 0.15, name


def test_a_worse_candidate_is_rejected_and_nothing_of_it_is_kept() -> None:
    """No candidate is a hundred nats better than the live model, as this gate asks."""
    engine, candidates = learned(PREDICTABLE[:1_000], gate_tolerance=-100.0)
    assert [c.accepted for c in candidates] == [False, False]
    untouched = Engine(replace(CONFIG, finetune_first=10**9))
    for batch in PREDICTABLE[:1_000].micro_batches(CONFIG.micro_batch):
        untouched.process(batch)
    assert engine.recommender.version == 0
    assert engine.trained is None
    for name, tensor in weights(untouched.recommender.model).items():
        assert torch.equal(weights(engine.recommender.model)[name], tensor), name
    assert len(engine.window) == 0  # its window is used all the same
    answer = untouched.recommender.recommend("u1")
    assert engine.recommender.recommend("u1") == answer


def test_a_candidate_that_training_has_broken_is_rejected() -> None:
    _, (candidate,) = learned(PREDICTABLE[:500], learning_rate=1e30, gate_tolerance=1e9)
    assert not np.isfinite(candidate.candidate_loss)
    assert not candidate.accepted


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    one, same, other = (
        learned(PREDICTABLE[:1_000], seed=seed)[0].recommender.model for seed in (1, 1, 2)
    )
    for name, tensor in weights(one).items():
        assert torch.equal(weights(same)[name], tensor), name
        assert not torch.equal(weights(other)[name], tensor), name


def test_training_leaves_the_live_model_alone() -> None:
    """In serve it answers meanwhile."""
    engine, _ = learned(PREDICTABLE[:900])
    before = weights(engine.recommender.model)
    finetune.run(engine.prepare("count"))
    after = weights(engine.recommender.model)
    for name in before:
        assert torch.equal(after[name], before[name]), name


def unique_items(events: int, users: int) -> EventBatch:
    """Every event has an item of its own, so that a trained item tells the event; the first half
    of the users act in the first half of the stream only."""
    random = np.random.default_rng(7)
    chosen = random.integers(0, users // 2, events) + (np.arange(events) >= events // 2) * (
        users // 2
    )
    return EventBatch.from_events(
        Event(f"u{user}", f"i{i}", float(i)) for i, user in enumerate(chosen)
    )


def test_held_out_events_are_not_trained_on_and_others_all_are() -> None:
    engine, _ = learned(unique_items(500, users=20), history=50)
    for batch in unique_items(900, users=20)[500:].micro_batches(50):
        engine.process(batch)
    lesson = engine.prepare("count").lesson
    window = set(range(500, 900))
    held = {int(item) - 1 for sequence, count in lesson.held_out for item in sequence[-count:]}
    assert held == set(range(860, 900))  # the newest tenth
    recent = {int(item) - 1 for sequence in lesson.recent for item in sequence}
    older = {int(item) - 1 for sequence in lesson.older for item in sequence}
    assert not held & recent
    assert not held & older
    assert window - held <= recent
    assert older
    assert not older & window
    for sequence in lesson.recent + lesson.older:
        assert 2 <= len(sequence) <= 51


@pytest.mark.parametrize("per_event", [2.0, 9.5])
def test_a_fine_tune_costs_what_the_budget_says(per_event: float) -> None:
    """It ends with the batch that reaches the budget."""
    _, candidates = learned(PREDICTABLE[:1_000], train_tokens_per_event=per_event)
    for candidate in candidates:
        budget = 500 * per_event
        assert budget <= candidate.tokens < budget + CONFIG.batch_tokens + CONFIG.history


def test_more_is_trained_per_event_while_data_is_small() -> None:
    config = replace(
        CONFIG, train_tokens_per_event=5.0, train_tokens_early=10_000.0, train_tokens_cap=40.0
    )
    per_event = [tokens_per_event(config, n) for n in (0, 100, 500, 1_000, 2_000, 10**6)]
    assert per_event == [40.0, 40.0, 20.0, 10.0, 5.0, 5.0]


def test_dropout_falls_with_the_root_of_the_stream() -> None:
    config = replace(CONFIG, dropout=0.4, regularization_events=1_000)
    rates = [dropout(config, n) for n in (0, 1_000, 4_000, 100_000)]
    assert rates == pytest.approx([0.4, 0.4, 0.2, 0.04])


def test_the_embeddings_decay_falls_with_the_root_of_the_stream_from_its_cap() -> None:
    config = replace(
        CONFIG, embedding_decay=2.0, embedding_decay_cap=8.0, regularization_events=1_000
    )
    decays = [embedding_decay(config, n) for n in (0, 10, 250, 1_000, 4_000, 100_000)]
    assert decays == pytest.approx([8.0, 8.0, 4.0, 2.0, 1.0, 0.2])


def test_decay_keeps_the_entries_of_the_embedding_small() -> None:
    def largest(decay: float) -> float:
        engine, _ = learned(PREDICTABLE[:1_500], embedding_decay=decay, regularization_events=1_500)
        return float(engine.recommender.model.embedding.detach().abs().max())

    assert largest(10.0) < 0.15 < largest(0.0)


def test_a_fine_tune_trains_with_the_dropout_of_its_day() -> None:
    _, candidates = learned(PREDICTABLE[:1_500], dropout=0.4, regularization_events=500)
    used = [candidate.model.blocks[0].feed_forward.dropout for candidate in candidates]
    assert used == pytest.approx([0.4, 0.4 / 2**0.5, 0.4 / 3**0.5])


def test_items_that_came_after_the_last_fine_tune_are_trained_by_the_next() -> None:
    """Their rows begin as the live model has them, and move."""
    first, later = PREDICTABLE[:500], markov_stream(40, 80, 500, predictability=0.9, seed=6)
    engine, _ = learned(first)
    known = len(engine.recommender.items)
    for batch in later.micro_batches(CONFIG.micro_batch):
        engine.process(batch)
    live = weights(engine.recommender.model)
    candidate = engine.finetune_if_due()
    assert candidate is not None
    new = candidate.model.embedding[known + 1 :].detach()
    assert len(new) > 20
    moved = (new - live["embedding"][known + 1 :]).abs().amax(1)
    assert (moved > 1e-4).all()
    assert engine.recommender.version == 2


def test_a_train_lag_delays_the_swap_alone() -> None:
    """Due at 500, trained as of then, in at the first micro-batch end from 620 on; the window goes
    on meanwhile, so that the next one is due at 1,000."""
    versions: dict[int, list[int]] = {0: [], 120: []}
    candidates: dict[int, list[Candidate]] = {0: [], 120: []}
    for lag in versions:
        engine = Engine(replace(CONFIG, train_lag=lag))
        for batch in PREDICTABLE[:1_200].micro_batches(CONFIG.micro_batch):
            engine.process(batch)
            if candidate := engine.finetune_if_due():
                candidates[lag].append(candidate)
            versions[lag].append(engine.recommender.version)
    ends = np.arange(50, 1_250, 50)
    assert ends[np.flatnonzero(np.diff(versions[0], prepend=0))].tolist() == [500, 1_000]
    assert ends[np.flatnonzero(np.diff(versions[120], prepend=0))].tolist() == [650, 1_150]
    at_once, late = (candidates[lag][0] for lag in (0, 120))
    assert (late.window_end, late.candidate_loss) == (500, at_once.candidate_loss)
    assert candidates[120][1].window_end == 1_000

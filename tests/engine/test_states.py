"""A user's state is what the whole sequence gives, however it was learned, kept or rebuilt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from connectors.event import EventBatch
from engine.recommender import Recommender
from lrurec.model import LRURec
from tests.engine.running import CONFIG, stream, with_settings

HISTORY = CONFIG.history
EVENTS = EventBatch.from_events(stream(events=1_500, users=40, items=60))
"""Some 37 events a user: most anchors move at 2 x history = 40, some do not."""


def learned(batch: int = 256, cap: int = 1_000, events: EventBatch = EVENTS) -> Recommender:
    """A recommender that knows all items beforehand, so that the batch does not shape its rows."""
    recommender = Recommender(
        with_settings(micro_batch=batch, max_users_resident=cap, experts=("lrurec",))
    )
    recommender.items.add(list(dict.fromkeys(EVENTS.items)))
    recommender.make_room()
    recommender.learn_many(events, score=False)
    return recommender


def sequences(recommender: Recommender, events: EventBatch = EVENTS) -> dict[int, list[int]]:
    """Every user's item rows, from the events themselves."""
    found: dict[int, list[int]] = {}
    for event in events:
        row = recommender.users.row(event.user)
        found.setdefault(row, []).append(recommender.items.row(event.item))
    return found


def since_anchor(sequence: list[int]) -> list[int]:
    """What is left of a sequence whose anchor moved up at every 2 x history events."""
    kept: list[int] = []
    for item in sequence:
        kept.append(item)
        if len(kept) == 2 * HISTORY:
            kept = kept[-HISTORY:]
    return kept


@torch.no_grad()
def forward(model: LRURec, sequences: dict[int, list[int]]) -> Tensor:
    """The hidden vector after each sequence, by the full forward pass; in order of users."""
    longest = max(map(len, sequences.values()))
    padded = torch.zeros(len(sequences), longest, dtype=torch.long)
    for place, user in enumerate(sorted(sequences)):
        padded[place, longest - len(sequences[user]) :] = torch.tensor(sequences[user]) + 1
    return model(padded)[:, -1]


def hidden(recommender: Recommender) -> Tensor:
    return recommender.states.hidden(np.arange(len(recommender.users)))


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_events_learned_in_any_batches_equal_the_forward_pass(batch: int) -> None:
    """No user has reached 2 x history yet: the whole past counts."""
    short = EVENTS[:700]
    recommender = learned(batch, events=short)
    whole = sequences(recommender, short)
    assert max(map(len, whole.values())) < 2 * HISTORY
    torch.testing.assert_close(
        hidden(recommender), forward(recommender.model, whole), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("batch", [1, 7, 256, 1_500])
def test_an_anchor_moves_at_twice_the_history_and_the_state_starts_there(batch: int) -> None:
    """The same anchors, however the stream is cut into batches."""
    recommender = learned(batch)
    whole = sequences(recommender)
    moved = {user for user, items in whole.items() if len(items) >= 2 * HISTORY}
    assert 5 < len(moved) < len(whole)
    for user, items in whole.items():
        assert recommender.histories.events.row(user).tolist() == since_anchor(items)
        assert recommender.histories.total[user] == len(items)
        assert set(recommender.histories.seen.row(user).tolist()) == set(items)
    kept = {u: since_anchor(s) for u, s in whole.items()}
    torch.testing.assert_close(
        hidden(recommender), forward(recommender.model, kept), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("cap", [1, 3, 20])
def test_users_who_lost_their_place_come_back_with_the_same_state(cap: int) -> None:
    """Batches hold up to 25 users at once, more than any of the caps."""
    held, evicted = learned(batch=25), learned(batch=25, cap=cap)
    assert evicted.states.resident <= 25 < held.states.resident
    for user in np.random.default_rng(0).permutation(40):
        one = np.array([user])
        torch.testing.assert_close(
            evicted.states.hidden(one), held.states.hidden(one), rtol=0, atol=1e-5
        )
    assert evicted.states.resident <= 25
    assert held.states.resident == 40


def test_after_a_swap_every_state_is_that_of_the_new_model() -> None:
    recommender = learned()
    other = LRURec(recommender.model.config, seed=99).eval()
    recommender.swap(other, version=1)
    newest = {u: s[-HISTORY:] for u, s in sequences(recommender).items()}
    torch.testing.assert_close(hidden(recommender), forward(other, newest), rtol=0, atol=1e-5)


def test_states_made_beside_the_live_ones_leave_these_alone_and_keep_nothing_of_them() -> None:
    """What `serve` does while queries go on: first the new states, then one flip."""
    recommender = learned()
    recommender.histories.anchor_all()
    before = hidden(recommender).clone()
    old_states = recommender.states
    other = LRURec(recommender.model.config, seed=99).eval()
    states = recommender.states_under(other)
    assert recommender.states is old_states
    torch.testing.assert_close(hidden(recommender), before, rtol=0, atol=0)
    assert states.resident == old_states.resident
    recommender.swap(other, 1, states)
    more = EventBatch.from_events(stream(events=400, users=40, items=60, seed=1))
    recommender.learn_many(more, score=False)
    kept = {u: s[-HISTORY:] for u, s in sequences(recommender).items()}
    for user, items in sequences(recommender, more).items():
        kept[user] = since_anchor(kept.get(user, []) + items)
    torch.testing.assert_close(hidden(recommender), forward(other, kept), rtol=0, atol=1e-5)

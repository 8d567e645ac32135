"""States of users on the device: a capped cache that history can always rebuild.

Letters: U users asked for, N blocks of the model, D = 2H the recurrence's width, H the model's.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.history import Histories
from engine.ragged import IntArray
from lrurec.model import LRURec

REBUILD_EVENTS = 16_384
"""Events scanned at once when many states are rebuilt: bounds the memory of a rebuild."""


class States:
    """One tensor of states (S, N, D) complex64 and one of last hidden vectors (S, H), S slots.

    A user holds a slot while resident; beyond `cap` users, those touched longest ago leave.
    It belongs to one model: a swap of weights brings states of its own.
    """

    def __init__(self, model: LRURec, histories: Histories, cap: int) -> None:
        self.cap = cap
        self.histories = histories
        self.model = model
        self.device = model.embedding.device
        self._slot = np.full(len(histories), -1, dtype=np.int64)
        self._user = np.full(0, -1, dtype=np.int64)
        self._touched = np.zeros(0, dtype=np.int64)
        self._clock = 0
        self._used = 0
        self._states = model.initial_states(0)
        self._hidden = torch.zeros(0, model.config.width, device=self.device)

    @property
    def resident(self) -> int:
        return self._used

    @property
    def users(self) -> IntArray:
        """Those who are resident."""
        return self._user[self._user >= 0]

    @property
    def bytes_per_user(self) -> int:
        """Of a resident state on the device."""
        one = self.model.initial_states(1)
        return one.nbytes + 4 * self.model.config.width

    def resize(self, users: int) -> None:
        """Make room for user rows 0 .. users - 1."""
        if users > len(self._slot):
            grown = np.full(max(2 * len(self._slot), users), -1, dtype=np.int64)
            grown[: len(self._slot)] = self._slot
            self._slot = grown

    @torch.no_grad()
    def hidden(self, users: IntArray) -> Tensor:
        """The hidden vector (U, H) after each user's newest event; zeros without any event.

        Users are distinct. Those not resident are rebuilt by scan from their anchor.
        """
        slots = self._resident_slots(users)
        return self._hidden[slots]

    @torch.no_grad()
    def advance(self, users: IntArray, items: IntArray, offsets: IntArray) -> Tensor:
        """Apply a ragged batch of new events; the hidden vector after each event (n, H).

        users (U,) are distinct; events offsets[u] .. offsets[u + 1] - 1 are those of users[u].
        Call before the histories learn the same events.
        """
        slots = self._resident_slots(users)
        hidden, states = self.model.advance(
            torch.from_numpy(items + 1).to(self.device),
            torch.from_numpy(offsets),
            self._states[slots],
        )
        self._states[slots] = states
        self._hidden[slots] = hidden[torch.from_numpy(offsets[1:] - 1).to(self.device)]
        return hidden

    def forget(self, users: IntArray) -> None:
        """Drop the states of users whose anchor moved or whose history was emptied: the next touch
        rebuilds them."""
        slots = self._slot[users]
        held = slots >= 0
        self._used -= int(held.sum())
        self._user[slots[held]] = -1
        self._touched[slots[held]] = -1
        self._slot[users[held]] = -1

    def rebuild(self, users: IntArray) -> None:
        """Make the states of `users` resident (as far as the cap allows)."""
        for start in range(0, min(len(users), self.cap), 1024):
            self.hidden(users[start : start + 1024])

    def _resident_slots(self, users: IntArray) -> Tensor:
        self._clock += 1
        held = self._slot[users] >= 0
        self._touched[self._slot[users[held]]] = self._clock
        missing = users[~held]
        if len(missing):
            self._take_slots(missing, at_once=len(users))
            self._scan(missing)
        return torch.from_numpy(self._slot[users]).to(self.device)

    def _take_slots(self, users: IntArray, at_once: int) -> None:
        """Give each user a slot: free ones first, then those touched longest ago."""
        wanted = self._used + len(users)
        if wanted > len(self._user) and len(self._user) < self.cap:
            self._reserve(min(max(wanted, 2 * len(self._user), 256), self.cap))
        if at_once > len(self._user):
            # More users in one batch than the cap: the batch must fit all the same.
            self._reserve(at_once)
        age = np.where(self._user < 0, -1, self._touched)
        slots = np.argpartition(age, len(users) - 1)[: len(users)]
        evicted = self._user[slots]
        self._slot[evicted[evicted >= 0]] = -1
        self._used += int((evicted < 0).sum())
        self._slot[users] = slots
        self._user[slots] = users
        self._touched[slots] = self._clock

    def _reserve(self, slots: int) -> None:
        missing = slots - len(self._user)
        self._user = np.concatenate([self._user, np.full(missing, -1, dtype=np.int64)])
        self._touched = np.concatenate([self._touched, np.full(missing, -1, dtype=np.int64)])
        self._states = torch.cat([self._states, self.model.initial_states(missing)])
        room = torch.zeros(missing, self._hidden.shape[1], device=self.device)
        self._hidden = torch.cat([self._hidden, room])

    def _scan(self, users: IntArray) -> None:
        """Rebuild states by parallel scan over the events since the anchor; zeros without any."""
        slots = torch.from_numpy(self._slot[users]).to(self.device)
        self._states[slots], self._hidden[slots] = 0.0, 0.0
        users = users[self.histories.events.lengths(users) > 0]
        items, offsets = self.histories.events.gather(users)
        start = 0
        while start < len(users):
            end = int(np.searchsorted(offsets, offsets[start] + REBUILD_EVENTS, side="right")) - 1
            end = max(end, start + 1)
            self._scan_slice(
                users[start:end],
                items[offsets[start] : offsets[end]],
                offsets[start : end + 1] - offsets[start],
            )
            start = end

    def _scan_slice(self, users: IntArray, items: IntArray, offsets: IntArray) -> None:
        slots = torch.from_numpy(self._slot[users]).to(self.device)
        hidden, states = self.model.advance(
            torch.from_numpy(items + 1).to(self.device),
            torch.from_numpy(offsets),
            self.model.initial_states(len(users)),
        )
        self._states[slots] = states
        self._hidden[slots] = hidden[torch.from_numpy(offsets[1:] - 1).to(self.device)]

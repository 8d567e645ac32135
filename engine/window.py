"""The window: events since the last fine-tune, and when the next one is due."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN

from engine.config import EngineConfig
from engine.durable import Arrays
from engine.ragged import IntArray

DRIFT_REST = 2_000
"""Events after a fine-tune before a drift alarm may ask for another."""

DRIFT_MEMORY = 2_048
"""Losses after which the drift detector starts again from the newest half of them: so that it is
a function of what a snapshot can hold."""


class Window:
    """Who acted since the last fine-tune, in order; bounded to `cap` events, oldest dropped.

    Due by count (the stream grew by a share, or by a number of events), by event time, or by a
    drift alarm: ADWIN (Bifet and Gavalda 2007) on the mean prequential loss of micro-batches.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.cap = max(200_000, 4 * config.finetune_every)
        self.start = 0
        """Events of the stream before the window."""
        self.start_time = 0.0
        self.drift_alarms = 0
        self._users = np.empty(0, dtype=np.int32)
        self._fresh: list[IntArray] = []
        self._fresh_events = 0
        self._time = 0.0
        self._alarm = False
        self._watch(np.empty(0))

    def __len__(self) -> int:
        return len(self._users) + self._fresh_events

    @property
    def end(self) -> int:
        """Events of the stream up to the window's newest."""
        return self.start + len(self)

    @property
    def users(self) -> NDArray[np.int32]:
        """The user row of each event, oldest first."""
        self._settle()
        return self._users

    def _settle(self) -> None:
        """Take in the newest events, and drop the oldest beyond the cap."""
        self._users = np.concatenate([self._users, *self._fresh]).astype(np.int32)
        self._fresh, self._fresh_events = [], 0
        if len(self._users) > self.cap:
            self.start += len(self._users) - self.cap
            self._users = self._users[-self.cap :].copy()

    def learn(self, users: IntArray, time: float, log_losses: NDArray[np.float64] | None) -> None:
        """Take the events of one micro-batch, with their prequential losses where scored."""
        if not len(self):
            self.start_time = time
        self._fresh.append(users)
        self._fresh_events += len(users)
        if len(self) > 2 * self.cap:
            self._settle()
        self._time = max(self._time, time)
        if log_losses is None or np.isnan(log_losses).all():
            return
        if len(self._losses) == DRIFT_MEMORY:
            self._watch(np.array(self._losses[DRIFT_MEMORY // 2 :]))
        self._losses.append(float(np.nanmean(log_losses)))
        self._drift.update(self._losses[-1])
        if self._drift.drift_detected:
            self.drift_alarms += 1
            self._alarm = True

    def _watch(self, losses: NDArray[np.float64]) -> None:
        """A new drift detector that has seen these losses."""
        self._drift = ADWIN()
        self._losses = losses.tolist()
        for loss in self._losses:
            self._drift.update(loss)

    def due(self) -> str | None:
        """Why a fine-tune is due now ("count", "time" or "drift"), or None."""
        config = self.config
        if self.end < config.finetune_first or not len(self):
            return None
        growth = max(config.finetune_first, int(self.start * config.finetune_growth))
        if len(self) >= min(config.finetune_every, growth):
            return "count"
        if (
            config.finetune_seconds is not None
            and self._time - self.start_time >= config.finetune_seconds
        ):
            return "time"
        if config.finetune_on_drift and self._alarm and len(self) >= DRIFT_REST:
            return "drift"
        return None

    def cut(self, end: int) -> None:
        """A fine-tune has used the events before `end` of the stream: drop them."""
        users = self.users
        used = min(max(end - self.start, 0), len(users))
        self._users = users[used:]
        self.start += used
        self.start_time = self._time
        self._alarm = False

    def changes(self) -> Iterator[tuple[int, Arrays]]:
        """All of it, as one block (`Durable`)."""
        yield (
            0,
            {
                "users": self.users,
                "start": np.array(self.start),
                "times": np.array([self.start_time, self._time]),
                "losses": np.array(self._losses, dtype=np.float64),
                "alarms": np.array([self.drift_alarms, self._alarm]),
            },
        )

    def restore(self, block: int, arrays: Arrays) -> None:
        self._users, self._fresh, self._fresh_events = arrays["users"], [], 0
        self.start = int(arrays["start"])
        self.start_time, self._time = arrays["times"].tolist()
        self.drift_alarms, self._alarm = int(arrays["alarms"][0]), bool(arrays["alarms"][1])
        self._watch(arrays["losses"])

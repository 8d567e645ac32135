"""The window: events since the last fine-tune, and when the next one is due."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN

from engine.config import EngineConfig
from engine.ragged import IntArray

DRIFT_REST = 2_000
"""Events after a fine-tune before a drift alarm may ask for another."""


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
        self._drift = ADWIN()
        self._alarm = False

    def __len__(self) -> int:
        return len(self._users) + self._fresh_events

    @property
    def end(self) -> int:
        """Events of the stream up to the window's newest."""
        return self.start + len(self)

    @property
    def users(self) -> NDArray[np.int32]:
        """The user row of each event, oldest first."""
        if self._fresh:
            self._users = np.concatenate([self._users, *self._fresh]).astype(np.int32)
            self._fresh, self._fresh_events = [], 0
            if len(self._users) > self.cap:
                self.start += len(self._users) - self.cap
                self._users = self._users[-self.cap :]
        return self._users

    def learn(self, users: IntArray, time: float, log_losses: NDArray[np.float64] | None) -> None:
        """Take the events of one micro-batch, with their prequential losses where scored."""
        if not len(self):
            self.start_time = time
        self._fresh.append(users)
        self._fresh_events += len(users)
        self._time = max(self._time, time)
        if log_losses is None or np.isnan(log_losses).all():
            return
        self._drift.update(float(np.nanmean(log_losses)))
        if self._drift.drift_detected:
            self.drift_alarms += 1
            self._alarm = True

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

    def restore(self, users: NDArray[np.int32], start: int, start_time: float) -> None:
        """Take the place of the window that a snapshot holds; the drift detector starts afresh."""
        self._users, self._fresh, self._fresh_events = users, [], 0
        self.start, self.start_time = start, start_time
        self._time = max(self._time, start_time)

"""What networks share that are fine-tuned while the stream goes on, as LRURec is in the engine.

The lessons are the engine's (`engine.lesson`): fine-tunes are due after as many events, train on
as many tokens of the same users' sequences, with the same optimizer, decay, dropout, loss and
width. There is no gate: every fine-tune is taken. Between two of them the weights rest, but that an
item begins as it does in LRURec. All runs on the CPU. Letters: N tokens, H width, I items.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from engine import lesson
from engine.config import EngineConfig
from engine.ragged import RaggedRows
from engine.window import Window
from lrurec.config import TrainConfig
from lrurec.layers import dropout, truncated_normal
from lrurec.loss import full_softmax_loss
from lrurec.model import NEW_ITEM_BIAS_QUANTILE
from lrurec.optimizer import AdamW
from replay.baselines.base import Task
from replay.baselines.one_by_one import History, OneByOne

DEFAULT: Final = EngineConfig()


class Network(nn.Module, ABC):
    """Sequences of items to hidden vectors, scored by the same embedding that reads the items.

    Row 0 of `embedding` (I + 1, H) and `item_bias` (I + 1,) is no item. Weights and dropout are
    drawn from the seed of `config`.
    """

    def __init__(self, n_items: int, config: EngineConfig) -> None:
        super().__init__()
        self.config = config
        self.dropout_rate = config.dropout
        self.generator = Generator().manual_seed(config.seed)
        self.embedding = nn.Parameter(self.drawn(n_items + 1, config.width))
        self.item_bias = nn.Parameter(torch.zeros(n_items + 1))

    def drawn(self, *shape: int) -> Tensor:
        """The weights that a part of the network begins with."""
        return truncated_normal(*shape, generator=self.generator)

    def dropout(self, x: Tensor) -> Tensor:
        """x, thinned out in training."""
        rate = self.dropout_rate if self.training else 0.0
        return dropout(x, rate, self.generator) if rate else x

    @abstractmethod
    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        """(N, H) after each token; items (N,) and offsets (R + 1,) as in `PackedBatch`."""

    @abstractmethod
    def hidden(self, user: int, history: History) -> Tensor:
        """(H,) after the newest `config.history` events of a user, with the weights at rest."""

    def forget(self) -> None:
        """The weights have changed: what is kept of users is worth nothing."""

    def scores(self, hidden: Tensor, known: int) -> Tensor:
        """(known,) of the first items for a hidden vector (H,)."""
        rows = slice(1, known + 1)
        return F.linear(hidden, self.embedding[rows], self.item_bias[rows])

    @torch.no_grad()
    def begin(self, item: int) -> None:
        """Place a new item amid those before it, as `LRURec.grow` does."""
        before = slice(1, item + 1)
        if item:
            self.embedding[item + 1] += self.embedding[before].mean(0)
            self.item_bias[item + 1] = self.item_bias[before].quantile(NEW_ITEM_BIAS_QUANTILE)


class Neural(OneByOne):
    """A network that is fine-tuned by the engine's calendar.

    config: of the engine that it is compared with; its seed gives way to the task's.
    """

    network: type[Network]

    def __init__(self, task: Task, config: EngineConfig = DEFAULT) -> None:
        super().__init__(task)
        self.config = replace(config, seed=task.seed)
        self.model = self.network(task.n_items, self.config).eval()
        self._training = TrainConfig(config.learning_rate, config.weight_decay)
        self._optimizer = AdamW(self.model, self._training)
        self._window = Window(self.config)
        self._sequences = RaggedRows()
        self._sequences.resize(task.n_users)
        self._fresh: list[tuple[int, int]] = []
        self._begun = self.known  # those known from the start are not placed amid any
        self.versions = 0
        """Fine-tunes so far."""

    @torch.no_grad()
    def scores(self, user: int, history: History) -> NDArray[np.floating]:
        return self.model.scores(self.model.hidden(user, history), self.known).numpy()

    def learn(self, user: int, history: History, item: int, value: float) -> None:
        if item == self._begun:
            self.model.begin(item)
            self._begun += 1
        self._fresh.append((user, item))
        self._window.learn(np.array([user]), 0.0, None)
        if self._window.due():
            self._fine_tune()

    def _fine_tune(self) -> None:
        users, items = np.array(self._fresh).T
        self._fresh.clear()
        self._sequences.append(users, items)
        active, history = np.unique(users).tolist(), self.config.history
        for user in active:
            self._sequences.keep_last(user, 2 * history)
        self.versions += 1
        self._train(lesson.prepare(self._sequences, self._window, self.config, self.versions))
        self._window.cut(self._window.end)
        for user in active:
            self._sequences.keep_last(user, history)

    def _train(self, given: lesson.Lesson) -> None:
        config, model = self.config, self.model.train()
        model.dropout_rate = lesson.dropout(config, self._window.end)
        self._optimizer.embedding_decay = lesson.embedding_decay(config, self._window.end)
        rows = slice(0, self.known + 1)
        for batch in lesson.batches(given, config, self.versions):
            loss = full_softmax_loss(
                model(batch.items, batch.offsets),
                model.embedding[rows],
                model.item_bias[rows],
                batch.targets,
                dtype=torch.bfloat16 if config.precision == "bfloat16" else None,
            )
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), self._training.clip_norm)
            self._optimizer.step()
        model.eval()
        model.forget()

"""GRU4Rec: a gated recurrent unit over the items of a user.

Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based recommendations with recurrent neural
networks", ICLR 2016: one layer, h_k = GRU(h_{k-1}, x_k). As in LRURec here, the loss is the cross
entropy over all items, one embedding reads and scores them, and what is read is normalised.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from engine.config import EngineConfig
from replay.baselines.neural import Network, Neural
from replay.baselines.one_by_one import History


class GRUNetwork(Network):
    """Keeps the state of every user it was asked for since the weights changed."""

    def __init__(self, n_items: int, config: EngineConfig) -> None:
        super().__init__(n_items, config)
        self.norm = nn.LayerNorm(config.width)
        self.gru = nn.GRU(config.width, config.width)
        bound = config.width**-0.5
        for weight in self.gru.parameters():
            nn.init.uniform_(weight, -bound, bound, generator=self.generator)
        self._states: dict[int, tuple[Tensor, int]] = {}  # state (1, H), after so many events

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        rows = list(torch.split(self._read(items), offsets.diff().tolist()))
        after, _ = self.gru(pack_sequence(rows, enforce_sorted=False))
        return torch.cat(unpack_sequence(after))

    def hidden(self, user: int, history: History) -> Tensor:
        nothing = torch.zeros(1, self.config.width), max(len(history) - self.config.history, 0)
        state, done = self._states.get(user, nothing)
        if done < len(history):
            items = torch.from_numpy(history[done:].astype(np.int64) + 1)
            _, state = self.gru(self._read(items), state)
            self._states[user] = state, len(history)
        return state[0]

    def forget(self) -> None:
        self._states.clear()

    def _read(self, items: Tensor) -> Tensor:
        x: Tensor = self.norm(self.dropout(F.embedding(items, self.embedding)))
        return x


class GRU4Rec(Neural):
    """A recurrent network over a user's items, fine-tuned online."""

    name = "gru4rec"
    network = GRUNetwork

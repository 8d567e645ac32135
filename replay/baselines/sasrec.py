"""SASRec: self-attention over the newest items of a user.

Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018: learned positions, blocks
of causal attention with one head and of a point-wise network, each as x + dropout(f(norm(x))). As
in LRURec here, the loss is the cross entropy over all items (the paper's is binary, with one
negative; Klenitskiy and Vasilev, "Turning dross into gold loss", RecSys 2023, measured how much
that costs). Letters: N tokens, R rows, L length of the longest, H width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.config import EngineConfig
from replay.baselines.neural import Network, Neural
from replay.baselines.one_by_one import History


class SANetwork(Network):
    """Positions are counted from the start of a sequence, which is at most `history` items."""

    def __init__(self, n_items: int, config: EngineConfig) -> None:
        super().__init__(n_items, config)
        self.position = nn.Parameter(self.drawn(config.history, config.width))
        self.blocks = nn.ModuleList(Block(self) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        lengths = offsets.diff()
        rows = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        places = torch.arange(len(items)) - offsets[rows]
        x = F.embedding(items, self.embedding) + F.embedding(places, self.position)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, rows, places)
        return self.norm(x)

    def hidden(self, user: int, history: History) -> Tensor:
        items = torch.from_numpy(history[-self.config.history :].astype(np.int64) + 1)
        return self(items, torch.tensor([0, len(items)]))[-1]


class Block(nn.Module):
    """Attention, then the point-wise network."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        width = network.config.width
        self.dropout = network.dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Parameter(network.drawn(3 * width, width))
        self.weight_1 = nn.Parameter(network.drawn(width, width))
        self.bias_1 = nn.Parameter(torch.zeros(width))
        self.weight_2 = nn.Parameter(network.drawn(width, width))
        self.bias_2 = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        """(N, H) to (N, H); token n is at `places[n]` of row `rows[n]`."""
        query, key, value = F.linear(self.norm_1(x), self.query_key_value).chunk(3, dim=1)
        x = x + self.dropout(attention(query, key, value, rows, places))
        y = F.relu(F.linear(self.norm_2(x), self.weight_1, self.bias_1))
        return x + self.dropout(F.linear(self.dropout(y), self.weight_2, self.bias_2))


def attention(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, places: Tensor) -> Tensor:
    """(N, H): each token attends to those of its row up to itself.

    Rows are padded at their end, where nothing that counts looks.
    """
    shape = int(rows[-1]) + 1, int(places.max()) + 1
    at = rows * shape[1] + places

    def padded(x: Tensor) -> Tensor:  # (R, L, H)
        empty = x.new_zeros(shape[0] * shape[1], x.shape[1])
        return empty.index_copy(0, at, x).view(*shape, -1)

    attended = F.scaled_dot_product_attention(
        padded(query), padded(key), padded(value), is_causal=True
    )
    return attended.flatten(0, 1)[at]


class SASRec(Neural):
    """Self-attention over a user's newest items, fine-tuned online."""

    name = "sasrec"
    network = SANetwork

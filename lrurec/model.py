"""LRURec: embedding, blocks of linear recurrent units, scores by the shared embedding.

Yue, Wang, He, Zeng, McAuley, Wang: "Linear Recurrent Units for Sequential Recommendation",
WSDM 2024. Read `config` for the letters, `layers` for a block, `scan` for the recurrence.

Three ways in, one computation: `step` takes one event a row, `advance` takes a ragged batch of
events, both from stored states; `forward` takes whole left-padded sequences, as the paper does.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lrurec.config import ModelConfig
from lrurec.layers import Block, dropout, truncated_normal
from lrurec.scan import Rows

PADDING = 0
NEW_ITEM_BIAS_QUANTILE = 0.25


class LRURec(nn.Module):
    """The model. Deterministic in `seed`; built on the CPU, moved by `.to(device)`."""

    def __init__(self, config: ModelConfig, seed: int) -> None:
        super().__init__()
        generator = Generator().manual_seed(seed)
        self.config = config
        self.trained_items = config.items
        """Items that the weights were made for; those grown since take after them."""
        rows = config.items + 1
        self.embedding = nn.Parameter(truncated_normal(rows, config.width, generator=generator))
        self.norm = nn.LayerNorm(config.width)
        self.item_bias = nn.Parameter(truncated_normal(rows, generator=generator))
        self.blocks = nn.ModuleList(Block(config, generator) for _ in range(config.blocks))

    def advance(
        self,
        items: Tensor,
        offsets: Tensor,
        states: Tensor,
        generator: Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Apply a ragged batch of events to stored states.

        items: (N,) int64 item rows, row r's events at offsets[r]:offsets[r+1]; offsets: (R+1,)
        int64, best kept on the CPU; states: (R, blocks, D) complex64 before those events, on the
        model's device.
        `generator` draws the dropout masks (training mode only; None: torch's own).
        Returns hidden (N, H) after each event and the states after each row's last event.
        """
        device = self.embedding.device
        rows = Rows.from_offsets(offsets, device)
        slotted = rows.arrange(items.to(device))
        hidden, finals = self.encode(slotted, rows, states, generator)
        return rows.restore(hidden), finals

    def step(self, items: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """One event for each of R rows, in time and memory independent of what came before.

        items: (R,) int64; states: (R, blocks, D) complex64. Returns hidden (R, H), new states.
        """
        return self.advance(items, torch.arange(len(items) + 1), states)

    def forward(self, items: Tensor) -> Tensor:
        """Whole sequences at once: items (B, L) int64, left-padded with 0, to hidden (B, L, H).

        A padded position passes no state on: it is a row of its own. Its hidden vector is what
        the padding item alone gives and carries no meaning.
        """
        padded = items == PADDING
        starts = padded.clone()
        starts[:, 0] = True
        starts[:, 1:] |= padded[:, :-1]
        begins = starts.flatten().nonzero().flatten()
        offsets = F.pad(begins, (0, 1), value=items.numel())
        rows = Rows.from_offsets(offsets, self.embedding.device, method="recursive")
        hidden, _ = self.encode(items.flatten(), rows, None, None)
        return hidden.view(*items.shape, -1)

    def encode(
        self, items: Tensor, rows: Rows, initial: Tensor | None, generator: Generator | None
    ) -> tuple[Tensor, Tensor]:
        """The computation itself, on tokens in the slot order of `rows`.

        items: (N,); initial: (R, blocks, D) complex, None for zeros. Returns hidden (N, H) in
        slot order and the final states (R, blocks, D).
        """
        x = F.embedding(items, self.embedding)
        if self.training and self.config.dropout:
            x = dropout(x, self.config.dropout, generator)
        x = self.norm(x)
        finals = []
        for index, block in enumerate(self.blocks):
            x, final = block(x, None if initial is None else initial[:, index], rows, generator)
            finals.append(final)
        return x, torch.stack(finals, dim=1)

    def initial_states(self, rows: int) -> Tensor:
        """(rows, blocks, D) complex64 zeros: nothing seen yet."""
        return torch.zeros(
            rows,
            self.config.blocks,
            self.config.recurrence,
            dtype=self.embedding.dtype.to_complex(),
            device=self.embedding.device,
        )

    def scores(self, hidden: Tensor) -> Tensor:
        """(..., H) to (..., I + 1). Column 0 is the padding item: exclude it from rankings."""
        return F.linear(hidden, self.embedding, self.item_bias)

    @torch.no_grad()
    def grow(
        self, items: int, embeddings: Tensor | None = None, bias: Tensor | None = None
    ) -> None:
        """Grow the catalogue to `items` items in all; present rows stay bit for bit the same.

        embeddings: (new, H) and bias: (new,) of the new rows. Left out, a new row is the mean of
        the trained items plus the noise a fresh model starts with (so that new items can be told
        apart), its bias the lowest quartile of the trained ones: plausible, not favoured, and the
        same however many items come at once.
        Replaces the parameters `embedding` and `item_bias`; an optimizer must be told
        (`Trainer.grow`). Raises ValueError where `items` is below the present number or shapes
        do not fit.
        """
        present = self.config.items
        new = items - present
        if new < 0:
            raise ValueError(f"items={items}: the model has {present} and cannot shrink")
        trained = slice(1, self.trained_items + 1)
        if embeddings is None:
            embeddings = torch.empty(new, self.config.width)
            for row in range(new):
                generator = Generator().manual_seed(present + row)
                embeddings[row] = truncated_normal(self.config.width, generator=generator)
            if self.trained_items:
                embeddings += self.embedding[trained].mean(0).cpu()
        if bias is None:
            floor = 0.0
            if self.trained_items:
                floor = self.item_bias[trained].quantile(NEW_ITEM_BIAS_QUANTILE).item()
            bias = torch.full((new,), floor)
        if embeddings.shape != (new, self.config.width) or bias.shape != (new,):
            raise ValueError(
                f"embeddings {tuple(embeddings.shape)} and bias {tuple(bias.shape)} do not fit "
                f"{new} new rows of width {self.config.width}"
            )
        self.embedding = nn.Parameter(torch.cat((self.embedding, embeddings.to(self.embedding))))
        self.item_bias = nn.Parameter(torch.cat((self.item_bias, bias.to(self.item_bias))))
        self.config = replace(self.config, items=items)

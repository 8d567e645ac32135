"""Sizes of the model and settings of its training.

Dimension letters, used everywhere in this package:

    N   tokens (events) of a batch, packed without padding
    R   rows (users, or windows of users) of a batch
    L   length of a padded row
    H   width of the model (embedding, hidden vectors)
    D   width of the recurrence, D = 2H complex numbers
    I   items; the embedding has I + 1 rows, row 0 is the padding item

Parameters are real: a complex matrix is kept as [Re; Im]. States are complex64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes of LRURec. Raises ValueError where one makes no sense."""

    items: int
    width: int = 64
    blocks: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.items < 0:
            raise ValueError(f"items={self.items}: must be 0 or more, padding not counted")
        if self.width < 1 or self.blocks < 1:
            raise ValueError(f"width={self.width}, blocks={self.blocks}: both must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout={self.dropout}: must be at least 0 and below 1")

    @property
    def recurrence(self) -> int:
        """D: complex numbers in the state of one block."""
        return 2 * self.width


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """AdamW and loss settings.

    `embedding_decay`: of the items' embedding in place of `weight_decay`, None for the same; it
    keeps entries below about 1 / embedding_decay (Xie and Li, "Implicit bias of AdamW", ICML 2024).
    `negatives`: None for the full softmax, else how many sampled items share a chunk of tokens.
    `chunk`: tokens whose scores exist at the same time (few enough to stay in the
    processor's cache). `precision`: of the matrix products in
    training alone; weights, states, norms and sums are float32.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    embedding_decay: float | None = None
    epsilon: float = 1e-8
    clip_norm: float = 5.0
    negatives: int | None = None
    chunk: int = 512
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epsilon", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be above 0")
        for name in ("weight_decay", "embedding_decay"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name}={value}: must be 0 or more")
        if self.chunk < 1:
            raise ValueError(f"chunk={self.chunk}: must be at least 1 token")
        if self.negatives is not None and self.negatives < 1:
            raise ValueError(f"negatives={self.negatives}: at least 1, or None for full softmax")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision={self.precision!r}: use 'float32' or 'bfloat16'")

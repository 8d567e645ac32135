"""Sizes, caps and rates of the engine: one frozen dataclass, the same for replay and serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EXPERTS = ("popularity", "rules", "ids", "repeat", "lrurec")
FINETUNE_MODES = ("background", "inline")


@dataclass(frozen=True)
class EngineConfig:
    """Everything that shapes an answer. It travels in every checkpoint and report.

    Raises ValueError where a value is out of its range.
    """

    seed: int = 0
    device: str = "auto"
    repeats: bool = False
    """Whether an item the user already has may be recommended again."""
    experts: tuple[str, ...] = EXPERTS
    micro_batch: int = 256
    """Events scored and learned together; the rules lag by at most this much."""

    history: int = 200
    """Events the model is trained on; a state starts at most twice as many events back."""
    max_users_resident: int = 100_000
    """States held on the device; others are rebuilt from history on demand."""
    full_catalogue: int = 20_000
    """Items up to which every answer weighs all of them; beyond, only those that at least one
    expert has among its best: the others count as not recommended."""
    rules_bytes: int = 1 << 30
    """Memory of the sequential rules: beyond it, rows keep their strongest successors only."""

    width: int = 64
    blocks: int = 2
    dropout: float = 0.5
    embedding_decay: float = 3.0
    """AdamW's decay of the items' embedding: large, so that few events make no large claims."""
    embedding_decay_cap: float = 10.0
    regularization_events: int = 100_000
    """A fine-tune of so many events has `dropout` and `embedding_decay` as configured. Both fall
    with the root of the events beyond; before, the decay rises likewise, up to its cap."""
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    negatives: int | None = None
    """Sampled negatives in training; None: the full softmax."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the matrix products in training; weights, states and the rest stay float32."""

    finetune_mode: str = "background"
    """How `serve` fine-tunes: in a process of its own, or inline, so that a run repeats exactly
    while events wait. A replay always does it inline."""
    finetune_first: int = 500
    """Events before the first fine-tune."""
    finetune_growth: float = 0.1
    """A fine-tune is due when the stream has grown by this share since the last one ..."""
    finetune_every: int = 20_000
    """... or by so many events, whichever comes first."""
    finetune_seconds: float | None = None
    """... or by so much event time."""
    finetune_on_drift: bool = True
    """... or when ADWIN raises an alarm on the prequential loss."""
    train_lag: int = 0
    """Events of a replay that a fine-tune takes: so many are still answered, and learned, by the
    old weights before the new ones come in, at the end of a micro-batch. One trains at a time."""
    batch_tokens: int = 4096
    train_tokens_per_event: float = 4.0
    """Tokens trained on per event of the stream, at least ..."""
    train_tokens_early: float = 1e6
    """... and this many divided by the events seen so far, while data is small ..."""
    train_tokens_cap: float = 30.0
    """... but no more than this many per event."""
    gate_tolerance: float = 0.05
    """Nats by which a candidate's held-out loss may exceed the live model's."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.experts) - set(EXPERTS))
        if unknown:
            raise ValueError(f"experts: unknown {unknown[0]!r}; choose among {', '.join(EXPERTS)}")
        if not self.experts:
            raise ValueError(f"experts: none given; choose among {', '.join(EXPERTS)}")
        for name in (
            "micro_batch",
            "history",
            "max_users_resident",
            "full_catalogue",
            "rules_bytes",
            "width",
            "blocks",
            "finetune_first",
            "finetune_every",
            "batch_tokens",
            "regularization_events",
        ):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name}: {getattr(self, name)} is below 1; give a positive number"
                )
        for name in ("learning_rate", "finetune_growth", "train_tokens_per_event"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not above 0; give a larger one")
        for name in (
            "train_lag",
            "weight_decay",
            "embedding_decay",
            "embedding_decay_cap",
            "train_tokens_early",
            "train_tokens_cap",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: {getattr(self, name)} is below 0; give 0 or more")
        for name in ("negatives", "finetune_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}: {value} is not above 0; give more or leave it out")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed: {self.seed} is outside 0 to 2^32 - 1; give another one")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout: {self.dropout} is outside [0, 1)")
        if self.finetune_mode not in FINETUNE_MODES:
            raise ValueError(
                f"finetune_mode: {self.finetune_mode!r}; choose {' or '.join(FINETUNE_MODES)}"
            )
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision: {self.precision!r}; choose float32 or bfloat16")


@dataclass(frozen=True)
class LoopConfig:
    """How the loop of `serve` polls and stores; nothing here changes what is learned, but that
    `max_wait_s` may cut smaller micro-batches out of a slow stream.

    Raises ValueError where a value is out of its range.
    """

    max_wait_s: float = 0.2
    """A micro-batch that is not full is learned when its oldest event has waited so long."""
    snapshot_events: int = 100_000
    """A snapshot is due after so many events: what a start may have to learn again ..."""
    snapshot_seconds: float = 300.0
    """... or when so many seconds have passed since the last one and something came."""
    recommendations: int = 10
    """Items of an answer that is written to the output topic."""
    keep_versions: int = 5

    def __post_init__(self) -> None:
        for name in ("snapshot_events", "recommendations", "keep_versions"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name}: {getattr(self, name)} is below 1; give a positive number"
                )
        for name in ("max_wait_s", "snapshot_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: {getattr(self, name)} is below 0; give 0 or more")

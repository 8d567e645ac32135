"""The experts: each a log-probability over the known items, for whole micro-batches.

Letters: M experts, B events, I items.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.config import EngineConfig
from engine.context import Context
from engine.durable import Durable, Tensors
from engine.first_items import FirstItems
from engine.linear import LinearTransition
from engine.own_history import OwnHistory
from engine.popularity import HALF_LIVES, Popularity
from engine.rules import SETTINGS, SequentialRules
from lrurec.model import LRURec

RULES_POPULARITY = HALF_LIVES.index(5000.0)
"""The popularity that rules, own history and LRURec fall back on."""


class Experts:
    """The chosen experts, in the order of `names`. LRURec's weights and states live elsewhere."""

    def __init__(self, config: EngineConfig, device: torch.device) -> None:
        chosen = set(config.experts)
        if not config.repeats:
            chosen.discard("repeat")
        self.device = device
        self.chosen = chosen
        self.popularity = Popularity(device)
        self.first_items = FirstItems(device) if "popularity" in chosen else None
        self.rules = SequentialRules(device, config.rules_bytes) if "rules" in chosen else None
        self.linear = LinearTransition(device) if "linear" in chosen else None
        self.own_history = OwnHistory(device) if "repeat" in chosen else None
        names: list[str] = []
        if "popularity" in chosen:
            names += [f"popularity_{h:g}".replace("inf", "all") for h in HALF_LIVES]
            names.append("first_items")
        if "rules" in chosen:
            names += [setting.name for setting in SETTINGS]
        if "linear" in chosen:
            names.append("linear")
        if "repeat" in chosen:
            names.append("repeat")
        if "lrurec" in chosen:
            names.append("lrurec")
        self.names = tuple(names)

    @property
    def nbytes(self) -> int:
        counted = (self.popularity, self.rules, self.linear)
        return sum(part.nbytes for part in counted if part is not None)

    def parts(self) -> dict[str, Durable]:
        """What snapshots hold of the experts, by name."""
        parts: dict[str, Durable] = {"popularity": Tensors(self.popularity)}
        if self.first_items:
            parts["first_items"] = Tensors(self.first_items)
        if self.rules:
            parts["rules"] = self.rules
        if self.linear:
            parts["linear"] = self.linear
        if self.own_history:
            parts["own_history"] = Tensors(self.own_history)
        return parts

    def grow(self, items: int) -> None:
        self.popularity.grow(items)
        if self.first_items:
            self.first_items.grow(items)
        if self.rules:
            self.rules.grow(items)
        if self.linear:
            self.linear.grow(items)

    def log_scores(
        self,
        context: Context | None,
        known: int,
        recent: Tensor,
        gap: Tensor,
        hidden: Tensor | None,
        model: LRURec | None,
    ) -> Tensor:
        """Unnormalised log-probabilities (B, M, I), finite.

        context: the events, or None for a query as of now; known: items with a row by now;
        recent (B, W) newest items first, -1 where there is none; gap (B,) seconds since the
        newest; hidden (B, H) after it. For a user without history, popularity stands in for
        LRURec.
        """
        base = self.popularity.probabilities(known)
        fallback = base[RULES_POPULARITY].repeat(len(recent), 1)
        touched, inside = None, None
        if context is not None:
            touched, inside = self.popularity.inside(context, known)
            fallback[:, touched] = inside[RULES_POPULARITY]
        out = torch.empty(len(recent), len(self.names), len(base[0]), device=self.device)
        column = 0
        if "popularity" in self.chosen:
            column = len(HALF_LIVES)
            out[:, :column] = base.log()
            if inside is not None:
                out[:, :column, touched] = inside.log().transpose(0, 1)
        if self.first_items:
            torch.log(self.first_items.scores(recent[:, 0] < 0, fallback), out=out[:, column])
            column += 1
        if self.rules:
            for scores in self.rules.scores(recent, fallback):
                torch.log(scores, out=out[:, column])
                column += 1
        if self.linear:
            torch.log(self.linear.scores(recent, fallback), out=out[:, column])
            column += 1
        if self.own_history:
            torch.log(self.own_history.scores(recent, gap, fallback), out=out[:, column])
            column += 1
        if "lrurec" in self.chosen:
            assert model is not None and hidden is not None
            torch.matmul(hidden, model.embedding[1:].t(), out=out[:, column])
            out[:, column] += model.item_bias[1:]
            newcomer = recent[:, 0] < 0
            out[newcomer, column] = fallback[newcomer].log()
        return out

    def learn(self, context: Context, popularity: bool = True) -> None:
        """Count the events; without `popularity` where it has learned them already."""
        if popularity:
            self.popularity.learn(context)
        if self.first_items:
            self.first_items.learn(context)
        if self.rules:
            self.rules.learn(context)
        if self.linear:
            self.linear.learn(context)
        if self.own_history:
            self.own_history.learn(context)

"""The experts: each a log-probability over the known items, for whole micro-batches.

Letters: M experts, B events, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.config import EngineConfig
from engine.context import Context
from engine.durable import Durable, Tensors
from engine.first_items import FirstItems
from engine.id_neighbours import IdNeighbours
from engine.opinions import Opinions, Table
from engine.own_history import OwnHistory
from engine.popularity import HALF_LIVES, Popularity
from engine.rules import SETTINGS, SequentialRules
from lrurec.model import LRURec

RULES_POPULARITY = HALF_LIVES.index(5000.0)
"""The popularity that rules, own history and LRURec fall back on."""


@dataclass(frozen=True)
class Query:
    """What is known of B users just before the next event of each.

    context: these events, None for a question as of now; known: items with a row by now; recent
    (B, W) newest items first, -1 where there is none; hidden (B, H) after them, None without
    LRURec; seen: users and items (S,) that are no candidates, None where repeats are on.
    """

    context: Context | None
    known: int
    recent: Tensor
    hidden: Tensor | None
    seen: tuple[Tensor, Tensor] | None
    model: LRURec

    @property
    def newcomer(self) -> Tensor:
        """(B,) who has no event yet."""
        return self.recent[:, 0] < 0

    def logits(self, out: Tensor | None = None) -> Tensor:
        """(B, I) by LRURec."""
        assert self.hidden is not None
        embedding, bias = self.model.embedding[1:], self.model.item_bias[1:]
        return torch.addmm(bias, self.hidden, embedding.t(), out=out)


class Experts:
    """The chosen experts, in the order of `names`. LRURec's weights and states live elsewhere.

    groups: the names by what `EngineConfig.experts` calls them, in the same order.
    """

    def __init__(self, config: EngineConfig, device: torch.device) -> None:
        chosen = set(config.experts)
        if not config.repeats:
            chosen.discard("repeat")
        self.device = device
        self.chosen = chosen
        self._memory = torch.empty(0, device=device)
        self.popularity = Popularity(device)
        self.first_items = FirstItems(device)
        self.rules = SequentialRules(device, config.rules_bytes) if "rules" in chosen else None
        self.id_neighbours = IdNeighbours(device) if "ids" in chosen else None
        self.own_history = OwnHistory(device) if "repeat" in chosen else None
        names = {
            "popularity": [f"popularity_{h:g}".replace("inf", "all") for h in HALF_LIVES],
            "rules": [setting.name for setting in SETTINGS],
            "ids": ["ids"],
            "repeat": ["repeat"],
            "lrurec": ["lrurec"],
        }
        self.groups = {group: tuple(names[group]) for group in names if group in chosen}
        self.names = tuple(name for group in self.groups.values() for name in group)

    @property
    def nbytes(self) -> int:
        counted = (self.popularity, self.rules, self.id_neighbours)
        return self._memory.nbytes + sum(part.nbytes for part in counted if part is not None)

    def parts(self) -> dict[str, Durable]:
        """What snapshots hold of the experts, by name."""
        parts: dict[str, Durable] = {
            "popularity": Tensors(self.popularity),
            "first_items": Tensors(self.first_items),
        }
        if self.rules:
            parts["rules"] = self.rules
        if self.id_neighbours:
            parts["id_neighbours"] = Tensors(self.id_neighbours)
        if self.own_history:
            parts["own_history"] = Tensors(self.own_history)
        return parts

    def grow(self, items: int) -> None:
        self.popularity.grow(items)
        self.first_items.grow(items)
        if self.rules:
            self.rules.grow(items)

    def order_ids(self, names: Sequence[str]) -> None:
        """Put all items that have a name by now in their places by id."""
        if self.id_neighbours:
            self.id_neighbours.ids.grow(names)

    def opinions(self, query: Query) -> Opinions:
        """What each expert, in the order of `names`, expects next of all known items. To be used
        before the next call, which writes into the same memory.

        For a user without history, popularity stands in for LRURec, and for the others, which would
        have nothing to say either, what users begin with.
        """
        known, recent, newcomer = query.known, query.recent, query.newcomer
        base = self.popularity.probabilities(known)
        popularity = base[RULES_POPULARITY].repeat(len(recent), 1)
        common = base if "popularity" in self.chosen else base[:0]
        touched = torch.zeros(0, dtype=torch.long, device=self.device)
        inside = common[:, None, touched].expand(-1, len(recent), -1)
        if query.context is not None:
            touched, inside = self.popularity.inside(query.context, known)
            popularity[:, touched] = inside[RULES_POPULARITY]
            inside = inside[: len(common)]
        for_lrurec = popularity[newcomer]
        popularity[newcomer] = self.first_items.probabilities(for_lrurec)
        own = len(self.names) - len(common)
        weights, logs = self._room(len(recent), own, base.shape[1])
        column = 0
        if self.rules:
            settings = slice(column, column + len(SETTINGS))
            self.rules.scores(recent, popularity, out=weights[:, settings])
            column = settings.stop
        if self.id_neighbours:
            self.id_neighbours.scores(recent, popularity, out=weights[:, column])
            column += 1
        if self.own_history:
            items = recent.clamp(min=0)
            self.own_history.scores(recent, items, popularity, out=weights[:, column])
            column += 1
        torch.log(weights[:, :column], out=logs[:, :column])
        if "lrurec" in self.chosen:
            logits = query.logits(out=logs[:, column])
            logits[newcomer] = for_lrurec.log()
            torch.softmax(logits, dim=1, out=weights[:, column])
        difference = [
            (there - everywhere[:, None, touched]).transpose(0, 1)
            for there, everywhere in ((inside, common), (inside.log(), common.log()))
        ]
        return Opinions(
            Table(common, touched, difference[0], weights),
            Table(common.log(), touched, difference[1], logs),
        )

    def _room(self, events: int, experts: int, items: int) -> tuple[Tensor, Tensor]:
        """For opinions (B, P, I) and their logarithms, with one more (B, P + 1, I): always the same
        memory, since blocks so large would go back to the system and come again page by page."""
        sizes = [events * rows * items for rows in (experts, experts + 1)]
        if len(self._memory) < sum(sizes):
            self._memory = torch.empty(sum(sizes), device=self.device)
        weights, logs = self._memory[: sum(sizes)].split(sizes)
        return weights.view(events, experts, items), logs.view(events, experts + 1, items)

    def learn(self, context: Context) -> None:
        """Count the events, for all experts but popularity: that learns part by part."""
        self.first_items.learn(context)
        if self.rules:
            self.rules.learn(context)
        if self.id_neighbours:
            self.id_neighbours.learn(context)
        if self.own_history:
            self.own_history.learn(context)

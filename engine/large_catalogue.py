"""What the experts say of a large catalogue: only of items that one of them has among its best.

Letters: B events, C columns of the union of items, P proposals.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from engine.experts import RULES_POPULARITY, Experts, Query
from engine.id_neighbours import SHARE as IDS_SHARE
from engine.opinions import Opinions, Table
from engine.rules import SETTINGS
from engine.union import Union, best_of_entries

BEST = 64
"""Items that an expert proposes for an event, at most."""


def opinions_of_best(experts: Experts, query: Query) -> Opinions:
    """As `Experts.opinions`, of the union of what each expert has among its `BEST` items."""
    asked = _Asked(experts, query)
    proposals = list(asked.proposals())
    if "lrurec" in experts.chosen:
        logits = offered = query.logits()
        if query.seen is not None:
            offered = logits.index_put(query.seen, logits.new_tensor(-torch.inf))
        proposals.append(offered.topk(min(BEST, query.known)).indices)
    union = Union(torch.cat(proposals, dim=1), query.known)

    of_popularity = asked.popularity.among(union.items)
    popularity, newcomer = of_popularity[:, RULES_POPULARITY].clone(), query.newcomer
    for_lrurec = popularity[newcomer]
    popularity[newcomer] = experts.first_items.probabilities(for_lrurec, union.items[newcomer])
    weights = list(of_popularity.unbind(1)) if "popularity" in experts.chosen else []
    weights += asked.scores(union, popularity)
    logs = [weight.log() for weight in weights]
    if "lrurec" in experts.chosen:
        logs.append(logits.gather(1, union.items))
        logs[-1][newcomer] = for_lrurec.log()
        weights.append(torch.softmax(logs[-1], dim=1))
    logs.append(torch.empty_like(logs[-1]))  # room for the blend
    return Opinions(_own(weights), _own(logs), union)


class _Asked:
    """The experts, LRURec apart: what they propose, then what they say of all proposals."""

    def __init__(self, experts: Experts, query: Query) -> None:
        self.experts = experts
        self.query = query
        context, known, recent = query.context, query.known, query.recent
        base, events = experts.popularity.probabilities(known), len(recent)
        touched, inside = recent.new_empty(0), base[:, None, :0]
        self.just_before = recent[:, :0]
        if context is not None:
            touched, inside = experts.popularity.inside(context, known)
            items = torch.from_numpy(context.items).to(recent.device)
            # Of each event, those before it: what comes true must not propose itself.
            earlier = torch.ones(events, events, device=recent.device).tril(-1) > 0
            self.just_before = items.expand(events, -1).where(earlier, -1)
        difference = (inside - base[:, None, touched]).expand(-1, events, -1).transpose(0, 1)
        self.popularity = Table(base, touched, difference, base.new_empty(events, 0, known))
        self.entries: list[tuple[float, tuple[Tensor, Tensor, Tensor]]] = []
        """What rules and neighbours by id add to a share of the popularity, and that share."""
        if experts.rules:
            shares = [setting.share for setting in SETTINGS]
            self.entries += zip(shares, experts.rules.entries(recent), strict=True)
        if experts.id_neighbours:
            self.entries.append((IDS_SHARE, experts.id_neighbours.entries(recent)))

    def proposals(self) -> Iterator[Tensor]:
        """Item rows (B, P), -1 for none."""
        query, count = self.query, min(BEST, self.query.known)
        popular = [self.popularity.common.topk(count).indices.flatten()]
        popular.append(self.experts.first_items.counts.topk(count).indices)
        yield torch.cat(popular).unique().expand(len(query.recent), -1)
        yield query.recent
        yield self.just_before
        for _, entries in self.entries:
            yield best_of_entries(entries, len(query.recent), query.known, BEST)

    def scores(self, union: Union, popularity: Tensor) -> Iterator[Tensor]:
        """Positive (B, C), expert by expert; popularity (B, C)."""
        experts, query = self.experts, self.query
        for share, entries in self.entries:
            yield share * popularity + union.sums(entries)
        if experts.own_history:
            out, where = torch.empty_like(popularity), union.columns(query.recent)
            experts.own_history.scores(query.recent, where, popularity, out)
            yield out


def _own(columns: list[Tensor]) -> Table:
    """A table of opinions (B, C) that all differ by event."""
    own = torch.stack(columns, dim=1)
    none = own.new_empty(0, dtype=torch.long)
    return Table(own.new_empty(0, own.shape[2]), none, own[:, :0, :0], own)

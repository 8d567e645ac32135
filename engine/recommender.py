"""The recommender: predict, then learn; and answer queries. One object, used by serve and replay.

Letters: B events of a micro-batch, I items known, M experts, H the model's width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import numpy as np
import torch
from torch import Tensor

from connectors.event import EventBatch
from engine.appearances import Appearances
from engine.config import EngineConfig
from engine.context import WINDOW, Context, read_context
from engine.experts import Experts, Query
from engine.facts import Facts
from engine.history import Histories
from engine.ids import Vocabulary
from engine.large_catalogue import opinions_of_best
from engine.metrics import Reason
from engine.mixture import Mixture, contexts_of
from engine.opinions import Opinions
from engine.reranker import Reranker
from engine.scoring import Scored, Scoring, joined
from engine.states import States
from engine.topk import best, ranks_of, uniform_draws
from lrurec.config import ModelConfig
from lrurec.model import LRURec

SCORE_EVENTS = 64
"""Events scored at once at most: so far the mixture's weights may lag ..."""

LONG_STREAM = 100_000
"""... and twice as far from so many events on, four times from twice as many: the more a stream
has had, the less an event more changes the weights. In a large catalogue it is twice at most: there
each event weighs what comes true of the others, too."""

SCORE_CELLS = 12_000_000
"""Events x experts x items scored at once at most: 48 MB. In a large catalogue, where experts speak
of few items only, it bounds events x items."""


class Recommender:
    """Ids, histories, states, experts and mixture over one model version.

    `learn_many` never changes the model's weights; only `swap` does.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.device = choose_device(config.device)
        self.users = Vocabulary()
        self.items = Vocabulary()
        self.histories = Histories(config.history)
        self.experts = Experts(config, self.device)
        self.mixture = Mixture(len(self.experts.names), self.device)
        self.reranker: Reranker | None = None
        """None with experts of one group: `--experts lrurec` answers as the pure model does."""
        if len(self.experts.groups) > 1:
            repeats = "repeat" in self.experts.chosen
            self.reranker = Reranker(len(self.experts.names), repeats, config.seed, self.device)
        self.appearances = Appearances(self.device)
        self.events = 0
        self.event_time = 0.0
        self.version = 0
        self.observers: list[Callable[[Scoring], None]] = []
        """Called after each scoring, where a replay looks at what goes on inside."""
        model = LRURec(
            ModelConfig(items=0, width=config.width, blocks=config.blocks, dropout=config.dropout),
            seed=config.seed,
        )
        self.model = model.to(self.device).eval()
        self.states = States(self.model, self.histories, config.max_users_resident)

    @property
    def uses_model(self) -> bool:
        return "lrurec" in self.experts.names

    def learn_many(self, batch: EventBatch, score: bool = True) -> Scored | None:
        """Rank every event with what was known before it, then learn it.

        Equal to learning the events one by one, but that the counts of the rules, when scoring,
        and the places of new items in the order of ids lag by at most one micro-batch. Without
        `score`, nothing is ranked and the mixture rests.
        """
        parts = [
            self._learn_batch(part, score) for part in batch.micro_batches(self.config.micro_batch)
        ]
        scored = [part for part in parts if part is not None]
        return joined(scored) if scored else None

    def learn_one(self, batch: EventBatch) -> None:
        """Learn a batch event by event, unscored: the reference that `learn_many` equals."""
        for one in batch.micro_batches(1):
            self._learn_batch(one, score=False)

    @torch.no_grad()
    def recommend(
        self, user: str, k: int = 10, exclude: Collection[str] = ()
    ) -> list[tuple[str, float]]:
        """The user's k best items and their probabilities, best first.

        An unknown user gets what is popular, above all with users who begin; where no item is
        known, the list is empty. Items the user has are left out unless repeats are on; unknown
        names in `exclude` are ignored. Of a large catalogue (`full_catalogue`) there are no more
        items than the experts propose, some hundred.
        """
        known = len(self.items)
        if not known:
            return []
        self.experts.order_ids(self.items.names)
        row = self.users.row(user)
        users = np.array([row]) if row >= 0 else np.empty(0, dtype=np.int64)
        recent = np.full((1, WINDOW), -1, dtype=np.int64)
        excluded = [self.items.row(name) for name in exclude]
        length, gap = np.zeros(1, dtype=np.int64), np.array([np.inf])
        hidden = torch.zeros(1, self.config.width, device=self.device)
        if row >= 0:
            recent = self.histories.events.tails(users, WINDOW)[:, ::-1].copy()
            length = self.histories.total[users]
            gap = np.maximum(self.event_time - self.histories.last_time[users], 0.0)
            if self.uses_model:
                hidden = self.states.hidden(users)
            if not self.config.repeats:
                excluded += self.histories.seen.row(row).tolist()
        left_out = torch.tensor([item for item in excluded if item >= 0], device=self.device)
        seen = (torch.zeros_like(left_out, dtype=torch.long), left_out.long())
        known_before = torch.tensor([known], device=self.device)
        newest_first, ages = (torch.from_numpy(x).to(self.device) for x in (recent, gap))
        opinions = self._opinions(None, newest_first, hidden, seen)
        candidates = opinions.candidates(known_before, seen)
        lengths = torch.from_numpy(length).to(self.device)
        facts = self._facts(newest_first, lengths, ages, self.events)
        contexts = contexts_of(newest_first, lengths, ages, facts.supports)
        answer = self.mixture.mix(opinions, candidates, contexts)
        if self.reranker:
            answer = self.reranker.rerank(answer, opinions, facts)
        columns, scores = best(answer.masked_fill(candidates == 0, -torch.inf)[0], k)
        items = opinions.items_of(torch.tensor([columns], device=self.device, dtype=torch.long))
        names = [self.items.names[item] for item in items[0].tolist()]
        return list(zip(names, scores, strict=True))

    def forget(self, user: str) -> bool:
        """Drop a user's name, history and state; False where the name is not known.

        What was counted and trained over all users stays. If the name comes again, it is a new
        user's.
        """
        row = self.users.forget(user)
        if row < 0:
            return False
        self.histories.forget(row)
        self.states.forget(np.array([row]))
        return True

    def states_under(self, model: LRURec) -> States:
        """The states of all resident users under another model, made beside the live ones.

        The model gets the items it lacks and moves to the device. Call after
        `histories.anchor_all`; nothing that answers a query is touched.
        """
        if model.config.items < len(self.items):
            model.grow(len(self.items))
        states = States(
            model.to(self.device).eval(), self.histories, self.config.max_users_resident
        )
        states.rebuild(self.states.users)
        return states

    def swap(self, model: LRURec, version: int, states: States | None = None) -> None:
        """Replace the weights and, with them, every state: no answer mixes two versions.

        `states`: those of `states_under(model)`; without them, users come back one by one.
        """
        self.histories.anchor_all()
        if model.config.items < len(self.items):
            model.grow(len(self.items))
        self.install(model, version, states)

    def install(self, model: LRURec, version: int, states: States | None = None) -> None:
        """Make a model that has all items the live one."""
        self.model = model.to(self.device).eval()
        self.version = version
        self.states = states or States(self.model, self.histories, self.config.max_users_resident)

    @torch.no_grad()
    def _learn_batch(self, batch: EventBatch, score: bool) -> Scored | None:
        if not len(batch):
            return None
        known = len(self.items)
        self.experts.order_ids(self.items.names)
        users = self.users.add(batch.users)
        items = self.items.add(batch.items)
        self.make_room()
        context = read_context(self.histories, users, items, batch.timestamps, known)
        before = self._advance_states(context)
        scored = self._score_and_learn_popularity(context, before) if score else None
        if not score:
            self._learn_popularity(context, self.events)
        self.experts.learn(context)
        self.histories.learn(users, items, context.repeat, batch.timestamps, batch.partitions)
        moved = self.histories.move_up_overdue(np.unique(users))
        if len(moved):
            self.states.forget(moved)
        self.events += len(batch)
        self.event_time = max(self.event_time, float(batch.timestamps.max()))
        return scored

    def make_room(self) -> None:
        """Room for all users and items that have a name by now, before anything is read."""
        self.histories.resize(len(self.users))
        self.states.resize(len(self.users))
        self.experts.grow(len(self.items))
        self.appearances.grow(len(self.items))
        if self.reranker:
            self.reranker.grow(len(self.items))
        if len(self.items) > self.model.config.items:
            self.model.grow(len(self.items))

    def _advance_states(self, context: Context) -> Tensor | None:
        """Apply the batch to the states; the hidden vector (B, H) just before each event."""
        if not self.uses_model:
            return None
        order = np.argsort(context.users, kind="stable")
        unique, first = np.unique(context.users[order], return_index=True)
        stored = self.states.hidden(unique)
        offsets = np.append(first, len(order)).astype(np.int64)
        after = self.states.advance(unique, context.items[order], offsets)
        before_sorted = torch.empty_like(after)
        before_sorted[1:] = after[:-1]
        before_sorted[torch.from_numpy(first).to(self.device)] = stored
        before = torch.empty_like(after)
        before[torch.from_numpy(order).to(self.device)] = before_sorted
        return before

    def _score_and_learn_popularity(self, context: Context, hidden: Tensor | None) -> Scored:
        """Rank the batch part by part, so that their matrices stay small and the mixture fresh.

        Popularity learns each part at once: it is exact inside the batch either way.
        """
        cells = len(self.items) * (1 if self._large_catalogue else len(self.experts.names))
        doublings = min(self.events // LONG_STREAM, 1 if self._large_catalogue else 2)
        events = max(1, min(SCORE_EVENTS << doublings, SCORE_CELLS // cells))
        parts = []
        for start, part in zip(range(0, len(context), events), context.split(events), strict=True):
            before = None if hidden is None else hidden[start : start + events]
            parts.append(self._score(part, before, self.events + start))
            self._learn_popularity(part, self.events + start)
        return joined(parts)

    def _learn_popularity(self, context: Context, number: int) -> None:
        """How often and when items occur, from event `number` of the stream on."""
        self.experts.popularity.learn(context)
        self.appearances.learn(context, number)

    def _facts(self, recent: Tensor, lengths: Tensor, gaps: Tensor, number: int) -> Facts:
        """What is known of users just before event `number` of the stream."""
        counts, newest = self.experts.popularity.counts[0], recent[:, 0]
        supports = counts[newest.clamp(min=0)] * (newest >= 0)
        model = self.model if self.uses_model else None
        neighbours = self.experts.id_neighbours
        ids = neighbours.ids if neighbours else None
        return Facts(recent, lengths, gaps, supports, counts, self.appearances, number, model, ids)

    @property
    def _large_catalogue(self) -> bool:
        return len(self.items) > self.config.full_catalogue

    def _opinions(
        self,
        context: Context | None,
        recent: Tensor,
        hidden: Tensor | None,
        seen: tuple[Tensor, Tensor] | None,
    ) -> Opinions:
        """Of all items, or of those that an expert has among its best; arguments as of `Query`."""
        query = Query(context, len(self.items), recent, hidden, seen, self.model)
        if self._large_catalogue:
            return opinions_of_best(self.experts, query)
        return self.experts.opinions(query)

    def _score(self, context: Context, hidden: Tensor | None, number: int) -> Scored:
        """Rank events of which the first is the stream's event `number`."""
        known = torch.from_numpy(context.known).to(self.device)
        recent = torch.from_numpy(context.recent).to(self.device)
        gap = torch.from_numpy(context.gap).to(self.device)
        seen = None
        if not self.config.repeats:
            rows, columns = context.seen
            seen = (
                torch.from_numpy(rows).to(self.device),
                torch.from_numpy(columns).to(self.device),
            )
        opinions = self._opinions(context, recent, hidden, seen)
        candidates = opinions.candidates(known, seen)
        lengths = torch.from_numpy(context.length).to(self.device)
        facts = self._facts(recent, lengths, gap, number)
        contexts = contexts_of(recent, lengths, gap, facts.supports)

        reasons = np.zeros(len(context), dtype=np.int8)
        if not self.config.repeats:
            reasons[context.repeat] = Reason.REPEAT
        reasons[context.items >= context.known] = Reason.NEW_ITEM
        items = torch.from_numpy(np.where(reasons == Reason.RANKED, context.items, -1))
        true = opinions.columns_of(items.to(self.device)[:, None])
        columns = true.squeeze(1).cpu().numpy()
        mixed = self.mixture.mix_and_learn(opinions, candidates, contexts, columns)
        named = {"engine": mixed}
        if self.reranker:
            named["engine"] = self.reranker.rerank_and_learn(mixed, opinions, facts, columns)
        if self.uses_model:
            pure = opinions.weights.own[:, -1] * candidates  # the last expert
            named["lrurec"] = pure.div_(pure.sum(1, keepdim=True))

        ranked, true = columns >= 0, true.clamp(min=0)
        draws = uniform_draws(self.config.seed, number, len(context))
        ranks, losses = {}, {}
        for name, probabilities in named.items():
            ranks[name] = np.where(ranked, ranks_of(probabilities, true.squeeze(1), draws), 0)
            likelihood = probabilities.gather(1, true).squeeze(1).log()
            losses[name] = np.where(ranked, -likelihood.cpu().numpy().astype(np.float64), np.nan)
        for observe in self.observers:
            observe(
                Scoring(number, opinions, candidates, facts, contexts, columns, draws, mixed, named)
            )
        return Scored(ranks, reasons, losses, new_user=context.length == 0)


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one. Raises ValueError where the device cannot be had."""
    gpus = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"device: {name!r} is not known; give auto, cpu or cuda[:n]")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ValueError(f"device: {name} asked for, but torch sees {gpus} GPUs; give --device cpu")
    return device

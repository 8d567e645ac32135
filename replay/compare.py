"""The engine and the baselines by name, side by side over one stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from connectors.event import EventBatch
from engine.config import EngineConfig
from engine.engine import Engine
from engine.scoring import Scored
from replay import prequential
from replay.among_recent import AmongRecent
from replay.baselines import BASELINES, COUNTING, FROM_VALUES, makers
from replay.prequential import Progress, Results, ScoreAndLearn
from replay.protocols import DEPLOYABLE, Protocol

if TYPE_CHECKING:
    from replay.record import Recorder

ENGINES = ("engine", "lrurec")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be ranked: answers of the engine, baselines, and the engine that it takes.

    everything: all models were asked for, so that those a stream cannot feed are left out.
    """

    engines: tuple[str, ...]
    baselines: tuple[str, ...]
    config: EngineConfig
    protocol: Protocol = DEPLOYABLE
    everything: bool = False

    @classmethod
    def of(
        cls, names: Sequence[str], config: EngineConfig, protocol: Protocol = DEPLOYABLE
    ) -> Comparison:
        """Of models by name; `all` stands for all of them, `fast` (which an empty `names` means)
        for the engine's and the counting baselines. Raises ValueError for a name there is not.

        One run of the engine ranks both `engine` and `lrurec`, as LRURec never sees the mixture;
        where only `lrurec` is asked for, the engine runs with that expert alone.
        """
        possible = [n for n in ENGINES if n == "engine" or n in config.experts] + list(BASELINES)
        groups = {
            "fast": [name for name in possible if name in (*ENGINES, *COUNTING)],
            "all": possible,
        }
        for name in names:
            if name not in (*possible, *groups):
                raise ValueError(
                    f"model {name!r} is not among {', '.join(possible)}; fast and all are groups"
                )
        chosen = {model for name in names or ["fast"] for model in groups.get(name, [name])}
        if protocol.repeats is not None:
            config = replace(config, repeats=protocol.repeats)
        engines = tuple(name for name in ENGINES if name in chosen)
        if engines == ("lrurec",):
            config = replace(config, experts=("lrurec",))
        baselines = tuple(name for name in BASELINES if name in chosen)
        return cls(engines, baselines, config, protocol, everything="all" in names)

    def new_engine(self) -> Engine | None:
        return Engine(self.config) if self.engines else None

    def run(
        self,
        engine: Engine | None,
        events: EventBatch,
        progress: Progress | None = None,
        feed: Iterable[EventBatch] | None = None,
        recorder: Recorder | None = None,
    ) -> Results:
        """Replay ordered events; tracks in the order engine, lrurec, baselines.

        `engine` is what `new_engine` gave, and what the recorder watches. Raises ValueError where
        there is no event, and where a baseline that was named learns from values and the events
        have none.
        """
        if not len(events):
            raise ValueError("no event is left to replay: give a larger file, or leave less out")
        left_out = self._unfit(events)
        baselines = [name for name in self.baselines if name not in left_out]
        results = prequential.run(
            self._step(engine, events, recorder) if engine else None,
            baselines,
            events,
            micro_batch=self.config.micro_batch,
            repeats=self.config.repeats,
            seed=self.config.seed,
            protocol=self.protocol,
            progress=progress,
            feed=feed,
            makers=makers(self.config),
            watch=recorder.watch if recorder else None,
        )
        tracks = {name: results.tracks[name] for name in (*self.engines, *baselines)}
        return replace(results, tracks=tracks, left_out=left_out)

    def _unfit(self, events: EventBatch) -> dict[str, str]:
        """The baselines that have nothing to learn from these events, and why."""
        if not np.isnan(events.values).all():
            return {}
        unfit = [name for name in self.baselines if name in FROM_VALUES]
        if unfit and not self.everything:
            raise ValueError(
                f"{unfit[0]} learns from values, and the events have none: "
                "leave it out, or name their column"
            )
        return dict.fromkeys(unfit, "the events have no values")

    def _step(self, engine: Engine, events: EventBatch, recorder: Recorder | None) -> ScoreAndLearn:
        """One micro-batch through the engine, under the protocol."""
        recommender = engine.recommender
        step = recorder.step if recorder else in_process(engine)
        if self.protocol.all_items:
            recommender.items.add(sorted(set(events.items)))  # by name: their order tells nothing
            recommender.make_room()
        if self.protocol.recent_events:
            return AmongRecent(recommender, self.protocol.recent_events, step)
        return step


def in_process(engine: Engine) -> ScoreAndLearn:
    """One micro-batch through the engine, which fine-tunes inline where that is due."""

    def step(batch: EventBatch) -> Scored:
        scored = engine.process(batch)
        engine.finetune_if_due()
        assert scored is not None
        return scored

    return step

"""The engine and the baselines by name, side by side over one stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from connectors.event import EventBatch
from engine.config import EngineConfig
from engine.engine import Engine
from engine.recommender import Scored
from replay import prequential
from replay.among_recent import AmongRecent
from replay.baselines import BASELINES
from replay.prequential import Progress, Results, ScoreAndLearn
from replay.protocols import DEPLOYABLE, Protocol

if TYPE_CHECKING:
    from replay.record import Recorder

ENGINES = ("engine", "lrurec")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be ranked: answers of the engine, baselines, and the engine that it takes."""

    engines: tuple[str, ...]
    baselines: tuple[str, ...]
    config: EngineConfig
    protocol: Protocol = DEPLOYABLE

    @classmethod
    def of(
        cls, names: Sequence[str], config: EngineConfig, protocol: Protocol = DEPLOYABLE
    ) -> Comparison:
        """All there are where `names` is empty. Raises ValueError for a name there is not.

        One run of the engine ranks both `engine` and `lrurec`, as LRURec never sees the mixture;
        where only `lrurec` is asked for, the engine runs with that expert alone.
        """
        possible = [n for n in ENGINES if n == "engine" or n in config.experts] + list(BASELINES)
        chosen = names or possible
        for name in chosen:
            if name not in possible:
                raise ValueError(f"model {name!r} is not among {', '.join(possible)}")
        if protocol.repeats is not None:
            config = replace(config, repeats=protocol.repeats)
        engines = tuple(name for name in ENGINES if name in chosen)
        if engines == ("lrurec",):
            config = replace(config, experts=("lrurec",))
        return cls(engines, tuple(name for name in BASELINES if name in chosen), config, protocol)

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
        there is no event.
        """
        if not len(events):
            raise ValueError("no event is left to replay: give a larger file, or leave less out")
        results = prequential.run(
            self._step(engine, events, recorder) if engine else None,
            self.baselines,
            events,
            micro_batch=self.config.micro_batch,
            repeats=self.config.repeats,
            seed=self.config.seed,
            protocol=self.protocol,
            progress=progress,
            feed=feed,
            watch=recorder.watch if recorder else None,
        )
        tracks = {name: results.tracks[name] for name in (*self.engines, *self.baselines)}
        return replace(results, tracks=tracks)

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

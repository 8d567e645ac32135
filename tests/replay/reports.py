"""A small replay with everything in it, and its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from connectors.event import EventBatch
from engine.config import EngineConfig
from replay import folder
from replay.compare import Comparison
from replay.prequential import Results
from replay.protocols import DEPLOYABLE, Protocol
from replay.record import Recorder, Recording
from replay.report import Manifest
from replay.runs import Run
from replay.synthetic import markov_stream

HOSTILE = "<script>alert(1)</script> & 'clicks'"
CONFIG = EngineConfig(
    width=16, blocks=1, micro_batch=64, finetune_first=300, train_tokens_cap=3.0, gate_tolerance=9.0
)


@dataclass(frozen=True)
class Replayed:
    """A replay, and what was noted of it."""

    events: EventBatch
    results: Results
    recording: Recording


def replayed(
    models: tuple[str, ...] = (),
    config: EngineConfig = CONFIG,
    protocol: Protocol = DEPLOYABLE,
    events: int = 1_200,
) -> Replayed:
    """A stream in which the next item can mostly be told, recorded."""
    stream = markov_stream(n_users=40, n_items=60, n_events=events, predictability=0.8, seed=1)
    comparison = Comparison.of(models, config, protocol)
    engine = comparison.new_engine()
    recorder = Recorder(engine, protocol)
    results = comparison.run(engine, stream, recorder=recorder)
    return Replayed(stream, results, recorder.recording())


def manifest(protocol: Protocol = DEPLOYABLE) -> Manifest:
    """Of a stream whose name is not to be trusted."""
    return Manifest(
        stream=HOSTILE,
        data_file="clicks.csv",
        sha256="ab" * 32,
        skipped={"rating below 4": 1_234},
        micro_batch=CONFIG.micro_batch,
        seed=0,
        device="cpu",
        protocol=protocol.name,
        configuration={"history": 200},
        command="lrustream replay --file clicks.csv",
    )


def written(
    into: Path, replay: Replayed, protocol: Protocol = DEPLOYABLE, others: Sequence[Run] = ()
) -> Path:
    """The folder of its report, `others` being runs after it."""
    folder.claim(into)
    run = Run("file", replay.results, manifest(protocol))
    folder.write(into, [run, *others], replay.events, replay.recording)
    return into

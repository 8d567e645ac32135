"""A fine-tune in a process of its own: same result, and its death hurts nobody."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from connectors.event import EventBatch
from engine import finetune
from engine.background import BackgroundTuner, FinetuneFailed
from engine.engine import Engine
from engine.finetune import Candidate, Job
from tests.engine.running import CONFIG, Run, stream, with_settings

WAIT_S = 120.0  # the child is nice, and a busy machine is not


@pytest.fixture(scope="module")
def tuner() -> Iterator[BackgroundTuner]:
    tuner = BackgroundTuner()
    yield tuner
    tuner.close()


@pytest.fixture
def job() -> Job:
    engine = Engine(CONFIG)
    for batch in EventBatch.from_events(stream(300)).micro_batches(50):
        engine.process(batch)
    return engine.prepare("count")


def wait_for(tuner: BackgroundTuner) -> Candidate:
    deadline = time.monotonic() + WAIT_S
    while (candidate := tuner.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return candidate


def test_the_candidate_is_the_one_that_inline_gives(tuner: BackgroundTuner, job: Job) -> None:
    assert tuner.poll() is None
    tuner.submit(job)
    assert tuner.busy
    candidate = wait_for(tuner)
    assert not tuner.busy
    inline = finetune.run(job)
    assert candidate.candidate_loss == pytest.approx(inline.candidate_loss, abs=1e-4)
    for name, tensor in inline.model.state_dict().items():
        torch.testing.assert_close(candidate.model.state_dict()[name], tensor)


def test_the_loop_goes_on_and_swaps_when_the_candidate_comes(
    tuner: BackgroundTuner, tmp_path: Path
) -> None:
    class Slow:
        """Gives the loop time: every read of the clock waits for the child a little."""

        def __call__(self) -> float:
            if tuner.busy:
                time.sleep(0.01)
            return 0.0

    config = with_settings(finetune_mode="background", finetune_every=1_000)
    run = Run(tmp_path, stream(20_000), config, tuner=tuner, clock=Slow())
    deadline = time.monotonic() + WAIT_S
    events = 0
    while run.engine.recommender.version < 1 and time.monotonic() < deadline:
        events += 50
        while run.engine.recommender.events < events:
            run.loop._step(events)
    run.database.close()
    (info, *_) = run.versions.list()
    assert info.accepted
    assert info.events == 300
    assert run.engine.recommender.events > 300
    assert run.engine.window.start == 300
    assert run.engine.recommender.states.resident == 30  # nobody waits for a rebuild


def test_a_child_that_dies_or_fails_is_reported_and_the_next_job_works(
    tuner: BackgroundTuner, job: Job
) -> None:
    tuner.submit(job)
    pid = tuner._child.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(FinetuneFailed, match="ended with exit code -9"):
        wait_for(tuner)
    tuner.submit(replace(job, trained={}))
    with pytest.raises(FinetuneFailed, match="the fine-tune failed: KeyError"):
        wait_for(tuner)
    tuner.submit(job)
    assert wait_for(tuner).version == job.version

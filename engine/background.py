"""Who runs a fine-tune: this process while events wait, or one of its own while they go on."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Thread
from typing import Protocol

import torch

from engine import finetune
from engine.errors import EngineError
from engine.finetune import Candidate, Job

NICENESS = 10
"""Learning and answering go before training."""

log = logging.getLogger(__name__)


class FinetuneFailed(EngineError):
    """A fine-tune ended without a candidate."""


class Tuner(Protocol):
    """Runs one fine-tune at a time."""

    @property
    def busy(self) -> bool: ...

    def submit(self, job: Job) -> None: ...

    def poll(self) -> Candidate | None:
        """The candidate, once, when it is ready. Raises FinetuneFailed, once, where it failed."""
        ...

    def close(self) -> None:
        """Give up what runs; a later `submit` starts anew."""
        ...


class InlineTuner:
    """Runs a fine-tune when it is submitted: runs repeat exactly."""

    def __init__(self) -> None:
        self._candidate: Candidate | None = None

    @property
    def busy(self) -> bool:
        return self._candidate is not None

    def submit(self, job: Job) -> None:
        self._candidate = finetune.run(job)

    def poll(self) -> Candidate | None:
        candidate, self._candidate = self._candidate, None
        return candidate

    def close(self) -> None:
        self._candidate = None


class BackgroundTuner:
    """Runs fine-tunes in a child process that leaves one core to the loop."""

    def __init__(self) -> None:
        self.busy = False
        self._start()

    def submit(self, job: Job) -> None:
        if not self._child.is_alive():
            self._start()
        self.busy = True
        # The child may still be starting, and a pipe holds little: the loop does not wait for it.
        Thread(target=_send, args=(self._pipe, job), daemon=True).start()

    def poll(self) -> Candidate | None:
        if not self.busy:
            return None
        alive = self._child.is_alive()  # asked first: what it sent before its end still counts
        try:
            if not self._pipe.poll():
                if alive:
                    return None
                raise EOFError
            answer = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self.close()
            code = self._child.exitcode
            raise FinetuneFailed(f"the fine-tuning process ended with exit code {code}") from None
        self.busy = False
        if isinstance(answer, Candidate):
            return answer
        raise FinetuneFailed(f"the fine-tune failed: {answer}")

    def close(self) -> None:
        self.busy = False
        self._child.kill()
        self._child.join()
        self._pipe.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(
            target=_serve, args=(theirs,), name="lrustream-finetune", daemon=True
        )
        # Ctrl-C is the parent's to answer: the child inherits the mask, from its first moment on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._child.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()


def _send(pipe: Connection, job: Job) -> None:
    with suppress(OSError):  # the child has ended: `poll` finds out
        pipe.send_bytes(pickle.dumps(job))


def _serve(pipe: Connection) -> None:
    """The child: jobs in, candidates (or the text of an error) out, until the parent goes."""
    os.nice(NICENESS)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    with suppress(EOFError, OSError):
        while True:
            job: Job = pickle.loads(pipe.recv_bytes())
            try:
                answer: Candidate | str = finetune.run(job)
            except Exception as error:
                log.exception("the fine-tune failed")
                answer = " ".join(f"{type(error).__name__}: {error}".split())
            pipe.send_bytes(pickle.dumps(answer))

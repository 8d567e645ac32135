"""Callbacks of a library that makes them on a thread of its own, brought back to the caller's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Relay:
    """`run` makes a call that blocks; `bring` does a callback's work where `run` waits.

    So a callback may use what belongs to the calling thread: its locks, its database session.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        """`timeout_s`: how long a callback waits for its work to be done."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._timeout_s = timeout_s
        self._turns: SimpleQueue[Callable[[], None] | Future[Any]] = SimpleQueue()
        self._error: BaseException | None = None

    def run(self, call: Callable[[], T]) -> T:
        """The result of `call`, made on the worker; raises first what a callback raised."""
        job = self._worker.submit(call)
        job.add_done_callback(self._turns.put)
        while (turn := self._turns.get()) is not job:
            if not isinstance(turn, Future):  # else the end of a call whose caller was interrupted
                turn()
        error, self._error = self._error, None
        if error is not None:
            raise error
        return job.result()

    def bring(self, work: Callable[[], None]) -> None:
        """Called on the library's thread: return when `work` is done on the thread in `run`."""
        done: Future[None] = Future()

        def turn() -> None:
            try:
                work()
                done.set_result(None)
            except BaseException as error:
                self._error = error
                done.set_exception(error)

        self._turns.put(turn)
        done.result(self._timeout_s)

    def close(self) -> None:
        self._worker.shutdown()

"""What other threads ask of the loop: done on its thread, between two micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

ENDED = "the loop has ended"

T = TypeVar("T")


class Requests:
    """`ask` belongs to any thread, the others to the loop's."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()

    @property
    def empty(self) -> bool:
        return self._waiting.empty()

    def ask(self, do: Callable[[], T], timeout_s: float) -> T:
        """Have this done, and return what comes of it.

        Raises what `do` raises where that is a ValueError, TimeoutError where the loop is busy for
        so long, RuntimeError where it ends.
        """
        answer: Future[T] = Future()
        self._waiting.put((do, answer))
        return answer.result(timeout_s)

    def do_all(self) -> None:
        """What is wrong with a request is told to who asks; any other error ends the loop."""
        for do, answer in self._take():
            try:
                answer.set_result(do())
            except ValueError as error:
                answer.set_exception(error)
            except BaseException:
                answer.set_exception(RuntimeError(ENDED))
                raise

    def refuse_all(self) -> None:
        for _, answer in self._take():
            answer.set_exception(RuntimeError(ENDED))

    def _take(self) -> Iterator[tuple[Callable[[], Any], Future[Any]]]:
        while True:
            try:
                yield self._waiting.get_nowait()
            except Empty:
                return

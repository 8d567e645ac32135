"""The local HTTP API of a running engine.

    GET  /recommend/{user}?k=10&exclude=ITEM      the user's best items
    GET  /stats                                   counts, metrics, memory and caps
    GET  /metrics                                 the same for Prometheus
    GET  /models                                  versions, the live one marked
    POST /models/{version}/promote                make a version the live one
    POST /models/rollback                         make the version before it the live one
    DELETE /users/{user}                          forget a user, for good
    GET  /health                                  that it answers, and from which process

Answers are JSON, but for /metrics. A request that cannot be is answered with a 4xx and
`{"detail": "one line"}`.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, Protocol, TypeVar

import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from connectors import codec, prometheus
from connectors.base import ConnectorError

MAX_K = 1000
STOP_TIMEOUT_S = 5.0

T = TypeVar("T")


class Answers(Protocol):
    """What is served. Called from many threads at once."""

    def recommend(
        self, user: str, k: int, exclude: Collection[str]
    ) -> Sequence[tuple[str, float]]: ...

    def stats(self) -> dict[str, Any]: ...

    def models(self) -> Sequence[dict[str, Any]]: ...

    def promote(self, version: int) -> int:
        """The version that is live now. Raises ValueError where there is no such version."""
        ...

    def rollback(self) -> int:
        """The version that is live now. Raises ValueError where there is none before it."""
        ...

    def forget(self, user: str) -> bool:
        """Drop what is held of a user; False where nothing is."""
        ...


def build(answers: Answers) -> FastAPI:
    """The application."""
    app = FastAPI(title="lrustream", docs_url=None, redoc_url=None, openapi_url=None)
    exposition = prometheus.Exposition(answers.stats)

    @app.get("/recommend/{user:path}")
    def recommend(
        user: str,
        k: Annotated[int, Query(ge=1, le=MAX_K)] = 10,
        exclude: Annotated[list[str] | None, Query()] = None,
    ) -> dict[str, Any]:
        with exposition.answer_timed():
            best = answers.recommend(user, k, exclude or ())
        return codec.answer(user, best)

    @app.get("/stats")
    def stats() -> dict[str, Any]:
        return answers.stats()

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(exposition.text(), media_type=prometheus.CONTENT_TYPE)

    @app.get("/models")
    def models() -> Sequence[dict[str, Any]]:
        return answers.models()

    @app.post("/models/{version:int}/promote")
    def promote(version: int) -> dict[str, int]:
        return {"live": _or_refuse(lambda: answers.promote(version))}

    @app.post("/models/rollback")
    def rollback() -> dict[str, int]:
        return {"live": _or_refuse(answers.rollback)}

    @app.delete("/users/{user:path}")
    def forget(user: str) -> dict[str, bool]:
        return {"forgotten": _or_refuse(lambda: answers.forget(user))}

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "pid": os.getpid()}

    @app.exception_handler(RequestValidationError)
    def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        detail = f"{first['loc'][-1]}: {first['msg'].removeprefix('Input ').lower()}"
        return JSONResponse({"detail": detail}, status_code=422)

    return app


class HttpServer:
    """The API in a thread of its own, from construction until `close`.

    `port` 0 takes a free one; `address` is http://HOST:PORT. Raises ConnectorError where the port
    cannot be had.
    """

    def __init__(self, answers: Answers, host: str = "127.0.0.1", port: int = 8000) -> None:
        self._socket = _bind(host, port)
        self.address = f"http://{host}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(build(answers), log_level="warning", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Finish the requests under way, and stop."""
        self._server.should_exit = True
        self._thread.join(STOP_TIMEOUT_S)
        self._socket.close()


def _or_refuse(change: Callable[[], T]) -> T:
    try:
        return change()
    except ValueError as error:
        raise HTTPException(409, str(error)) from None
    except (TimeoutError, RuntimeError):
        raise HTTPException(503, "the engine is busy or stopping: try again") from None


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConnectorError(
            f"cannot serve HTTP at {host}:{port}: {reason}: "
            "give another --host, or another --port (0 takes any free one)"
        ) from None

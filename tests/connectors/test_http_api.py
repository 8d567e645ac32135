"""The local HTTP API over a real socket, asked by our client and by hand."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from connectors.base import ConnectorError
from connectors.http_api import HttpServer
from connectors.http_client import HttpClient


class FakeEngine:
    """Answers so that a test sees what it was asked."""

    live = 2

    def recommend(self, user: str, k: int, exclude: Collection[str]) -> list[tuple[str, float]]:
        return [(f"{user}/{item}", 0.5) for item in ("a", "b", "c") if item not in exclude][:k]

    def stats(self) -> dict[str, Any]:
        return {"events": 7, "lag": {0: 3}}

    def models(self) -> list[dict[str, Any]]:
        return [{"version": 1, "live": False}, {"version": 2, "live": True}]

    def promote(self, version: int) -> int:
        if version == 3:
            raise TimeoutError
        if version > 3:
            raise ValueError(f"version {version}: not there; choose another")
        self.live = version
        return version

    def rollback(self) -> int:
        return self.promote(1)

    def forget(self, user: str) -> bool:
        return user == "a/b c"


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer(FakeEngine(), port=0)
    yield server
    server.close()


def asked(server: HttpServer, path: str, method: str = "GET") -> tuple[int, Any]:
    request = urllib.request.Request(server.address + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_recommendations_as_json(server: HttpServer) -> None:
    assert asked(server, "/recommend/ann?k=2&exclude=a") == (
        200,
        {
            "user": "ann",
            "items": [
                {"item": "ann/b", "probability": 0.5},
                {"item": "ann/c", "probability": 0.5},
            ],
        },
    )


@pytest.mark.parametrize("user", ["ann", "a/b?c#d", "Zoë 1", "..", "%2F"])
def test_any_user_name_arrives_as_it_is(server: HttpServer, user: str) -> None:
    answer = HttpClient(server.address).recommend(user, 1, ["a", "b"])
    assert answer == [(f"{user}/c", 0.5)]


def test_the_client_asks_for_everything_else_too(server: HttpServer) -> None:
    client = HttpClient(server.address)
    assert client.pid() == os.getpid()
    assert client.stats() == {"events": 7, "lag": {"0": 3}}
    assert [row["version"] for row in client.models() if row["live"]] == [2]
    assert client.promote(2) == 2
    assert client.rollback() == 1
    assert client.forget("a/b c")
    assert not client.forget("ann")


@pytest.mark.parametrize(
    ("path", "method", "status", "detail"),
    [
        ("/recommend/ann?k=0", "GET", 422, "k: should be greater than or equal to 1"),
        ("/recommend/ann?k=1001", "GET", 422, "k: should be less than or equal to 1000"),
        ("/recommend/ann?k=x", "GET", 422, "k: should be a valid integer"),
        ("/models/3/promote", "POST", 503, "the engine is busy or stopping: try again"),
        ("/models/9/promote", "POST", 409, "version 9: not there; choose another"),
        ("/nothing", "GET", 404, "Not Found"),
        ("/models/2/promote", "GET", 405, "Method Not Allowed"),
        ("/users/ann", "GET", 405, "Method Not Allowed"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    server: HttpServer, path: str, method: str, status: int, detail: str
) -> None:
    code, body = asked(server, path, method)
    assert (code, body["detail"][: len(detail)]) == (status, detail)
    assert "\n" not in body["detail"]


def test_the_client_repeats_what_the_server_says(server: HttpServer) -> None:
    with pytest.raises(ConnectorError, match=r"^version 9: not there; choose another$"):
        HttpClient(server.address).promote(9)


def test_a_port_in_use_is_said_at_once(server: HttpServer) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(ConnectorError, match=f"^cannot serve HTTP at 127.0.0.1:{port}: Address al"):
        HttpServer(FakeEngine(), port=port)


def test_nobody_answers_after_close() -> None:
    server = HttpServer(FakeEngine(), port=0)
    client = HttpClient(server.address)
    client.pid()
    server.close()
    with pytest.raises(ConnectorError, match="does not answer"):
        client.pid()

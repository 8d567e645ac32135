"""Asking a running engine over its HTTP API, with the standard library alone: it loads fast."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Collection
from typing import Any
from urllib.parse import quote, urlencode

from connectors.base import ConnectorError

TIMEOUT_S = 10.0

CHANGE_TIMEOUT_S = 70.0
"""Longer than an engine lets a change wait for its turn: what was refused is told."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine, no proxy


class HttpClient:
    """Asks a running engine; every method raises ConnectorError with the server's own words."""

    def __init__(self, address: str) -> None:
        self.address = address

    def pid(self) -> int:
        """The process that answers."""
        return int(self._ask("/health")["pid"])

    def recommend(self, user: str, k: int, exclude: Collection[str]) -> list[tuple[str, float]]:
        query = urlencode({"k": k, "exclude": list(exclude)}, doseq=True)
        answer = self._ask(f"/recommend/{quote(user, safe='')}?{query}")
        return [(row["item"], row["probability"]) for row in answer["items"]]

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("/stats")
        return found

    def models(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("/models")
        return found

    def promote(self, version: int) -> int:
        return int(self._ask(f"/models/{version}/promote", method="POST")["live"])

    def rollback(self) -> int:
        return int(self._ask("/models/rollback", method="POST")["live"])

    def forget(self, user: str) -> bool:
        return bool(self._ask(f"/users/{quote(user, safe='')}", method="DELETE")["forgotten"])

    def _ask(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(self.address + path, method=method)
        timeout = TIMEOUT_S if method == "GET" else CHANGE_TIMEOUT_S
        try:
            with _DIRECT.open(request, timeout=timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ConnectorError(_detail(error)) from None
        except (OSError, ValueError) as error:
            raise ConnectorError(f"{self.address} does not answer: {error}") from None


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{error.url}: {error.code} {error.reason}"

"""A real Chromium for the tests, without a window: driven over its own debugging pipe."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--remote-debugging-pipe"),
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A running browser. Skips where there is none.

    With LRUSTREAM_REQUIRE_SERVICES=1 a missing browser is a failure.
    """
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        reason = f"no browser: install one of {', '.join(PROGRAMS)}"
        if os.environ.get("LRUSTREAM_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with running(program, tmp_path_factory.mktemp("chromium")) as started:
        yield started


class Browser:
    """One page of a browser (DevTools protocol): commands out, answers and events back.

    Commands and answers are JSON that ends with a zero byte. `events` keeps all that the page said
    since `open`, by method.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = os.fdopen(commands, "wb", buffering=0)
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self._numbers = itertools.count(1)
        self._unread = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        self._commands.write(json.dumps(command).encode() + b"\0")
        while (message := self._read()).get("id") != number:
            self.events.append(message)
        assert "error" not in message, f"{method}: {message['error']}"
        return dict(message["result"])

    def open(self, page: Path, width: int = 1280, height: int = 900) -> None:
        """Load a file into a window of `width` pixels, and wait until it stands."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        self.events.clear()
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while not self.happened("Page.loadEventFired"):
            self.events.append(self._read())
        self.evaluate("document.fonts.ready.then(() => 0)")

    def happened(self, *methods: str) -> list[dict[str, Any]]:
        """What the page said by these methods."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression, a promise awaited."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def close(self) -> None:
        self._session = None
        self.ask("Browser.close")
        self._commands.close()
        self._answers.close()

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            more = self._answers.read(1 << 20)
            assert more, "the browser has gone"
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def running(program: str, profile: Path) -> Iterator[Browser]:
    """Start a browser that reads commands from its descriptor 3 and answers on 4."""
    theirs, commands = os.pipe()
    answers, out = os.pipe()
    flags = (*FLAGS, f"--user-data-dir={profile}")
    log = (profile / "log").open("wb")
    # The shell gives the pipes the numbers that the browser expects.
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{out}', "bash", program, *flags],
        pass_fds=(theirs, out),
        stderr=log,
        stdout=log,
    )
    os.close(theirs)
    os.close(out)
    try:
        page = Browser(commands, answers)
        yield page
        page.close()
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        log.close()

"""`lrustream serve` for real: one engine that learns, answers, stops and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.embedded_log import EmbeddedLog
from connectors.http_client import HttpClient
from tests.commands import SMALL, complaint, output, run

ROOT = Path(__file__).parent.parent
RATINGS = str(ROOT / "data" / "movietweetings" / "ratings.csv.gz")
TITLES = str(ROOT / "data" / "movietweetings" / "movies.dat.gz")
QUICK = [
    *SMALL,
    "--set",
    "finetune_first=500",
    "--set",
    "train_tokens_cap=2",
    "--set",
    "gate_tolerance=9",
]
DEADLINE_S = 120.0
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


class Serving:
    """`lrustream serve` in a process of its own, on the state of the working directory."""

    def __init__(self, *options: str) -> None:
        with Path("serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / "cli.py", "serve", "--port", "0", *QUICK, *options],
                stderr=log,
                env={**os.environ, "LRUSTREAM_ENGINE__FINETUNE_MODE": "inline"},
            )

    def client(self) -> HttpClient:
        announced = Path(".lrustream/serve.json")
        self.wait_until(announced.exists)
        return HttpClient(json.loads(announced.read_text())["address"])

    def scraped(self) -> set[str]:
        """The lines that Prometheus reads."""
        with urllib.request.urlopen(f"{self.client().address}/metrics", timeout=10) as response:
            return set(response.read().decode().splitlines())

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.process.poll() is None, Path("serve.log").read_text()
            assert time.monotonic() < deadline, Path("serve.log").read_text()
            time.sleep(0.05)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def start(*options: str) -> Serving:
        started.append(Serving(*options))
        return started[-1]

    yield start
    for serving in started:
        serving.process.kill()
        serving.process.wait()


def asked(*arguments: str) -> Any:
    return json.loads(output(*arguments))


def test_an_engine_learns_answers_stops_and_goes_on(serve: Callable[..., Serving]) -> None:
    output("publish", RATINGS, "--topic", "films", "--limit", "2000")
    log = EmbeddedLog.open(".lrustream/log.sqlite")
    late = b'{"uid": "13941", "item_id": "1045658", "timestamp": 1362400000}'
    log.publish("films", [("", b"not json", None), ("", late, None)])

    serving = serve("--topic", "films")
    client = serving.client()
    serving.wait_until(lambda: sum(client.stats()["lag"].values()) == 0)
    serving.wait_until(lambda: client.stats()["events"] == 2000)
    while_running = asked("recommend", "13941", "-k", "5", "--json")
    stats = asked("stats", "--json")
    assert len(while_running["items"]) == 5
    assert stats["dead_letters"] == 2
    recall = stats["metrics"]["window"]["recall@10"]
    assert serving.scraped() >= {
        "lrustream_events_total 2000.0",
        f'lrustream_quality{{metric="recall@10",over="window"}} {recall}',
        'lrustream_lag{partition="0"} 0.0',
        "lrustream_dead_letters_total 2.0",
        "lrustream_answer_seconds_count 1.0",
    }
    assert [row["live"] for row in asked("models", "list")][-1]
    refused = run("serve", "--topic", "films", "--port", "0")
    assert "another engine writes to this database" in refused.stderr
    assert asked("forget", "12620") == {"forgotten": "12620"}
    assert client.stats()["users"] == stats["users"] - 1
    assert serving.end(signal.SIGTERM) == 0
    assert not Path(".lrustream/serve.json").exists()

    stored = asked("recommend", "13941", "-k", "5", "--json")
    assert [row["item"] for row in stored["items"]] == [r["item"] for r in while_running["items"]]
    for before, after in zip(while_running["items"], stored["items"], strict=True):
        assert after["probability"] == pytest.approx(before["probability"], rel=1e-4)
    best = stored["items"][0]["item"]
    without = asked("recommend", "13941", "-k", "5", "--exclude", best, "--json")
    assert best not in [row["item"] for row in without["items"]]
    shown = output("recommend", "13941", "-k", "1", "--titles", TITLES)
    assert best in shown
    assert "(20" in shown
    Path("books.csv").write_text("id,title\nb1,Emma\n")
    told = run("recommend", "13941", "-k", "1", "--titles", "books.csv")
    assert told.stderr == "none of these items is in books.csv: are its ids those of the events?\n"
    assert best in told.stdout
    assert asked("stats", "--json")["metrics"] == stats["metrics"]

    unknown = "user '12620': nothing is held of that name; was it spelled so?"
    assert complaint("forget 12620") == f"Error: {unknown}"
    assert asked("forget", "7527") == {"forgotten": "7527"}
    assert asked("stats", "--json")["users"] == stats["users"] - 2

    waiting = asked("deadletters", "list")
    assert [(row["offset"], row["raw"]) for row in waiting] == [
        (2000, "not json"),
        (2001, late.decode()),
    ]
    assert asked("deadletters", "replay", "--field", "user_id=uid") == {
        "sent": 1,
        "unreadable": 1,
    }

    live = asked("models", "list")[-1]["version"]
    assert asked("models", "rollback") == {"live": live - 1}
    assert asked("models", "promote", str(live)) == {"live": live}

    again = serve("--topic", "films")
    client = again.client()
    again.wait_until(lambda: client.stats()["events"] == 2001)
    assert client.stats()["version"] == live
    assert again.end(signal.SIGINT) == 0
    assert "stopped after 2,001 events" in Path("serve.log").read_text()

"""What serving costs beside learning: `serve` on the embedded log, against the bare engine.

    python benchmarks/serve.py --events 20000

The bundled stream is learned once by the engine alone, in this process, and once by `serve`, which
reads it from the embedded log, stores every micro-batch before it is learned, and answers over
HTTP; both without fine-tunes. Prints events a second of both and their quotient, then how long an
answer takes while `serve` learns (a question waits for one micro-batch at most) and at rest. Run it
with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from connectors import files
from connectors.event import EventBatch
from connectors.http_client import HttpClient
from engine.config import EngineConfig
from engine.engine import Engine

ROOT = Path(__file__).parents[1]
RATINGS = ROOT / "data" / "movietweetings" / "ratings.csv.gz"
NEVER = 1_000_000_000
WARM_UP = 2_048
"""Events that are not timed."""

QUESTIONS = 300
POLL_S = 0.02


def engine_events_per_second(events: EventBatch, device: str) -> float:
    """The engine alone, micro-batch by micro-batch."""
    engine = Engine(EngineConfig(device=device, finetune_first=NEVER))
    for batch in events[:WARM_UP].micro_batches(engine.config.micro_batch):
        engine.process(batch)
    begin = time.perf_counter()
    for batch in events[WARM_UP:].micro_batches(engine.config.micro_batch):
        engine.process(batch)
    return (len(events) - WARM_UP) / (time.perf_counter() - begin)


@contextmanager
def serving(folder: Path, device: str) -> Iterator[HttpClient]:
    """`lrustream serve` in a process of its own, on the topic `events` of `folder`."""
    command = ["serve", "--topic", "events", "--port", "0", "--device", device]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), *command],
            cwd=folder,
            stderr=log,
            env={**os.environ, "LRUSTREAM_ENGINE__FINETUNE_FIRST": str(NEVER)},
        )
    announced = folder / ".lrustream" / "serve.json"
    try:
        while not announced.exists():
            if process.poll() is not None:
                raise SystemExit((folder / "serve.log").read_text())
            time.sleep(POLL_S)
        yield HttpClient(json.loads(announced.read_text())["address"])
    finally:
        process.terminate()
        process.wait()


def ask(client: HttpClient, user: str) -> float:
    """Milliseconds until the answer is there."""
    begin = time.perf_counter()
    client.recommend(user, 10, ())
    return 1e3 * (time.perf_counter() - begin)


def served(events: EventBatch, device: str) -> tuple[float, list[float], list[float]]:
    """Events a second, and milliseconds of answers while it learns and at rest."""
    with tempfile.TemporaryDirectory() as scratch:
        publish = ["publish", str(RATINGS), "--topic", "events", "--limit", str(len(events))]
        subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), *publish],
            cwd=scratch,
            check=True,
            capture_output=True,
        )
        with serving(Path(scratch), device) as client:
            while (first := client.stats()["events"]) < WARM_UP:
                time.sleep(POLL_S)
            begin, learning, asked = time.perf_counter(), [], 0
            while client.stats()["events"] < len(events):
                learning.append(ask(client, events.users[asked % WARM_UP]))
                asked += 1
                time.sleep(POLL_S)
            seconds = time.perf_counter() - begin
            at_rest = [ask(client, user) for user in events.users[:QUESTIONS]]
    return (len(events) - first) / seconds, learning, at_rest


def percentiles(milliseconds: list[float]) -> str:
    cuts = statistics.quantiles(milliseconds, n=100)
    return f"median {cuts[49]:.1f} ms, 99 % within {cuts[98]:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000, help="of the bundled stream")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if not 2 * WARM_UP <= arguments.events <= 100_000:
        parser.error(f"--events: give {2 * WARM_UP} to 100000")
    events = files.read_events(RATINGS)[: arguments.events]
    print(f"{arguments.device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    alone = engine_events_per_second(events, arguments.device)
    print(f"the engine alone: {alone:,.0f} events/s")
    rate, learning, at_rest = served(events, arguments.device)
    print(f"serve: {rate:,.0f} events/s, {rate / alone:.2f} of that")
    print(f"an answer while it learns: {percentiles(learning)}")
    print(f"an answer at rest: {percentiles(at_rest)}")


if __name__ == "__main__":
    main()

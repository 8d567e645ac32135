"""What an event costs as the catalogue grows: all items weighed, and the experts' best only.

    python benchmarks/catalogue.py --items 10000 100000

On made-up events, popular items at random; no fine-tunes. Both ways score the same events in turns,
so the ratio suffers less from a busy machine than the times.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from connectors.event import Event, EventBatch
from engine.config import EngineConfig
from engine.recommender import Recommender

USERS = 2_000
LEARNED = 20_000
ROUNDS = 4


def events(count: int, items: int, random: np.random.Generator) -> EventBatch:
    """Each with an item drawn so that a tenth of the catalogue has half of the events."""
    drawn = (items * random.random(count) ** 3.3).astype(int).tolist()
    users = random.integers(USERS, size=count).tolist()
    return EventBatch.from_events(
        Event(f"u{user}", f"i{item}", float(second))
        for second, (user, item) in enumerate(zip(users, drawn, strict=True))
    )


def milliseconds_per_event(items: int, seed: int, device: str) -> dict[str, float]:
    """By way of weighing, the shortest of `ROUNDS` micro-batches, over its events."""
    random = np.random.default_rng(seed)
    recommender = Recommender(EngineConfig(seed=seed, device=device, repeats=True))
    recommender.items.add([f"i{item}" for item in range(items)])
    recommender.learn_many(events(LEARNED, items, random), score=False)
    seconds: dict[str, list[float]] = {"all items": [], "the best": []}
    for _ in range(1 + ROUNDS):
        for way, limit in (("all items", items), ("the best", 1)):
            recommender.config = replace(recommender.config, full_catalogue=limit)
            batch = events(recommender.config.micro_batch, items, random)
            started = time.perf_counter()
            recommender.learn_many(batch)  # returns ranks as numbers: the device has finished
            seconds[way].append((time.perf_counter() - started) / len(batch))
    return {way: 1e3 * min(times[1:]) for way, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[20_000, 50_000, 100_000, 200_000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.device}, {torch.get_num_threads()} threads, ", end="")
    print(f"torch {torch.__version__}")
    for items in given.items:
        cost = milliseconds_per_event(items, given.seed, given.device)
        way = ", ".join(f"{name} {ms:.2f} ms" for name, ms in cost.items())
        print(f"{items:,} items: {way} an event, {cost['all items'] / cost['the best']:.1f} to 1")


if __name__ == "__main__":
    main()

"""Our training step against the plain one, on the same 128 users of MovieLens-1M.

    python benchmarks/train_step.py --data DIR/ml-1m/ratings.csv.gz

Without --data, ml-1m/ratings.csv.gz in the folder that LRUSTREAM_DATA names. Timings mean
something on a quiet machine only; the ratio suffers less from a busy one than the seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.plain_step import LENGTH, WARM_UP, plain_step_seconds, sample_users
from lrurec.batches import PackedBatch, pack
from lrurec.config import ModelConfig, Precision, TrainConfig
from lrurec.model import LRURec
from lrurec.train import Trainer


def our_step_seconds(
    batch: PackedBatch, items: int, precision: Precision, seed: int, repeats: int, device: str
) -> float:
    """Median seconds of one step of `Trainer`, after one to warm up."""
    model = LRURec(ModelConfig(items), seed).to(device)
    trainer = Trainer(model, TrainConfig(precision=precision), seed)
    seconds = []
    for _ in range(WARM_UP + repeats):
        begin = time.perf_counter()
        trainer.step(batch)  # returns the loss as a number, so the device has finished
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="ML-1M ratings as csv.gz, oldest first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="of our step; the plain one is CPU")
    arguments = parser.parse_args()
    data = arguments.data
    if data is None and "LRUSTREAM_DATA" in os.environ:
        data = Path(os.environ["LRUSTREAM_DATA"]) / "ml-1m" / "ratings.csv.gz"
    if data is None or not data.exists():
        parser.error(f"no ratings at {data}: give --data FILE, or set LRUSTREAM_DATA")
    seed, repeats = arguments.seed, arguments.repeats
    sequences, items = sample_users(data, seed)
    batch = pack(sequences, LENGTH)
    print(f"{len(sequences)} users, {len(batch)} events, {items} items, seed {seed}, ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    plain = plain_step_seconds(data, seed, min(repeats, 3))
    print(f"{'step':<10} {'seconds':>8} {'events/s':>9} {'plain/this':>10}")
    print(f"{'plain':<10} {plain:8.3f} {len(batch) / plain:9.0f} {1:10.1f}")
    for precision in ("float32", "bfloat16"):
        ours = our_step_seconds(batch, items, precision, seed, repeats, arguments.device)
        print(f"{precision:<10} {ours:8.3f} {len(batch) / ours:9.0f} {plain / ours:10.1f}")


if __name__ == "__main__":
    main()

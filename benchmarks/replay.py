"""What a whole replay costs, in plain training steps of the same machine, and what it reaches.

    python benchmarks/replay.py --data DIR/ml-1m [--json FILE] [-- any option of `replay`]

Replays MovieLens-1M with the engine, LRURec and the counting baselines as a user would, times the
plain step (see plain_step.py) right before and after, and prints the quotient. Run it with nothing
else on the machine. Without --data, the folder ml-1m under the one that LRUSTREAM_DATA names.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.plain_step import plain_step_seconds

ROOT = Path(__file__).parents[1]

MOST_STEPS = 220
"""What the replay may cost."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, help="the folder that holds ML-1M")
    parser.add_argument("--json", type=Path, help="where the replay's results go")
    parser.add_argument("options", nargs="*", help="options of `replay`, after --")
    arguments = parser.parse_args()
    if arguments.data is None and "LRUSTREAM_DATA" not in os.environ:
        parser.error("no data: give --data DIR or set LRUSTREAM_DATA")
    folder = arguments.data or Path(os.environ["LRUSTREAM_DATA"]) / "ml-1m"
    ratings = folder / "ratings.csv.gz"
    if not ratings.exists():
        parser.error(f"{ratings} does not exist; --data is the folder of MovieLens-1M")

    with tempfile.TemporaryDirectory() as scratch:
        results = arguments.json or Path(scratch) / "results.json"
        before = plain_step_seconds(ratings)
        begin = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, str(ROOT / "cli.py"), "replay", "ml-1m"),
                *("--data", str(folder), "--json", str(results), *arguments.options),
            ],
            check=True,
        )
        seconds = time.perf_counter() - begin
        after = plain_step_seconds(ratings)
        models = json.loads(results.read_text())["models"]

    step = statistics.mean([before, after])
    print(f"\nplain step {before:.2f} s before, {after:.2f} s after; replay {seconds:.0f} s")
    print(f"the replay costs {seconds / step:.0f} plain steps (at most {MOST_STEPS} wanted)")
    for name in ("engine", "lrurec"):
        if name in models:
            print(f"{name:<8} {models[name]['recall@10']:.4f} / {models[name]['ndcg@10']:.4f}")


if __name__ == "__main__":
    main()

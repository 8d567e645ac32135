"""Whether the engine is ever below the best of its own experts, or of the baselines, for a while.

    python benchmarks/windows.py u.data.gz ratings.csv.gz --repeats clicks.csv.gz

Replays each file, ranks every event by the engine, by each expert alone and by the counting
baselines, and cuts the stream into windows of 5,000 events that do not overlap. In each of them the
engine's NDCG@10 is compared, paired by event (`replay.paired.window_tests`), with whatever single
model was best in that very window: a comparison that favours the others, as which one that is is
known with hindsight. Counted are the windows in which the engine is significantly (5 %) below it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from connectors.files import read_events
from engine.config import EngineConfig
from engine.metrics import RANK_METRICS, rank_gains
from engine.scoring import Scoring
from engine.topk import ranks_of
from replay.compare import Comparison
from replay.paired import WINDOW, window_tests
from replay.progress import progress_bar
from replay.stream import in_time_order

ALPHA = 0.05
RECALL, NDCG = (RANK_METRICS.index(name) for name in ("recall@10", "ndcg@10"))


@dataclass
class ExpertRanks:
    """How each expert alone would have ranked the events, told by the engine's scorings."""

    names: tuple[str, ...]
    parts: list[NDArray[np.int64]] = field(default_factory=list)

    def observe(self, scoring: Scoring) -> None:
        """An expert ranks by its own opinion, among the same candidates; 0 for a miss."""
        events = np.flatnonzero(scoring.columns >= 0)
        ranks = np.zeros((len(self.names), len(scoring.columns)), dtype=np.int64)
        rows = scoring.candidates.new_tensor(events).long()
        true = scoring.candidates.new_tensor(scoring.columns[events]).long()
        said = scoring.opinions.weights.rows(rows) * scoring.candidates[rows][:, None, :]
        for m in range(len(self.names)):
            ranks[m, events] = ranks_of(said[:, m], true, scoring.draws[events])
        self.parts.append(ranks)

    def by_name(self) -> dict[str, NDArray[np.int64]]:
        return dict(zip(self.names, np.concatenate(self.parts, axis=1), strict=True))


def ranks_by_model(path: Path, config: EngineConfig) -> dict[str, NDArray[np.int64]]:
    """Of the engine, every expert and every counting baseline."""
    comparison = Comparison.of([], config)
    engine = comparison.new_engine()
    assert engine is not None
    experts = ExpertRanks(engine.recommender.experts.names)
    engine.recommender.observers.append(experts.observe)
    events = in_time_order(read_events(path), seed=config.seed).events
    with progress_bar(path.name) as progress:
        results = comparison.run(engine, events, progress)
    return {name: track.ranks for name, track in results.tracks.items()} | experts.by_name()


def windows_below(ndcg: dict[str, NDArray[np.float64]]) -> tuple[int, int]:
    """In how many windows the engine is below the best other model, and of how many; those are
    printed. ndcg: by model, of each event (n,)."""
    below, windows = 0, len(ndcg["engine"]) // WINDOW
    for start in range(0, windows * WINDOW, WINDOW):
        here = {name: gains[start : start + WINDOW] for name, gains in ndcg.items()}
        means = {name: float(gains.mean()) for name, gains in here.items()}
        best = max(means.keys() - {"engine"}, key=means.__getitem__)
        _, worse, _ = window_tests(here["engine"], here[best]).counts(ALPHA)
        if worse:
            print(f"  events {start:,} on: {best} {means[best]:.4f}, engine {means['engine']:.4f}")
        below += worse
    return below, windows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="*", help="as of `lrustream replay --file`")
    parser.add_argument("--repeats", type=Path, nargs="*", default=[], help="with repeats on")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    paths = [*arguments.files, *arguments.repeats]
    if not paths:
        parser.error("no stream: name the files that shall be replayed")
    for path in paths:
        if not path.is_file():
            parser.error(f"{path} is no file")

    counts = []
    for path in paths:
        config = EngineConfig(seed=arguments.seed, repeats=path in arguments.repeats)
        ranks = ranks_by_model(path, config)
        gains = {name: rank_gains(of) for name, of in ranks.items()}
        counts.append(windows_below({name: of[:, NDCG] for name, of in gains.items()}))
        recall, ndcg = gains["engine"].mean(0)[[RECALL, NDCG]]
        below, windows = counts[-1]
        print(f"{path}: engine {recall:.4f} / {ndcg:.4f}, below in {below} of {windows} windows")
    below, windows = np.sum(counts, axis=0)
    print(f"in all: below the best of all models in {below} of {windows} windows")


if __name__ == "__main__":
    main()

"""Recall@10 and NDCG@10 of the baselines on real streams, against an independent script's.

A baseline that misses by more than 0.002 has a protocol error. MovieTweetings comes with the
project; the other streams are read from the folder that LRUSTREAM_DATA names.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connectors.files import read_events
from replay.baselines import COUNTING
from replay.prequential import run
from replay.stream import in_time_order

BUNDLED = Path(__file__).parents[2] / "data"
STREAMS = {  # repeats; then Recall@10 and NDCG@10 in the order of COUNTING
    "movietweetings/ratings.csv.gz": (
        False,
        [(0.1318, 0.0687), (0.2111, 0.1291), (0.2182, 0.1418)],
        [(0.1557, 0.0901), (0.2004, 0.1153), (0.2007, 0.1200)],
    ),
    "ml-100k/u.data.gz": (
        False,
        [(0.0768, 0.0373), (0.0765, 0.0384), (0.0456, 0.0221)],
        [(0.1194, 0.0619), (0.1866, 0.0968), (0.1788, 0.0926)],
    ),
    "amazon-electronics-2023-sample/ratings.csv.gz": (
        False,
        [(0.0415, 0.0230), (0.0577, 0.0307), (0.0455, 0.0250)],
        [(0.0414, 0.0230), (0.0474, 0.0266), (0.0400, 0.0227)],
    ),
    "amazon-grocery-5core/ratings.csv.gz": (
        False,
        [(0.0433, 0.0225), (0.1573, 0.0876), (0.2410, 0.1518)],
        [(0.1525, 0.0927), (0.1527, 0.0885), (0.1772, 0.1067)],
    ),
    "amazon-musical-instruments-5core/ratings.csv.gz": (
        False,
        [(0.0920, 0.0485), (0.0955, 0.0501), (0.0896, 0.0493)],
        [(0.1060, 0.0580), (0.1154, 0.0655), (0.1063, 0.0607)],
    ),
    "yoochoose-clicks-100k/clicks.csv.gz": (
        True,
        [(0.0815, 0.0399), (0.0995, 0.0496), (0.1079, 0.0545)],
        [(0.4006, 0.2835), (0.4423, 0.2898), (0.4526, 0.3009)],
    ),
    "wikipedia-edits/events.csv.gz": (
        True,
        [(0.0692, 0.0368), (0.1419, 0.0745), (0.3149, 0.1736)],
        [(0.8547, 0.8199), (0.8822, 0.8055), (0.8813, 0.8224)],
    ),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_reference_numbers(stream: str) -> None:
    repeats, popularity, sequential = STREAMS[stream]
    path = BUNDLED / stream
    if not path.exists():
        if "LRUSTREAM_DATA" not in os.environ:
            pytest.skip("LRUSTREAM_DATA names no folder of streams")
        path = Path(os.environ["LRUSTREAM_DATA"]) / stream
    results = run(None, list(COUNTING), in_time_order(read_events(path)).events, repeats=repeats)
    for name, expected in zip(COUNTING, popularity + sequential, strict=True):
        summary = results.tracks[name].metrics().summary()
        found = (summary["recall@10"], summary["ndcg@10"])
        assert found == pytest.approx(expected, abs=0.002), name

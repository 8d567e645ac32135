"""The folder of a report: the same numbers in the table, the JSON, the Parquet and the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from engine.config import EngineConfig
from engine.metrics import Reason
from replay import folder, saved
from replay.prequential import Track
from replay.protocols import PROTOCOLS
from replay.report import cell, to_json
from replay.runs import Run
from replay.stream import to_rows
from tests.replay.reports import CONFIG, HOSTILE, Replayed, manifest, replayed, written


@pytest.fixture(scope="module")
def recorded() -> Replayed:
    return replayed()


@pytest.fixture(scope="module")
def report(recorded: Replayed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("report"), recorded)


def test_a_report_is_four_files(report: Path) -> None:
    assert sorted(path.name for path in report.iterdir()) == sorted(folder.FILES)


def test_events_parquet_has_the_promised_columns(recorded: Replayed, report: Path) -> None:
    table = parquet.read_table(report / "events.parquet")
    models = list(recorded.results.tracks)
    groups = ["reranker", "popularity", "rules", "ids", "lrurec"]
    assert {field.name: str(field.type) for field in table.schema} == {
        **{"event": "int64", "timestamp": "double", "user": "int32", "item": "int32"},
        **{"reason": "int8", "history": "int32", "version": "int32"},
        **{f"rank_{name}": "int32" for name in models},
        **{f"rank_without_{group}": "int32" for group in groups},
    }
    rows = to_rows(recorded.events)
    assert table["event"].to_pylist() == list(range(1_200))
    np.testing.assert_array_equal(table["item"], rows.items)
    np.testing.assert_array_equal(table["timestamp"], recorded.events.timestamps)
    last_user = int(rows.users[-1])
    assert table["history"][-1].as_py() == (rows.users[:-1] == last_user).sum()
    assert table["version"][0].as_py() == 0
    assert table["version"][-1].as_py() > 1


def test_every_metric_of_the_json_follows_from_the_ranks(recorded: Replayed, report: Path) -> None:
    table = parquet.read_table(report / "events.parquet").to_pydict()
    found = json.loads((report / "metrics.json").read_text())
    for name, metrics in found["models"].items():
        ranks = np.array(table[f"rank_{name}"])
        hits = (ranks > 0) & (ranks <= 10)
        assert metrics["recall@10"] == pytest.approx(hits.mean())
        assert metrics["mrr"] == pytest.approx(np.mean(1 / ranks[ranks > 0]) * (ranks > 0).mean())
    for group, without in found["without"].items():
        ranks = np.array(table[f"rank_without_{group}"])
        assert without["recall@10"] == pytest.approx(((ranks > 0) & (ranks <= 10)).mean())
        lost = without["lost"]["recall@10"]
        engine = found["models"]["engine"]["recall@10"]
        assert lost["difference"] == pytest.approx(engine - without["recall@10"])
        assert lost["lower"] <= lost["difference"] <= lost["upper"]


def test_the_json_says_what_the_table_says_and_more(recorded: Replayed, report: Path) -> None:
    expected = to_json(recorded.results, manifest())
    facts = expected.pop("manifest")
    found = json.loads((report / "metrics.json").read_text())
    assert {name: found[name] for name in expected} == json.loads(json.dumps(expected))
    assert json.loads((report / "manifest.json").read_text()) == json.loads(json.dumps(facts))
    assert facts["command"] == "lrustream replay --file clicks.csv"


def test_models_are_paired_with_the_best_baseline(recorded: Replayed, report: Path) -> None:
    found = json.loads((report / "metrics.json").read_text())
    baselines = [name for name in found["models"] if name not in ("engine", "lrurec")]
    best = max(baselines, key=lambda name: found["models"][name]["recall@10"])
    assert found["best_baseline"] == best
    assert best not in found["paired"]["models"]
    pair = found["paired"]["models"]["popularity"]
    hits = {
        name: (track.ranks > 0) & (track.ranks <= 10)
        for name, track in recorded.results.tracks.items()
    }
    assert pair["only_best"] == (hits[best] & ~hits["popularity"]).sum()
    assert pair["windows"]["recall@10"] == {"won": 0, "lost": 1, "tied": 0}


def test_a_saved_report_can_be_read_back(recorded: Replayed, report: Path) -> None:
    run = saved.read(report)
    np.testing.assert_array_equal(run.ranks_of("engine"), recorded.results.tracks["engine"].ranks)


def test_the_page_needs_no_other_file(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []
    assert "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []
    assert HOSTILE not in page


@pytest.mark.parametrize(
    ("models", "config", "said"),
    [
        (("popularity", "transition"), CONFIG, "On this stream the best baseline, "),
        (("transition",), CONFIG, "the best baseline, transition, put the next item"),
        (("sasrec", "engine"), CONFIG, "of cases; the best baseline, sasrec, did in"),
        (("engine",), EngineConfig(experts=("popularity",)), "the engine put the next item"),
        (("lrurec", "popularity"), CONFIG, "lrurec put the next item"),
    ],
)
def test_a_page_is_made_of_whatever_was_compared(
    tmp_path: Path, models: tuple[str, ...], config: EngineConfig, said: str
) -> None:
    made = written(tmp_path, replayed(models, config, events=150))
    assert said in (made / "report.html").read_text()


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("vinagre", "first event is not scored; all items of the stream are candidates"),
        ("flurs", "the first 30% is learned only; every event is scored; the items of the 1,000"),
        ("alpenglow", "D@100"),
    ],
)
def test_a_page_keeps_to_its_protocol(tmp_path: Path, protocol: str, said: str) -> None:
    rules = PROTOCOLS[protocol]
    replay = replayed(("engine", "rules_long"), protocol=rules, events=300)
    made = written(tmp_path, replay, rules)
    assert said in (made / "report.html").read_text()
    assert bool(replay.recording.without) == (protocol != "flurs")
    rows = to_rows(replay.events)
    for lists in replay.recording.lists.values():
        assert lists.min() >= -1
        assert lists.max() < rows.n_items
    if protocol == "vinagre":  # ranked and listed among the same items
        ranks, items = replay.results.tracks["engine"].ranks[::50], rows.items[::50]
        for shown, rank, item in zip(replay.recording.lists["engine"], ranks, items, strict=True):
            if 0 < rank <= 10:
                assert shown[rank - 1] == item


def test_one_run_is_not_spoken_of_as_several(report: Path) -> None:
    assert json.loads((report / "metrics.json").read_text())["all_runs"] is None
    assert "first of several runs" not in (report / "report.html").read_text()


def test_runs_with_other_seeds_are_told_by_their_means(recorded: Replayed, tmp_path: Path) -> None:
    others = [Run("file", recorded.results, replace(manifest(), seed=seed)) for seed in (1, 2)]
    made = written(tmp_path, recorded, others=others)
    found = json.loads((made / "metrics.json").read_text())
    means = found["all_runs"]["models"]["engine"]
    assert means == pytest.approx(found["models"]["engine"])  # all are alike
    page = (made / "report.html").read_text()
    assert "The first of several runs, seed 0" in page
    assert re.findall("<caption>(.*)</caption>", page) == [
        "Order: timestamp, ties in file order; seeds 0 to 2"
    ]
    assert f"{cell(means['mrr'])} <small>±.0000<" in page


def test_both_orders_of_ties_have_a_table_each(recorded: Replayed, tmp_path: Path) -> None:
    shuffled = replace(manifest(), order="timestamp, ties shuffled")
    other = Run("shuffle", replayed(("popularity",), events=150).results, shuffled)
    made = written(tmp_path, recorded, others=[other])
    page = (made / "report.html").read_text()
    assert re.findall("<caption>Order: timestamp, (.*)</caption>", page) == [
        "ties in file order; seed 0",
        "ties shuffled; seed 0",
    ]
    found = json.loads((made / "metrics.json").read_text())["all_runs"]
    mrr = cell(found["shuffled"]["models"]["popularity"]["mrr"])
    assert f'<td class="number best">{mrr}</td>' in page
    assert "±" not in page


def test_a_stream_of_one_event_makes_a_report(tmp_path: Path) -> None:
    made = written(tmp_path, replayed(("engine", "popularity"), events=1))
    assert json.loads((made / "metrics.json").read_text())["events"] == 1


def test_a_protocol_that_scores_nothing_makes_no_report(tmp_path: Path) -> None:
    nothing = replayed(("popularity",), events=5)
    for name, track in nothing.results.tracks.items():
        reasons = np.full(5, Reason.UNSCORED, dtype=np.int8)
        unscored = Track(track.ranks, reasons, track.unknown_users, track.log_losses)
        nothing.results.tracks[name] = unscored
    with pytest.raises(ValueError, match="no event is scored"):
        written(tmp_path, nothing)


def test_a_folder_with_other_files_is_refused_and_a_report_replaced(tmp_path: Path) -> None:
    folder.claim(tmp_path / "new" / "report")
    (tmp_path / "new" / "report" / "metrics.json").write_text("{}")
    folder.claim(tmp_path / "new" / "report")
    (tmp_path / "new" / "report" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"holds thesis\.tex, which is no report: name an empty"):
        folder.claim(tmp_path / "new" / "report")
    with pytest.raises(NotADirectoryError):
        folder.claim(tmp_path / "new" / "report" / "thesis.tex" / "report")

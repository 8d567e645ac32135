"""`lrustream replay` and `compare` as a person types them: what they print, save and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.kafka.broker import Broker
from engine.config import EXPERTS
from tests.commands import SMALL, complaint, output, run
from tests.replay.test_versus import TRACKS, folder

THREE = ("--repeats", "--models", "engine,lrurec,rules_long")
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def replayed(clicks: str, *options: str) -> Any:
    command = ("replay", "--file", clicks, "--micro-batch", "16", *SMALL)
    output(*command, *options, "--json", "result.json")
    return json.loads(Path("result.json").read_text())


def test_replay_prints_the_table_and_saves_the_numbers(clicks: str) -> None:
    printed = output(
        *("replay", "--file", clicks, "--repeats", "--micro-batch", "16", *SMALL),
        *("--json", "result.json", "--show-users", "1"),
    )
    saved = json.loads(Path("result.json").read_text())
    assert saved["stream"] == "clicks.csv"
    assert (saved["events"], saved["protocol"]) == (200, "deployable")
    assert list(saved["models"]) == [
        *("engine", "lrurec", "popularity", "decayed_popularity", "fast_popularity"),
        *("transition", "rules_long", "rules_short"),
    ]
    assert saved["manifest"]["configuration"]["width"] == 16
    assert saved["models"]["engine"]["recall@1"] > 0.5
    for expected in ("rules_short", "R@10", "200 events", "repeats on", "user u3, 50 events"):
        assert expected in printed


def test_replay_takes_some_models_and_some_events(clicks: str) -> None:
    output(
        *("replay", "--file", clicks, "--limit", "50", "--models", "transition,popularity"),
        *("--json", "result.json"),
    )
    saved = json.loads(Path("result.json").read_text())
    assert saved["events"] == 50
    assert list(saved["models"]) == ["popularity", "transition"]
    assert saved["manifest"]["skipped"] == {"beyond the first 50": 150}


def test_replay_says_which_model_the_stream_cannot_feed(clicks: str) -> None:
    printed = output(*("replay", "--file", clicks, "--models", "all", "--limit", "60", *SMALL))
    assert "item_knn" in printed
    assert "not compared: biased_mf: the events have no values" in printed


def test_replay_through_the_embedded_log_gives_the_same_numbers(clicks: str) -> None:
    through = replayed(clicks, *THREE, "--via", "embedded")
    assert through["models"] == replayed(clicks, *THREE)["models"]
    assert through["manifest"]["order"] == "timestamp, ties in file order, through embedded"
    spread = replayed(clicks, *THREE, "--via", "embedded", "--partitions", "3")
    assert spread["manifest"]["order"].endswith("through embedded, which changes it between users")


def test_replay_through_kafka_gives_the_same_numbers(clicks: str, kafka_broker: Broker) -> None:
    servers = ["--bootstrap-servers", kafka_broker.bootstrap]
    through = replayed(clicks, *THREE, "--via", "kafka", *servers)
    assert through["models"] == replayed(clicks, *THREE)["models"]
    assert through["manifest"]["order"] == "timestamp, ties in file order, through kafka"


def test_a_protocol_is_named_and_followed(clicks: str) -> None:
    found = replayed(clicks, "--protocol", "alpenglow", "--models", "engine,popularity")
    assert found["protocol"] == "alpenglow"
    assert found["manifest"]["repeats"] is True
    assert found["manifest"]["configuration"]["repeats"] is True
    for means in found["models"].values():
        assert means["dcg@100"] == pytest.approx(means["ndcg@20"])  # there are but ten items
    found = replayed(clicks, "--protocol", "vinagre", "--models", "engine,popularity")
    for counts in found["manifest"]["counts"].values():
        assert counts["learned without being scored"] == 4
        assert counts["new items (misses)"] == 0


def test_seeds_and_both_orders_of_ties_make_one_report(clicks: str) -> None:
    found = replayed(clicks, "--models", "popularity", "--seeds", "2", "--ties", "both")
    assert [one["manifest"]["seed"] for one in found["runs"]] == [0, 1]
    mean = np.mean([one["models"]["popularity"]["mrr"] for one in found["runs"]])
    assert found["models"]["popularity"]["mrr"] == pytest.approx(mean)
    assert found["interval_95"]["popularity"]["mrr"] >= 0
    assert found["runs"][0]["manifest"]["order"] == "timestamp, ties in file order"
    assert found["shuffled"]["runs"][0]["manifest"]["order"] == "timestamp, ties shuffled"


def test_a_train_lag_is_told(clicks: str) -> None:
    printed = output(
        *("replay", "--file", clicks, "--models", "engine", *SMALL, "--train-lag", "30")
    )
    assert "train lag 30 events" in printed


def test_two_saved_replays_are_compared(tmp_path: Path) -> None:
    ranks = {"engine": TRACKS["rules_short"].ranks, "popularity": TRACKS["popularity"].ranks}
    folder(tmp_path / "after", **ranks)
    folder(tmp_path / "before", engine=TRACKS["popularity"].ranks)
    against = json.loads(output("compare", "after", "before", "--json"))
    inside = json.loads(output("compare", "after", "--baseline", "popularity", "--json"))
    assert (against["a"], against["b"]) == ("engine of after", "engine of before")
    assert (inside["a"], inside["b"]) == ("engine", "popularity")
    assert against["segments"] == inside["segments"]
    assert "a won 3, lost 0, tied 0" in output("compare", "after", "before")


def test_a_report_is_written_and_compared(clicks: str) -> None:
    output(
        *("replay", "--file", clicks, "--repeats", "--micro-batch", "16", *SMALL),
        *("--models", "engine,popularity", "--report", "reports/first", "--json", "result.json"),
    )
    folder = Path("reports/first")
    saved = json.loads(Path("result.json").read_text())
    assert json.loads((folder / "metrics.json").read_text())["models"] == saved["models"]
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    found = json.loads(output("compare", str(folder), "--baseline", "popularity", "--json"))
    everything = found["segments"]["all events"]["metrics"]["recall@10"]
    assert everything["a"] == pytest.approx(saved["models"]["engine"]["recall@10"])


def test_a_report_of_several_runs_shows_the_first_and_the_means_of_all(clicks: str) -> None:
    options = ("--models", "engine,popularity", "--seeds", "2", "--ties", "both")
    saved = replayed(clicks, *options, "--report", "several")
    found = json.loads(Path("several/metrics.json").read_text())
    assert found["models"] == saved["runs"][0]["models"]
    assert found["all_runs"] == saved
    assert json.loads(Path("several/manifest.json").read_text())["seed"] == 0


def test_a_report_that_cannot_be_is_refused_before_the_replay(clicks: str) -> None:
    Path("notes").mkdir()
    Path("notes/todo.txt").touch()
    for options, said in [
        (("notes",), "Error: notes holds todo.txt, which is no report: name an empty folder\n"),
        (
            ("new", "--via", "embedded", "--partitions", "2"),
            "Error: --report shows the events in order: leave out --partitions\n",
        ),
    ]:
        result = run("replay", "--file", clicks, "--report", *options)
        assert result.exit_code == 1
        assert said in result.output
        assert not Path("new").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("replay --file none.csv", "none.csv: No such file or directory; give a file to read"),
        (
            "replay ml-2m --data .",
            "stream 'ml-2m' is not known: give one of ml-1m, ml-100k, movietweetings, yoochoose, "
            "or --file PATH",
        ),
        (
            "replay ml-1m --data .",
            ". has no ratings.csv.gz or ratings.csv or ratings.dat: give "
            "--data the folder that holds the files of ml-1m",
        ),
        ("replay", "name a STREAM (ml-1m, ml-100k, movietweetings, yoochoose) or give --file PATH"),
        (
            "replay --file one.csv --models popularity --limit 0",
            "no event is left to replay: give a larger file, or leave less out",
        ),
        ("replay --file one.csv --json none/x", "none/x: No such file or directory"),
        (
            "replay --file x --models rulez",
            "model 'rulez' is not among engine, lrurec, popularity, decayed_popularity, "
            "fast_popularity, transition, rules_long, rules_short, item_knn, session_knn, isgd, "
            "bpr_mf, biased_mf, gru4rec, sasrec; fast and all are groups",
        ),
        (
            "replay --file x --seed many",
            "engine.seed is 'many' (--seed): it should be a valid "
            "integer, unable to parse string as an integer",
        ),
        (
            "replay --file x --seed -1",
            "engine.seed: -1 is outside 0 to 2^32 - 1; give another one (--seed)",
        ),
        (
            "replay --file x --set sead=1",
            "engine.sead (--set sead) is no setting: did you mean engine.seed?",
        ),
        ("replay --file x --set seed", "--set 'seed': write KEY=VALUE"),
        (
            "replay --file x --experts luck",
            f"engine.experts: unknown 'luck'; choose among {', '.join(EXPERTS)} (--experts)",
        ),
        (
            "replay --file one.csv --device tpu",
            "device: 'tpu' is not known; give auto, cpu or cuda[:n]",
        ),
        (
            "replay --file one.csv --via kafka",
            "no Kafka broker is named: give --bootstrap-servers HOST:PORT",
        ),
        (
            "replay --file x --protocol leave-one-out",
            "protocol is 'leave-one-out': give deployable, vinagre, flurs, alpenglow",
        ),
        (
            "replay --file x --train-lag -1",
            "engine.train_lag: -1 is below 0; give 0 or more (--train-lag)",
        ),
        ("compare here", "compare with what? give either REPORT_B or --baseline NAME"),
        (
            "compare here there",
            "here has no manifest.json: give a folder that `lrustream replay --report` wrote",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(command: str, message: str) -> None:
    Path("one.csv").write_text("user,item,timestamp\nann,b,20\n")
    assert complaint(command) == f"Error: {message}"

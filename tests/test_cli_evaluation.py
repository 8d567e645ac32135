"""Evaluation as a person types it: protocols, seeds, ties, and two saved replays compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.replay.test_versus import TRACKS, folder
from tests.test_cli import SMALL, clicks, in_an_empty_folder, output, run

__all__ = ["clicks", "in_an_empty_folder"]  # fixtures


def replayed(clicks: str, *options: str) -> Any:
    command = ("replay", "--file", clicks, "--micro-batch", "16", *SMALL)
    output(*command, *options, "--json", "result.json")
    return json.loads(Path("result.json").read_text())


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


@pytest.mark.parametrize(
    ("command", "message"),
    [
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
    result = run(*command.split())
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"Error: {message}"


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

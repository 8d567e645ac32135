"""The report: exactly the promised JSON, and a table that says what was measured."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from replay.prequential import Results, run
from replay.protocols import PROTOCOLS
from replay.report import Manifest, sha256_of, to_json, to_table
from replay.synthetic import markov_stream

MANIFEST = Manifest(
    stream="walk",
    data_file="walk.csv",
    sha256="ab" * 32,
    skipped={"rating below 4": 1_234},
    micro_batch=256,
    seed=7,
    device="cpu",
    configuration={"history": 200},
)


def results() -> Results:
    stream = markov_stream(20, 50, 2_000, predictability=0.9, seed=1)
    return replace(run(None, ["popularity", "transition"], stream), seconds=4.0)


def shown(found: Results, manifest: Manifest = MANIFEST) -> str:
    printed = io.StringIO()
    console = Console(file=printed, width=160, force_terminal=True, color_system="standard")
    console.print(to_table(found, manifest))
    return printed.getvalue()


def test_json_has_the_promised_keys() -> None:
    found = results()
    report = to_json(found, MANIFEST)
    assert json.loads(json.dumps(report)) == report
    assert list(report)[:5] == ["stream", "events", "protocol", "seconds", "models"]
    assert (report["stream"], report["events"], report["protocol"], report["seconds"]) == (
        "walk",
        2_000,
        "deployable",
        4.0,
    )
    assert list(report["models"]) == ["popularity", "transition"]
    metrics = [f"{name}@{k}" for name in ("recall", "ndcg") for k in (1, 5, 10, 20)]
    for name, values in report["models"].items():
        assert list(values) == [*metrics, "mrr"]
        summary = found.tracks[name].metrics().summary()
        assert values["recall@10"] == summary["recall@10"]


def test_json_tells_when_and_with_whom() -> None:
    found = results()
    report = to_json(found, MANIFEST)
    assert report["window"] == 5_000
    for name, values in report["models"].items():
        assert report["windows"][name]["ndcg@10"] == [pytest.approx(values["ndcg@10"])]
        summary = found.tracks[name].metrics().summary()
        assert report["fading"][name] == summary["fading"]
        segments = report["segments"][name]
        assert segments["new user"]["events"] == 20
        assert segments["new item"]["recall@20"] == 0
        assert segments["history 20-99"]["recall@10"] >= 0


def test_a_protocol_shows_its_own_metric_and_what_it_leaves_out() -> None:
    stream = markov_stream(20, 50, 2_000, predictability=0.9, seed=1)
    for name, expected in (
        ("alpenglow", "D@100"),
        ("vinagre", "0 unknown users, 20 learned without being scored"),
        ("flurs", "600 learned without being scored"),
    ):
        protocol = PROTOCOLS[name]
        found = run(None, ["transition"], stream, protocol=protocol)
        manifest = replace(MANIFEST, protocol=name)
        assert f"protocol {name}" in shown(found, manifest)
        assert expected in shown(found, manifest)
        report = to_json(found, manifest)
        assert report["manifest"]["protocol"] == name
        assert ("dcg@100" in report["models"]["transition"]) == (name == "alpenglow")


def test_the_manifest_says_how_to_repeat_the_run() -> None:
    found = results()
    manifest = to_json(found, MANIFEST)["manifest"]
    assert manifest["sha256"] == MANIFEST.sha256
    assert manifest["order"] == "timestamp, ties in file order"
    assert manifest["configuration"] == {"history": 200}
    assert manifest["skipped"] == {"rating below 4": 1_234}
    assert (manifest["seed"], manifest["micro_batch"], manifest["device"]) == (7, 256, "cpu")
    assert {"python", "numpy", "torch"} <= manifest["versions"].keys()
    assert manifest["counts"]["popularity"]["new items (misses)"] == 50
    assert manifest["log_loss"] == {"popularity": None, "transition": None}


def test_the_table_names_the_models_and_what_was_left_out() -> None:
    text = shown(results())
    for expected in ("popularity", "transition", "R@10", "N@10", "MRR", "1,234 rating below 4"):
        assert expected in text
    for expected in ("2,000 events", "500 events/s", "micro-batch 256", "seed 7", "50 new items"):
        assert expected in text


def test_a_model_that_could_not_run_is_said_in_table_and_json() -> None:
    found = replace(results(), left_out={"biased_mf": "no values"})
    assert "not compared: biased_mf: no values" in shown(found)
    assert to_json(found, MANIFEST)["manifest"]["models_left_out"] == {"biased_mf": "no values"}


def test_the_best_of_a_column_is_bold() -> None:
    found = results()
    bold = "\x1b[1m"
    best = f"{found.tracks['transition'].metrics().summary()['recall@1']:.4f}".removeprefix("0")
    other = f"{found.tracks['popularity'].metrics().summary()['recall@1']:.4f}".removeprefix("0")
    text = shown(found)
    assert bold + best in text
    assert bold + other not in text


def test_a_report_without_models_is_still_a_report() -> None:
    assert "0 events" in shown(Results({}, 0, 0.0))


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_items_that_no_expert_proposed_are_counted_by_themselves() -> None:
    found = results()
    ranked = np.flatnonzero(found.tracks["transition"].ranks)
    found.tracks["transition"].ranks[ranked[:7]] = 0
    counts = to_json(found, MANIFEST)["manifest"]["counts"]
    assert counts["transition"]["among no expert's best (misses)"] == 7
    assert "among no expert's best (misses)" not in counts["popularity"]
    assert "7 among no expert's best (misses)" in shown(found)

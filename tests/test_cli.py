"""The commands as a person types them: what they print, what they say to mistakes, and one real
engine that learns, answers, stops and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import cli
from connectors.embedded_log import EmbeddedLog
from connectors.http_client import HttpClient
from deploy.kafka.broker import Broker
from engine.config import EXPERTS
from lrurec import weights

ROOT = Path(__file__).parent.parent
RATINGS = str(ROOT / "data" / "movietweetings" / "ratings.csv.gz")
TITLES = str(ROOT / "data" / "movietweetings" / "movies.dat.gz")
SMALL = ["--set", "width=16", "--set", "blocks=1", "--set", "finetune_first=100"]
QUICK = [
    *SMALL,
    "--set",
    "finetune_first=500",
    "--set",
    "train_tokens_cap=2",
    "--set",
    "gate_tolerance=9",
]
DEADLINE_S = 120.0


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="lrustream")


def output(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LRUSTREAM_") and "__" in name]:
        monkeypatch.delenv(name)


@pytest.fixture
def clicks(tmp_path: Path) -> str:
    """Four users who walk the same ring of ten items, one step a second."""
    rows = [f"u{n % 4},i{(n // 4) % 10},{1000 + n}" for n in range(200)]
    (tmp_path / "clicks.csv").write_text("\n".join(["user,item,timestamp", *rows]) + "\n")
    return "clicks.csv"


# ---- replay


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


def replayed(clicks: str, *via: str) -> Any:
    output(
        *("replay", "--file", clicks, "--repeats", "--micro-batch", "16", *SMALL, *via),
        *("--models", "engine,lrurec,rules_long", "--json", "result.json"),
    )
    return json.loads(Path("result.json").read_text())


def test_replay_through_the_embedded_log_gives_the_same_numbers(clicks: str) -> None:
    through = replayed(clicks, "--via", "embedded")
    assert through["models"] == replayed(clicks)["models"]
    assert through["manifest"]["order"] == "timestamp, ties in file order, through embedded"
    spread = replayed(clicks, "--via", "embedded", "--partitions", "3")
    assert spread["manifest"]["order"].endswith("through embedded, which changes it between users")


def test_replay_through_kafka_gives_the_same_numbers(clicks: str, kafka_broker: Broker) -> None:
    servers = ["--bootstrap-servers", kafka_broker.bootstrap]
    through = replayed(clicks, "--via", "kafka", *servers)
    assert through["models"] == replayed(clicks)["models"]
    assert through["manifest"]["order"] == "timestamp, ties in file order, through kafka"


# ---- publish, dead letters, import, config


def test_publish_fills_the_embedded_log_in_order_of_time() -> None:
    Path("late.csv").write_text("user,item,timestamp\nann,b,20\nbob,a,10\n")
    printed = output("publish", "late.csv", "--topic", "t", "--speed", "1000x")
    assert printed.endswith(
        "published 2 events to t, 1 partition(s): the embedded log of .lrustream\n"
    )
    records = EmbeddedLog.open(".lrustream/log.sqlite").read("t", 0, 0, 10)
    assert [json.loads(record.value)["user_id"] for record in records] == ["bob", "ann"]
    assert [record.timestamp for record in records] == [10.0, 20.0]


def test_import_turns_a_published_checkpoint_into_a_model() -> None:
    checkpoint = ROOT / "tests" / "lrurec" / "oracle" / "lrurec-d16.pth"
    imported = json.loads(output("import", str(checkpoint), "--output", "model.safetensors"))
    assert (imported["model"], imported["width"]) == ("model.safetensors", 16)
    assert weights.load("model.safetensors").config.items == imported["items"]


def test_config_show_tells_values_and_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("lrustream.toml").write_text('[engine]\nseed = 5\n[serve]\ntopic = "clicks"\n')
    monkeypatch.setenv("LRUSTREAM_ENGINE__SEED", "6")
    monkeypatch.setenv("LRUSTREAM_KAFKA__BOOTSTRAP_SERVERS", "broker:9092")
    shown = output("config", "show", "--micro-batch", "8")
    for expected in (
        "seed = 6  # LRUSTREAM_ENGINE__SEED",
        'topic = "clicks"  # lrustream.toml',
        "micro_batch = 8  # --micro-batch",
        'bootstrap_servers = "broker:9092"  # LRUSTREAM_KAFKA__BOOTSTRAP_SERVERS',
        "history = 200  # default",
    ):
        assert expected in shown.splitlines()
    Path("shown.toml").write_text(shown)
    assert output("config", "validate", "--config", "shown.toml") == "the settings are valid\n"


# ---- mistakes


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
        ("publish none.csv", "none.csv: No such file or directory; give a file to read"),
        (
            "publish one.csv --speed fast",
            "speed is 'fast': give how many times event time, as in 100x, or max",
        ),
        (
            "publish one.csv --bootstrap-servers ,",
            "kafka: no Kafka address: give host:port, several with commas",
        ),
        (
            "recommend ann",
            "{here}/.lrustream/engine.sqlite: there is no such database yet: start "
            "`lrustream serve` first",
        ),
        (
            "models promote 1",
            "{here}/.lrustream/engine.sqlite: there is no such database yet: start "
            "`lrustream serve` first",
        ),
        (
            "stats --database mysql://x",
            "the database URL names no database this program knows: "
            "write sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME",
        ),
        (
            "serve --field name=x",
            "serve.fields: 'name' is none of user_id, item_id, timestamp, "
            "value, event_type, event_id (--field name)",
        ),
        (
            "import one.csv",
            "one.csv: not a torch checkpoint of tensors alone; save it again as "
            "{{'model_state_dict': model.state_dict()}}",
        ),
        (
            "config validate --config none.toml",
            "none.toml: No such file or directory; correct --config",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(command: str, message: str) -> None:
    Path("one.csv").write_text("user,item,timestamp\nann,b,20\n")
    result = run(*command.split())
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Error: " + message.format(here=Path.cwd())
    assert "Traceback" not in result.output


# ---- serve, for real


class Serving:
    """`lrustream serve` in a process of its own, on the state of the working directory."""

    def __init__(self, *options: str) -> None:
        with Path("serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / "cli.py", "serve", "--port", "0", *QUICK, *options],
                stderr=log,
                env={**os.environ, "LRUSTREAM_ENGINE__FINETUNE_MODE": "inline"},
            )

    def client(self) -> HttpClient:
        announced = Path(".lrustream/serve.json")
        self.wait_until(announced.exists)
        return HttpClient(json.loads(announced.read_text())["address"])

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.process.poll() is None, Path("serve.log").read_text()
            assert time.monotonic() < deadline, Path("serve.log").read_text()
            time.sleep(0.05)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def start(*options: str) -> Serving:
        started.append(Serving(*options))
        return started[-1]

    yield start
    for serving in started:
        serving.process.kill()
        serving.process.wait()


def asked(*arguments: str) -> Any:
    return json.loads(output(*arguments))


def test_an_engine_learns_answers_stops_and_goes_on(serve: Callable[..., Serving]) -> None:
    output("publish", RATINGS, "--topic", "films", "--limit", "2000")
    log = EmbeddedLog.open(".lrustream/log.sqlite")
    late = b'{"uid": "13941", "item_id": "1045658", "timestamp": 1362400000}'
    log.publish("films", [("", b"not json", None), ("", late, None)])

    serving = serve("--topic", "films")
    client = serving.client()
    serving.wait_until(lambda: sum(client.stats()["lag"].values()) == 0)
    serving.wait_until(lambda: client.stats()["events"] == 2000)
    while_running = asked("recommend", "13941", "-k", "5", "--json")
    stats = asked("stats", "--json")
    assert len(while_running["items"]) == 5
    assert stats["dead_letters"] == 2
    assert [row["live"] for row in asked("models", "list")][-1]
    refused = run("serve", "--topic", "films", "--port", "0")
    assert "another engine writes to this database" in refused.stderr
    assert serving.end(signal.SIGTERM) == 0
    assert not Path(".lrustream/serve.json").exists()

    stored = asked("recommend", "13941", "-k", "5", "--json")
    assert [row["item"] for row in stored["items"]] == [r["item"] for r in while_running["items"]]
    for before, after in zip(while_running["items"], stored["items"], strict=True):
        assert after["probability"] == pytest.approx(before["probability"], rel=1e-4)
    best = stored["items"][0]["item"]
    without = asked("recommend", "13941", "-k", "5", "--exclude", best, "--json")
    assert best not in [row["item"] for row in without["items"]]
    shown = output("recommend", "13941", "-k", "1", "--titles", TITLES)
    assert best in shown
    assert "(20" in shown
    assert asked("stats", "--json")["metrics"] == stats["metrics"]

    waiting = asked("deadletters", "list")
    assert [(row["offset"], row["raw"]) for row in waiting] == [
        (2000, "not json"),
        (2001, late.decode()),
    ]
    assert asked("deadletters", "replay", "--field", "user_id=uid") == {
        "sent": 1,
        "unreadable": 1,
    }

    live = asked("models", "list")[-1]["version"]
    assert asked("models", "rollback") == {"live": live - 1}
    assert asked("models", "promote", str(live)) == {"live": live}

    again = serve("--topic", "films")
    client = again.client()
    again.wait_until(lambda: client.stats()["events"] == 2001)
    assert client.stats()["version"] == live
    assert again.end(signal.SIGINT) == 0
    assert "stopped after 2,001 events" in Path("serve.log").read_text()

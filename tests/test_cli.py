"""The commands as a person types them: what they print, and what they say to mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors.embedded_log import EmbeddedLog
from lrurec import weights
from tests.commands import complaint, output

ORACLE = Path(__file__).parent / "lrurec" / "oracle"
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


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
    checkpoint = ORACLE / "lrurec-d16.pth"
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


@pytest.mark.parametrize(
    ("command", "message"),
    [
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
    assert complaint(command) == "Error: " + message.format(here=Path.cwd())

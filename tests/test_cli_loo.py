"""`lrustream loo` as a person types it: trains, tells, goes on, and says what is wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import Result

from connectors.lease import lock_file
from lrurec.weights import load_extra
from tests.commands import run

ROOT = Path(__file__).parent.parent
DEADLINE_S = 120.0


@pytest.fixture(autouse=True)
def a_small_data_set(in_an_empty_folder: None) -> None:
    lines = [f"{user} {100 + (user + step) % 30}" for user in range(1, 21) for step in range(6)]
    Path("video.txt").write_text("\n".join(lines) + "\n")


def loo(*arguments: str) -> Result:
    """The command in this process, whose own handlers of signals stay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "signal", lambda *_: None)
        return run("loo", *arguments)


def test_a_run_is_kept_printed_and_gone_on_with() -> None:
    result = loo("video", "--max-steps", "2", "--device", "cpu", "--json", "saved.json")
    assert result.exit_code == 0, result.output
    for expected in ("recall@10", ".1134", "ndcg@20", "20 users, 25 items; 2", "seed 0"):
        assert expected in result.stdout
    saved = json.loads(Path("saved.json").read_text())
    assert saved == json.loads(Path("runs/loo-video/result.json").read_text())
    assert (saved["protocol"], saved["steps"]) == ("leave-one-out", 2)

    longer = loo("video", "--max-steps", "3", "--device", "cpu")
    assert longer.exit_code == 0, longer.output
    curve = json.loads(Path("runs/loo-video/result.json").read_text())["curve"]
    assert [entry["step"] for entry in curve] == [2, 3]
    assert curve[0] == saved["curve"][0]


def test_a_signal_stops_it_and_everything_is_kept() -> None:
    command = [sys.executable, str(ROOT / "cli.py"), "loo", "video", "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        checkpoint = Path("runs/loo-video/training.safetensors")
        deadline = time.monotonic() + DEADLINE_S
        while not checkpoint.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    steps = int(errors.rsplit("stopped after ")[1].split()[0])
    assert load_extra(checkpoint, "training")["step"] == steps >= 250


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["beauty"], "Error: . has no beauty.txt.gz or beauty.txt: give --data the folder that"),
        (["video", "--device", "tpu"], "device: 'tpu' is not known; give auto, cpu or cuda[:n]"),
        (["video", "--dropout", "1.5"], "dropout=1.5: must be at least 0 and below 1"),
        (["video", "--json", "nowhere/x.json"], "nowhere/x.json: No such file or directory"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], message: str) -> None:
    result = loo(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_two_runs_never_share_a_folder() -> None:
    folder = Path("runs/shared")
    folder.mkdir(parents=True)
    with lock_file(folder / "lock") as lock:
        assert lock
        result = loo("video", "--max-steps", "1", "--device", "cpu", "--run", str(folder))
        assert result.exit_code == 1
        assert result.stderr == (
            "Error: runs/shared: another run is going on there; give another --run DIR\n"
        )
    result = loo("video", "--max-steps", "1", "--device", "cpu", "--run", str(folder))
    assert result.exit_code == 0, result.output


def test_a_bad_line_is_told_with_its_number() -> None:
    with Path("video.txt").open("a") as file:
        file.write("99 abc\n")
    result = loo("video")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: video.txt line 121: '99 abc' is not `user item`, two whole numbers; fix the line\n"
    )

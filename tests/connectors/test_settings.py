"""Settings: who wins, what is refused and in which words, what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connectors.settings import Given, SettingError, Settings, load, parse_pair


@dataclass(frozen=True)
class Motor:
    seed: int = 0
    rate: float = 0.5
    parts: tuple[str, ...] = ("wheel",)
    limit: int | None = 7
    fast: bool = False
    folder: Path = Path("here")

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate: {self.rate} is below 0; give 0 or more")


@dataclass(frozen=True)
class Broker:
    servers: str
    group: str = "g"
    extra: Mapping[str, object] = field(default_factory=dict)


SECTIONS = {"motor": Motor, "broker": Broker}


def settings(
    toml: str = "", environ: dict[str, str] | None = None, flags: tuple[Given, ...] = ()
) -> Settings:
    path = Path("given.toml")
    path.write_text(toml)
    return load(SECTIONS, path, environ or {}, flags)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_flags_win_over_the_environment_that_wins_over_the_file_that_wins_over_defaults() -> None:
    toml = "[motor]\nseed = 1\nrate = 0.1\nlimit = 2\n"
    environ = {"LRUSTREAM_MOTOR__SEED": "3", "LRUSTREAM_MOTOR__RATE": "0.2", "LRUSTREAM_DATA": "x"}
    found = settings(toml, environ, (Given("motor.seed", "5", "--seed"),)).section(Motor)
    assert found == Motor(seed=5, rate=0.2, limit=2)


def test_the_file_of_the_working_directory_is_read_where_there_is_one() -> None:
    assert load(SECTIONS).section(Motor).seed == 0
    Path("lrustream.toml").write_text("[motor]\nseed = 4\n")
    assert load(SECTIONS).section(Motor).seed == 4


def test_text_becomes_what_the_field_is() -> None:
    environ = {
        "LRUSTREAM_MOTOR__PARTS": "wheel, axle",
        "LRUSTREAM_MOTOR__LIMIT": "none",
        "LRUSTREAM_MOTOR__FAST": "true",
        "LRUSTREAM_MOTOR__FOLDER": "/there",
        "LRUSTREAM_BROKER__SERVERS": "a:1",
        "LRUSTREAM_BROKER__EXTRA__SASL_MECHANISM": "PLAIN",
    }
    found = settings(environ=environ)
    assert found.section(Motor) == Motor(
        parts=("wheel", "axle"), limit=None, fast=True, folder=Path("/there")
    )
    assert found.section(Broker) == Broker("a:1", extra={"sasl_mechanism": "PLAIN"})


def test_a_section_without_defaults_is_there_only_when_given() -> None:
    assert not settings().has(Broker)
    assert settings("[broker]\nservers = 'a:1'\n").has(Broker)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[motor]\nsead = 1", "motor.sead (given.toml) is no setting: did you mean motor.seed?"),
        ("[moter]\nseed = 1", "moter.seed (given.toml) is no setting: did you mean motor.seed?"),
        ("seed = 1", "seed (given.toml) is no setting: did you mean motor.seed?"),
        ("[motor.seed]\na = 1", "motor.seed.a (given.toml): motor.seed: it has no parts"),
        ("[motor]\nrate = -1.0", "motor.rate: -1.0 is below 0; give 0 or more (given.toml)"),
        ("[broker]\ngroup = 'h'", "broker.servers is missing, and broker.group is given (given.t"),
        (
            "[motor]\nseed = 'x'",
            "motor.seed is 'x' (given.toml): it should be a valid integer, unable to parse string "
            "as an integer",
        ),
        ("[motor]\nrate = inf", "motor.rate is inf (given.toml): it should be a finite number"),
        ("[motor\n", "given.toml is not TOML: "),
        (
            "[broker]\nservers = 'a'\nextra = 3",
            "broker.extra (given.toml): broker.extra: it takes NAME = VALUE pairs",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(toml: str, message: str) -> None:
    with pytest.raises(SettingError) as refused:
        list(settings(toml).lines())
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_the_origin_of_a_wrong_value_is_named() -> None:
    with pytest.raises(SettingError, match=r"^motor.seed is '1.5' \(LRUSTREAM_MOTOR__SEED\): "):
        settings(environ={"LRUSTREAM_MOTOR__SEED": "1.5"}).section(Motor)
    with pytest.raises(SettingError, match=r"^motor.rate: -2.0 is below 0; .* \(--rate\)$"):
        settings(flags=(Given("motor.rate", "-2", "--rate"),)).section(Motor)
    with pytest.raises(SettingError, match=r"^nowhere.toml: No such file or directory; correct"):
        load(SECTIONS, "nowhere.toml")


def test_pairs() -> None:
    assert parse_pair("seed=3", "--set", "motor") == Given("motor.seed", "3", "--set seed")
    assert parse_pair("broker.group=a=b", "--set", "motor").value == "a=b"
    with pytest.raises(SettingError, match=r"^--set 'seed': write KEY=VALUE$"):
        parse_pair("seed", "--set", "motor")


def test_what_is_in_force_is_shown_with_its_origin_and_without_secrets() -> None:
    environ = {"LRUSTREAM_BROKER__EXTRA__SASL_PLAIN_PASSWORD": "hunter2"}
    toml = "[broker]\nservers = 'amqp://me:hunter2@host'\n[motor]\nlimit = 3\n"
    shown = list(settings(toml, environ).lines())
    assert "seed = 0  # default" in shown
    assert "limit = 3  # given.toml" in shown
    assert 'folder = "here"  # default' in shown
    assert 'servers = "amqp://me:***@host"  # given.toml' in shown
    secret = "LRUSTREAM_BROKER__EXTRA__SASL_PLAIN_PASSWORD"
    assert f'extra.sasl_plain_password = "***"  # {secret}' in shown
    assert "hunter2" not in "\n".join(shown)
    assert "# [broker] is not set\n" in list(settings().lines())


def test_a_secret_is_not_repeated_in_an_error() -> None:
    @dataclass(frozen=True)
    class Safe:
        password: int = 0

    with pytest.raises(SettingError) as refused:
        load({"safe": Safe}, flags=[Given("safe.password", "hunter2", "--password")]).section(Safe)
    assert "hunter2" not in str(refused.value)

"""What the commands of the command line share: flags, and the settings that these give."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from connectors import settings as configuration
from connectors.kafka_settings import KafkaSettings
from connectors.places import Places
from connectors.settings import Given, Settings
from engine.config import EngineConfig, LoopConfig

SECTIONS = {"engine": EngineConfig, "loop": LoopConfig, "serve": Places, "kafka": KafkaSettings}


def option(usage: str, help: str, *names: str, **more: Any) -> Callable[[Any], Any]:
    """A click option from what is typed, as in `--limit N`."""
    flag, _, metavar = usage.partition(" ")
    return click.option(flag, *names, metavar=metavar or None, help=help, **more)


def setting(usage: str, key: str, help: str, multiple: bool = False) -> Callable[[Any], Any]:
    """A flag that stands for the setting `key`; with `multiple`, for NAME=VALUE parts of it."""
    origin = usage.split()[0].split("/")[0]

    def note(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        given = ctx.meta.setdefault("flags", [])
        if multiple:
            given += [configuration.parse_pair(text, origin, key) for text in value]
        elif value is not None:
            given.append(Given(key, value, origin))

    more: dict[str, Any] = {"expose_value": False, "default": None, "multiple": multiple}
    return option(usage, help, callback=note, **more)


def example(*lines: str) -> Callable[[Any], Any]:
    """What to type, at the end of a command's help."""

    def add(function: Any) -> Any:
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__), "", "\b", *lines])
        return function

    return add


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda command: reduce(lambda inner, add: add(inner), reversed(options), command)


config_file = option(
    "--config FILE",
    "TOML file with settings; by default lrustream.toml where there is one.",
    expose_value=False,
    callback=lambda ctx, _, value: ctx.meta.__setitem__("config", value),
)
engine_flags = together(
    setting("--seed N", "engine.seed", "Seed of everything random."),
    setting("--device NAME", "engine.device", "Where tensors live: auto, cpu or cuda[:n]."),
    setting("--repeats/--no-repeats", "engine.repeats", "May an item come to a user again?"),
    setting("--experts NAMES", "engine.experts", "Which experts to mix, with commas [all]."),
    setting("--micro-batch N", "engine.micro_batch", "Events learned at a time."),
    setting("--max-users-resident N", "engine.max_users_resident", "States in memory at most."),
    setting("--set KEY=VALUE", "engine", "Any other engine setting.", multiple=True),
)
state_dir_flag = setting(
    "--state-dir DIR", "serve.state_dir", "Folder of all that is kept [.lrustream]."
)
state_flags = together(
    state_dir_flag,
    setting("--database URL", "serve.database", "PostgreSQL or SQLite instead of a file there."),
    config_file,
)
topic_flag = setting("--topic NAME", "serve.topic", "Name of the topic [events].")
field_flag = setting(
    "--field user_id=UID", "serve.fields", "What a record calls it; may be repeated.", multiple=True
)
kafka_flag = setting(
    "--bootstrap-servers HOST:PORT",
    "kafka.bootstrap_servers",
    "Kafka brokers; without, the embedded log.",
)
file_flags = together(
    *(
        option(f"--{role}-column NAME", f"Where the {role} is: its name, or number from 1.", role)
        for role in ("user", "item", "time", "value")
    ),
    option("--time-unit UNIT", "Of the time column: s, ms, us or ns."),
    option("--format NAME", "csv, tsv, inter, movielens, jsonl or parquet."),
)
PATH = click.Path(path_type=Path)
limit_flag = option("--limit N", "Only the first N events.", type=int)
as_json = option("--json", "JSON instead of text.", "as_json", is_flag=True)


def read_settings() -> Settings:
    """What the current command was given, over environment, file and defaults."""
    meta = click.get_current_context().meta
    return configuration.load(SECTIONS, meta.get("config"), os.environ, meta.get("flags", ()))


def places_and_kafka(settings: Settings) -> tuple[Places, KafkaSettings | None]:
    return settings.section(Places), settings.optional(KafkaSettings)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))

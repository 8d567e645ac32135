"""The command line: wires sources, engine, store, replay and HTTP together; decides nothing else.

Each command reads its settings (file, environment, flags), builds the parts, and runs them. What
brings torch, numba or a web server is imported inside the commands: help and mistakes come first.
What they share is in `cli_options`; `replay`, `compare` and `loo` are in `cli_replay`.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

import cli_replay
from cli_options import (
    as_json,
    config_file,
    engine_flags,
    example,
    field_flag,
    file_flags,
    kafka_flag,
    limit_flag,
    option,
    places_and_kafka,
    print_json,
    read_settings,
    setting,
    state_dir_flag,
    state_flags,
    together,
    topic_flag,
)
from connectors import codec, files
from connectors import settings as configuration
from connectors.base import ConnectorError
from connectors.resend import resend
from engine.config import EngineConfig, LoopConfig
from replay import examples, pace
from replay.stream import in_time_order

if TYPE_CHECKING:
    from connectors.http_api import Answers


class OneLineErrors(click.Group):
    """What a user did or can mend is told in one line; only a defect shows a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ConnectorError, ValueError) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{place}{error.strerror or error}") from error


@click.group(cls=OneLineErrors, context_settings={"max_content_width": 100})
@click.version_option(package_name="lrustream")
def cli() -> None:
    """A streaming recommender: learns every event at once, and measures how good it is."""


for command in (cli_replay.replay, cli_replay.compare, cli_replay.loo):
    cli.add_command(command)


# ---- events and models in: publish, import


@cli.command()
@click.argument("file")
@topic_flag
@option("--speed 100x|max", "How many times event time [max].", default="max")
@limit_flag
@option("--partitions N", "Of a topic that is made now [1].", type=int, default=1)
@file_flags
@kafka_flag
@state_dir_flag
@config_file
@example(
    "lrustream publish data/movietweetings/ratings.csv.gz --topic events",
    "lrustream publish clicks.jsonl --speed 100x --bootstrap-servers localhost:9092",
)
def publish(
    file: str, speed: str, limit: int | None, partitions: int, **columns: str | None
) -> None:
    """Send the events of a data file to a topic, oldest first."""
    times = pace.parse_speed(speed)
    places, kafka = places_and_kafka(read_settings())
    events = in_time_order(files.read_events(file, **columns), limit=limit).events
    with closing(places.open_publisher(kafka)) as publisher:
        found = publisher.ensure_topic(places.topic, partitions)
        with click.progressbar(length=len(events), label=places.topic, file=sys.stderr) as bar:
            for part in pace.paced(events, times):
                bar.update(publisher.publish(places.topic, codec.records(part)))
    where = kafka.bootstrap_servers if kafka else f"the embedded log of {places.state_dir}"
    click.echo(f"published {len(events):,} events to {places.topic}, {found} partition(s): {where}")


@cli.command("import")
@click.argument("file")
@option("--output FILE", "By default FILE with .safetensors.")
@example("lrustream import ml-1m.pth --output ml-1m.safetensors")
def import_model(file: str, output: str | None) -> None:
    """Turn a published LRURec checkpoint into a model of ours."""
    from lrurec import weights

    model = weights.import_checkpoint(file)
    target = Path(output) if output else Path(file).with_suffix(".safetensors")
    weights.save(target, model)
    print_json({"model": str(target), **asdict(model.config)})


# ---- the engine: serve, and what it can be asked


@cli.command()
@topic_flag
@setting("--output-topic NAME", "serve.output_topic", "Topic to write recommendations to.")
@field_flag
@kafka_flag
@setting("--host NAME", "serve.host", "Address of the HTTP API [127.0.0.1].")
@setting("--port N", "serve.port", "Port of the HTTP API [8000]; 0 takes a free one.")
@engine_flags
@state_flags
@example(
    "lrustream serve --topic events",
    "lrustream serve --topic clicks --bootstrap-servers localhost:9092 --repeats",
)
def serve() -> None:
    """Learn from a topic, event by event, and answer over HTTP, until Ctrl-C or SIGTERM.

    It goes on where it stopped, whatever stopped it. Without Kafka it reads the embedded log,
    which `lrustream publish` fills.
    """
    from connectors.http_api import HttpServer
    from engine.engine import Engine
    from engine.journal import recover
    from engine.loop import Loop
    from engine.versions import Versions

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    settings = read_settings()
    places, kafka = places_and_kafka(settings)
    loop_config = settings.section(LoopConfig)
    places.prepare()
    with ExitStack() as stack:
        database = stack.enter_context(closing(places.open_database(create=True)))
        database.acquire_writer()
        engine = Engine(settings.section(EngineConfig))
        versions = Versions(places.models, loop_config.keep_versions)
        recovered = recover(engine, database, versions)
        source = places.open_source(kafka, database.positions, lambda: loop.forget_pending())
        sink = places.open_sink(kafka)
        loop = Loop(engine, source, database, versions, recovered, loop_config, sink)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: loop.stop())
        server = stack.enter_context(closing(HttpServer(loop, places.host, places.port)))
        stack.enter_context(places.announced(server.address))
        click.echo(f"learning from {places.topic}, answering at {server.address}", err=True)
        loop.run()
    click.echo(f"stopped after {engine.recommender.events:,} events", err=True)


@contextmanager
def engine_to_ask(writing: bool = False) -> Iterator[Answers]:
    """The engine that runs on the state folder, over HTTP; else what is stored of it."""
    settings = read_settings()
    places, _ = places_and_kafka(settings)
    if running := places.running():
        yield running
        return
    from engine.answers import StoredEngine
    from engine.versions import Versions

    with closing(places.open_database(read_only=not writing)) as database:
        yield StoredEngine(database, Versions(places.models), settings.section(EngineConfig))


@cli.command()
@click.argument("user")
@option("-k N", "How many items [10].", type=click.IntRange(1, 1000), default=10)
@option("--exclude ITEM", "Leave out; may be repeated.", multiple=True)
@option("--titles FILE", "Show titles: movies.dat, u.item or a CSV.")
@as_json
@state_flags
@example(
    "lrustream recommend 1 -k 5 --titles data/movietweetings/movies.dat.gz",
    "lrustream recommend 1 --exclude 1454468 --json",
)
def recommend(
    user: str, k: int, exclude: tuple[str, ...], titles: str | None, as_json: bool
) -> None:
    """Print the best items of USER, with their probabilities."""
    names = files.read_titles(titles) if titles else {}
    with engine_to_ask() as engine:
        answer = engine.recommend(user, k, exclude)
    if titles and answer and not any(item in names for item, _ in answer):
        click.echo(
            f"none of these items is in {titles}: are its ids those of the events?", err=True
        )
    if as_json:
        print_json(codec.answer(user, answer))
    else:
        Console().print(examples.to_table(answer, names))


@cli.command()
@as_json
@state_flags
@example("lrustream stats --json")
def stats(as_json: bool) -> None:
    """Print counts, metrics, memory and caps."""
    with engine_to_ask() as engine:
        found = engine.stats()
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(f"{k:36} {v}" for k, v in configuration.flattened(found)))


@cli.command()
@click.argument("user")
@state_flags
@example("lrustream forget 13941")
def forget(user: str) -> None:
    """Drop what is held of USER: name, history and state. Counts over all users stay."""
    with engine_to_ask(writing=True) as engine:
        if not engine.forget(user):
            raise ValueError(f"user {user!r}: nothing is held of that name; was it spelled so?")
    print_json({"forgotten": user})


@cli.group()
def models() -> None:
    """Versions of the model: each fine-tune makes one."""


@models.command("list")
@state_flags
@example("lrustream models list")
def list_models() -> None:
    """Print the versions, oldest first, as JSON; `live` marks the one that answers."""
    with engine_to_ask() as engine:
        print_json(engine.models())


@models.command()
@click.argument("version", type=click.IntRange(1))
@state_flags
@example("lrustream models promote 3")
def promote(version: int) -> None:
    """Make VERSION the live one."""
    with engine_to_ask(writing=True) as engine:
        print_json({"live": engine.promote(version)})


@models.command()
@state_flags
@example("lrustream models rollback")
def rollback() -> None:
    """Make the version that the live one was trained from the live one."""
    with engine_to_ask(writing=True) as engine:
        print_json({"live": engine.rollback()})


# ---- dead letters and settings


@cli.group()
def deadletters() -> None:
    """Records that could not become events."""


@deadletters.command("list")
@option("--limit N", "Print so many at most [100].", type=click.IntRange(1), default=100)
@state_flags
@example("lrustream deadletters list --limit 20")
def list_dead_letters(limit: int) -> None:
    """Print the dead letters that wait, oldest first, as JSON."""
    places, _ = places_and_kafka(read_settings())
    with closing(places.open_database(read_only=True)) as database:
        print_json([row.as_json() for row in database.dead_letters(limit, waiting=True)])


@deadletters.command("replay")
@field_flag
@kafka_flag
@state_flags
@example("lrustream deadletters replay --field user_id=uid")
def replay_dead_letters() -> None:
    """Send those that can be read by now to their topic again."""
    places, kafka = places_and_kafka(read_settings())
    with closing(places.open_database()) as database:
        print_json(asdict(resend(database, places, kafka)))


@cli.group()
def config() -> None:
    """Settings: one TOML file, environment variables (LRUSTREAM_ENGINE__SEED), flags."""


@config.command()
@engine_flags
@together(topic_flag, kafka_flag, state_flags)
@example("lrustream config show --config lrustream.toml")
def show() -> None:
    """Print every setting in force, as TOML, with where it came from."""
    click.echo("\n".join(read_settings().lines()).rstrip())


@config.command()
@config_file
@example("lrustream config validate --config lrustream.toml")
def validate() -> None:
    """Check the settings without running anything."""
    list(read_settings().lines())
    click.echo("the settings are valid")


def main() -> None:
    """The console script."""
    cli(prog_name="lrustream")


if __name__ == "__main__":
    main()

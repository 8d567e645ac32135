"""The command line: wires sources, engine, store, replay and HTTP together; decides nothing else.

Each command reads its settings (file, environment, flags), builds the parts, and runs them. The
heavy imports stand inside the commands, so that help and mistakes answer at once.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connectors import settings as configuration
from connectors.base import ConnectorError
from connectors.settings import Given, Settings

if TYPE_CHECKING:
    from connectors.http_api import Answers
    from connectors.kafka_settings import KafkaSettings
    from connectors.places import Places


# ---- errors, settings and the flags that several commands share


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


def setting(flag: str, key: str, help: str, **options: Any) -> Callable[[Any], Any]:
    """A flag that stands for the setting `key`; with `multiple`, for NAME=VALUE parts of it."""

    def note(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        given = ctx.meta.setdefault("flags", [])
        origin = flag.split("/")[0]
        if options.get("multiple"):
            given += [configuration.parse_pair(text, origin, key) for text in value]
        elif value is not None:
            given.append(Given(key, value, origin))

    options = {"expose_value": False, "default": None, **options}
    return click.option(flag, help=help, callback=note, **options)


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


config_file = click.option(
    "--config",
    metavar="FILE",
    expose_value=False,
    callback=lambda ctx, _, value: ctx.meta.__setitem__("config", value),
    help="TOML file with settings; by default lrustream.toml where there is one.",
)
engine_flags = together(
    setting("--seed", "engine.seed", "Seed of everything random.", metavar="N"),
    setting(
        "--device", "engine.device", "Where tensors live: auto, cpu or cuda[:n].", metavar="NAME"
    ),
    setting("--repeats/--no-repeats", "engine.repeats", "May an item come to a user again?"),
    setting(
        "--experts", "engine.experts", "Which experts to mix, with commas [all].", metavar="NAMES"
    ),
    setting("--micro-batch", "engine.micro_batch", "Events learned at a time.", metavar="N"),
    setting(
        "--max-users-resident",
        "engine.max_users_resident",
        "States in memory at most.",
        metavar="N",
    ),
    setting("--set", "engine", "Any other engine setting.", metavar="KEY=VALUE", multiple=True),
)
state_flags = together(
    setting(
        "--state-dir", "serve.state_dir", "Folder of all that is kept [.lrustream].", metavar="DIR"
    ),
    setting(
        "--database",
        "serve.database",
        "PostgreSQL or SQLite instead of a file there.",
        metavar="URL",
    ),
    config_file,
)
topic_flag = setting("--topic", "serve.topic", "Name of the topic [events].", metavar="NAME")
field_flag = setting(
    "--field",
    "serve.fields",
    "What a record calls it; may be repeated.",
    metavar="user_id=UID",
    multiple=True,
)
kafka_flag = setting(
    "--bootstrap-servers",
    "kafka.bootstrap_servers",
    "Kafka brokers; without, the embedded log.",
    metavar="HOST:PORT",
)
file_flags = together(
    *(
        click.option(
            f"--{role}-column",
            role,
            metavar="NAME",
            help=f"Where the {role} is: its name, or number from 1.",
        )
        for role in ("user", "item", "time", "value")
    ),
    click.option("--time-unit", metavar="UNIT", help="Of the time column: s, ms, us or ns."),
    click.option("--format", metavar="NAME", help="csv, tsv, inter, movielens, jsonl or parquet."),
)
as_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


def read_settings() -> Settings:
    """What the current command was given, over environment, file and defaults."""
    from connectors.kafka_settings import KafkaSettings
    from connectors.places import Places
    from engine.config import EngineConfig, LoopConfig

    sections = {"engine": EngineConfig, "loop": LoopConfig, "serve": Places, "kafka": KafkaSettings}
    meta = click.get_current_context().meta
    return configuration.load(sections, meta.get("config"), os.environ, meta.get("flags", ()))


def places_and_kafka(settings: Settings) -> tuple[Places, KafkaSettings | None]:
    from connectors.kafka_settings import KafkaSettings
    from connectors.places import Places

    kafka = settings.section(KafkaSettings) if settings.has(KafkaSettings) else None
    return settings.section(Places), kafka


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@click.group(cls=OneLineErrors, context_settings={"max_content_width": 100})
@click.version_option(package_name="lrustream")
def cli() -> None:
    """A streaming recommender: learns every event at once, and measures how good it is."""


# ---- events in: publish, replay, import


@cli.command()
@click.argument("file")
@topic_flag
@click.option("--speed", default="max", metavar="100x|max", help="How many times event time [max].")
@click.option("--limit", type=int, metavar="N", help="Only the first N events.")
@click.option(
    "--partitions", type=int, default=1, metavar="N", help="Of a topic that is made now [1]."
)
@file_flags
@kafka_flag
@state_flags
def publish(
    file: str, speed: str, limit: int | None, partitions: int, **columns: str | None
) -> None:
    """Send the events of a data file to a topic, oldest first.

    \b
    lrustream publish data/movietweetings/ratings.csv.gz --topic events
    lrustream publish clicks.jsonl --speed 100x --bootstrap-servers localhost:9092
    """
    from connectors.codec import records
    from connectors.files import read_events
    from replay.pace import paced, parse_speed
    from replay.stream import in_time_order

    times = parse_speed(speed)
    places, kafka = places_and_kafka(read_settings())
    events = in_time_order(read_events(file, **columns), limit=limit).events
    publisher = places.open_publisher(kafka)
    try:
        found = publisher.ensure_topic(places.topic, partitions)
        with click.progressbar(length=len(events), label=places.topic, file=sys.stderr) as bar:
            for part in paced(events, times):
                bar.update(publisher.publish(places.topic, records(part)))
    finally:
        publisher.close()
    where = kafka.bootstrap_servers if kafka else f"the embedded log of {places.state_dir}"
    click.echo(f"published {len(events):,} events to {places.topic}, {found} partition(s): {where}")


@cli.command()
@click.argument("stream", required=False)
@click.option("--data", metavar="DIR", default=".", help="Folder with the files of STREAM.")
@click.option("--file", "path", metavar="PATH", help="Any data file instead of a STREAM.")
@file_flags
@click.option("--limit", type=int, metavar="N", help="Only the first N events.")
@click.option("--min-rating", type=float, metavar="X", help="Only events rated X or better.")
@click.option(
    "--ties",
    type=click.Choice(["file", "shuffle"]),
    default="file",
    help="Order of equal timestamps [file].",
)
@click.option("--models", default="", metavar="NAMES", help="Which to compare, with commas [all].")
@click.option("--json", "json_file", metavar="FILE", help="Save the result as JSON.")
@click.option("--show-users", type=int, default=0, metavar="N", help="Then recommend to N users.")
@click.option("--via", type=click.Choice(["embedded", "kafka"]), help="Send it through a broker.")
@click.option(
    "--partitions", type=int, default=1, metavar="N", help="Of the topic made for that [1]."
)
@topic_flag
@kafka_flag
@engine_flags
@config_file
def replay(
    stream: str | None,
    data: str,
    path: str | None,
    limit: int | None,
    min_rating: float | None,
    ties: Any,
    models: str,
    json_file: str | None,
    show_users: int,
    via: Any,
    partitions: int,
    **columns: str | None,
) -> None:
    """Run a data set through the engine, each event ranked before it is learned.

    STREAM is ml-1m, ml-100k, movietweetings or yoochoose. The table compares the engine, and its
    LRURec alone, with six counting baselines.

    \b
    lrustream replay movietweetings --data data/movietweetings --limit 20000
    lrustream replay --file clicks.csv --repeats --json result.json
    """
    from rich.console import Console

    from connectors import files, streams
    from connectors.through import through
    from engine.config import EngineConfig
    from engine.pending import micro_batches
    from replay import examples, report
    from replay.compare import Comparison, in_process
    from replay.progress import progress_bar
    from replay.stream import in_time_order

    if bool(stream) == bool(path):
        raise click.UsageError(f"name a STREAM ({', '.join(streams.STREAMS)}) or give --file PATH")
    settings = read_settings()
    config = settings.section(EngineConfig)
    comparison = Comparison.of([name for name in models.split(",") if name], config)
    source = streams.find(stream, data) if stream else streams.StreamFiles(Path(path or ""), None)
    titles = files.read_titles(source.titles) if source.titles else {}
    batch = files.read_events(source.events, **columns)
    ordered = in_time_order(batch, ties, config.seed, min_rating, limit)
    name = stream or source.events.name

    order = f"timestamp, ties {'in file order' if ties == 'file' else 'shuffled'}"

    engine = comparison.new_engine()
    score_and_learn = in_process(engine) if engine else None
    with ExitStack() as stack:
        feed = None
        if via:
            places, kafka = places_and_kafka(settings)
            topic = stack.enter_context(through(via, ordered.events, places, kafka, partitions))
            feed = micro_batches(topic, config.micro_batch, len(ordered.events))
            order += f", through {via}"
            order += ", which changes it between users" if partitions > 1 else ""
        progress = stack.enter_context(progress_bar(name))
        results = comparison.run(score_and_learn, ordered.events, progress, feed)
    manifest = report.Manifest(
        stream=name,
        data_file=source.events.name,
        sha256=report.sha256_of(source.events),
        skipped=ordered.skipped,
        micro_batch=config.micro_batch,
        seed=config.seed,
        device=str(engine.recommender.device) if engine else "cpu",
        repeats=config.repeats,
        order=order,
        configuration=asdict(comparison.config),
    )
    console = Console()
    console.print(report.to_table(results, manifest))
    if json_file:
        report.save_json(results, manifest, json_file)
    if engine is not None:
        for user in examples.pick_users(ordered.events, show_users):
            answer = engine.recommender.recommend(user)
            console.print(examples.show_user(user, ordered.events, answer, titles))


@cli.command("import")
@click.argument("file")
@click.option("--output", metavar="FILE", help="By default FILE with .safetensors.")
def import_model(file: str, output: str | None) -> None:
    """Turn a published LRURec checkpoint into a model of ours.

    \b
    lrustream import ml-1m.pth --output ml-1m.safetensors
    """
    from lrurec import weights

    model = weights.import_checkpoint(file)
    target = Path(output) if output else Path(file).with_suffix(".safetensors")
    weights.save(target, model)
    print_json({"model": str(target), **asdict(model.config)})


# ---- the engine: serve, and what it can be asked


@cli.command()
@topic_flag
@setting(
    "--output-topic", "serve.output_topic", "Topic to write recommendations to.", metavar="NAME"
)
@field_flag
@kafka_flag
@setting("--host", "serve.host", "Address of the HTTP API [127.0.0.1].", metavar="NAME")
@setting("--port", "serve.port", "Port of the HTTP API [8000]; 0 takes a free one.", metavar="N")
@engine_flags
@state_flags
def serve() -> None:
    """Learn from a topic, event by event, and answer over HTTP, until Ctrl-C or SIGTERM.

    It goes on where it stopped, whatever stopped it. Without Kafka it reads the embedded log,
    which `lrustream publish` fills.

    \b
    lrustream serve --topic events
    lrustream serve --topic clicks --bootstrap-servers localhost:9092 --repeats
    """
    from connectors.http_api import HttpServer
    from engine.config import EngineConfig, LoopConfig
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
        database = places.open_database()
        stack.callback(database.close)
        database.acquire_writer()
        engine = Engine(settings.section(EngineConfig))
        versions = Versions(places.models, loop_config.keep_versions)
        recovered = recover(engine, database, versions)
        source = places.open_source(kafka, database.positions, lambda: loop.forget_pending())
        sink = places.open_sink(kafka)
        loop = Loop(engine, source, database, versions, recovered, loop_config, sink)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: loop.stop())
        server = HttpServer(loop, places.host, places.port)
        stack.callback(server.close)
        places.announce(server.address)
        stack.callback(places.withdraw)
        click.echo(f"learning from {places.topic}, answering at {server.address}", err=True)
        loop.run()
    click.echo(f"stopped after {engine.recommender.events:,} events", err=True)


@contextmanager
def engine_to_ask(writing: bool = False) -> Iterator[Answers]:
    """The engine that runs on the state folder, over HTTP; else what is stored of it."""
    from engine.config import EngineConfig

    settings = read_settings()
    places, _ = places_and_kafka(settings)
    if running := places.running():
        yield running
        return
    from engine.answers import StoredEngine
    from engine.versions import Versions

    database = places.open_database(read_only=not writing)
    try:
        yield StoredEngine(database, Versions(places.models), settings.section(EngineConfig))
    finally:
        database.close()


@cli.command()
@click.argument("user")
@click.option(
    "-k", default=10, type=click.IntRange(1, 1000), metavar="N", help="How many items [10]."
)
@click.option("--exclude", multiple=True, metavar="ITEM", help="Leave out; may be repeated.")
@click.option("--titles", metavar="FILE", help="Show titles: movies.dat, u.item or a CSV.")
@as_json
@state_flags
def recommend(
    user: str, k: int, exclude: tuple[str, ...], titles: str | None, as_json: bool
) -> None:
    """Print the best items of USER, with their probabilities.

    \b
    lrustream recommend 1 -k 5 --titles data/movietweetings/movies.dat.gz
    lrustream recommend 1 --exclude 1454468 --json
    """
    from rich.console import Console

    from connectors.files import read_titles
    from replay.examples import to_table

    names = read_titles(titles) if titles else {}
    with engine_to_ask() as engine:
        answer = engine.recommend(user, k, exclude)
    if as_json:
        items = [{"item": item, "probability": p} for item, p in answer]
        print_json({"user": user, "items": items})
    else:
        Console().print(to_table(answer, names))


@cli.command()
@as_json
@state_flags
def stats(as_json: bool) -> None:
    """Print counts, metrics, memory and caps.

    \b
    lrustream stats --json
    """
    with engine_to_ask() as engine:
        found = engine.stats()
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(f"{k:36} {v}" for k, v in configuration.flattened(found)))


@cli.group()
def models() -> None:
    """Versions of the model: each fine-tune makes one."""


@models.command("list")
@state_flags
def list_models() -> None:
    """Print the versions, oldest first, as JSON; `live` marks the one that answers.

    \b
    lrustream models list
    """
    with engine_to_ask() as engine:
        print_json(engine.models())


@models.command()
@click.argument("version", type=int)
@state_flags
def promote(version: int) -> None:
    """Make VERSION the live one.

    \b
    lrustream models promote 3
    """
    with engine_to_ask(writing=True) as engine:
        print_json({"live": engine.promote(version)})


@models.command()
@state_flags
def rollback() -> None:
    """Make the version that the live one was trained from the live one.

    \b
    lrustream models rollback
    """
    with engine_to_ask(writing=True) as engine:
        print_json({"live": engine.rollback()})


# ---- dead letters and settings


@cli.group()
def deadletters() -> None:
    """Records that could not become events."""


@deadletters.command("list")
@click.option("--limit", type=int, default=100, metavar="N", help="Print so many at most [100].")
@state_flags
def list_dead_letters(limit: int) -> None:
    """Print the dead letters that wait, oldest first, as JSON.

    \b
    lrustream deadletters list --limit 20
    """
    places, _ = places_and_kafka(read_settings())
    database = places.open_database(read_only=True)
    try:
        rows = database.dead_letters(limit, waiting=True)
    finally:
        database.close()
    raw = [{"raw": row.letter.raw.decode("utf-8", "backslashreplace")} for row in rows]
    print_json(
        [{"id": r.id, **asdict(r.letter), **text} for r, text in zip(rows, raw, strict=True)]
    )


@deadletters.command("replay")
@field_flag
@kafka_flag
@state_flags
def replay_dead_letters() -> None:
    """Send those that can be read by now to their topic again.

    \b
    lrustream deadletters replay --field user_id=uid
    """
    from connectors.resend import resend

    places, kafka = places_and_kafka(read_settings())
    database = places.open_database()
    try:
        done = resend(database, places, kafka)
    finally:
        database.close()
    print_json(asdict(done))


@cli.group()
def config() -> None:
    """Settings: one TOML file, environment variables (LRUSTREAM_ENGINE__SEED), flags."""


@config.command()
@engine_flags
@together(topic_flag, kafka_flag, state_flags)
def show() -> None:
    """Print every setting in force, as TOML, with where it came from.

    \b
    lrustream config show --config lrustream.toml
    """
    click.echo("\n".join(read_settings().lines()).rstrip())


@config.command()
@config_file
def validate() -> None:
    """Check the settings without running anything.

    \b
    lrustream config validate --config lrustream.toml
    """
    list(read_settings().lines())
    click.echo("the settings are valid")


def main() -> None:
    """The console script."""
    cli(prog_name="lrustream")


if __name__ == "__main__":
    main()

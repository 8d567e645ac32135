"""The command line: wires sources, engine, store, replay and HTTP together; decides nothing else.

Each command reads its settings (file, environment, flags), builds the parts, and runs them. What
brings torch, numba or a web server is imported inside the commands: help and mistakes come first.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from connectors import codec, files, interactions, streams
from connectors import settings as configuration
from connectors.base import ConnectorError
from connectors.kafka_settings import KafkaSettings
from connectors.places import Places
from connectors.resend import resend
from connectors.settings import Given, Settings
from connectors.through import through
from engine.config import EngineConfig, LoopConfig
from engine.pending import micro_batches
from replay import examples, pace
from replay.stream import in_time_order

if TYPE_CHECKING:
    from connectors.http_api import Answers

SECTIONS = {"engine": EngineConfig, "loop": LoopConfig, "serve": Places, "kafka": KafkaSettings}


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
state_flags = together(
    setting("--state-dir DIR", "serve.state_dir", "Folder of all that is kept [.lrustream]."),
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


@click.group(cls=OneLineErrors, context_settings={"max_content_width": 100})
@click.version_option(package_name="lrustream")
def cli() -> None:
    """A streaming recommender: learns every event at once, and measures how good it is."""


# ---- events in: publish, replay, import


@cli.command()
@click.argument("file")
@topic_flag
@option("--speed 100x|max", "How many times event time [max].", default="max")
@limit_flag
@option("--partitions N", "Of a topic that is made now [1].", type=int, default=1)
@file_flags
@kafka_flag
@state_flags
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


@cli.command()
@click.argument("stream", required=False)
@option("--data DIR", "Folder with the files of STREAM.", default=".")
@option("--file PATH", "Any data file instead of a STREAM.", "path", type=PATH)
@file_flags
@limit_flag
@option("--min-rating X", "Only events rated X or better.", type=float)
@option(
    "--ties",
    "Order of equal timestamps [file].",
    type=click.Choice(["file", "shuffle", "both"]),
    default="file",
)
@option("--protocol NAME", "How it is scored [deployable].", default="deployable")
@option("--seeds N", "So many runs, from --seed on.", type=click.IntRange(1), default=1)
@setting("--train-lag N", "engine.train_lag", "Events that pass before a swap [0].")
@option("--models all|fast|NAMES", "Which to compare, with commas [fast].", default="")
@option("--json FILE", "Save the result as JSON.", "json_file", type=PATH)
@option("--report DIR", "Write a page, and all it says as data.", "report_dir", type=PATH)
@option("--show-users N", "Then recommend to N users.", type=click.IntRange(0), default=0)
@option("--via", "Send it through a broker.", type=click.Choice(["embedded", "kafka"]))
@option("--partitions N", "Of the topic made for that [1].", type=int, default=1)
@topic_flag
@kafka_flag
@engine_flags
@config_file
@example(
    "lrustream replay movietweetings --data data/movietweetings --limit 20000",
    "lrustream replay --file clicks.csv --repeats --json result.json --report report",
    "lrustream replay ml-100k --data ml-100k --protocol vinagre --ties both --seeds 3",
)
def replay(
    stream: str | None,
    data: str,
    path: Path | None,
    limit: int | None,
    min_rating: float | None,
    ties: str,
    protocol: str,
    seeds: int,
    models: str,
    json_file: Path | None,
    report_dir: Path | None,
    show_users: int,
    via: Any,
    partitions: int,
    **columns: str | None,
) -> None:
    """Run a data set through the engine, each event ranked before it is learned.

    STREAM is ml-1m, ml-100k, movietweetings or yoochoose. The table compares the engine, and its
    LRURec alone, with six counting baselines (fast), or with neighbours, factors and networks as
    well (all). NAME of the protocol is deployable, vinagre, flurs or alpenglow; with several seeds
    the table gives means and 95 % intervals.
    """
    from replay import runs
    from replay.compare import Comparison
    from replay.progress import progress_bar
    from replay.protocols import find
    from replay.report import Manifest

    settings = read_settings()
    config = settings.section(EngineConfig)
    rules = find(protocol)
    names = [name for name in models.split(",") if name]
    Comparison.of(names, config, rules)  # what cannot be compared is better said before reading
    source = streams.find(stream, data, path)
    titles = files.read_titles(source.titles) if source.titles else {}
    batch = files.read_events(source.events, **columns)
    if json_file:
        json_file.open("a").close()  # what cannot be written is better said before the replay
    plan = runs.plan(ties, config.seed, seeds)
    if report_dir and via and partitions > 1:
        raise ValueError("--report shows the events in order: leave out --partitions")
    folder = claimed(report_dir) if report_dir else None

    done: list[runs.Run] = []
    for order, seed in plan:
        comparison = Comparison.of(names, replace(config, seed=seed), rules)
        ordered = in_time_order(batch, order, seed, min_rating, limit)
        engine = comparison.new_engine()
        recorder = folder.Recorder(engine, rules) if folder and not done else None
        with ExitStack() as stack:
            feed = None
            if via:
                places, kafka = places_and_kafka(settings)
                topic = stack.enter_context(through(via, ordered.events, places, kafka, partitions))
                feed = micro_batches(topic, config.micro_batch, len(ordered.events))
                ordered = ordered.through(via, partitions)
            progress = stack.enter_context(progress_bar(source.name))
            results = comparison.run(engine, ordered.events, progress, feed, recorder)
        if recorder:
            recorded = ordered.events, recorder.recording()
        device = str(engine.recommender.device) if engine else "cpu"
        command = shlex.join(["lrustream", *sys.argv[1:]])
        manifest = Manifest.of(
            source.name, source.events, ordered, comparison.config, device, rules, command
        )
        done.append(runs.Run(order, results, manifest))
    console = Console()
    console.print(runs.to_table(done))
    if json_file:
        runs.save_json(done, json_file)
    if folder:
        folder.write(report_dir, done, *recorded)
    if engine and show_users:
        recommend = engine.recommender.recommend
        console.print(examples.show_users(show_users, ordered.events, recommend, titles))


def claimed(report_dir: Path) -> Any:
    """The module that writes reports, which found the folder free. It needs an extra."""
    try:
        from replay import folder
    except ModuleNotFoundError as error:
        raise ValueError(f"--report needs {error.name}: pip install 'lrustream[report]'") from None
    folder.claim(report_dir)
    return folder


@cli.command()
@click.argument("report_a", type=PATH)
@click.argument("report_b", type=PATH, required=False)
@option("--model NAME", "Which model [engine].", default="engine")
@option("--baseline NAME", "Against this model of REPORT_A, instead of REPORT_B.")
@as_json
@example(
    "lrustream compare before after",
    "lrustream compare after --baseline rules_short",
)
def compare(
    report_a: Path, report_b: Path | None, model: str, baseline: str | None, as_json: bool
) -> None:
    """Say which of two saved replays is better, event by event.

    REPORT_A and REPORT_B are folders of `replay --report` over the same events.
    """
    from replay import saved, versus

    if (report_b is None) == (baseline is None):
        raise ValueError("compare with what? give either REPORT_B or --baseline NAME")
    one = saved.read(report_a)
    if report_b:
        found = versus.of_runs(one, saved.read(report_b), model)
    else:
        found = versus.in_run(one, model, str(baseline))
    if as_json:
        print_json(found.as_json())
    else:
        Console().print(versus.to_table(found))


@cli.command()
@click.argument("data_set", type=click.Choice(interactions.DATA_SETS))
@option("--data DIR", "Folder with DATA_SET.txt.gz.", default=".")
@option("--run DIR", "Folder that the run is kept in [runs/loo-DATA_SET].", "folder", type=PATH)
@option("--max-steps N", "Evaluate and end after so many.", type=click.IntRange(1))
@option("--dropout X", "Instead of the paper's.", type=float)
@option("--weight-decay X", "Instead of the paper's.", type=float)
@option(
    "--precision",
    "Of scores in training [float32]; bfloat16 is quicker where the processor has it.",
    type=click.Choice(["float32", "bfloat16"]),
)
@option("--seed N", "Seed of everything random [0].", type=click.IntRange(0, 2**32 - 1))
@option("--device NAME", "Where tensors live: auto, cpu or cuda[:n] [auto].", default="auto")
@option("--json FILE", "Save the result as JSON.", "json_file", type=PATH)
@example(
    "lrustream loo video --data loo",
    "lrustream loo ml-1m --data loo --seed 1 --run runs/ml-1m-1 --json ml-1m-1.json",
)
def loo(
    data_set: str,
    data: str,
    folder: Path | None,
    max_steps: int | None,
    device: str,
    json_file: Path | None,
    **given: Any,
) -> None:
    """Train and test LRURec as the paper does, leave-one-out.

    Ctrl-C and SIGTERM stop it; the same command goes on where it stopped, and ends with the
    numbers it would have had. The folder of the run keeps the curve and the result.
    """
    from replay import loo_report
    from replay.leave_one_out import split
    from replay.loo_run import LooRun, paper_config
    from replay.progress import training_bar
    from replay.report import sha256_of

    folder = folder or Path("runs") / f"loo-{data_set}"
    path = interactions.find(data_set, data)
    config = paper_config(data_set, sha256_of(path), device, **given)
    run = LooRun(split(*interactions.read_interactions(path)), config, folder)
    if json_file:
        json_file.open("a").close()  # what cannot be written is better said before the training
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: run.stop())
    with training_bar(data_set) as progress:
        run.train(progress, max_steps)
    if run.stopped:
        click.echo(f"stopped after {run.step:,} steps; the same command goes on", err=True)
        return
    result = loo_report.to_json(run)
    for file in filter(None, (folder / "result.json", json_file)):
        loo_report.save_json(result, file)
    Console().print(loo_report.to_table(result))


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

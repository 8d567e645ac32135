"""The command line: wires sources, engine, store, replay and HTTP together; decides nothing else.

Each command reads its settings (file, environment, flags), builds the parts, and runs them. The
heavy imports (torch) stand inside the commands, so that help and mistakes answer at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connectors import settings as configuration
from connectors.base import ConnectorError
from connectors.settings import Given, Settings
from engine.config import EngineConfig

if TYPE_CHECKING:
    from connectors.event import EventBatch
    from engine.engine import Engine
    from engine.recommender import Scored
    from replay.prequential import ScoreAndLearn

ENGINES = ("engine", "lrurec")


class OneLineErrors(click.Group):
    """What a user did or can mend is told in one line; only a defect shows a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ConnectorError, ValueError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=OneLineErrors, context_settings={"max_content_width": 100})
@click.version_option(package_name="lrustream")
def cli() -> None:
    """A streaming recommender: learns every event at once, and measures how good it is."""


def setting(flag: str, key: str, help: str, **options: Any) -> Callable[[Any], Any]:
    """A flag that stands for one setting; `KEY=VALUE` flags name it themselves."""

    def note(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        given = ctx.meta.setdefault("flags", [])
        origin = flag.split("/")[0]
        if options.get("multiple"):
            given += [configuration.parse_pair(text, origin, key) for text in value]
        elif value is not None:
            given.append(Given(key, value, origin))

    options = {"expose_value": False, "default": None, **options}
    return click.option(flag, help=help, callback=note, **options)


config_option = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    expose_value=False,
    callback=lambda ctx, _, value: ctx.meta.__setitem__("config", value),
    help="TOML file with settings  [default: lrustream.toml where there is one]",
)


def read_settings() -> Settings:
    """What the current command was given, over environment, file and defaults."""
    meta = click.get_current_context().meta
    return configuration.load(
        {"engine": EngineConfig}, meta.get("config"), os.environ, meta.get("flags", ())
    )


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The engine's settings that are asked for most, and `--set` for the others."""
    for option in (
        setting("--set", "engine", "Any engine setting.", multiple=True, metavar="KEY=VALUE"),
        setting("--experts", "engine.experts", "Names with commas.", metavar="NAMES"),
        setting("--micro-batch", "engine.micro_batch", "Events at a time.", metavar="N"),
        setting("--repeats/--no-repeats", "engine.repeats", "May an item come again?"),
        setting("--device", "engine.device", "auto, cpu or cuda[:n].", metavar="NAME"),
        setting("--seed", "engine.seed", "Of everything random.", metavar="N"),
        config_option,
    ):
        command = option(command)
    return command


def file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How to read a data file where it is not found out by itself."""
    for role in ("value", "time", "item", "user"):
        option = click.option(
            f"--{role}-column",
            role,
            metavar="NAME",
            help=f"Column of the {role}, by name or number.",
        )
        command = option(command)
    command = click.option("--time-unit", metavar="UNIT", help="s, ms, us or ns.")(command)
    return click.option("--format", metavar="NAME", help="Of the file; by default found.")(command)


@cli.command()
@click.argument("stream", required=False)
@click.option("--data", metavar="DIR", default=".", help="Folder with the files of STREAM.")
@click.option("--file", "path", metavar="PATH", help="Any data file instead of a STREAM.")
@file_options
@click.option("--limit", type=int, metavar="N", help="Only the first N events.")
@click.option("--min-rating", type=float, metavar="X", help="Only events rated X or better.")
@click.option("--ties", type=click.Choice(["file", "shuffle"]), default="file", show_default=True)
@click.option("--models", metavar="NAMES", help="With commas; by default all.")
@click.option("--json", "json_file", metavar="FILE", help="Save the result as JSON.")
@click.option("--show-users", type=int, default=0, metavar="N", help="Then recommend to N users.")
@engine_options
def replay(
    stream: str | None,
    data: str,
    path: str | None,
    limit: int | None,
    min_rating: float | None,
    ties: Any,
    models: str | None,
    json_file: str | None,
    show_users: int,
    **columns: str | None,
) -> None:
    """Run a data set through the engine, each event ranked before it is learned.

    STREAM is ml-1m, ml-100k, movietweetings or yoochoose. The table compares the engine and its
    LRURec alone with six counting baselines.

    \b
    lrustream replay movietweetings --data data/movietweetings --limit 20000
    lrustream replay --file clicks.csv --repeats --json result.json
    """
    from rich.console import Console

    from connectors import files, streams
    from engine.engine import Engine
    from replay import examples, prequential, report
    from replay.progress import progress_bar
    from replay.stream import in_time_order

    if bool(stream) == bool(path):
        raise click.UsageError(f"name a STREAM ({', '.join(streams.STREAMS)}) or give --file PATH")
    names, baselines, config = choose_models(models, read_settings().section(EngineConfig))
    engine = Engine(config) if names else None
    source = streams.find(stream, data) if stream else streams.StreamFiles(Path(path or ""), None)
    titles = files.read_titles(source.titles) if source.titles else {}
    batch = files.read_events(source.events, **columns)
    ordered = in_time_order(batch, ties, config.seed, min_rating, limit)

    with progress_bar(stream or source.events.name) as progress:
        results = prequential.run(
            score_and_learn(engine) if engine else None,
            baselines,
            ordered.events,
            micro_batch=config.micro_batch,
            repeats=config.repeats,
            seed=config.seed,
            progress=progress,
        )
    results = replace(results, tracks={n: results.tracks[n] for n in (*names, *baselines)})
    manifest = report.Manifest(
        stream=stream or source.events.name,
        data_file=source.events.name,
        sha256=report.sha256_of(source.events),
        skipped=ordered.skipped,
        micro_batch=config.micro_batch,
        seed=config.seed,
        device=str(engine.recommender.device) if engine else "cpu",
        repeats=config.repeats,
        order=f"timestamp, ties {'in file order' if ties == 'file' else 'shuffled'}",
        configuration=asdict(config),
    )
    console = Console()
    console.print(report.to_table(results, manifest))
    if json_file:
        report.save_json(results, manifest, json_file)
    if engine:
        for user in examples.pick_users(ordered.events, show_users):
            answer = engine.recommender.recommend(user)
            console.print(examples.show_user(user, ordered.events, answer, titles))


def score_and_learn(engine: Engine) -> ScoreAndLearn:
    """One micro-batch through the engine, fine-tuned inline where that is due."""

    def step(batch: EventBatch) -> Scored:
        scored = engine.process(batch)
        engine.finetune_if_due()
        assert scored is not None
        return scored

    return step


def choose_models(
    names: str | None, config: EngineConfig
) -> tuple[list[str], list[str], EngineConfig]:
    """What is to be ranked: the engine's answers, the baselines, and the engine that it takes.

    LRURec never sees the mixture in training, so one run ranks both; where only LRURec is asked
    for, the engine runs with that expert alone. Raises ValueError for a name there is not.
    """
    from replay.baselines import BASELINES

    possible = [n for n in ENGINES if n == "engine" or n in config.experts] + list(BASELINES)
    chosen = [name.strip() for name in names.split(",")] if names else possible
    for name in chosen:
        if name not in possible:
            raise ValueError(f"--models: {name!r} is not among {', '.join(possible)}")
    engines = [name for name in ENGINES if name in chosen]
    if engines == ["lrurec"]:
        config = replace(config, experts=("lrurec",))
    return engines, [name for name in BASELINES if name in chosen], config


def main() -> None:
    """The console script."""
    cli(prog_name="lrustream")


if __name__ == "__main__":
    main()

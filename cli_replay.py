"""The commands of the command line that measure: `replay`, `compare` and `loo`."""

from __future__ import annotations

import shlex
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cli_options import (
    PATH,
    as_json,
    config_file,
    engine_flags,
    example,
    file_flags,
    kafka_flag,
    limit_flag,
    option,
    places_and_kafka,
    print_json,
    read_settings,
    setting,
    topic_flag,
)
from connectors import files, interactions, streams
from connectors.lease import lock_file
from connectors.through import through
from engine.config import EngineConfig
from engine.pending import micro_batches
from replay import examples
from replay.stream import in_time_order


@click.command()
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


@click.command()
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


@click.command()
@click.argument("data_set", type=click.Choice(interactions.DATA_SETS))
@option("--data DIR", "Folder with DATA_SET.txt.gz.", default=".")
@option("--run DIR", "Folder that the run is kept in [runs/loo-DATA_SET].", "folder", type=PATH)
@option("--max-steps N", "Evaluate and end after so many.", type=click.IntRange(1))
@option("--dropout X", "Instead of the paper's.", type=float)
@option("--weight-decay X", "Instead of the paper's.", type=float)
@option(
    "--precision",
    "Of products in training [float32]; bfloat16 is quicker where the processor has it.",
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
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_file(folder / "lock")
    if lock is None:
        raise ValueError(f"{folder}: another run is going on there; give another --run DIR")
    click.get_current_context().with_resource(lock)
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

"""A progress bar for a replay: events a second, how good so far, time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from replay import prequential

SPEED_WINDOW_S = 30.0
"""Time over which speed and time left are estimated: a fine-tune is a pause of seconds."""


class _SpeedColumn(TextColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} events/s")


@contextmanager
def progress_bar(name: str) -> Iterator[prequential.Progress]:
    """Yields what `prequential.run` calls; drawn on standard error."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        TaskProgressColumn(),
        _SpeedColumn(""),
        TextColumn("Recall/NDCG@10 {task.fields[recall]:.4f}/{task.fields[ndcg]:.4f}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        speed_estimate_period=SPEED_WINDOW_S,
    )
    with bar:
        task = bar.add_task(name, total=None, recall=0.0, ndcg=0.0)

        def advance(done: int, total: int, recall: float, ndcg: float) -> None:
            bar.update(task, completed=done, total=total, recall=recall, ndcg=ndcg)

        yield advance

"""Progress bars, for a replay and for a training: how fast, how good so far, time left."""

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

from replay import loo_run, prequential

SPEED_WINDOW_S = 30.0
"""Time over which speed and time left are estimated: a fine-tune is a pause of seconds."""


class _SpeedColumn(TextColumn):
    def render(self, task: Task) -> Text:
        return Text(self.text_format.format(speed=task.speed or 0))


def _bar(speed: str, quality: str) -> Progress:
    """Drawn on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        TaskProgressColumn(),
        _SpeedColumn(speed),
        TextColumn(quality),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        speed_estimate_period=SPEED_WINDOW_S,
    )


@contextmanager
def progress_bar(name: str) -> Iterator[prequential.Progress]:
    """Yields what `prequential.run` calls."""
    quality = "Recall/NDCG@10 {task.fields[recall]:.4f}/{task.fields[ndcg]:.4f}"
    with _bar("{speed:,.0f} events/s", quality) as bar:
        task = bar.add_task(name, total=None, recall=0.0, ndcg=0.0)

        def advance(done: int, total: int, recall: float, ndcg: float) -> None:
            bar.update(task, completed=done, total=total, recall=recall, ndcg=ndcg)

        yield advance


@contextmanager
def training_bar(name: str) -> Iterator[loo_run.Progress]:
    """Yields what `LooRun.train` calls; full, and no time left, where patience would end."""
    quality = "loss {task.fields[loss]:.3f} best Recall@10 {task.fields[recall]:.4f}"
    with _bar("{speed:,.1f} steps/s", quality) as bar:
        task = bar.add_task(name, total=None, loss=0.0, recall=0.0)

        def advance(done: int, total: int, loss: float, recall: float) -> None:
            bar.update(task, completed=done, total=total, loss=loss, recall=recall)

        yield advance

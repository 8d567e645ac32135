"""One training of LRURec as the paper has it, which can be stopped at any moment and goes on.

A run lives in a folder: FOLDER/training.safetensors (weights, optimizer, randomness, and the curve
so far), FOLDER/best.safetensors (the model that validated best), FOLDER/curve.jsonl (the curve to
read). All are replaced in one move, and batches and masks are functions of seed and step, so a
run that was stopped, or killed, ends with the numbers of one that was not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from engine.recommender import choose_device
from lrurec import weights
from lrurec.config import ModelConfig, Precision, TrainConfig
from lrurec.model import LRURec
from lrurec.train import Trainer
from replay.leave_one_out import Split, batches, metrics, ranks, windows

BATCH_WINDOWS: Final = 128
PATIENCE: Final = 10
"""Evaluations without a better one after which a run ends."""
CRITERION: Final = "recall@10"
EPSILON: Final = 1e-9
CHECKPOINT_STEPS: Final = 250
"""Steps that a kill can cost; a stop costs none."""

SCORE_CELLS: Final = {"float32": 1 << 21, "bfloat16": 1 << 23}
"""Scores that exist at a time, by precision: what was measured to be fast on one core."""

Progress = Callable[[int, int, float, float], None]
"""Called with steps done, the step at which patience ends, loss, best validation Recall@10."""


@dataclass(frozen=True, slots=True)
class LooConfig:
    """What a run is made with; nothing of it can change between its starts.

    sha256: of the data file. max_length: events of an input. evaluate_every: in steps.
    """

    data_set: str
    sha256: str
    max_length: int
    evaluate_every: int
    dropout: float
    weight_decay: float = 0.01
    precision: Precision = "float32"
    seed: int = 0
    device: str = "cpu"


PAPER_SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "ml-1m": {"max_length": 200, "evaluate_every": 500, "dropout": 0.2},
    "beauty": {"max_length": 50, "evaluate_every": 1000, "dropout": 0.6},
    "video": {"max_length": 50, "evaluate_every": 1000, "dropout": 0.6},
}


def paper_config(data_set: str, sha256: str, device: str, **given: Any) -> LooConfig:
    """The paper's settings for a data set, with those of `given` that are not None instead.

    Raises ValueError where the device cannot be had.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    settings = {**PAPER_SETTINGS[data_set], **chosen}
    return LooConfig(data_set, sha256, device=str(choose_device(device)), **settings)


class LooRun:
    """A run in `folder`: new, or where it stopped.

    step: steps done. curve: one entry an evaluation, with step, mean training loss since the one
    before, `METRICS` on the validation items, seconds. seconds: of training and evaluation, over
    all starts. Raises ValueError where the folder holds a run of another configuration, or a
    setting makes no sense.
    """

    def __init__(
        self,
        data: Split,
        config: LooConfig,
        folder: Path,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.data = data
        self.config = config
        self.folder = folder
        self.step = 0
        self.curve: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.stopped = False
        self._clock = clock
        self._losses = 0.0  # summed since the last evaluation
        self._trainer = self._new_trainer()
        self._checkpoint = folder / "training.safetensors"
        self._best = folder / "best.safetensors"
        folder.mkdir(parents=True, exist_ok=True)
        if self._checkpoint.exists():
            self._resume()

    @property
    def best(self) -> dict[str, Any] | None:
        """The entry of the curve that validated best, the first one of equals."""
        return max(self.curve, key=lambda entry: entry[CRITERION], default=None)

    @property
    def last_step(self) -> int:
        """The step at which patience ends, unless a better evaluation comes before."""
        best_step = self.best["step"] if self.best else 0
        return best_step + PATIENCE * self.config.evaluate_every

    def stop(self) -> None:
        """Make `train` store everything and return after the step under way."""
        self.stopped = True

    def train(self, progress: Progress | None = None, max_steps: int | None = None) -> None:
        """Go on until patience ends, `max_steps` are done (with an evaluation), or `stop`.

        Raises ValueError where more steps than `max_steps` are done already.
        """
        if max_steps is not None and max_steps < self.step:
            raise ValueError(
                f"max_steps: {max_steps}, but the run in {self.folder} has {self.step} steps "
                "behind it; give more, or another --run DIR"
            )
        config = self.config
        begun = self._clock() - self.seconds
        found = windows(self.data.training, config.max_length)
        stream = batches(found, BATCH_WINDOWS, config.max_length, config.seed, self.step)
        while not self.stopped and self.step < min(self.last_step, max_steps or self.last_step):
            loss = self._trainer.step(next(stream))
            self._losses += loss
            self.step += 1
            evaluates = self.step % config.evaluate_every == 0 or self.step == max_steps
            if evaluates:
                self._evaluate(begun)
            if evaluates or self.step % CHECKPOINT_STEPS == 0:
                self._save(begun)
            if progress is not None:
                best = self.best[CRITERION] if self.best else 0.0
                progress(self.step, self.last_step, loss, best)
        if self.stopped:
            self._save(begun)

    def test(self) -> dict[str, float]:
        """`METRICS` of the best model on the test items."""
        model = weights.load(self._best).to(self.config.device)
        return self._metrics(model, test=True)

    def _new_trainer(self) -> Trainer:
        config, items = self.config, self.data.items
        model = LRURec(ModelConfig(items, dropout=config.dropout), config.seed)
        chunk = max(1, SCORE_CELLS[config.precision] // items)
        training = TrainConfig(
            weight_decay=config.weight_decay,
            epsilon=EPSILON,
            chunk=chunk,
            precision=config.precision,
        )
        return Trainer(model.to(config.device), training, config.seed)

    def _metrics(self, model: LRURec, test: bool) -> dict[str, float]:
        cases = self.data.test if test else self.data.validation
        return metrics(ranks(model, cases, self.config.max_length, self.config.seed))

    def _evaluate(self, begun: float) -> None:
        since = self.step - (self.curve[-1]["step"] if self.curve else 0)
        validated = self._metrics(self._trainer.model, test=False)
        better = self.best is None or validated[CRITERION] > self.best[CRITERION]
        loss, seconds = self._losses / since, self._clock() - begun
        self.curve.append({"step": self.step, "loss": loss, **validated, "seconds": seconds})
        self._losses = 0.0
        if better:
            weights.save(self._best, self._trainer.model)
        write(self.folder / "curve.jsonl", "".join(json.dumps(e) + "\n" for e in self.curve))

    def _save(self, begun: float) -> None:
        # After the best model: a kill between the two repeats the evaluation, and its outcome.
        self.seconds = self._clock() - begun
        progress = {
            "step": self.step,
            "seconds": self.seconds,
            "losses": self._losses,
            "curve": self.curve,
        }
        extra = {"config": asdict(self.config), **progress}
        weights.save_training(self._checkpoint, self._trainer, extra)

    def _resume(self) -> None:
        stored = weights.load_extra(self._checkpoint, "training")
        for name, now in asdict(self.config).items():
            before = stored["config"][name]
            if before != now:
                raise ValueError(
                    f"{name}: {now!r}, but the run in {self.folder} was begun with {before!r}; "
                    "give that again, or another --run DIR"
                )
        weights.load_training(self._checkpoint, self._trainer)
        self.step, self.seconds = stored["step"], stored["seconds"]
        self._losses, self.curve = stored["losses"], stored["curve"]


def write(path: Path, text: str) -> None:
    """Replace a file in one move."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)

"""Versions of the model, in a folder.

    v000012.safetensors    the weights (lrurec.weights)
    v000012.trainer        the state of the trainer, from which the next fine-tune goes on
    v000012.json           where it comes from and how it passed the gate; written last

Each file appears whole or not at all. A version that failed at the gate leaves its numbers only.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.config import EngineConfig
from engine.durable import pack, unpack
from engine.errors import VersionError
from engine.finetune import Candidate
from lrurec import weights
from lrurec.model import LRURec

NAME = re.compile(r"v(\d{6,})\.json")


@dataclass(frozen=True)
class VersionInfo:
    """Where a version comes from.

    parent: the version that was live before; reason: why its fine-tune was due; live_loss,
    candidate_loss: nats on the `held_out` events, None where there were none; tokens: trained on;
    events: of the stream up to its newest; created: Unix seconds; config: the engine's.
    """

    version: int
    parent: int
    accepted: bool
    reason: str
    live_loss: float | None
    candidate_loss: float | None
    held_out: int
    tokens: int
    events: int
    items: int
    created: float
    config: Mapping[str, Any]


class Versions:
    """The folder, made where it is missing; `keep` of the newest versions stay."""

    def __init__(
        self, folder: str | Path, keep: int = 5, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder = Path(folder)
        self.keep = keep
        self._clock = clock
        self.folder.mkdir(parents=True, exist_ok=True)

    def list(self) -> Sequence[VersionInfo]:
        """All versions, oldest first, those that failed at the gate included."""
        return [self.info(version) for version in self._numbers()]

    def described(self, live: int) -> Sequence[dict[str, Any]]:
        """`list` as plain values without the configuration, and which version is `live`."""
        rows = [asdict(info) | {"live": info.version == live} for info in self.list()]
        for row in rows:
            del row["config"]
        return rows

    def info(self, version: int) -> VersionInfo:
        """Raises VersionError where there is no such version."""
        try:
            return VersionInfo(**json.loads(self._file(version, "json").read_text()))
        except FileNotFoundError:
            raise self._missing(version) from None
        except (TypeError, ValueError) as error:
            raise VersionError(f"{self._file(version, 'json')}: cannot be read: {error}") from None

    def before(self, version: int) -> int:
        """The version that was live when `version` was made.

        Raises VersionError where that is none.
        """
        parent = self.info(version).parent if version else 0
        if not parent:
            raise VersionError(f"version {version}: none was live before it; nothing to go back to")
        return parent

    def save(self, candidate: Candidate, parent: int, config: EngineConfig) -> VersionInfo:
        """Keep a candidate, before it goes live and grows. What it writes survives a crash."""
        info = VersionInfo(
            version=candidate.version,
            parent=parent,
            accepted=candidate.accepted,
            reason=candidate.reason,
            live_loss=_finite(candidate.live_loss),
            candidate_loss=_finite(candidate.candidate_loss),
            held_out=candidate.held_out,
            tokens=candidate.tokens,
            events=candidate.window_end,
            items=candidate.model.config.items,
            created=self._clock(),
            config=asdict(config),
        )
        if candidate.accepted:
            path = self._file(info.version, "safetensors")
            weights.save(path, candidate.model, {"version": info.version})
            _sync(path)
            trained = {name: tensor.cpu().numpy() for name, tensor in candidate.trained.items()}
            self._write(self._file(info.version, "trainer"), pack(trained))
        text = json.dumps(asdict(info), indent=2) + "\n"
        self._write(self._file(info.version, "json"), text.encode())
        return info

    def load(
        self, version: int, device: torch.device | str = "cpu"
    ) -> tuple[LRURec, dict[str, Tensor] | None]:
        """The model, and the state of its trainer where that was kept.

        Raises VersionError where the version is not there, was rejected, or cannot be read.
        """
        path = self._file(version, "safetensors")
        if not path.exists():
            if self._file(version, "json").exists() and not self.info(version).accepted:
                raise VersionError(
                    f"version {version}: was rejected at the gate, so its weights were not kept; "
                    "choose an accepted one (`lrustream models list`)"
                )
            raise self._missing(version)
        try:
            model = weights.load(path).to(device)
        except ValueError as error:
            raise VersionError(f"version {version}: {error}") from error
        trainer = self._file(version, "trainer")
        if not trainer.exists():
            return model, None
        trained = {name: torch.from_numpy(a) for name, a in unpack(trainer.read_bytes()).items()}
        return model, {
            name: tensor if name == "generator" else tensor.to(device)
            for name, tensor in trained.items()
        }

    def prune(self, live: int) -> None:
        """Remove all but the newest `keep` versions and the live one.

        Call where no journal entry asks for an older one: right after a snapshot.
        """
        numbers = self._numbers()
        accepted = [v for v in numbers if self._file(v, "safetensors").exists()]
        kept = {*accepted[-self.keep :], *numbers[-self.keep :], live}
        for version in set(numbers) - kept:
            for kind in ("json", "trainer", "safetensors"):
                self._file(version, kind).unlink(missing_ok=True)

    def _numbers(self) -> Sequence[int]:
        matches = [NAME.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted(int(match[1]) for match in matches if match)

    def _file(self, version: int, kind: str) -> Path:
        return self.folder / f"v{version:06d}.{kind}"

    def _missing(self, version: int) -> VersionError:
        return VersionError(
            f"version {version}: not in {self.folder}; choose one that `lrustream models list` "
            "shows, or name the folder that was used before"
        )

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(content)
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

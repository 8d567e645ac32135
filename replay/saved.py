"""Replays that were saved as a folder (`replay --report`), read back to be compared.

manifest.json      how the run can be repeated
events.parquet     one row an event, with the rank that each model gave it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.metrics import Reason

_RANK = "rank_"
_MUST_AGREE = ("sha256", "order", "protocol", "repeats")


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A folder's n events, in the order of the stream.

    users, items: int32 (n,) rows; reasons: int8 (n,) `Reason`; ranks: int32 (n,) by model, 0 for a
    miss.
    """

    folder: Path
    manifest: Mapping[str, Any]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    reasons: NDArray[np.int8]
    ranks: Mapping[str, NDArray[np.int32]]

    @property
    def scored(self) -> NDArray[np.bool_]:
        return self.reasons != Reason.UNSCORED

    def ranks_of(self, model: str) -> NDArray[np.int64]:
        """(n,) the ranks of one model. Raises ValueError where the run has none of it."""
        if model not in self.ranks:
            raise ValueError(
                f"{self.folder} has no model {model!r}: give one of {', '.join(self.ranks)}"
            )
        return self.ranks[model].astype(np.int64)


def read(folder: Path) -> SavedRun:
    """Raises ValueError where the folder is not what `replay --report` writes."""
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise ValueError(
            "to read a report pyarrow is needed: pip install 'lrustream[parquet]'"
        ) from None
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        table = parquet.read_table(folder / "events.parquet")
        columns = {name: table[name].to_numpy() for name in table.column_names}
        return SavedRun(
            folder,
            manifest,
            columns["user"],
            columns["item"],
            columns["reason"],
            {n.removeprefix(_RANK): c for n, c in columns.items() if n.startswith(_RANK)},
        )
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} has no {Path(str(error.filename)).name}: give a folder that "
            "`lrustream replay --report` wrote"
        ) from None
    except (json.JSONDecodeError, ArrowException) as error:
        raise ValueError(f"{folder} cannot be read: {error}; write the report again") from None
    except KeyError as error:
        raise ValueError(f"{folder} has no column {error}: write the report again") from None


def check_same_events(one: SavedRun, other: SavedRun) -> None:
    """Raises ValueError where two runs did not rank the same events under the same rules."""
    for name in _MUST_AGREE:
        here, there = one.manifest.get(name), other.manifest.get(name)
        if here != there:
            _refuse(one, other, f"{name} is {here!r} in one and {there!r} in the other")
    if len(one.users) != len(other.users):
        _refuse(one, other, f"one has {len(one.users):,} events, the other {len(other.users):,}")
    for column in ("users", "items", "reasons"):
        differ = getattr(one, column) != getattr(other, column)
        if differ.any():
            _refuse(one, other, f"{column} differ from event {int(differ.argmax()):,} on")


def _refuse(one: SavedRun, other: SavedRun, why: str) -> None:
    raise ValueError(
        f"{one.folder} and {other.folder} are not runs over the same events: {why}; "
        "replay both with the same data and options"
    )

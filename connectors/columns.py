"""A table's columns to a batch of events: which column is what, and cells to arrays.

Whole columns are converted at once; the offending cell is looked for only when that fails.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from connectors.codec import MAX_VALUE, identifier, iso_seconds, number
from connectors.event import EventBatch

KNOWN_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "user": (
        *("user", "userid", "uid", "reviewerid", "visitorid", "customerid"),
        *("session", "sessionid"),
    ),
    "item": (
        *("item", "itemid", "iid", "movieid", "productid", "asin", "articleid", "trackid"),
        *("songid", "bookid", "isbn", "movie", "product", "article", "track", "song", "book"),
    ),
    "time": (
        *("timestamp", "time", "ts", "datetime", "unixreviewtime", "eventtime", "date"),
        "period",
    ),
    "value": ("rating", "value", "score", "overall", "stars", "weight"),
}
"""How each column is commonly called, small letters and digits only, the first match winning."""

PER_SECOND: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_WITHOUT_HEADER: Final = {3: ("user", "item", "time"), 4: ("user", "item", "value", "time")}


class ColumnError(Exception):
    """The columns of a table cannot be told apart."""


class CellError(Exception):
    """A cell breaks a rule; `row` counts the rows of events from 0."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def has_header(cells: Sequence[str], given: Mapping[str, str]) -> bool:
    """Whether the first row of a text file names the columns.

    It does where a column asked for or both a user and an item column are among its cells, and
    where no cell is a number or a date: events have a time.
    """
    if any(name in cells and not name.isdigit() for name in given.values()):
        return True
    plain = {_plain(cell) for cell in cells}
    if plain & set(KNOWN_NAMES["user"]) and plain & set(KNOWN_NAMES["item"]):
        return True
    return not any(_is_moment(cell) for cell in cells)


def choose(names: Sequence[str], given: Mapping[str, str]) -> dict[str, int]:
    """The position of each column by role: user, item, time, and value where there is one.

    `given` maps a role to the name of its column, or its number from 1 on, and goes before what
    is detected. Raises ColumnError where a column is not found.
    """
    plain = [_plain(name) for name in names]
    chosen = {}
    for role, known in KNOWN_NAMES.items():
        if role in given:
            chosen[role] = _given_position(role, given[role], names, plain)
            continue
        found = next((plain.index(name) for name in known if name in plain), None)
        if found is not None:
            chosen[role] = found
        elif role != "value":
            raise ColumnError(
                f"no {role} column among {_listed(names)}; name it with --{role}-column"
            )
    return chosen


def choose_by_position(width: int, given: Mapping[str, str]) -> dict[str, int]:
    """`choose` for a file without a header, where columns have numbers only.

    Unless `given`, three are user, item, time, and four are user, item, value, time.
    """
    usual = dict.fromkeys(given) | dict.fromkeys(_WITHOUT_HEADER.get(width, ()))
    if not {"user", "item", "time"} <= usual.keys():
        raise ColumnError(
            f"{width} columns and no header that names them; add a header, or give "
            "--user-column, --item-column and --time-column by number, from 1"
        )
    numbers = [str(i + 1) for i in range(width)]
    chosen = {role: i for i, role in enumerate(_WITHOUT_HEADER.get(width, ()))}
    return chosen | {
        role: _given_position(role, name, numbers, numbers) for role, name in given.items()
    }


def to_batch(
    columns: Mapping[str, Sequence[Any]], names: Mapping[str, str], time_unit: str | None
) -> EventBatch:
    """The events of `columns` (role -> cells), in their order; `names` is used in messages.

    `time_unit` is a key of `PER_SECOND`; None finds it from the median. Offsets count rows
    from 0, the partition is 0. Raises CellError at the first cell that breaks a rule.
    """
    count = len(columns["user"])
    return EventBatch(
        users=_identifiers("user", names, columns["user"]),
        items=_identifiers("item", names, columns["item"]),
        timestamps=_times(names, columns["time"], time_unit),
        values=(
            _values(names, columns["value"])
            if "value" in columns
            else np.full(count, np.nan, dtype=np.float32)
        ),
        partitions=np.zeros(count, dtype=np.int32),
        offsets=np.arange(count, dtype=np.int64),
    )


def _identifiers(role: str, names: Mapping[str, str], cells: Sequence[Any]) -> list[str]:
    """Each distinct id is checked, and kept, once."""
    try:
        ids = {cell: identifier(cell) for cell in set(cells)}
    except (ValueError, TypeError):
        _refuse(role, names, cells, identifier)
    return [ids[cell] for cell in cells]


def _times(names: Mapping[str, str], cells: Sequence[Any], unit: str | None) -> NDArray[np.float64]:
    """Unix seconds from numbers in `unit`, or from ISO-8601 dates where the first cell is none."""
    dates = isinstance(cells[0], str) and not _is_number(cells[0])
    read: Callable[[Any], float] = iso_seconds if dates else number
    try:
        times = np.fromiter(map(iso_seconds if dates else float, cells), np.float64, len(cells))
    except (ValueError, TypeError, OverflowError):
        _refuse("time", names, cells, read)
    if dates:
        return times
    unit = unit or _unit_of(float(np.median(times)))
    times /= PER_SECOND[unit]
    if not ((times >= 0) & (times < 1e11)).all():
        _refuse("time", names, cells, partial(_seconds_in, unit))
    return times


def _seconds_in(unit: str, cell: Any) -> float:
    seconds = number(cell) / PER_SECOND[unit]
    if not 0 <= seconds < 1e11:
        raise ValueError(f"is not a time from 1970 on in {unit}")
    return seconds


def _values(names: Mapping[str, str], cells: Sequence[Any]) -> NDArray[np.float32]:
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))
    except (ValueError, TypeError, OverflowError):
        try:
            values = np.fromiter(map(_value, cells), np.float64, len(cells))
        except ValueError:
            _refuse("value", names, cells, _value)
    if (np.abs(values) > MAX_VALUE).any():
        _refuse("value", names, cells, _value)
    return values.astype(np.float32)


def _value(cell: Any) -> float:
    if cell is None or str(cell).lower() in ("", "nan"):
        return math.nan
    return number(cell)


def _refuse(
    role: str, names: Mapping[str, str], cells: Sequence[Any], rule: Callable[[Any], object]
) -> NoReturn:
    """Raise CellError at the first cell that breaks `rule`; there is one."""
    for row, cell in enumerate(cells):
        try:
            rule(cell)
        except ValueError as error:
            shown = repr(cell) if len(repr(cell)) <= 60 else f"{repr(cell)[:57]}..."
            rule_broken = f"{_one_line(names[role])} {shown} {error}"
            next_step = f"fix it, or give another --{role}-column"
            raise CellError(row, f"{rule_broken}; {next_step}") from None
    raise AssertionError(f"no cell of {names[role]} breaks the rule")


def _given_position(role: str, name: str, names: Sequence[str], plain: Sequence[str]) -> int:
    if name in names:
        return names.index(name)
    if _plain(name) in plain:
        return plain.index(_plain(name))
    if name.isdecimal() and 1 <= int(name) <= len(names):
        return int(name) - 1
    raise ColumnError(f"--{role}-column {name!r} is not among {_listed(names)}")


def _unit_of(median: float) -> str:
    """The unit that puts an ordinary time between 1973 and 5138."""
    if median >= 1e17:
        return "ns"
    if median >= 1e14:
        return "us"
    return "ms" if median >= 1e11 else "s"


def _plain(name: str) -> str:
    """`UserID`, `user_id` and RecBole's `user_id:token` are all `userid`."""
    return re.sub("[^a-z0-9]", "", name.partition(":")[0].lower())


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True


def _is_moment(cell: str) -> bool:
    try:
        iso_seconds(cell)
    except ValueError:
        return _is_number(cell)
    return True


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(map(_one_line, names[:12]))
    return listed if len(names) <= 12 else f"{listed}, ... ({len(names)} columns)"


def _one_line(name: str) -> str:
    return name[:40] if name.isprintable() else repr(name[:40])

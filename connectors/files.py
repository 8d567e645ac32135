"""Data files to events: CSV, TSV, JSONL, Parquet, MovieLens and RecBole files; gzip of any.

    ratings.csv      user,item,rating,timestamp        header names detected, or given
    ratings.dat      user::item::rating::timestamp     MovieLens, no header
    u.data           user  item  rating  timestamp     MovieLens, tabs, no header
    name.inter       user_id:token  item_id:token ...  RecBole, tabs
    events.jsonl     {"user": "a", "item": "b", "timestamp": 1}
    events.parquet   needs pyarrow, which the extra lrustream[parquet] brings

What a file is, and whether it is compressed, is read from its content, not from its name. Every
error is a FileFormatError of one line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from connectors.base import FileFormatError
from connectors.columns import (
    KNOWN_NAMES,
    PER_SECOND,
    CellError,
    ColumnError,
    choose,
    choose_by_position,
    has_header,
    to_batch,
)
from connectors.event import EventBatch

SEPARATORS: Final = {"csv": ",", "tsv": "\t", "inter": "\t", "movielens": "::"}
FORMATS: Final = (*SEPARATORS, "jsonl", "parquet")

_CHUNK_ROWS: Final = 500  # fewer lists at a time than wake the garbage collector
_HEAD_BYTES: Final = 1 << 16
_UNIT_SEPARATOR: Final = "\x1f"
_json_object = json.JSONDecoder(parse_int=str)  # ids stay as written, of any length


@dataclass(frozen=True, slots=True)
class _Table:
    """The chosen columns of a file, by role: name, cells, and where in the file row i stands."""

    names: Mapping[str, str]
    columns: Mapping[str, Sequence[Any]]
    place: Callable[[int], str]


def read_events(
    path: str | Path,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    value: str | None = None,
    time_unit: str | None = None,
    format: str | None = None,
) -> EventBatch:
    """The events of a file, in file order.

    `user`, `item`, `time`, `value` name the columns (or number them, from 1); the others are
    detected from common spellings. A file without a header is read as user, item, (value,) time.
    `time_unit` is s, ms, us or ns, by default found from the data; ISO-8601 dates are read too,
    in UTC where they name no zone; a column `period` counts as a time in seconds. `format` is one
    of `FORMATS`, by default found from the content. Values are NaN where the file has none,
    offsets are row numbers from 0, the partition is 0.

    Raises FileFormatError, which names file, line, column, value, rule and next step.
    """
    path = Path(path)
    named = {"user": user, "item": item, "time": time, "value": value}
    given = {role: name for role, name in named.items() if name is not None}
    _check_option("format", format, FORMATS)
    _check_option("time unit", time_unit, PER_SECOND)
    content = read_content(path)
    kind = format or _format_of(path, content)
    try:
        if kind == "parquet":
            table = _read_parquet(path, content, given)
        elif kind == "jsonl":
            table = _read_jsonl(path, content, given)
        else:
            table = _read_separated(path, content, SEPARATORS.get(kind, kind), given)
    except ColumnError as error:
        raise FileFormatError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise FileFormatError(f"{path} {_first_undecodable(content)}") from None
    if not table.columns.get("user"):
        raise FileFormatError(f"{path} holds no events")
    try:
        return to_batch(table.columns, table.names, time_unit)
    except CellError as error:
        raise FileFormatError(f"{path} {table.place(error.row)}: {error}") from None


def read_titles(path: str | Path) -> dict[str, str]:
    """Item id to title, from movies.dat (`id::title::genres`), u.item (`|`) or a CSV.

    UTF-8 or Latin-1. Ids of digits alone lose their leading zeros, as they have none in the
    ratings. Raises FileFormatError.
    """
    path = Path(path)
    content = read_content(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    separator = _separator_of(path, text)
    rows = _Rows(path, io.StringIO(text, newline=""), separator)
    titles: dict[str, str] = {}
    item_at, title_at = 0, 1
    while chunk := rows.take(1):
        row = chunk[0]
        names = [cell.lower() for cell in row]
        if not titles and "title" in names:
            title_at = names.index("title")
            item_at = next((i for i, name in enumerate(names) if name in KNOWN_NAMES["item"]), 0)
        elif len(row) > max(item_at, title_at):
            item = row[item_at]
            titles[item.lstrip("0") or "0" if item.isdecimal() else item] = row[title_at]
        else:
            raise FileFormatError(
                f"{path} line {rows.line}: {row[0][:60]!r} has no title; write id{separator}title"
            )
    return titles


def _read_separated(path: Path, content: bytes, separator: str, given: Mapping[str, str]) -> _Table:
    rows = _Rows(path, _lines(content), separator)
    chunk = rows.take(1)
    if not chunk:
        raise FileFormatError(f"{path} is empty")
    first = chunk[0]
    header = has_header(first, given)
    chosen = choose(first, given) if header else choose_by_position(len(first), given)
    names = {role: first[i] if header else f"column {i + 1}" for role, i in chosen.items()}

    def place(row: int) -> str:
        rows = _Rows(path, _lines(content), separator)
        rows.take(header + row + 1)
        return f"line {rows.line}"

    columns: dict[str, list[str]] = {role: [] for role in chosen}
    if header:
        chunk = rows.take(_CHUNK_ROWS)
    while chunk:
        if set(map(len, chunk)) != {len(first)}:
            bad = next(i for i, cells in enumerate(chunk) if len(cells) != len(first))
            raise FileFormatError(
                f"{path} {place(len(columns['user']) + bad)}: {len(chunk[bad])} fields where "
                f"the first line has {len(first)}; fix the line"
            )
        turned = list(zip(*chunk, strict=True))
        for role, i in chosen.items():
            columns[role].extend(turned[i])
        chunk = rows.take(_CHUNK_ROWS)
    return _Table(names, columns, place)


def _read_jsonl(path: Path, content: bytes, given: Mapping[str, str]) -> _Table:
    names: dict[str, str] = {}
    columns: dict[str, list[Any]] = {}
    numbers = []
    for number, line in enumerate(_lines(content), start=1):
        if line.isspace():
            continue
        try:
            row = _json_object.decode(line)
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{path} line {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise FileFormatError(f"{path} line {number}: not a JSON object")
        if not names:
            keys = list(row)
            names = {role: keys[i] for role, i in choose(keys, given).items()}
            columns = {role: [] for role in names}
        for role, name in names.items():
            columns[role].append(row.get(name))
        numbers.append(number)
    return _Table(names, columns, lambda row: f"line {numbers[row]}")


def _read_parquet(path: Path, content: bytes, given: Mapping[str, str]) -> _Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise FileFormatError(
            f"{path} is Parquet, and pyarrow is not installed: pip install 'lrustream[parquet]'"
        ) from None
    try:
        source = parquet.ParquetFile(pyarrow.BufferReader(content))
        keys = source.schema_arrow.names
        names = {role: keys[i] for role, i in choose(keys, given).items()}
        table = source.read(columns=list(names.values()))
        columns = {role: _cells(table.column(name)) for role, name in names.items()}
    except (pyarrow.ArrowException, OSError) as error:
        said = str(error).partition("\n")[0]
        raise FileFormatError(
            f"{path}: cannot be read as Parquet: {said}; correct it, or --format"
        ) from None
    return _Table(names, columns, lambda row: f"row {row + 1}")


def _cells(column: Any) -> list[Any]:
    """The cells of a Parquet column as Python objects; dates as ISO-8601 text."""
    from pyarrow import string, types

    if types.is_temporal(column.type):
        column = column.cast(string())
    return column.to_pylist()


def read_content(path: Path) -> bytes:
    """The bytes of a file, decompressed where they start like gzip."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise FileFormatError(
            f"{path}: the compressed data is cut short or damaged; fetch the file again"
        ) from None
    except OSError as error:
        raise FileFormatError(f"{path}: {error.strerror or error}; give a file to read") from None


def _lines(content: bytes) -> Iterable[str]:
    return io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")


def _first_undecodable(content: bytes) -> str:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return (
            f"line {line}: byte {content[error.start]:#04x} is not UTF-8; "
            "convert the file: iconv -f latin1 -t utf-8"
        )
    raise AssertionError("the content is UTF-8")


class _Rows:
    """The rows of separated text, blank lines left out; only comma and semicolon files quote."""

    def __init__(self, path: Path, lines: Iterable[str], separator: str) -> None:
        if len(separator) > 1:
            lines = (line.replace("::", _UNIT_SEPARATOR) for line in lines)
        quoted = separator in (",", ";")
        self._path = path
        self._reader = csv.reader(
            lines,
            delimiter=separator if len(separator) == 1 else _UNIT_SEPARATOR,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
        self._rows = filter(None, self._reader)

    @property
    def line(self) -> int:
        """The number of the line read last, from 1."""
        return self._reader.line_num

    def take(self, count: int) -> list[list[str]]:
        """The next `count` rows, fewer at the end."""
        try:
            return list(islice(self._rows, count))
        except csv.Error as error:
            raise FileFormatError(
                f"{self._path} line {self.line}: {error}; is a quote left open?"
            ) from None


def _format_of(path: Path, content: bytes) -> str:
    """`parquet`, `jsonl`, or the separator of the columns."""
    head = content[:_HEAD_BYTES]
    if head.startswith(b"PAR1"):
        return "parquet"
    if b"\0" in head:
        raise FileFormatError(f"{path} is not text; give CSV, TSV, JSONL or Parquet, gzip or not")
    text = head.decode("utf-8-sig", errors="replace")
    return "jsonl" if text.lstrip().startswith("{") else _separator_of(path, text)


def _separator_of(path: Path, text: str) -> str:
    """What stands first between two columns of the first line; a space where nothing else does."""
    first = next((line for line in text.splitlines() if line.strip()), None)
    if first is None:
        raise FileFormatError(f"{path} is empty")
    found = [separator for separator in ("::", "\t", ",", ";", "|") if separator in first]
    if found:
        return min(found, key=first.index)
    if " " in first:
        return " "
    raise FileFormatError(
        f"{path} line 1: {first[:60]!r} has one column; separate columns by comma or tab"
    )


def _check_option(name: str, given: str | None, known: Iterable[str]) -> None:
    if given is not None and given not in known:
        raise FileFormatError(f"{name} {given!r} is not known: give one of {', '.join(known)}")

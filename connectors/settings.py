"""Settings from defaults, one TOML file, environment variables and flags, in rising priority.

    [engine]                     LRUSTREAM_ENGINE__SEED=7            --seed 7
    seed = 7

A section is a dataclass that the caller passes in; a key is `section.field`, or
`section.field.name` where the field is a mapping. Whatever is given is checked, and refused in one
line that names the key, where it came from, the rule, and the nearest key there is.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, Final, TypeVar, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from connectors.base import ConnectorError

S = TypeVar("S")

DEFAULT_FILE: Final = Path("lrustream.toml")
PREFIX: Final = "LRUSTREAM_"
_SECRET: Final = re.compile("password|secret|token$", re.IGNORECASE)
_URL_PASSWORD: Final = re.compile(r"(://[^:/@]*:)[^/]*@")
_CHECKS: Final = ConfigDict(coerce_numbers_to_str=True, allow_inf_nan=False)


class SettingError(ConnectorError):
    """A setting that cannot be: key, origin, rule and next step in one line."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value somebody gave: for which key, and where."""

    key: str
    value: object
    origin: str


class Settings:
    """Everything that was given over the defaults; sections are built, and checked, on demand."""

    def __init__(self, sections: Mapping[str, type], given: Iterable[Given]) -> None:
        self._sections = sections
        self._fields = {name: {f.name: f for f in fields(c)} for name, c in sections.items()}
        self._given: dict[str, Given] = {}
        for one in given:
            self._check_key(one)
            self._given[one.key] = one

    def section(self, kind: type[S]) -> S:
        """The settings of one section. Raises SettingError for a value that breaks a rule, and
        for one that is missing.
        """
        name = self._name(kind)
        values = {
            field: self._value(kind, field, rows)
            for field in self._fields[name]
            if (rows := self._rows(f"{name}.{field}"))
        }
        for field in self._fields[name].values():
            if _required(field) and field.name not in values:
                beside = next(
                    (f", and {r.key} is given ({r.origin})" for r in self._rows(name)), ""
                )
                raise SettingError(f"{name}.{field.name} is missing{beside}")
        try:
            return kind(**values)
        except (ValueError, ConnectorError) as error:
            raise self._broken_rule(name, error) from None

    def optional(self, kind: type[S]) -> S | None:
        """`section`, or None where it has no defaults and nothing was given."""
        return self.section(kind) if self.has(kind) else None

    def has(self, kind: type) -> bool:
        """Whether the section is in force: it has defaults, or something was given."""
        name = self._name(kind)
        return bool(self._rows(name)) or not any(map(_required, self._fields[name].values()))

    def lines(self) -> Iterator[str]:
        """The effective settings as TOML, each with where it came from; secrets are hidden."""
        for name, kind in self._sections.items():
            if not self.has(kind):
                yield f"# [{name}] is not set\n"
                continue
            built: Any = self.section(kind)
            yield f"[{name}]"
            for field in self._fields[name]:
                rows = self._rows(f"{name}.{field}")
                value = getattr(built, field)
                if isinstance(value, Mapping):
                    yield from (_line(row.key.split(".", 1)[1], row.value, row) for row in rows)
                else:
                    yield _line(field, value, rows[0] if rows else None)
            yield ""

    def _name(self, kind: type) -> str:
        return next(name for name, section in self._sections.items() if section is kind)

    def _rows(self, key: str) -> list[Given]:
        return [row for k, row in self._given.items() if k == key or k.startswith(key + ".")]

    def _value(self, kind: type, field: str, rows: list[Given]) -> object:
        hint = typing.get_type_hints(kind)[field]
        raw: object = rows[0].value
        if _is_mapping(hint):
            raw = {row.key.split(".", 2)[2]: row.value for row in rows}
        elif isinstance(raw, str):
            raw = _from_text(raw, hint)
        try:
            return TypeAdapter(hint, config=_CHECKS).validate_python(raw)
        except ValidationError as error:
            rule = error.errors()[0]["msg"].removeprefix("Input ").lower()
            row = rows[0]
            shown = _hidden(row.key, row.value)
            raise SettingError(f"{row.key} is {shown!r} ({row.origin}): it {rule}") from None

    def _check_key(self, one: Given) -> None:
        section, _, rest = one.key.partition(".")
        field, _, inner = rest.partition(".")
        if field in self._fields.get(section, ()):
            mapping = _is_mapping(typing.get_type_hints(self._sections[section])[field])
            if mapping == bool(inner):
                return
            rule = "it takes NAME = VALUE pairs" if mapping else "it has no parts"
            raise SettingError(f"{one.key} ({one.origin}): {section}.{field}: {rule}")
        known = [f"{name}.{f}" for name, members in self._fields.items() for f in members]
        near = difflib.get_close_matches(one.key, known, n=1, cutoff=0.5)
        next_step = f"did you mean {near[0]}?" if near else "`lrustream config show` lists all"
        raise SettingError(f"{one.key} ({one.origin}) is no setting: {next_step}")

    def _broken_rule(self, section: str, error: Exception) -> SettingError:
        """A rule of the dataclass itself; its message begins with the field's name."""
        first_word = re.match(r"\w+", str(error))
        rows = self._rows(f"{section}.{first_word.group()}") if first_word else []
        if rows:
            return SettingError(f"{section}.{error} ({rows[0].origin})")
        return SettingError(f"{section}: {error}")


def load(
    sections: Mapping[str, type],
    file: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Iterable[Given] = (),
) -> Settings:
    """The settings as given by `file`, `environ` and `flags`; later ones win.

    Without `file`, `lrustream.toml` of the working directory is read where there is one.
    Raises SettingError.
    """
    path = Path(file) if file is not None else DEFAULT_FILE
    from_file = _read_toml(path) if file is not None or path.exists() else []
    return Settings(sections, [*from_file, *_from_environment(environ or {}), *flags])


def parse_pair(text: str, origin: str, section: str = "") -> Given:
    """KEY=VALUE as typed after a flag; a KEY without a dot belongs to `section`.

    Raises SettingError where there is no `=`.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise SettingError(f"{origin} {text!r}: write KEY=VALUE")
    whole = key if "." in key or not section else f"{section}.{key}"
    return Given(whole, value, f"{origin} {key}")


def _read_toml(path: Path) -> list[Given]:
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingError(f"{path}: {error.strerror}; correct --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not TOML: {error}; correct it there") from None
    return [Given(key, value, str(path)) for key, value in flattened(document)]


def flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The values of nested tables, each with its dotted key."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _from_environment(environ: Mapping[str, str]) -> list[Given]:
    return [
        Given(name.removeprefix(PREFIX).lower().replace("__", "."), value, name)
        for name, value in sorted(environ.items())
        if name.startswith(PREFIX) and "__" in name
    ]


def _from_text(text: str, hint: Any) -> object:
    """Text for a list is split at commas; `none` means no value where there may be none."""
    if text.lower() in ("", "none") and NoneType in get_args(hint):
        return None
    if get_origin(hint) in (tuple, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _line(name: str, value: object, row: Given | None) -> str:
    origin = row.origin if row else "default"
    if value is None:
        return f"# {name} is not set  # {origin}"
    shown = _hidden(name, value)
    text = json.dumps(shown, default=str, ensure_ascii=False)
    return f"{name} = {text}  # {origin}"


def _hidden(name: str, value: object) -> object:
    if _SECRET.search(name):
        return "***"
    return _URL_PASSWORD.sub(r"\1***@", value) if isinstance(value, str) else value

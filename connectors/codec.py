"""Bytes to events and back, and recommendations to bytes: one JSON object a record.

    {"user_id": "42", "item_id": "abc", "timestamp": 1700000000, "value": 4.5,
     "event_type": "click", "event_id": "f3a1"}

`user_id`, `item_id` and `timestamp` are needed. The timestamp is in seconds, or in milliseconds
from 1e11 on, as a number, a numeric string or an ISO-8601 date (UTC where it names no zone). The
spellings of Gorse (`UserId`, `FeedbackType`, ...) and Metarank (`user`, `type`, ...) are read as
well. `event_type` and `event_id` are validated, and for now that is all: the event has no place
for them.

What `identifier`, `number` and `seconds` accept is also what a data file may hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from connectors.base import InvalidRecord, Recommendation
from connectors.event import Event, EventBatch

SPELLINGS: Final[dict[str, tuple[str, ...]]] = {
    "user_id": ("user_id", "UserId", "user"),
    "item_id": ("item_id", "ItemId", "item"),
    "timestamp": ("timestamp", "Timestamp"),
    "value": ("value", "Value"),
    "event_type": ("event_type", "FeedbackType", "type", "event"),
    "event_id": ("event_id", "id"),
}
"""Our name of each field, and the names it is found under, the first one present winning."""

MAX_ID_CHARS: Final = 256
MILLISECONDS_FROM: Final = 1e11
"""A timestamp from here on is in milliseconds: as seconds it would lie after the year 5000."""
MAX_VALUE: Final = (2 - 2**-23) * 2.0**127
"""The largest float32: values are kept as such."""

Checked = TypeVar("Checked")

_NO_FIELDS: Final[Mapping[str, str]] = {}


class _Record(msgspec.Struct, gc=False):
    """The six fields, as they came: None where there is none.

    The value is UNSET until the record says it, null included: only then is no other spelling of
    it looked for.
    """

    user_id: Any = None
    item_id: Any = None
    timestamp: Any = None
    value: Any = msgspec.UNSET
    event_type: Any = None
    event_id: Any = None


_canonical = msgspec.json.Decoder(_Record)
_any_object = msgspec.json.Decoder(dict[str, Any])


def decode(
    raw: bytes, partition: int, offset: int, fields: Mapping[str, str] = _NO_FIELDS
) -> Event:
    """The event in `raw`, which the source holds at `offset` of `partition`.

    `fields` maps our names (the keys of `SPELLINGS`) to the record's: `{"user_id": "uid"}`; they
    go before every known spelling. The time a broker took a record is not the time the event
    happened, so it never stands in for the timestamp. Raises InvalidRecord, and nothing else,
    where `raw` is not an event.
    """
    try:
        if not raw.isascii():
            raw.decode()  # fields that are not looked at must be text, too
        record = _canonical.decode(raw)
        needed = (record.user_id, record.item_id, record.timestamp)
        if fields or record.value is msgspec.UNSET or None in needed:
            record = _respelled(_any_object.decode(raw), fields)
    except UnicodeDecodeError as error:
        raise InvalidRecord(f"not UTF-8 at byte {error.start}: send JSON in UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRecord(f"not a JSON object: {error}") from None

    user = _checked("user_id", record.user_id, identifier)
    item = _checked("item_id", record.item_id, identifier)
    timestamp = _checked("timestamp", record.timestamp, seconds)
    value = None if record.value is None else _checked("value", record.value, number)
    if record.event_type not in (None, ""):
        _checked("event_type", record.event_type, identifier)
    if record.event_id not in (None, ""):
        _checked("event_id", record.event_id, identifier)
    return Event(user, item, timestamp, value, partition, offset)


def encode(event: Event) -> bytes:
    """The record that decodes to `event`; where it lies (partition, offset) is not written."""
    return msgspec.json.encode(
        {
            "user_id": event.user,
            "item_id": event.item,
            "timestamp": event.timestamp,
            "value": event.value,
        }
    )


def records(events: EventBatch) -> Iterator[tuple[str, bytes, float]]:
    """What publishers take: key (the user), value and Unix seconds of every event."""
    return ((event.user, encode(event), event.timestamp) for event in events)


def encode_recommendation(recommendation: Recommendation) -> bytes:
    """What sinks write: user_id, items and scores (best first), timestamp, model_version."""
    return msgspec.json.encode(
        {
            "user_id": recommendation.user,
            "items": list(recommendation.items),
            "scores": [float(score) for score in recommendation.scores],
            "timestamp": recommendation.timestamp,
            "model_version": recommendation.model_version,
        }
    )


def answer(user: str, items: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """A user's items with their probabilities, best first, as the API and the CLI say it."""
    return {"user": user, "items": [{"item": item, "probability": p} for item, p in items]}


def identifier(given: object) -> str:
    """`given` as an id: 1 to 256 characters. Raises ValueError with the broken rule."""
    if not isinstance(given, str):
        if isinstance(given, float) and given.is_integer() and abs(given) < 2**53:
            given = int(given)  # 7.0 is what 7 becomes in a column with gaps
        if not isinstance(given, int) or isinstance(given, bool):
            raise ValueError("is not a string or an integer")
        given = str(given)
    if not given:
        raise ValueError("is empty")
    if len(given) > MAX_ID_CHARS:
        raise ValueError(f"is longer than {MAX_ID_CHARS} characters")
    if "\0" in given:
        raise ValueError("holds a null character")
    if not given.isascii():
        try:
            given.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half a surrogate pair") from None
    return given


def number(given: object) -> float:
    """`given`, a number or its text, as a finite float32. Raises ValueError with the rule."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise ValueError("is not a number")
    try:
        result = float(given)
    except (ValueError, OverflowError):
        raise ValueError("is not a number") from None
    if not abs(result) <= MAX_VALUE:
        raise ValueError("is not a finite number")
    return result


def seconds(given: object) -> float:
    """`given`, a number, its text or an ISO-8601 date, as Unix seconds.

    1e11 and more are milliseconds. Raises ValueError with the broken rule.
    """
    try:
        moment = number(given)
    except ValueError:
        if not isinstance(given, str):
            raise
        return iso_seconds(given)
    if moment >= MILLISECONDS_FROM:
        moment /= 1000
    return plausible_seconds(moment)


def iso_seconds(text: str) -> float:
    """An ISO-8601 date as Unix seconds; UTC where it names no zone. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        result = moment.timestamp()
    except (ValueError, OverflowError):
        raise ValueError("is not a number or an ISO-8601 date") from None
    return plausible_seconds(result)


def plausible_seconds(moment: float) -> float:
    """`moment` itself, if it can be a time in Unix seconds. Raises ValueError."""
    if not math.isfinite(moment) or moment < 0:
        raise ValueError("is not a time from 1970 on")
    if moment >= MILLISECONDS_FROM:
        raise ValueError("is too large for seconds or milliseconds")
    return moment


def _respelled(given: Mapping[str, Any], fields: Mapping[str, str]) -> _Record:
    """The six fields of `given` under whichever of their names it uses; None where there is none.

    A field that is null counts as absent, so that the next spelling may have it.
    """
    found = []
    for name, spellings in SPELLINGS.items():
        names = (fields[name], *spellings) if name in fields else spellings
        found.append(next((given[n] for n in names if given.get(n) is not None), None))
    return _Record(*found)


def _checked(name: str, given: object, rule: Callable[[object], Checked]) -> Checked:
    if given is None:
        raise InvalidRecord(f"{name} is missing: send it, or map it with --field {name}=NAME")
    try:
        return rule(given)
    except ValueError as error:
        raise InvalidRecord(f"{name} {_shown(given)} {error}") from None


def _shown(given: object) -> str:
    shown = repr(given)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

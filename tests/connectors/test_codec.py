"""What is read as an event, what goes to the dead letters with which reason, what is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.base import InvalidRecord, Recommendation
from connectors.codec import SPELLINGS, decode, encode, encode_recommendation
from connectors.event import Event
from tests.connectors.errors import one_line

WHOLE = {"user_id": "alice", "item_id": "book", "timestamp": 1_700_000_000}


def record(**changes: Any) -> bytes:
    return json.dumps({**WHOLE, **changes}).encode()


def reason(raw: bytes, **options: Any) -> str:
    with pytest.raises(InvalidRecord) as caught:
        decode(raw, 0, 0, **options)
    return one_line(caught)


def test_canonical_record() -> None:
    raw = record(value=4.5, event_type="click", event_id="e1")
    assert decode(raw, 3, 17) == Event("alice", "book", 1_700_000_000.0, 4.5, 3, 17)


def test_value_is_optional() -> None:
    assert decode(record(), 0, 0).value is None
    assert decode(record(value=None), 0, 0).value is None


def test_gorse_feedback() -> None:
    raw = json.dumps(
        {
            "FeedbackType": "star",
            "UserId": "bob",
            "ItemId": "vue",
            "Timestamp": "2023-11-14T22:13:20Z",
            "Value": 1,
            "Comment": "",
        }
    ).encode()
    assert decode(raw, 0, 0) == Event("bob", "vue", 1_700_000_000.0, 1.0)


def test_metarank_interaction() -> None:
    raw = json.dumps(
        {
            "event": "interaction",
            "type": "click",
            "id": "0f4c0036",
            "timestamp": "1700000000500",
            "user": "bob",
            "item": "item1",
            "session": "s1",
            "fields": [{"name": "count", "value": 4}],
        }
    ).encode()
    assert decode(raw, 0, 0) == Event("bob", "item1", 1_700_000_000.5)


def test_metarank_events_that_are_no_interaction_say_what_is_missing() -> None:
    ranking = {"event": "ranking", "id": "1", "timestamp": "1", "user": "u", "items": []}
    assert reason(json.dumps(ranking).encode()).startswith("item_id is missing")


def test_mapped_fields_go_before_known_spellings() -> None:
    raw = record(uid="bob", user="carol")
    assert decode(raw, 0, 0, fields={"user_id": "uid"}).user == "bob"
    assert decode(raw, 0, 0, fields={"user_id": "nowhere"}).user == "alice"


def test_a_null_gives_way_to_the_next_spelling() -> None:
    assert decode(record(user_id=None, UserId="bob"), 0, 0).user == "bob"


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [(42, "42"), (-1, "-1"), (7.0, "7"), ("007", "007"), ("é🎬", "é🎬"), ("x" * 256, "x" * 256)],
)
def test_ids_become_strings(given_id: object, expected: str) -> None:
    event = decode(record(user_id=given_id, item_id=given_id), 0, 0)
    assert (event.user, event.item) == (expected, expected)


@pytest.mark.parametrize(
    ("given_id", "rule"),
    [
        ("", "'' is empty"),
        ("x" * 257, "longer than 256"),
        (10**300, "longer than 256"),
        (True, "True is not a string or an integer"),
        (1.5, "1.5 is not a string or an integer"),
        (1e18, "is not a string or an integer"),
        (["a"], "is not a string or an integer"),
        ({"a": 1}, "is not a string or an integer"),
        ("a\0b", "null character"),
        (None, "is missing"),
    ],
)
@pytest.mark.parametrize("name", ["user_id", "item_id"])
def test_refused_ids(name: str, given_id: object, rule: str) -> None:
    said = reason(record(**{name: given_id}))
    assert said.startswith(name)
    assert rule in said


@pytest.mark.parametrize(
    ("given_time", "expected"),
    [
        (0, 0.0),
        (1_700_000_000.25, 1_700_000_000.25),
        (99_999_999_999, 99_999_999_999.0),
        (100_000_000_000, 100_000_000.0),
        (1_700_000_000_500, 1_700_000_000.5),
        ("1700000000", 1_700_000_000.0),
        ("2023-11-14 22:13:20", 1_700_000_000.0),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000.0),
    ],
)
def test_times_become_seconds(given_time: object, expected: float) -> None:
    assert decode(record(timestamp=given_time), 0, 0).timestamp == expected


@pytest.mark.parametrize(
    ("given_time", "rule"),
    [
        (-1, "from 1970"),
        ("-inf", "not a number or"),
        ("nan", "not a number or"),
        ("yesterday", "'yesterday' is not a number or an ISO-8601 date"),
        ("", "not a number or"),
        ("1969-12-31T00:00:00Z", "from 1970"),
        (1_700_000_000_000_000, "too large"),
        (10**400, ""),
        (True, "True is not a number"),
        ([1], "not a number"),
    ],
)
def test_refused_times(given_time: object, rule: str) -> None:
    assert rule in reason(record(timestamp=given_time))


@pytest.mark.parametrize("value", [True, "many", [1], "inf", 1e39])
def test_refused_values(value: object) -> None:
    assert reason(record(value=value)).startswith("value ")


@pytest.mark.parametrize("name", ["event_type", "event_id"])
def test_fields_without_a_place_are_validated(name: str) -> None:
    assert decode(record(**{name: "x"}), 0, 0).user == "alice"
    assert reason(record(**{name: ["x"]})).startswith(name)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"alice,book,1", "not a JSON object"),
        (b'{"user_id": NaN}', "not a JSON object"),
        (b'{"user_id": "\xff"}', "not UTF-8 at byte 13"),
        (record(comment="")[:-2] + b'\xe9"}', "not UTF-8"),
        (b'{"user_id": "\\ud800"}', "not a JSON object"),
        (b'{"user_id": "a\x00"}', "not a JSON object"),
        (b"\x00", "not a JSON object"),
        (b'{"a":' * 100_000, "not a JSON object"),
        (record() + record(), "not a JSON object"),
    ],
)
def test_what_is_not_a_json_object(raw: bytes, said: str) -> None:
    assert reason(raw).startswith(said)


def test_a_long_value_is_cut_in_the_reason() -> None:
    assert len(reason(record(user_id=["x" * 10_000]))) < 150


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from([name for spellings in SPELLINGS.values() for name in spellings])
ids = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=256
)


def decodes_or_is_invalid(raw: bytes, fields: dict[str, str]) -> None:
    try:
        event = decode(raw, 1, 2, fields)
    except InvalidRecord as error:
        assert "\n" not in str(error)
    else:
        assert event.user and event.item
        assert 0 <= event.timestamp < 1e11
        assert event.value is None or abs(event.value) < 3.5e38


@given(st.binary())
@settings(max_examples=200, deadline=None)
def test_any_bytes_decode_or_are_invalid(raw: bytes) -> None:
    decodes_or_is_invalid(raw, {})


@given(st.dictionaries(names, json_values), st.dictionaries(st.sampled_from([*SPELLINGS]), names))
@settings(max_examples=200, deadline=None)
def test_any_json_decodes_or_is_invalid(given_json: object, fields: dict[str, str]) -> None:
    decodes_or_is_invalid(json.dumps(given_json).encode(), fields)


@given(
    st.builds(
        Event,
        user=ids,
        item=ids,
        timestamp=st.floats(0, 1e11, exclude_max=True),
        value=st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
        partition=st.integers(0, 2**31 - 1),
        offset=st.integers(0, 2**63 - 1),
    )
)
@settings(max_examples=200, deadline=None)
def test_decode_is_the_inverse_of_encode(event: Event) -> None:
    assert decode(encode(event), event.partition, event.offset) == event


def test_a_recommendation_is_a_json_object() -> None:
    recommendation = Recommendation("ü", ["i", "j"], [0.5, 0.25], 12.5, 3)
    assert json.loads(encode_recommendation(recommendation)) == {
        "user_id": "ü",
        "items": ["i", "j"],
        "scores": [0.5, 0.25],
        "timestamp": 12.5,
        "model_version": 3,
    }

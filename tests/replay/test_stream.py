"""The order of a replay: by time, ties as asked, nothing dropped silently."""

import numpy as np
import pytest

from connectors.event import Event, EventBatch
from replay.stream import first_of_each, in_time_order, to_rows


def batch(*events: tuple[str, str, float, float | None]) -> EventBatch:
    return EventBatch.from_events(Event(*fields) for fields in events)


def test_by_timestamp_and_in_file_order_inside_one() -> None:
    stream = in_time_order(
        batch(("a", "x", 5, None), ("b", "y", 1, None), ("c", "z", 5, None), ("d", "x", 1, None))
    )
    assert stream.events.users == ["b", "d", "a", "c"]
    assert stream.events.items == ["y", "x", "x", "z"]
    assert stream.events.timestamps.tolist() == [1, 1, 5, 5]
    assert stream.skipped == {}


def test_shuffled_ties_stay_inside_their_second_and_repeat_with_the_seed() -> None:
    events = batch(*((str(i), "x", i // 50, None) for i in range(200)))
    one = in_time_order(events, ties="shuffle", seed=1).events
    assert one.users != events.users
    assert sorted(one.users, key=int) == events.users
    assert np.all(np.diff(one.timestamps) >= 0)
    assert one.users == in_time_order(events, ties="shuffle", seed=1).events.users
    assert one.users != in_time_order(events, ties="shuffle", seed=2).events.users


def test_everything_left_out_is_counted_by_reason() -> None:
    events = batch(
        ("a", "x", 1, 5),
        ("b", "x", 2, 3),
        ("c", "x", 3, None),
        ("d", "x", float("nan"), 5),
        ("e", "x", 4, 4),
        ("f", "x", 5, 5),
    )
    stream = in_time_order(events, min_rating=4, limit=2)
    assert stream.events.users == ["a", "e"]
    assert stream.skipped == {
        "no timestamp": 1,
        "no rating": 1,
        "rating below 4": 1,
        "beyond the first 2": 1,
    }
    assert len(stream.events) + sum(stream.skipped.values()) == len(events)


def test_the_limit_counts_in_time_order_rather_than_file_order() -> None:
    assert in_time_order(
        batch(("late", "x", 9, 1), ("early", "x", 1, 1)), limit=1
    ).events.users == ["early"]


def test_rows_are_numbered_by_first_appearance() -> None:
    rows = to_rows(batch(("b", "y", 1, 1), ("a", "x", 2, 1), ("b", "x", 3, 1)))
    assert rows.users.tolist() == [0, 1, 0]
    assert rows.items.tolist() == [0, 1, 1]
    assert (rows.n_users, rows.n_items) == (2, 2)
    assert rows.users.dtype == rows.items.dtype == np.int32


def test_an_empty_stream_is_an_empty_stream() -> None:
    stream = in_time_order(batch())
    assert len(stream.events) == 0
    assert to_rows(stream.events).n_items == 0


def test_first_of_each() -> None:
    assert first_of_each(np.array([4, 4, 2, 4, 2])).tolist() == [True, False, True, False, False]


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'random'.*'file' or 'shuffle'"):
        in_time_order(batch(), ties="random")  # type: ignore[arg-type]  # refusing it is the test
    with pytest.raises(ValueError, match="-1"):
        in_time_order(batch(), limit=-1)

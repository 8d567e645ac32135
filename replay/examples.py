"""What a replay learned, shown: some users, what they did last, what they would be offered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from connectors.event import EventBatch

MIN_HISTORY = 5
LAST_SHOWN = 5

Answer = Sequence[tuple[str, float]]
"""Items with their probabilities, best first."""


def pick_users(events: EventBatch, count: int) -> list[str]:
    """The `count` users who acted last among those with some history, latest first."""
    lengths = Counter(events.users)
    latest = dict.fromkeys(reversed(events.users))
    with_history = [user for user in latest if lengths[user] >= MIN_HISTORY]
    return (with_history or list(latest))[:count]


def show_users(
    count: int, events: EventBatch, recommend: Callable[[str], Answer], titles: Mapping[str, str]
) -> Group:
    """`count` users of a stream that was learned, each with what is recommended now."""
    return Group(
        *(show_user(user, events, recommend(user), titles) for user in pick_users(events, count))
    )


def show_user(user: str, events: EventBatch, answer: Answer, titles: Mapping[str, str]) -> Group:
    """The user's last items, and what is recommended now, with titles where there are any."""
    history = [item for u, item in zip(events.users, events.items, strict=True) if u == user]
    last = ", ".join(titles.get(item, item) for item in history[-LAST_SHOWN:])
    heading = Text(f"user {user}, {len(history)} events, the last ones: {last}")
    return Group(heading, to_table(answer, titles), Text())


def to_table(answer: Answer, titles: Mapping[str, str]) -> Table:
    """An answer, best item first."""
    table = Table(box=None)
    for name in ("", "item", "title") if titles else ("", "item"):
        table.add_column(name)
    table.add_column("probability", justify="right")
    for place, (item, probability) in enumerate(answer, start=1):
        title = [titles.get(item, "")] if titles else []
        table.add_row(str(place), item, *title, f"{probability:.4f}")
    return table

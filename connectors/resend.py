"""Dead letters sent again: those that can be read by now go back to their topic."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.base import InvalidRecord
from connectors.codec import encode
from connectors.database import Database
from connectors.kafka_settings import KafkaSettings
from connectors.places import Places

PAGE = 500


@dataclass(frozen=True, slots=True)
class Resent:
    """How many dead letters were sent again, and how many still cannot be read."""

    sent: int
    unreadable: int


def resend(database: Database, places: Places, kafka: KafkaSettings | None) -> Resent:
    """Decode every waiting dead letter with today's field names; send what is an event now.

    It goes to the end of the topic it came from, in our own spelling. A letter is marked only when
    it is durable in the topic, so a crash in between sends it twice rather than never.
    """
    unreadable = after = 0
    sent: list[int] = []
    publisher = places.open_publisher(kafka)
    try:
        while page := database.dead_letters(PAGE, after, waiting=True):
            after = page[-1].id
            records: dict[str, list[tuple[str, bytes, float | None]]] = {}
            for stored in page:
                letter = stored.letter
                try:
                    event = places.decode(letter.raw, letter.partition, letter.offset)
                except InvalidRecord:
                    unreadable += 1
                    continue
                record = (event.user, encode(event), event.timestamp)
                records.setdefault(letter.topic, []).append(record)
                sent.append(stored.id)
            for topic, readable in records.items():
                publisher.publish(topic, readable)
    finally:
        publisher.close()
    for start in range(0, len(sent), PAGE):
        database.mark_replayed(sent[start : start + PAGE])
    return Resent(len(sent), unreadable)

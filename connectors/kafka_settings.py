"""How to reach a Kafka cluster: the settings that source, publisher and sink share."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaConfigurationError, KafkaError

from connectors.base import ConnectorError, SourceUnavailable

Client = TypeVar("Client", KafkaAdminClient, KafkaConsumer, KafkaProducer)

REQUEST_TIMEOUT_S = 5.0  # one question to the broker, beside the polls

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

# What this connector decides itself: everything that says who we are and where reading goes on.
DECIDED_HERE = frozenset(
    {
        "bootstrap_servers",
        "group_id",
        "auto_offset_reset",
        "enable_auto_commit",
        "metadata_max_age_ms",
        "allow_auto_create_topics",
        "key_deserializer",
        "value_deserializer",
        "key_serializer",
        "value_serializer",
        "transactional_id",
    }
)
PASSED_THROUGH = (
    KafkaConsumer.DEFAULT_CONFIG.keys() | KafkaProducer.DEFAULT_CONFIG.keys()
) - DECIDED_HERE


@dataclass(frozen=True)
class KafkaSettings:
    """Where the brokers are and how to talk to them.

    `bootstrap_servers`: host:port, several with commas. `start`: where a topic of which nothing is
    stored begins. `extra`: any other setting of kafka-python's clients by its name, such as
    security_protocol, ssl_cafile, sasl_mechanism, sasl_plain_username. Partitions added to a topic
    are found within `metadata_max_age_ms`. Raises ConnectorError for a setting that cannot be.
    """

    bootstrap_servers: str
    group: str = "lrustream"
    start: str = "earliest"
    extra: Mapping[str, object] = field(default_factory=dict)
    metadata_max_age_ms: int = 30_000
    stall_timeout_s: float = 10.0
    connect_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if not self.bootstrap_servers.strip(" ,"):
            raise ConnectorError("no Kafka address: give host:port, several with commas")
        if self.start not in ("earliest", "latest"):
            raise ConnectorError(f"start is {self.start!r}: use 'earliest' or 'latest'")
        for name in self.extra:
            if name in DECIDED_HERE:
                raise ConnectorError(f"the Kafka setting {name!r} is not free: leave it out")
            if name not in PASSED_THROUGH:
                near = difflib.get_close_matches(name, PASSED_THROUGH, n=1, cutoff=0.0)[0]
                raise ConnectorError(f"unknown Kafka setting {name!r}: did you mean {near!r}?")

        # The client takes any other word for PLAINTEXT, and would send passwords in the clear.
        protocol = self.extra.get("security_protocol", "PLAINTEXT")
        if protocol not in SECURITY_PROTOCOLS:
            choices = ", ".join(SECURITY_PROTOCOLS)
            raise ConnectorError(f"security_protocol is {protocol!r}: use one of {choices}")
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile"):
            if name in self.extra and not Path(str(self.extra[name])).is_file():
                raise ConnectorError(f"{name}: there is no file {str(self.extra[name])!r}")

    def connect(self, client: type[Client], **own: object) -> Client:
        """A connected consumer, producer or admin client; `extra` wins over `own`.

        Raises SourceUnavailable where nobody answers within `connect_timeout_s`, ConnectorError
        where the client refuses a setting.
        """
        known: Mapping[str, object] = client.DEFAULT_CONFIG
        config: dict[str, object] = {
            "metadata_max_age_ms": self.metadata_max_age_ms,
            "bootstrap_timeout_ms": milliseconds(self.connect_timeout_s),
            "reconnect_backoff_max_ms": 1_000,
            **own,
        }
        servers = [server.strip() for server in self.bootstrap_servers.split(",")]
        try:
            extra = {n: _like(v, known[n]) for n, v in self.extra.items() if n in known}
            return client(bootstrap_servers=servers, **config | extra)
        except (KafkaConfigurationError, AssertionError, TypeError, ValueError, OSError) as error:
            raise ConnectorError(
                f"Kafka refuses the settings: {error}; correct --bootstrap-servers or [kafka]"
            ) from error
        except KafkaError as error:
            raise SourceUnavailable(
                f"no Kafka broker at {self.bootstrap_servers} ({error}): start one, or correct the"
                " address, or its TLS and SASL settings"
            ) from error


def _like(value: object, default: object) -> object:
    """Text, as an environment variable has it, as the number or truth value it stands for."""
    if not isinstance(value, str) or not isinstance(default, int | float):
        return value
    if isinstance(default, bool):
        return value.lower() in ("true", "yes", "on", "1")
    return type(default)(value)


def partition_count(settings: KafkaSettings, topic: str) -> int:
    """How many partitions `topic` has, 0 where it does not exist. Raises SourceUnavailable."""
    admin = settings.connect(KafkaAdminClient, request_timeout_ms=milliseconds(REQUEST_TIMEOUT_S))
    try:
        found = admin.describe_topics([topic])
    except KafkaError as error:
        raise SourceUnavailable(f"cannot look up topic {topic!r}: {error}") from error
    finally:
        admin.close()
    return sum(len(each["partitions"]) for each in found)


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)

"""Settings of the exchange platform's Kafka."""

from typing import Annotated, Literal

from pydantic import Field

from agent.config.model import Model, Positive, TopicName
from agent.config.secret import Secret


class SaslSettings(Model):
    """Login at Kafka."""

    mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], Field(description="SASL mechanism.")
    ] = "SCRAM-SHA-512"
    user: Annotated[str, Field(min_length=1, description="User name.")]
    password: Annotated[Secret, Field(description="Where the password is.")]


class TlsSettings(Model):
    """TLS to Kafka; host name and certificate are always verified."""

    ca_file: Annotated[
        str | None,
        Field(description="Certificate authority of the brokers; default: the system's."),
    ] = None
    cert_file: Annotated[
        str | None, Field(description="Client certificate, where the brokers ask for one.")
    ] = None
    key_file: Annotated[str | None, Field(description="Key of the client certificate.")] = None


class KafkaSettings(Model):
    """The exchange platform's Kafka."""

    bootstrap_servers: Annotated[
        list[Annotated[str, Field(pattern=r"^\S+:\d+$")]],
        Field(min_length=1, description="Brokers to ask first, as host:port."),
    ]
    prefix: Annotated[
        TopicName, Field(description="First part of every topic name, given by the platform.")
    ]
    client: Annotated[
        Literal["kafka-python", "librdkafka"],
        Field(description="Client that publishes; librdkafka needs the extra `fast`."),
    ] = "kafka-python"
    tls: Annotated[TlsSettings | None, Field(description="TLS; absent: none.")] = None
    sasl: Annotated[SaslSettings | None, Field(description="Login; absent: none.")] = None
    value_format: Annotated[
        Literal["json", "json-schema"],
        Field(
            description="json-schema: keys and values carry Kafka Connect's schema, "
            "as its JDBC sinks want it."
        ),
    ] = "json"
    before: Annotated[
        Literal["log", "complete"],
        Field(
            description="log: the old row as far as the log has it; "
            "complete: always the whole old row, looked up in the front end (Flink)."
        ),
    ] = "log"
    transactions: Annotated[
        bool,
        Field(
            description="Publish begin and end of source transactions to <prefix>.transaction, "
            "and each event's place in its own."
        ),
    ] = False
    partitions: Annotated[
        Positive, Field(description="Partitions of topics that init creates.")
    ] = 3
    replication_factor: Annotated[
        Positive, Field(description="Replicas of topics that init creates; 3 on a real cluster.")
    ] = 1
    max_event_bytes: Annotated[
        Positive, Field(description="Largest event (key, value and headers); topics must take it.")
    ] = 1_000_000
    transaction_events: Annotated[
        Positive,
        Field(
            description="Events in one Kafka transaction; "
            "a source transaction up to this size is not split."
        ),
    ] = 10_000
    transaction_bytes: Annotated[Positive, Field(description="Bytes in one Kafka transaction.")] = (
        4_194_304
    )
    transaction_timeout_seconds: Annotated[
        float,
        Field(
            ge=2,
            le=60,
            description="How long a dead agent's open transaction may hold up consumers; "
            "half of it bounds a transaction.",
        ),
    ] = 10.0
    in_flight_bytes: Annotated[
        Positive, Field(description="Bytes handed to the client and not yet acknowledged.")
    ] = 2_097_152

"""Finds out which keys a topic still has, before its rows are published again.

A key that no row has any more then gets its delete. A command reads the topic, beside the service,
and leaves the keys in the front end, a bounded piece at a time. A row that comes or goes meanwhile
does no harm: capture looks each key up in the source and in the front end before it publishes the
delete.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import delete, insert

from agent.config import KafkaSettings
from agent.errors import KafkaUnreachable
from agent.front.own_tables import text_digest
from agent.messages import phrase
from agent.outbox.reader import Reader
from agent.publish.connection import addresses, client_settings, closing_client, our_error
from agent.publish.topics import SECONDS, broker

_PIECE = 5_000  # records read at once
_SILENCE = 60.0  # seconds without a record after which reading fails


class Collected(NamedTuple):
    """What was read of a topic."""

    records: int
    generation: int  # the highest its events carry; 0 where none carries one


def collect(
    kafka: KafkaSettings, state_topic: str, resource: str, topic: str, reader: Reader
) -> Collected:
    """Reads a topic from its beginning to its end as it is now; reads nothing without a topic.

    Raises KafkaUnreachable, LoginRefused, KafkaRefused, FrontUnreachable.
    """
    # Finding the agent's tables takes a connection, which would wait for the transaction below
    keys = reader.own.topic_keys
    with reader.writing() as connection:
        connection.execute(delete(keys).where(keys.c.name == resource))
    cluster = broker(kafka, state_topic)
    found = cluster.topics([topic], time.monotonic() + SECONDS)[topic]
    if found is None:
        return Collected(0, 0)
    options = {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "allow_auto_create_topics": False,
        "auto_offset_reset": "earliest",
    }
    places = [TopicPartition(topic, number) for number in range(found.partitions)]
    try:
        with closing_client(
            KafkaConsumer,
            **client_settings(kafka),
            bootstrap_timeout_ms=int(SECONDS * 900),
            **options,
        ) as consumer:
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            return _read(kafka, consumer, dict(consumer.end_offsets(places)), resource, reader)
    except Exception as error:  # noqa: BLE001 - clients raise anything
        raise our_error(error, kafka, f"topic {topic}") from None


def _read(
    kafka: KafkaSettings,
    consumer: KafkaConsumer,
    ends: Mapping[TopicPartition, int],
    resource: str,
    reader: Reader,
) -> Collected:
    records, generation, heard = 0, 0, time.monotonic()
    while any(
        (consumer.position(place, timeout_ms=int(SECONDS * 1000)) or 0) < end
        for place, end in ends.items()
    ):
        polled = consumer.poll(timeout_ms=500, max_records=_PIECE)
        keys = {}
        for record in itertools.chain.from_iterable(polled.values()):
            records, heard = records + 1, time.monotonic()
            generation = max(generation, _generation(record.headers))
            if record.key is not None:
                keys[record.key] = record.value is not None
        if keys:
            _keep(reader, resource, keys)
        elif time.monotonic() - heard > _SILENCE:
            raise KafkaUnreachable(
                address=addresses(kafka),
                reason=phrase("the topic cannot be read to its end"),
            )
    return Collected(records, generation)


def _generation(headers: Sequence[tuple[str, bytes]]) -> int:
    value = dict(headers).get("sync.generation", b"")
    return int(value) if value.isdigit() else 0


def _keep(reader: Reader, resource: str, keys: Mapping[bytes, bool]) -> None:
    """Stores which of these keys the topic has after this piece.

    A delete's tombstone takes its key away.
    """
    # What is no UTF-8 is no key of ours
    texts = {key.decode(errors="replace"): exists for key, exists in keys.items()}
    digests = {text: text_digest(text) for text in texts}
    with reader.writing() as connection:
        connection.execute(
            delete(reader.own.topic_keys).where(
                reader.own.topic_keys.c.name == resource,
                reader.own.topic_keys.c.digest.in_(digests.values()),
            )
        )
        rows = []
        for text, exists in texts.items():
            if exists:
                rows.append({"name": resource, "digest": digests[text], "row_key": text})
        if rows:
            connection.execute(insert(reader.own.topic_keys), rows)

"""Asks for `republish` whether the topic can take the rows, and then whether Kafka has them."""

import json
import time
from collections.abc import Sequence

from agent.config import KafkaSettings, ResourceSettings, Topics
from agent.errors import AgentError, TopicMissing, stored
from agent.front import init_settings, layout
from agent.outbox.reader import Reader
from agent.preflight import kafka_commands, topic_owners
from agent.publish.topics import SECONDS, broker, verify

_TAKEN = 30.0  # seconds for Kafka to take what was put into the outbox
_LOOK = 0.2


class Suspended(Exception):
    """The table stands still.

    The reason has nothing to do with the topic, or was found out meanwhile.
    """

    def __init__(self, error: AgentError) -> None:
        self.error = error
        super().__init__(str(error))


def topic(
    kafka: KafkaSettings,
    topics: Topics,
    resources: Sequence[ResourceSettings],
    name: str,
    reader: Reader,
) -> str:
    """Returns the topic of a resource, when it will take a new generation.

    Raises FrontReplaced where the configuration names another topic than the table was published
    to, TopicMissing with the command that makes it, TopicTaken, TopicLimit, InitRefused for its
    settings, the errors of Kafka and the front end.
    """
    uuid = reader.identity().agent_uuid
    published = {resource: str(row["topic"]) for resource, row in reader.resources().items()}
    with reader.connection() as connection:
        noted = layout.settings(connection, reader.own)
    init_settings.check_prefix(kafka.prefix, resources, noted, published)

    wanted = topics.of(name)
    cluster = broker(kafka, topics.state, uuid)
    found = cluster.topics([wanted], time.monotonic() + SECONDS)
    if found[wanted] is None:
        command = kafka_commands.create_topic(kafka, topics, wanted)
        raise TopicMissing(topic=wanted, command=command)
    verify(kafka, topics, found)
    record = topic_owners.own_record(topics.state, cluster)
    if wanted in topic_owners.foreign(topics, cluster, record, found):
        raise topic_owners.taken(topics, wanted)
    return wanted


def refuse_suspended(name: str, reader: Reader) -> None:
    """Raises Suspended with the error for which a table is suspended."""
    row = reader.resources().get(name)
    if row is not None and row["state"] == "suspended":
        raise Suspended(stored(str(row["code"]), json.loads(str(row["details"]))))


def taken_by_kafka(name: str, reader: Reader) -> bool:
    """Waits until Kafka has everything that is in the outbox now; False where it takes longer.

    Raises Suspended.
    """
    number, deadline = reader.identity().number, time.monotonic() + _TAKEN
    while reader.published().number < number:
        refuse_suspended(name, reader)
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK)
    refuse_suspended(name, reader)
    return True

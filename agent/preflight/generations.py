"""After a restored backup: the front end goes on from Kafka's state record, and every topic begins a new generation."""

import time

from agent.config import Settings
from agent.front.reader import Reader
from agent.front.store import SqlFront
from agent.publish import recovery
from agent.publish.topic_keys import collect
from agent.publish.topics import SECONDS, broker, write_state


def begin_anew(settings: Settings, front: SqlFront, agent_uuid: str, epoch: int) -> None:
    """Can be repeated: each time begins one more generation. Raises StateLost and the errors of Kafka and the front end.

    The record becomes that of a whole source transaction: what was left of a split one is in no outbox any more.
    """
    reader = Reader(front.engine, settings.agent)
    for name, row in reader.resources().items():
        collect(settings, name, str(row["topic"]), reader)
    cluster = broker(settings, agent_uuid)
    producer = cluster.open(time.monotonic() + SECONDS)  # fences whoever may publish still
    try:
        deadline = time.monotonic() + SECONDS
        before = recovery.read(settings.state_topic, cluster.states(deadline).visible)
        record = before._replace(epoch=max(before.epoch, epoch), part=0, position="")
        front.begin_generations(
            record.epoch,
            record.number,
            record.event,
            {name: topic.generation for name, topic in record.topics.items()},
        )
        write_state(producer, settings.state_topic, record, deadline)
    finally:
        producer.abandon()

"""After a restored backup, or without a state record: every topic begins a new generation."""

import time
from collections.abc import Mapping

from agent.config import KafkaSettings, Topics
from agent.errors import TopicTaken
from agent.front.store import SqlFront
from agent.outbox.reader import Reader
from agent.publish import hanging, recovery
from agent.publish.kafka_python import KafkaPython
from agent.publish.state import StateRecord, TopicState
from agent.publish.topic_keys import collect
from agent.publish.topics import SECONDS, broker, create_topics, write_state


def begin_anew(
    kafka: KafkaSettings, topics: Topics, front: SqlFront, agent_uuid: str, epoch: int
) -> None:
    """Begins a new generation of every topic; repeated, one more.

    The front end goes on from Kafka's state record; where that is lost, a new one goes on from the
    front end. The record becomes that of a whole source transaction: what was left of a split one
    is in no outbox any more. Raises TopicTaken and the errors of Kafka and the front end.
    """
    reader = Reader(front.engine, topics.agent)
    generations = {}
    for name, row in reader.resources().items():
        topic = str(row["topic"])
        generations[topic] = collect(kafka, topics.state, name, topic, reader).generation
    cluster = broker(kafka, topics.state, agent_uuid)
    deadline = time.monotonic() + SECONDS
    if cluster.topics([topics.state], deadline)[topics.state] is None:
        create_topics(kafka, topics, _untold)
    producer = cluster.open(time.monotonic() + SECONDS)  # fences whoever may publish still
    try:
        deadline = time.monotonic() + SECONDS
        visible = cluster.states(deadline).visible
        if visible is not None:
            before = recovery.read(topics.state, visible)
        else:  # lost
            before = _from_front_end(topics, cluster, reader, generations, deadline)
        record = before._replace(epoch=max(before.epoch, epoch), part=0, position="")
        front.begin_generations(
            record.epoch,
            record.number,
            record.event,
            {name: topic.generation for name, topic in record.topics.items()},
        )
        write_state(producer, topics.state, record, deadline)
    finally:
        producer.abandon()


def _untold(line: str) -> None:
    """What is created goes without saying: the command tells the whole."""


def _from_front_end(
    topics: Topics,
    cluster: KafkaPython,
    reader: Reader,
    generations: Mapping[str, int],
    deadline: float,
) -> StateRecord:
    """Returns the record in place of a lost one.

    Numbers go on after the outbox, and the topics are known as they are now.
    """
    if cluster.strangers(deadline):
        raise TopicTaken(resource=topics.agent, topic=topics.state)
    identity, mark = reader.identity(), reader.published()
    event = reader.event_id(identity.number, identity.source_id) or mark.event_id
    found = hanging.readable(cluster.topics(topics.events, deadline))
    states = {
        name: TopicState(topic.id, generations.get(name, 0), topic.partitions, dict(topic.ends))
        for name, topic in found.items()
        if topic is not None
    }
    return StateRecord(
        identity.agent_uuid,
        identity.epoch,
        identity.nonce,
        identity.number,
        event,
        "",
        0,
        0,
        states,
    )

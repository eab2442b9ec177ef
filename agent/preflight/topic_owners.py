"""Whose the topics are: for `init` and `check`, and the way to take one over on purpose."""

import time
from collections.abc import Callable, Collection

from agent.config import KafkaSettings, Topics
from agent.errors import InitRefused, StateLost, TopicTaken
from agent.front.store import SqlFront
from agent.messages import mark, translate
from agent.outbox.reader import Reader
from agent.publish import recovery, topic_check
from agent.publish.base import TopicDescription
from agent.publish.kafka_python import KafkaPython
from agent.publish.state import StateRecord, TopicState
from agent.publish.topic_keys import collect
from agent.publish.topics import SECONDS, broker, describe, write_state

Tell = Callable[[str], None]


def foreign(
    topics: Topics,
    cluster: KafkaPython,
    record: StateRecord | None,
    found: dict[str, TopicDescription | None],
) -> list[str]:
    """Returns topics of events with records that are not this agent's.

    `record` is its state record, None before init.
    """
    return [
        name
        for name in topics.events
        if (now := found.get(name)) is not None and _taken(topics, cluster, record, name, now)
    ]


def _taken(
    topics: Topics,
    cluster: KafkaPython,
    record: StateRecord | None,
    name: str,
    now: TopicDescription,
) -> bool:
    before = record.topics.get(name) if record is not None else None
    if before is not None and before.lost.get("code") != TopicTaken.code:
        return False
    if name == topics.transactions and record is not None and record.number:
        return False  # version 0.1 did not note whose it is
    deadline = time.monotonic() + SECONDS
    return cluster.holds(name, now, topic_check.known(before, now), deadline)


def own_record(state_topic: str, cluster: KafkaPython) -> StateRecord | None:
    """The agent's state record; None where there is none yet."""
    try:
        value = cluster.states(time.monotonic() + SECONDS).visible
    except StateLost:
        return None
    return None if value is None else recovery.read(state_topic, value)


def taken(topics: Topics, name: str) -> TopicTaken:
    """The error for a topic."""
    return TopicTaken(resource=topics.resources.get(name, topics.agent), topic=name)


def claim(
    kafka: KafkaSettings,
    topics: Topics,
    front: SqlFront,
    agent_uuid: str,
    take_over: Collection[str],
    tell: Tell,
) -> None:
    """Takes over the topics named, and refuses any other that holds another agent's records.

    The first state record is written, and nobody publishes. Raises TopicTaken, InitRefused, the
    errors of Kafka and the front end.
    """
    cluster = broker(kafka, topics.state, agent_uuid)
    for name in take_over:
        if name not in topics.events:
            reason = mark("{topic} is no topic of this agent's events")
            raise InitRefused(reason=translate(reason, topic=name))
    record, found = own_record(topics.state, cluster), describe(kafka, topics)
    others = foreign(topics, cluster, record, found)
    for name in others:
        if name not in take_over:
            raise taken(topics, name)
    for name in others:
        _take_over(kafka, topics, front, cluster, name)
        text = mark("Topic {topic} taken over: the service publishes every row in a new generation")
        tell(translate(text, topic=name))


def _take_over(
    kafka: KafkaSettings, topics: Topics, front: SqlFront, cluster: KafkaPython, name: str
) -> None:
    """Notes the topic as this agent's up to its present ends.

    The front end comes first: repeated, it begins one more generation.
    """
    before = 0
    resource = topics.resources.get(name)
    if resource is not None:
        reader = Reader(front.engine, topics.agent)
        collected = collect(kafka, topics.state, resource, name, reader)
        before = front.begin_above(resource, collected.generation)
    deadline = time.monotonic() + SECONDS
    producer = cluster.open(deadline)
    try:
        record = own_record(topics.state, cluster)
        now = cluster.topics([name], deadline)[name]
        if record is None or now is None:
            raise StateLost(topic=topics.state)
        entry = TopicState(now.id, before, now.partitions, dict(now.ends))
        if before:  # events of earlier generations that wait in the outbox go nowhere
            error = taken(topics, name)
            lost = {"from": record.number + 1, "code": error.code, "values": error.values}
            entry = entry._replace(generation=before - 1, lost=lost)
        anew = record._replace(topics=record.topics | {name: entry})
        write_state(producer, topics.state, anew, deadline)
    finally:
        producer.abandon()

"""Whose the topics are: for `init` and `check`, and the way to take one over on purpose."""

import time
from collections.abc import Callable, Collection

from agent.config import Settings
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
    settings: Settings,
    cluster: KafkaPython,
    record: StateRecord | None,
    found: dict[str, TopicDescription | None],
) -> list[str]:
    """Returns topics of events with records that are not this agent's.

    `record` is its state record, None before init.
    """
    return [
        name
        for name in settings.event_topics
        if (now := found.get(name)) is not None and _taken(settings, cluster, record, name, now)
    ]


def _taken(
    settings: Settings,
    cluster: KafkaPython,
    record: StateRecord | None,
    name: str,
    now: TopicDescription,
) -> bool:
    before = record.topics.get(name) if record is not None else None
    if before is not None and before.lost.get("code") != TopicTaken.code:
        return False
    if name == settings.transaction_topic and record is not None and record.number:
        return False  # version 0.1 did not note whose it is
    deadline = time.monotonic() + SECONDS
    return cluster.holds(name, now, topic_check.known(before, now), deadline)


def own_record(settings: Settings, cluster: KafkaPython) -> StateRecord | None:
    """The agent's state record; None where there is none yet."""
    try:
        value = cluster.states(time.monotonic() + SECONDS).visible
    except StateLost:
        return None
    return None if value is None else recovery.read(settings.state_topic, value)


def taken(settings: Settings, name: str) -> TopicTaken:
    """The error for a topic."""
    topics = {settings.topic(resource): resource.name for resource in settings.resource}
    return TopicTaken(resource=topics.get(name, settings.agent), topic=name)


def claim(
    settings: Settings,
    front: SqlFront,
    agent_uuid: str,
    take_over: Collection[str],
    tell: Tell,
) -> None:
    """Takes over the topics named, and refuses any other that holds another agent's records.

    The first state record is written, and nobody publishes. Raises TopicTaken, InitRefused, the
    errors of Kafka and the front end.
    """
    cluster = broker(settings.kafka, settings.state_topic, agent_uuid)
    for name in take_over:
        if name not in settings.event_topics:
            reason = mark("{topic} is no topic of this agent's events")
            raise InitRefused(reason=translate(reason, topic=name))
    record, found = own_record(settings, cluster), describe(settings.kafka, settings.topics)
    others = foreign(settings, cluster, record, found)
    for name in others:
        if name not in take_over:
            raise taken(settings, name)
    for name in others:
        _take_over(settings, front, cluster, name)
        text = mark("Topic {topic} taken over: the service publishes every row in a new generation")
        tell(translate(text, topic=name))


def _take_over(settings: Settings, front: SqlFront, cluster: KafkaPython, name: str) -> None:
    """Notes the topic as this agent's up to its present ends.

    The front end comes first: repeated, it begins one more generation.
    """
    before = 0
    for resource in settings.resource:
        if settings.topic(resource) == name:
            reader = Reader(front.engine, settings.agent)
            before = front.begin_above(
                resource.name,
                collect(
                    settings.kafka, settings.state_topic, resource.name, name, reader
                ).generation,
            )
    deadline = time.monotonic() + SECONDS
    producer = cluster.open(deadline)
    try:
        record = own_record(settings, cluster)
        now = cluster.topics([name], deadline)[name]
        if record is None or now is None:
            raise StateLost(topic=settings.state_topic)
        entry = TopicState(now.id, before, now.partitions, dict(now.ends))
        if before:  # events of earlier generations that wait in the outbox go nowhere
            error = taken(settings, name)
            lost = {"from": record.number + 1, "code": error.code, "values": error.values}
            entry = entry._replace(generation=before - 1, lost=lost)
        anew = record._replace(topics=record.topics | {name: entry})
        write_state(producer, settings.state_topic, anew, deadline)
    finally:
        producer.abandon()

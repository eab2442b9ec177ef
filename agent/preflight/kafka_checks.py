"""Checks Kafka for `check`: the way to it step by step, the rights, every topic that is needed."""

import time

from agent.config import KafkaSettings, Topics
from agent.errors import AgentError
from agent.findings import Finding, Level, error, errors, failed, ok, warning
from agent.messages import mark, translate
from agent.preflight import kafka_commands, topic_owners
from agent.publish import diagnosis
from agent.publish.base import TopicDescription
from agent.publish.diagnosis import diagnose
from agent.publish.topic_check import MAX_MESSAGE_BYTES, OVERHEAD
from agent.publish.topics import SECONDS, broker, describe, state_bytes, verify

_CODES = {
    "resolve": "KAFKA_HOST",
    "connect": "KAFKA_NETWORK",
    "tls": "KAFKA_TLS",
    "login": "KAFKA_LOGIN",
    "rights": "KAFKA_RIGHTS",
}
_WAY = ("resolve", "connect")  # steps to one server of several


def check_kafka(
    kafka: KafkaSettings, topics: Topics, agent_uuid: str, begun: str = ""
) -> list[Finding]:
    """Makes every check of Kafka.

    `agent_uuid` is '' before init; `begun` is the one of an init that did not come to its end.
    """
    try:
        steps = diagnose(kafka, topics, agent_uuid)
        # A server that cannot be reached is no error where another one can:
        # clients begin with that one.
        reached = any(step.step == "login" and step.ok for step in steps)
        findings = [_step(step, reached) for step in steps]
        if not reached:
            return findings
        described = describe(kafka, topics)
        others: list[str] = []
        # Where a right is missing, which the steps have named, nobody tells whose the topics are
        if not errors(findings):
            others = _others(kafka, topics, agent_uuid or begun, described)
    except AgentError as cause:
        return [failed(cause)]

    for name, topic in described.items():
        if name in others:
            findings.append(failed(topic_owners.taken(topics, name)))
        else:
            findings.append(_topic(kafka, topics, name, topic, initialised=bool(agent_uuid)))
    return findings


def _step(step: diagnosis.Finding, reached: bool) -> Finding:
    level: Level = "error"
    if step.ok:
        level = "ok"
    elif reached and step.step in _WAY:
        level = "warning"
    return Finding(_CODES.get(step.step, "KAFKA"), level, step.message, step.fix)


def _others(
    kafka: KafkaSettings,
    topics: Topics,
    agent_uuid: str,
    described: dict[str, TopicDescription | None],
) -> list[str]:
    """Topics with records that are not this agent's."""
    cluster = broker(kafka, topics.state, agent_uuid)
    record, others = None, list[str]()
    if described[topics.state] is not None:
        if cluster.strangers(time.monotonic() + SECONDS):
            others.append(topics.state)
        if agent_uuid:
            try:
                record = topic_owners.own_record(topics.state, cluster)
            except AgentError:  # nothing can be said of the topics; the service names it
                return others
    return others + topic_owners.foreign(topics, cluster, record, described)


def _topic(
    kafka: KafkaSettings,
    topics: Topics,
    name: str,
    topic: TopicDescription | None,
    initialised: bool,
) -> Finding:
    if topic is None:
        level = error if initialised else warning
        message = mark("Topic {topic} does not exist yet; init makes it, or the platform does")
        if initialised:
            message = mark("Topic {topic} does not exist any more")
        return level(
            "TOPIC_MISSING", message, kafka_commands.create_topic(kafka, topics, name), topic=name
        )
    try:
        verify(kafka, topics, {name: topic})
    except AgentError as cause:
        partitioned = name == topics.state and topic.partitions != 1
        fix = kafka_commands.set_topic(kafka, topics, name)
        if partitioned:
            fix = translate(mark("Have the topic deleted and made anew, before init"))
        return failed(cause)._replace(fix=fix)
    if not topic.settings:
        message = mark(
            "Topic {topic}: its settings may not be read; "
            "max.message.bytes must be at least {needed}"
        )
        return warning(
            "TOPIC_SETTINGS",
            message,
            kafka_commands.allow_reading(kafka, name),
            topic=name,
            needed=state_bytes(kafka, topics)
            if name == topics.state
            else kafka.max_event_bytes + OVERHEAD,
        )
    message = mark("Topic {topic}: {partitions} partition(s), messages up to {limit} bytes")
    return ok(
        "TOPIC",
        message,
        topic=name,
        partitions=topic.partitions,
        limit=topic.settings.get(MAX_MESSAGE_BYTES, "?"),
    )

"""Creates and checks topics for `init` and `check`, and writes the first state record."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from agent.config import KafkaSettings, Topics
from agent.errors import (
    InitRefused,
    KafkaUnreachable,
    StateLost,
    TopicMissing,
    TopicTaken,
)
from agent.messages import mark, phrase, translate
from agent.publish import topic_check
from agent.publish.base import Producer, TopicDescription
from agent.publish.clients import cluster
from agent.publish.connection import (
    REFUSALS,
    addresses,
    client_settings,
    closing_client,
    our_error,
)
from agent.publish.kafka_python import KafkaPython
from agent.publish.state import VERSION, InvalidState, StateRecord, loads
from agent.publish.topic_check import MAX_MESSAGE_BYTES, OVERHEAD
from agent.publish.waiting import bounded

T = TypeVar("T")
SECONDS = 30.0  # for one step of init or check
_AGAIN = 0.2  # seconds between two questions about topics just created
_CLUSTER_LIMIT = 1_048_588  # Kafka's own default of max.message.bytes
# Small segments that are compacted soon: recovery reads from near the end, and the topic stays
# small.
STATE_SETTINGS = {
    "cleanup.policy": "compact",
    "segment.bytes": "1048576",
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.01",
}


def _never() -> None:
    """Init and check wait without signs of life."""


def broker(kafka: KafkaSettings, state_topic: str, agent: str = "") -> KafkaPython:
    """Returns the cluster, for one command."""
    return cluster(kafka, state_topic, agent, _never)


def wanted(kafka: KafkaSettings, topics: Topics) -> dict[str, dict[str, Any]]:
    """Returns every topic the agent needs, with what `init` creates it with."""
    replicas = kafka.replication_factor
    size = str(max(_CLUSTER_LIMIT, kafka.max_event_bytes + OVERHEAD))
    resources = {"cleanup.policy": "delete", MAX_MESSAGE_BYTES: size}
    plans = dict.fromkeys(topics.events, (kafka.partitions, resources))
    if topics.transactions:
        # Begins and ends in the order of the commits
        plans[topics.transactions] = (1, resources)
    needed = str(max(_CLUSTER_LIMIT, state_bytes(kafka, topics)))
    plans[topics.state] = (1, STATE_SETTINGS | {MAX_MESSAGE_BYTES: needed})
    return {
        name: {"num_partitions": count, "replication_factor": replicas, "configs": configs}
        for name, (count, configs) in plans.items()
    }


def state_bytes(kafka: KafkaSettings, topics: Topics) -> int:
    """Returns how large a record the state topic must take."""
    return topic_check.state_bytes(topics.events, kafka.partitions)


def describe(
    kafka: KafkaSettings, topics: Topics, seconds: float = SECONDS
) -> dict[str, TopicDescription | None]:
    """Describes every topic the agent needs; None for one that is missing.

    Raises the connection's errors.
    """
    deadline = time.monotonic() + seconds
    return broker(kafka, topics.state).topics(wanted(kafka, topics), deadline)


def settled(work: Callable[[], T], patience: float = SECONDS) -> T:
    """Does what init does with topics just created, again while Kafka cannot answer for them yet.

    A busy cluster takes seconds until a new topic has its leaders and every broker knows it.
    Raises what comes last.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return work()
        except KafkaUnreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN)


def existing(kafka: KafkaSettings, topics: Topics) -> dict[str, TopicDescription | None]:
    """Describes every topic the agent needs, checked as far as it is there.

    Raises as `verify`, and the connection's errors.
    """
    found = describe(kafka, topics)
    verify(kafka, topics, {name: topic for name, topic in found.items() if topic is not None})
    return found


def create_topics(
    kafka: KafkaSettings,
    topics: Topics,
    report: Callable[[str], None],
    found: dict[str, TopicDescription | None] | None = None,
) -> None:
    """Creates the topics that are missing and checks all.

    `report` gets a sentence for each. `found`: as `existing` has found them. Raises InitRefused,
    TopicLimit, KafkaRefused, and the connection's errors.
    """
    found = existing(kafka, topics) if found is None else found
    needed = wanted(kafka, topics)
    missing = {name: options for name, options in needed.items() if found[name] is None}
    if missing:
        deadline = time.monotonic() + SECONDS
        try:
            bounded(lambda: _create(kafka, missing), deadline, _never)
        except Exception as error:  # noqa: BLE001 - clients raise anything
            raise our_error(error, kafka) from None
        verify(kafka, topics, settled(lambda: _described(kafka, topics)))
    for name in found:
        text = mark("Topic {topic} created") if name in missing else mark("Topic {topic} exists")
        report(translate(text, topic=name))


def _described(kafka: KafkaSettings, topics: Topics) -> dict[str, TopicDescription | None]:
    """The topics once all of them are there.

    Raises KafkaUnreachable while a broker does not know one that was created.
    """
    found = describe(kafka, topics)
    missing = [name for name, topic in found.items() if topic is None]
    if missing:
        reason = phrase("topic {topic} was created and is not known yet", topic=missing[0])
        raise KafkaUnreachable(address=addresses(kafka), reason=reason)
    return found


def _create(kafka: KafkaSettings, missing: dict[str, dict[str, Any]]) -> None:
    with closing_client(
        KafkaAdminClient, **client_settings(kafka), bootstrap_timeout_ms=int(SECONDS * 900)
    ) as admin:
        for topic in admin.create_topics(missing, raise_errors=False)["topics"]:
            error: type[KafkaError] = for_code(topic["error_code"])
            if not topic["error_code"] or error is TopicAlreadyExistsError:
                continue
            if issubclass(error, REFUSALS):
                raise error
            reason = phrase("topic {topic}: {error}", topic=topic["name"], error=error.__name__)
            raise InitRefused(reason=reason)


def verify(kafka: KafkaSettings, topics: Topics, found: dict[str, TopicDescription | None]) -> None:
    """Checks the topics; what may not be read passes.

    Raises TopicMissing, TopicLimit or InitRefused for the first one that does not serve.
    """
    for name, topic in found.items():
        if topic is None:
            raise TopicMissing(topic=name)
        if name == topics.state:
            _verify_state_topic(name, topic)
            topic_check.check_limit(name, topic, state_bytes(kafka, topics))
        else:
            topic_check.check_limit(name, topic, kafka.max_event_bytes + OVERHEAD)
            _verify_event_topic(name, topic)


def _verify_state_topic(name: str, topic: TopicDescription) -> None:
    if topic.partitions != 1:
        raise InitRefused(
            reason=phrase(
                "topic {name} has {partitions} partitions; the state topic must have 1",
                name=name,
                partitions=topic.partitions,
            )
        )
    policy = topic.settings.get("cleanup.policy", "")
    if policy not in ("", "compact"):
        raise InitRefused(
            reason=phrase(
                "topic {name} has cleanup.policy={policy}; the state topic must have compact, "
                "or its record expires",
                name=name,
                policy=policy,
            )
        )


def _verify_event_topic(name: str, topic: TopicDescription) -> None:
    policy = topic.settings.get("cleanup.policy", "")
    if "compact" in policy:
        raise InitRefused(
            reason=phrase(
                "topic {name} has cleanup.policy={policy}; compaction removes events, "
                "it must have delete",
                name=name,
                policy=policy,
            )
        )


def write_first_state(
    kafka: KafkaSettings, topics: Topics, agent_uuid: str, epoch: int, nonce: str
) -> None:
    """Writes record 0, in a transaction, unless this agent's own record 0 stands there already.

    Raises TopicTaken when the topic holds another agent's records, InitRefused when this agent has
    published already, StateLost without the topic.
    """
    cluster = broker(kafka, topics.state, agent_uuid)
    deadline = time.monotonic() + SECONDS
    producer = cluster.open(deadline)
    try:
        strangers = cluster.strangers(deadline)
        if strangers:
            raise TopicTaken(resource=topics.agent, topic=topics.state)
        value = cluster.states(deadline).visible
        if value is not None:
            _own(topics.state, value)
            return
        record = StateRecord(agent_uuid, epoch, nonce, 0, "", "", 0, 0, {})
        write_state(producer, topics.state, record, deadline)
    finally:
        producer.abandon()
    if cluster.states(time.monotonic() + SECONDS).visible is None:
        raise StateLost(topic=topics.state)


def write_state(
    producer: Producer, topic: str, record: StateRecord, deadline: float, version: int = VERSION
) -> None:
    """Writes a record in a transaction of its own, in the form of a version."""
    producer.begin()
    producer.send(topic, 0, record.agent.encode(), record.dumps(version), [])
    producer.commit(deadline)


def _own(topic: str, value: bytes) -> None:
    try:
        number = loads(value).number
    except InvalidState as error:
        raise InitRefused(
            reason=phrase("the state record in topic {topic}: {error}", topic=topic, error=error)
        ) from None
    if number:
        raise InitRefused(
            reason=phrase("this agent has published up to event {number} already", number=number)
        )

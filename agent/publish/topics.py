"""Creates and checks topics for `init` and `check`, and writes the first state record."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from agent.config import Settings
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
from agent.publish.state import InvalidState, StateRecord, loads
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


def broker(settings: Settings, agent: str = "") -> KafkaPython:
    """Returns the cluster, for one command."""
    return cluster(settings, agent, _never)


def wanted(settings: Settings) -> dict[str, dict[str, Any]]:
    """Returns every topic the agent needs, with what `init` creates it with."""
    replicas = settings.kafka.replication_factor
    size = str(max(_CLUSTER_LIMIT, settings.kafka.max_event_bytes + OVERHEAD))
    resources = {"cleanup.policy": "delete", MAX_MESSAGE_BYTES: size}
    topics = dict.fromkeys(settings.event_topics, (settings.kafka.partitions, resources))
    if settings.transaction_topic:
        # Begins and ends in the order of the commits
        topics[settings.transaction_topic] = (1, resources)
    needed = str(max(_CLUSTER_LIMIT, state_bytes(settings)))
    topics[settings.state_topic] = (1, STATE_SETTINGS | {MAX_MESSAGE_BYTES: needed})
    return {
        name: {"num_partitions": count, "replication_factor": replicas, "configs": configs}
        for name, (count, configs) in topics.items()
    }


def state_bytes(settings: Settings) -> int:
    """Returns how large a record the state topic must take."""
    return topic_check.state_bytes(settings.event_topics, settings.kafka.partitions)


def describe(settings: Settings, seconds: float = SECONDS) -> dict[str, TopicDescription | None]:
    """Describes every topic the agent needs; None for one that is missing.

    Raises the connection's errors.
    """
    return broker(settings).topics(wanted(settings), time.monotonic() + seconds)


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


def existing(settings: Settings) -> dict[str, TopicDescription | None]:
    """Describes every topic the agent needs, checked as far as it is there.

    Raises as `verify`, and the connection's errors.
    """
    found = describe(settings)
    verify(settings, {name: topic for name, topic in found.items() if topic is not None})
    return found


def create_topics(
    settings: Settings,
    report: Callable[[str], None],
    found: dict[str, TopicDescription | None] | None = None,
) -> None:
    """Creates the topics that are missing and checks all.

    `report` gets a sentence for each. `found`: as `existing` has found them. Raises InitRefused,
    TopicLimit, KafkaRefused, and the connection's errors.
    """
    found = existing(settings) if found is None else found
    missing = {name: options for name, options in wanted(settings).items() if found[name] is None}
    if missing:
        deadline = time.monotonic() + SECONDS
        try:
            bounded(lambda: _create(settings, missing), deadline, _never)
        except Exception as error:  # noqa: BLE001 - clients raise anything
            raise our_error(error, settings.kafka) from None
        verify(settings, settled(lambda: _described(settings)))
    for name in found:
        text = mark("Topic {topic} created") if name in missing else mark("Topic {topic} exists")
        report(translate(text, topic=name))


def _described(settings: Settings) -> dict[str, TopicDescription | None]:
    """The topics once all of them are there.

    Raises KafkaUnreachable while a broker does not know one that was created.
    """
    found = describe(settings)
    missing = [name for name, topic in found.items() if topic is None]
    if missing:
        reason = phrase("topic {topic} was created and is not known yet", topic=missing[0])
        raise KafkaUnreachable(address=addresses(settings.kafka), reason=reason)
    return found


def _create(settings: Settings, missing: dict[str, dict[str, Any]]) -> None:
    with closing_client(
        KafkaAdminClient, **client_settings(settings.kafka), bootstrap_timeout_ms=int(SECONDS * 900)
    ) as admin:
        for topic in admin.create_topics(missing, raise_errors=False)["topics"]:
            error: type[KafkaError] = for_code(topic["error_code"])
            if not topic["error_code"] or error is TopicAlreadyExistsError:
                continue
            if issubclass(error, REFUSALS):
                raise error
            reason = phrase("topic {topic}: {error}", topic=topic["name"], error=error.__name__)
            raise InitRefused(reason=reason)


def verify(settings: Settings, found: dict[str, TopicDescription | None]) -> None:
    """Checks the topics; what may not be read passes.

    Raises TopicMissing, TopicLimit or InitRefused for the first one that does not serve.
    """
    for name, topic in found.items():
        if topic is None:
            raise TopicMissing(topic=name)
        if name == settings.state_topic:
            _verify_state_topic(name, topic)
            topic_check.check_limit(name, topic, state_bytes(settings))
        else:
            topic_check.check_limit(name, topic, settings.kafka.max_event_bytes + OVERHEAD)
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


def write_first_state(settings: Settings, agent_uuid: str, epoch: int, nonce: str) -> None:
    """Writes record 0, in a transaction, unless this agent's own record 0 stands there already.

    Raises TopicTaken when the topic holds another agent's records, InitRefused when this agent has
    published already, StateLost without the topic.
    """
    cluster = broker(settings, agent_uuid)
    deadline = time.monotonic() + SECONDS
    producer = cluster.open(deadline)
    try:
        strangers = cluster.strangers(deadline)
        if strangers:
            raise TopicTaken(resource=settings.agent, topic=settings.state_topic)
        value = cluster.states(deadline).visible
        if value is not None:
            _own(settings.state_topic, value)
            return
        record = StateRecord(agent_uuid, epoch, nonce, 0, "", "", 0, 0, {})
        write_state(producer, settings.state_topic, record, deadline)
    finally:
        producer.abandon()
    if cluster.states(time.monotonic() + SECONDS).visible is None:
        raise StateLost(topic=settings.state_topic)


def write_state(producer: Producer, topic: str, record: StateRecord, deadline: float) -> None:
    """Writes a record in a transaction of its own."""
    producer.begin()
    producer.send(topic, 0, record.agent.encode(), record.dumps(), [])
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

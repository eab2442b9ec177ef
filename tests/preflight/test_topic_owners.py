"""Tests whose a topic is.

`init` and `check` refuse one with another agent's records, and name the way to take it over.
"""

import time
import uuid

import pytest
from kafka import KafkaProducer

from agent.errors import TopicTaken
from agent.front.opening import open_front
from agent.preflight import topic_owners
from agent.preflight.checks import check
from agent.publish.topics import broker, create_topics
from tests.preflight.conftest import Unit


def publish(unit: Unit, topic: str, generation: int = 5, commit: bool = True) -> None:
    """What another agent does."""
    producer = KafkaProducer(
        bootstrap_servers=unit.settings.kafka.bootstrap_servers, transactional_id=uuid.uuid4().hex
    )
    producer.init_transactions()
    producer.begin_transaction()
    headers = [("sync.generation", b"%d" % generation)]
    for key in (b'{"id":1}', b'{"id":2}', b"\xff", b"no key of ours"):
        producer.send(topic, key=key, value=b"{}", headers=headers, partition=0)
    producer.flush()
    if commit:
        producer.commit_transaction()
    else:
        producer.abort_transaction()
    producer.close()


def topic_of(unit: Unit) -> str:
    return unit.settings.topic(unit.settings.resource[0])


def taken(unit: Unit) -> list[str]:
    """Returns what `check` says of taken topics."""
    findings = check(unit.settings)
    return [found.message for found in findings if found.code == "TOPIC_TAKEN"]


def test_a_topic_with_anothers_records_is_refused(unit: Unit) -> None:
    """Before init and after; what was aborted is nobody's."""
    create_topics(unit.settings.kafka, unit.settings.topics, lambda line: None)
    publish(unit, topic_of(unit), commit=False)
    assert not taken(unit)
    publish(unit, topic_of(unit))
    assert topic_of(unit) in taken(unit)[0]
    with pytest.raises(TopicTaken, match=topic_of(unit)):
        unit.initialise()
    assert unit.slots() == 0
    assert len(taken(unit)) == 1  # of an init that did not end


def test_a_state_topic_of_another_agent_is_refused(unit: Unit) -> None:
    """An agent of the same name on another host."""
    unit.initialise()
    elsewhere = Unit(
        unit.conninfo,
        unit.folder / "elsewhere",
        unit.settings.kafka.bootstrap_servers[0],
        unit.settings.agent,
    )
    elsewhere.change(source={"slot": "another_slot"})
    with pytest.raises(TopicTaken, match="sync-agent"):
        elsewhere.initialise()
    assert unit.settings.state_topic in taken(elsewhere)[0]
    assert not taken(unit)


def test_the_topic_of_transactions_is_refused(unit: Unit) -> None:
    """It has no table."""
    unit.change(kafka={"transactions": True})
    create_topics(unit.settings.kafka, unit.settings.topics, lambda line: None)
    further = unit.settings.transaction_topic
    assert further is not None
    publish(unit, further)
    with pytest.raises(TopicTaken, match=further):
        unit.initialise()
    unit.initialise_taking(further)
    assert not taken(unit)


def test_a_topic_is_taken_over_on_purpose(unit: Unit) -> None:
    """The generation lies above all that its events carry.

    The keys it has are kept for their deletes.
    """
    create_topics(unit.settings.kafka, unit.settings.topics, lambda line: None)
    publish(unit, topic_of(unit))
    with pytest.raises(TopicTaken):
        unit.initialise()
    told = unit.initialise_taking(topic_of(unit))
    assert any("taken over" in line for line in told)
    front = open_front(unit.settings.front, unit.settings.agent)
    stored = front.open("nonce")
    (state,) = stored.resources.values()
    assert (state.generation, state.seq, state.state) == (6, 0, "copying")
    assert stored.copies["person"].republish
    assert {'{"id":1}', '{"id":2}'} <= set(front.topic_keys("person", 10))
    front.close()
    cluster = broker(
        unit.settings.kafka,
        unit.settings.state_topic,
        str((front.stored_state() or {})["agent_uuid"]),
    )
    record = topic_owners.own_record(unit.settings.state_topic, cluster)
    assert record is not None
    entry = record.topics[topic_of(unit)]
    assert entry.passes_over(5)
    assert not entry.passes_over(6)
    assert not taken(unit)
    publish(unit, topic_of(unit))  # the other one has not ended after all
    now = cluster.topics([topic_of(unit)], time.monotonic() + 20)[topic_of(unit)]
    assert now is not None
    assert cluster.holds(topic_of(unit), now, entry.offsets, time.monotonic() + 20)
    assert len(taken(unit)) == 1


def test_an_added_table_brings_a_taken_topic(unit: Unit) -> None:
    """After init."""
    unit.initialise()
    unit.execute("create table later (id int primary key)")
    later = {"name": "later", "table": "public.later", "columns": ["id"]}
    unit.share(unit.settings.resource[0].model_dump(exclude_unset=True), later)
    create_topics(unit.settings.kafka, unit.settings.topics, lambda line: None)
    publish(unit, f"{unit.settings.kafka.prefix}.later")
    with pytest.raises(TopicTaken, match="later"):
        unit.initialise()
    assert len(taken(unit)) == 1
    unit.initialise_taking(f"{unit.settings.kafka.prefix}.later")
    assert not taken(unit)

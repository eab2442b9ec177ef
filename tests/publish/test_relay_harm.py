"""Tests the publisher with topics, or transactions in them, that are not as it left them.

Each client meets each harm on a real Kafka.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # not re-exported for mypy
from kafka import KafkaProducer
from kafka.structs import TopicPartition

from agent.front.sqlite.front import SqliteFront
from agent.preflight import topic_owners
from agent.publish import topics
from agent.publish.state import StateRecord, loads
from tests.publish.consumer import Judge
from tests.publish.fronts import workload
from tests.publish.site import CLIENTS, Site, Sites, sites
from tests.services.kafka import KafkaBroker
from tests.waiting import BUSY, PATIENCE, eventually, never


@pytest.fixture(params=CLIENTS)
def site(
    request: pytest.FixtureRequest, kafka_broker: KafkaBroker, topic_prefix: str, tmp_path: Path
) -> Iterator[Sites]:
    """Yields a function that makes the site, with each client in turn."""
    with sites(request.param, kafka_broker.bootstrap, topic_prefix, tmp_path) as make:
        yield make


def delete(broker: KafkaBroker, topic: str) -> None:
    """Deletes a topic and waits until it is gone."""
    broker.admin.delete_topics([topic], operation_timeout=10)[topic].result(PATIENCE)
    eventually(
        lambda: topic not in broker.admin.list_topics(timeout=5).topics, what=f"{topic} is gone"
    )


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize("harm", ["state deleted", "state recreated"])
def test_harm_is_named(site: Sites, kafka_broker: KafkaBroker, harm: str, running: bool) -> None:
    """Each harm halts the agent.

    It halts at the latest with the next transaction (running) or before it writes anything
    (stopped).
    """
    here = site()
    publisher = here.publisher()
    here.front.write(workload(1, 50))
    here.verdict()
    if not running:
        publisher.stop()
    delete(kafka_broker, here.settings.state_topic)
    if harm.endswith("recreated"):
        topics.create_topics(here.settings.kafka, here.settings.topics, lambda line: None)
    here.front.write(workload(2, 50))
    publisher = publisher if running else here.publisher()
    assert publisher.halted() == "STATE_LOST"


@pytest.mark.parametrize(
    ("harm", "running"),
    [("topic deleted", True), ("topic recreated", True), ("partition added", False)],
)
def test_a_harmed_topic_stops_its_table_alone(
    site: Sites, kafka_broker: KafkaBroker, harm: str, running: bool
) -> None:
    """Within a minute its table is to be suspended, and the other goes on.

    A new generation goes to the topic as it is then.
    """
    here = site()
    front, topic = here.front, f"{here.settings.kafka.prefix}.orders"
    publisher = here.publisher()
    front.write(workload(1, 50))
    here.verdict()
    if not running:
        publisher.stop()
    if harm == "partition added":
        kafka_broker.admin.create_partitions([NewPartitions(topic, 4)])[topic].result(PATIENCE)
    else:
        delete(kafka_broker, topic)
    if harm == "topic recreated":
        topics.create_topics(here.settings.kafka, here.settings.topics, lambda line: None)
    if not running:
        publisher = here.publisher()
    front.write(workload(2, 50))
    code = "PARTITIONS_CHANGED" if harm == "partition added" else "TOPIC_LOST"
    eventually(
        lambda: front.suspensions() == [("orders", code)],
        60,
        "capture is asked to suspend the table",
    )
    front.suspend("orders")
    items = {name: events for name, events in front.expected.items() if name != topic}
    Judge(kafka_broker.bootstrap, *items).verdict(items, 60)
    publisher.stop()
    topics.create_topics(here.settings.kafka, here.settings.topics, lambda line: None)
    front.begin_anew("orders")
    front.write([[("orders", 1, "c"), ("items", 1, "u")], [("orders", 1, "d")]])
    last = here.publisher()
    judge = Judge(kafka_broker.bootstrap, topic)

    def anew() -> list[int]:
        judge.poll()
        return sorted(
            int(event.headers["sync.seq"])
            for event in judge.events(topic)
            if event.headers["sync.generation"] == "2"
        )

    eventually(lambda: anew() == [1, 2], 60, "the new generation is published")
    judge.close()
    assert last.stop() < 4 + BUSY


def test_a_topic_with_anothers_records_is_left_alone_until_it_is_taken_over(
    site: Sites, kafka_broker: KafkaBroker
) -> None:
    """Not one event goes into it.

    Taken over, it begins above the other's generation, without gaps or doubles.
    """
    here = site()
    front, topic = here.front, f"{here.settings.kafka.prefix}.orders"
    theirs = KafkaProducer(bootstrap_servers=kafka_broker.bootstrap)
    headers = [("sync.generation", b"5"), ("sync.seq", b"1"), ("sync.id", b"theirs")]
    theirs.send(topic, key=b'{"id":99}', value=b"{}", headers=headers)
    theirs.close()
    front.write(workload(1, 50))
    publisher = here.publisher()
    items = {name: events for name, events in front.expected.items() if name != topic}
    Judge(kafka_broker.bootstrap, *items).verdict(items, 60)
    eventually(lambda: front.suspensions() == [("orders", "TOPIC_TAKEN")], 60, "it is told")
    publisher.stop()
    writer = SqliteFront(here.settings.front.url, 20, here.settings.agent)
    topic_owners.claim(
        here.settings.kafka, here.settings.topics, writer, front.agent, [topic], lambda line: None
    )
    writer.engine.dispose()
    front.generations[topic] = 5
    front.begin_anew("orders")  # as `claim` has begun it
    front.write(workload(2, 50))
    publisher = here.publisher()
    judge = Judge(kafka_broker.bootstrap, topic)

    def anew() -> list[tuple[str, int]]:
        judge.poll()
        return [
            (event.headers["sync.id"], int(event.headers["sync.seq"]))
            for event in judge.events(topic)
            if event.headers["sync.generation"] == "6"
        ]

    eventually(lambda: len(anew()) >= len(front.expected[topic]), 60, "the new generation")
    assert sorted(anew(), key=lambda pair: pair[1]) == front.expected[topic]
    assert len(judge.events(topic)) == 1 + len(front.expected[topic])
    judge.close()
    publisher.stop()


@pytest.fixture
def unverified(kafka_broker: KafkaBroker) -> Iterator[None]:
    """Lets the broker take records of a transaction its coordinator does not know of.

    The topics then look as they do where the coordinator has lost an end.
    """
    kafka_broker.alter("transaction.partition.verification.enable", "false")
    yield
    kafka_broker.alter("transaction.partition.verification.enable", None)


def leave_open(here: Site, records: Mapping[str, bytes], told: Mapping[str, bytes]) -> None:
    """Leaves a transaction of the agent's with a record in each partition of these topics.

    It has ended, committed, but only the topics `told` know.
    """
    client = KafkaProducer(
        bootstrap_servers=here.settings.kafka.bootstrap_servers,
        transactional_id=here.front.agent,
        max_block_ms=20_000,
    )
    client.init_transactions()
    client.begin_transaction()
    for topic, value in {**records, **told}.items():
        for number in sorted(client.partitions_for(topic)):
            if topic in records:
                # Not to be added by the client
                client._transaction_manager._partitions_in_transaction.add(
                    TopicPartition(topic, number)
                )
            client.send(topic, value, here.front.agent.encode(), partition=number).get(20)
    client.commit_transaction()
    client.close(5)


def after_orders(here: Site) -> StateRecord:
    """The state record, as if one more event were in each partition of `orders`."""
    value = (
        topics.broker(here.settings.kafka, here.settings.state_topic, here.front.agent)
        .states(time.monotonic() + PATIENCE)
        .visible
    )
    assert value is not None
    state, topic = loads(value), f"{here.settings.kafka.prefix}.orders"
    # The end of the last transaction, and the record
    ends = {number: end + 2 for number, end in state.topics[topic].offsets.items()}
    return state._replace(topics=state.topics | {topic: state.topics[topic]._replace(offsets=ends)})


@pytest.mark.usefixtures("unverified")
@pytest.mark.parametrize("hanging", ["orders", "orders, state", "state"])
def test_a_transaction_that_lost_its_end_never_becomes_visible(site: Sites, hanging: str) -> None:
    """Our next commit in the same partitions would show it (KAFKA-20734).

    The agent aborts it first, and says so.
    """
    here = site()
    publisher = here.publisher()
    here.front.write(workload(1, 50))
    here.verdict()
    publisher.stop()
    records = {}
    if "orders" in hanging:
        records[f"{here.settings.kafka.prefix}.orders"] = b"never ended"
    if "state" in hanging:
        state = after_orders(here)
        records[here.settings.state_topic] = state._replace(
            number=state.number + (3 if "orders" in hanging else 0)
        ).dumps()
    leave_open(here, records, {})
    here.front.write(workload(2, 50))
    publisher = here.publisher()
    here.verdict()
    publisher.stop()
    assert publisher.log.read_text().count("HANGING_TRANSACTION") == 1
    assert here.front.suspensions() == []


@pytest.mark.usefixtures("unverified")
def test_nothing_is_published_while_it_is_not_known_whether_a_transaction_was_committed(
    site: Sites,
) -> None:
    """Its state record hangs, its events do not: they may be visible.

    An administrator has to end it.
    """
    here = site()
    publisher = here.publisher()
    here.front.write(workload(1, 50))
    here.verdict()
    publisher.stop()
    state = after_orders(here)
    leave_open(
        here, {here.settings.state_topic: state._replace(number=state.number + 3).dumps()}, {}
    )
    here.front.write(workload(2, 50))
    publisher = here.publisher()
    eventually(lambda: "HANGING_TRANSACTION" in publisher.log.read_text(), 60, "it says so")
    never(
        lambda: publisher.log.read_text().count("kafka_recovered") > 1, during=8, what="it went on"
    )
    publisher.stop()


@pytest.mark.usefixtures("unverified")
@pytest.mark.parametrize("hanging", ["orders", "orders, state"])
def test_a_committed_transaction_that_lost_its_end_gets_it(
    site: Sites, kafka_broker: KafkaBroker, hanging: str
) -> None:
    """Its events are on record as published, or the front end knows that they are.

    They become visible, and nothing needs a person.
    """
    here = site()
    topic = f"{here.settings.kafka.prefix}.orders"
    publisher = here.publisher()
    here.front.write(workload(1, 50))
    here.verdict()
    publisher.stop()
    state = after_orders(here)
    written = {here.settings.state_topic: state.dumps()}
    if hanging == "orders":
        leave_open(here, {topic: b"committed"}, written)
    else:
        state = state._replace(number=state.number + 3, event="the last of them")
        written[here.settings.state_topic] = state.dumps()
        here.front.published(state.number, state.event)
        leave_open(here, {topic: b"committed"} | written, {})
    here.front.write(workload(2, 50))
    publisher = here.publisher()
    items = {name: events for name, events in here.front.expected.items() if name != topic}
    judge = Judge(kafka_broker.bootstrap, *items)
    judge.verdict(items, 60)
    judge.close()
    publisher.stop()
    assert "HANGING_TRANSACTION" not in publisher.log.read_text()
    assert publisher.log.read_text().count("kafka_finished") == 1
    assert here.front.suspensions() == []
    found = topics.describe(here.settings.kafka, here.settings.topics)
    assert not any(topic.held for topic in found.values() if topic is not None)
    reader = Judge(kafka_broker.bootstrap, topic)
    reader.wait_for({topic: 3 + len(here.front.expected[topic])})
    assert [record.value for record in reader.seen[topic]].count(b"committed") == 3
    reader.close()

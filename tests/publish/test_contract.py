"""Tests the publisher's contract with one suite for every implementation.

These are the in-memory twin, and both clients with a real Kafka.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # not re-exported for mypy

from agent.errors import KafkaUnreachable, StateLost
from agent.publish.base import Broker, Producer
from agent.publish.clients import cluster
from agent.publish.memory import MemoryBroker, MemoryCluster
from tests.publish.consumer import Judge
from tests.publish.fronts import settings_for
from tests.services.kafka import KafkaBroker
from tests.waiting import PATIENCE, eventually


class Case:
    """One implementation with its topics `events` (2 partitions) and `state`."""

    def __init__(self, prefix: str) -> None:
        self.events, self.state, self.agent = (
            f"{prefix}.events",
            f"{prefix}.state",
            str(uuid.uuid4()),
        )
        self.opened: list[Producer] = []
        self.broker: Broker
        self.visible: Callable[[], dict[int, list[bytes]]]  # partition -> keys of visible records
        self.recreate: Callable[[], None]

    def open(self) -> Producer:
        """A producer that is abandoned at the end of the test."""
        self.opened.append(self.broker.open(soon()))
        return self.opened[-1]

    def write(self, producer: Producer, *keys: bytes, partition: int = 0) -> None:
        """Sends records of a transaction that is open."""
        for key in keys:
            producer.send(self.events, partition, key, b"v", [("h", b"1")])


def soon(seconds: float = PATIENCE) -> float:
    """A deadline; as good as none."""
    return time.monotonic() + seconds


def nothing() -> None:
    """A tick."""


def in_memory(prefix: str) -> Case:
    """The twin."""
    case, cluster = Case(prefix), MemoryCluster()
    cluster.create(case.events, 2)
    cluster.create(case.state)
    case.broker = MemoryBroker(cluster, case.state, case.agent, nothing)
    case.visible = lambda: {
        number: [record.key for record in log]
        for number, log in enumerate(cluster.committed(case.events))
    }
    case.recreate = lambda: cluster.create(case.events, 2)
    return case


def with_kafka(client: str, prefix: str, broker: KafkaBroker, path: Path) -> Case:
    """One of the clients."""
    case = Case(prefix)

    def create() -> None:
        topics = [NewTopic(case.events, 2, 1), NewTopic(case.state, 1, 1)]
        for future in broker.admin.create_topics(topics, operation_timeout=10).values():
            if future.exception(20) and "EXISTS" not in str(future.exception()):
                raise future.exception()  # type: ignore[misc]
        eventually(
            lambda: case.events in broker.admin.list_topics(timeout=5).topics,
            what="the topic is known",
        )

    def visible() -> dict[int, list[bytes]]:
        judge = Judge(broker.bootstrap, case.events)
        judge.poll()
        judge.close()
        return {
            number: [record.key for record in judge.seen[case.events] if record.partition == number]
            for number in range(2)
        }

    def recreate() -> None:
        broker.admin.delete_topics([case.events], operation_timeout=10)[case.events].result(
            PATIENCE
        )
        eventually(
            lambda: case.events not in broker.admin.list_topics(timeout=5).topics,
            what="the topic is gone",
        )
        create()

    create()
    settings = settings_for(broker.bootstrap, prefix, path, client=client)
    case.broker = cluster(settings.kafka, case.state, case.agent, nothing)
    case.visible, case.recreate = visible, recreate
    return case


@pytest.fixture(params=["memory", "kafka-python", "librdkafka"])
def case(request: pytest.FixtureRequest, topic_prefix: str, tmp_path: Path) -> Iterator[Case]:
    """Each implementation in turn."""
    memory = request.param == "memory"
    found = (
        in_memory(topic_prefix)
        if memory
        else with_kafka(
            request.param, topic_prefix, request.getfixturevalue("kafka_broker"), tmp_path
        )
    )
    yield found
    for producer in found.opened:
        producer.abandon()


def shows(case: Case, expected: dict[int, list[bytes]]) -> None:
    """A read_committed consumer sees exactly this."""
    eventually(lambda: case.visible() == expected, 20, f"{expected} is visible", interval=0.2)


def test_visible_after_commit_and_in_order(case: Case) -> None:
    """Nothing is visible before the commit, and everything after it, in the order of the sends.

    Offsets and outstanding bytes are true.
    """
    producer = case.open()
    producer.begin()
    case.write(producer, b"a", b"b", b"c")
    case.write(producer, b"d", partition=1)
    assert producer.drain(0, soon()) and producer.outstanding == 0
    assert producer.offsets[case.events, 0] == 3 and producer.offsets[case.events, 1] == 1
    assert case.visible() == {0: [], 1: []}
    producer.commit(soon())
    shows(case, {0: [b"a", b"b", b"c"], 1: [b"d"]})


def test_tombstones(case: Case) -> None:
    """A record without value is stored as one."""
    producer = case.open()
    producer.begin()
    producer.send(case.events, 0, b"k", b"v", [])
    producer.send(case.events, 0, b"k", None, [("sync.of", b"1")])
    producer.commit(soon())
    shows(case, {0: [b"k", b"k"], 1: []})


def test_an_open_transaction_is_told(case: Case) -> None:
    """From its first record on, until its end has arrived."""

    def held() -> dict[int, int]:
        found = case.broker.topics([case.events], soon())[case.events]
        assert found is not None
        return dict(found.held)

    producer = case.open()
    assert held() == {}
    producer.begin()
    case.write(producer, b"a", b"b", partition=1)
    producer.drain(0, soon())
    assert held() == {1: 0}
    producer.commit(soon())
    eventually(lambda: held() == {}, 20, "the end has arrived")
    producer.begin()
    case.write(producer, b"c", partition=1)
    producer.drain(0, soon())
    assert held() == {1: 3}  # the end of a transaction takes an offset


def test_an_abandoned_transaction_is_never_visible(case: Case) -> None:
    """The next producer ends it, and its own records are."""
    first = case.open()
    first.begin()
    case.write(first, b"lost")
    first.drain(0, soon())
    first.abandon()
    second = case.open()
    second.begin()
    case.write(second, b"kept")
    second.commit(soon())
    shows(case, {0: [b"kept"], 1: []})


def test_an_older_producer_is_fenced(case: Case) -> None:
    """Whatever it tries raises, stays invisible, and does not hurt the younger one."""
    older, younger = case.open(), case.open()
    with pytest.raises(KafkaUnreachable):  # noqa: PT012 - any of them may raise
        older.begin()
        case.write(older, b"zombie")
        older.drain(0, soon())
        older.commit(soon())
    younger.begin()
    case.write(younger, b"kept")
    younger.commit(soon())
    shows(case, {0: [b"kept"], 1: []})


def test_the_last_state_is_the_last_visible_one_of_this_agent(case: Case) -> None:
    """None at first; not that of an open or aborted transaction; not another agent's."""
    producer = case.open()
    assert case.broker.states(soon()).visible is None
    for value in (b"1", b"2"):
        producer.begin()
        producer.send(case.state, 0, case.agent.encode(), value, [])
        producer.send(case.state, 0, b"another", b"x", [])
        producer.commit(soon())
    producer.begin()
    producer.send(case.state, 0, case.agent.encode(), b"3", [])
    producer.drain(0, soon())
    producer.abandon()
    case.open()
    assert case.broker.states(soon()).visible == b"2"


def test_the_last_state_is_found_behind_many_others(case: Case) -> None:
    """Reading begins near the end and goes back as far as needed."""
    producer = case.open()
    producer.begin()
    producer.send(case.state, 0, case.agent.encode(), b"mine", [])
    producer.commit(soon())
    producer.begin()
    for number in range(700):
        producer.send(case.state, 0, b"another", b"%d" % number, [])
    producer.commit(soon())
    assert case.broker.states(soon()).visible == b"mine"


def test_topics_are_described_and_never_created(case: Case) -> None:
    """Topics have partitions and ends that count uncommitted records; a missing topic is None.

    One that was created again has another id.
    """
    producer = case.open()
    producer.begin()
    case.write(producer, b"a", b"b")
    producer.drain(0, soon())
    for _ in range(2):
        found = case.broker.topics([case.events, "missing"], soon())
        assert found["missing"] is None
        first = found[case.events]
        assert first is not None and first.partitions == 2 and dict(first.ends) == {0: 2, 1: 0}
    producer.abandon()
    case.recreate()
    again = eventually(
        lambda: case.broker.topics([case.events], soon())[case.events],
        what="the new topic is known to the broker",
    )
    assert again is not None and first is not None and again.id != first.id


def test_a_topic_created_again_under_a_running_producer_is_noticed(case: Case) -> None:
    """The client sees no error at all; the offsets went back."""
    producer = case.open()
    for _ in range(3):
        producer.begin()
        case.write(producer, b"a", b"b")
        producer.commit(soon())
    case.recreate()
    with pytest.raises(KafkaUnreachable):  # noqa: PT012 - any of them may raise
        for _ in range(3):
            producer.begin()
            case.write(producer, b"c")
            if not producer.drain(0, soon(4)):
                raise KafkaUnreachable(address="-", reason="deadline")
            producer.commit(soon(15))


def test_no_state_topic(case: Case) -> None:
    """Not the same as a topic without record."""
    producer = case.open()
    missing = f"{case.state}.missing"
    broker = case.broker
    broker._state_topic = missing  # type: ignore[attr-defined]
    with pytest.raises(StateLost):
        broker.states(soon())
    producer.abandon()

"""The topic of begins and ends of source transactions, on the in-memory twin."""

import contextlib
from pathlib import Path

import pytest

from agent.errors import HangingTransaction, KafkaUnreachable, TopicMissing
from agent.service.control import Control
from tests.publish.fronts import workload
from tests.publish.test_relay_memory import Running
from tests.publish.world import World
from tests.waiting import eventually


def test_begins_and_ends_are_as_visible_as_their_events(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each record of begin and end comes once and in order.

    That holds over split transactions, lost replies and lost commits. A missing topic of theirs
    halts; switched off, they are left out.
    """
    world = World(tmp_path, transaction_events=3, transactions=True)
    request.addfinalizer(world.front.close)
    topic = "p.transaction"
    running = Running(world)
    request.addfinalizer(running.stop)
    for number in range(6):
        world.cluster.lost_replies, world.cluster.lost_commits = number % 2, number % 3
        world.front.write(workload(number, 5, largest=9))
        running.control.wake()
        eventually(lambda: world.published() == world.front.expected, what="all published")
    eventually(
        lambda: (
            world.state().part == 0
            and world.state().number == sum(map(len, world.front.expected.values()))
        ),
        what="all recorded",
    )
    kept, records = world.cluster.topics[topic], world.cluster.committed(topic)[0]
    assert [(record.value, record.headers) for record in records] == [
        (b"BEGIN", []),
        (b"END", []),
    ] * 30
    assert [record.key for record in records[::2]] == [record.key for record in records[1::2]]
    assert world.state().topics[topic].offsets == {0: len(kept.logs[0]) - 1}
    running.stop()
    del world.cluster.topics[topic]
    assert isinstance(Running(world).ended(), TopicMissing)
    world.cluster.topics[topic] = kept
    world.settings = world.settings.model_copy(
        update={"kafka": world.settings.kafka.model_copy(update={"transactions": False})}
    )
    world.front.write(workload(7, 5))
    running = Running(world)
    request.addfinalizer(running.stop)
    eventually(lambda: world.published() == world.front.expected, what="all published")
    running.stop()
    assert len(world.cluster.committed(topic)[0]) == 60


def test_an_abort_that_the_topic_was_not_told_of_shows_nothing_twice(tmp_path: Path) -> None:
    """Only this topic lacks the end of the aborted attempt (KAFKA-20734).

    The next commit there must not show it.
    """
    world = World(tmp_path, transactions=True)
    topic = "p.transaction"
    with contextlib.closing(Control.alone("publish", "nonce-1")) as control:
        relay = world.relay(control)
        relay.recover()
        world.front.write([[("orders", 1, "c")]])
        world.cluster.lost_commits, world.cluster.losing = 1, {topic}
        with pytest.raises(KafkaUnreachable):
            relay.transaction()
        relay.abandon()
        with pytest.raises(HangingTransaction):
            relay.recover()
        relay.abandon()
        world.cluster.losing = set()
        relay.recover()
        relay.transaction()
        relay.abandon()
    world.front.close()
    records = [record.value for record in world.cluster.committed(topic)[0]]
    assert records == [b"BEGIN", b"END"]

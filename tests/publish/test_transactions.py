"""The topic of begins and ends of source transactions, on the in-memory twin."""

from pathlib import Path

import pytest

from agent.errors import TopicMissing
from tests.publish.fronts import workload
from tests.publish.test_relay_memory import Running
from tests.publish.world import World
from tests.waiting import eventually


def test_begins_and_ends_are_as_visible_as_their_events(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each once and in order, over split transactions, lost replies and lost commits; a missing topic of theirs halts; switched off, they are left out."""
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
    assert topic not in world.state().topics  # no table's: made again, it goes on
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

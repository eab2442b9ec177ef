"""Tests how soon the agent notices what is dead and goes on with what is back.

It also lets go of what it held.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.agent_process import Agent, Installation
from tests.checker.replay import read_committed
from tests.checker.writer import Writer
from tests.faults.ground import Ground
from tests.faults.schedule import FrontEnd, Schedule
from tests.faults.service import ArmedAgent
from tests.waiting import BUSY, eventually, never

NOTICED = 30.0  # seconds until a line on which nothing passes is known to be dead
RESUMED = 5.0  # seconds until the agent works again with a server that accepts connections
FREE = 30.0  # seconds for which a dead agent may hold up a read_committed consumer
GRACE = 10.0  # seconds the agent has after SIGTERM


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Servers of their own, and lines that can be silent."""
    with Ground() as ground:
        yield ground


@pytest.fixture
def place(ground: Ground, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Installation]:
    """An installation whose front end is in PostgreSQL, unless a test asks for another."""
    front: FrontEnd = getattr(request, "param", "postgres")
    with ground.installed(Schedule.of(1)._replace(front=front), tmp_path) as place:
        yield place


def seconds(agent: Agent, ready: bool, most: float) -> float:
    """Seconds until the agent says that all its peers are connected, or that one is not."""
    began = time.monotonic()
    eventually(lambda: agent.ready() is ready, most + BUSY, f"ready is {ready}", 0.1)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["source", "front", "kafka"])
def test_a_silent_line_is_noticed(peer: str, ground: Ground, place: Installation) -> None:
    """TCP stands, and nothing passes; when it does again, all arrives."""
    with place.start() as agent, Writer(place.source, 7, place.tables) as writer:
        agent.wait_ready()
        writer.run(5)
        ground.lines[peer].black_hole()
        writer.run(5)
        assert seconds(agent, ready=False, most=NOTICED) < NOTICED + BUSY
        ground.lines[peer].heal()
        agent.wait_ready()
        verdict = place.verdict()
    assert verdict.equal, verdict


@pytest.mark.parametrize("which", ["source", "front"])
def test_a_server_is_back(which: str, ground: Ground, place: Installation) -> None:
    """The agent works with it within seconds, without having been started again."""
    server = ground.source if which == "source" else ground.front
    assert server is not None
    with place.start() as agent, Writer(place.source, 7, place.tables) as writer:
        agent.wait_ready()
        writer.run(5)
        server.stop("immediate")  # type: ignore[union-attr]  # PostgreSQL on both sides
        seconds(agent, ready=False, most=NOTICED)
        server.start_again()
        assert seconds(agent, ready=True, most=RESUMED) < RESUMED + BUSY
        verdict = place.verdict()
    assert verdict.equal, verdict


@pytest.mark.parametrize(
    ("peer", "place"),
    [("source", "postgres"), ("front", "postgres"), ("front", "mariadb")],
    indirect=["place"],
)
def test_sigterm_while_a_line_is_silent(peer: str, ground: Ground, place: Installation) -> None:
    """Each process ends by itself: none has to be killed."""
    with place.start(covered=True) as agent:
        agent.wait_ready()
        ground.lines[peer].black_hole()
        try:
            never(lambda: agent.exit_code is not None, during=2, what="it has ended by itself")
            took = agent.stop()
        finally:
            ground.lines[peer].heal()
        assert agent.exit_code == 0
        assert took < GRACE + BUSY
        assert "signal=SIGKILL" not in agent.log


def test_a_dead_agent_holds_up_no_consumer(place: Installation) -> None:
    """Killed with a Kafka transaction open, and not started again: the broker ends it."""
    stored = "before_kafka_commit"
    topics = [table.topic for table in place.judged]
    # The first commits hold no events: a claim, and what was found of topics not seen before.
    commits = len(topics) + 10
    consumer = Consumer(read_committed(place.bootstrap))
    raw = Consumer(read_committed(place.bootstrap) | {"isolation.level": "read_uncommitted"})
    places = [TopicPartition(topic, partition) for topic in topics for partition in range(2)]

    def held() -> list[TopicPartition]:
        return [
            place
            for place in places
            if consumer.get_watermark_offsets(place, 10) != raw.get_watermark_offsets(place, 10)
        ]

    def killed_within_one(writer: Writer) -> bool:
        """Kills an agent while all of a transaction is stored; tells whether it holds events."""
        with ArmedAgent(place, f"{stored}:{commits}:stall=60") as agent:
            agent.wait_ready()

            def stalled() -> bool:
                writer.run(1)
                return stored in agent.fired()

            eventually(stalled, 30, "all of a transaction is stored")
            agent.kill9()
        return bool(held())

    try:
        with Writer(place.source, 7, place.tables) as writer:
            # On a busy machine the agent may have begun anew, and claimed its topics again
            assert any(killed_within_one(writer) for _ in range(5))
        began = time.monotonic()
        eventually(lambda: not held(), FREE + BUSY, "the transaction is ended", 0.5)
        assert time.monotonic() - began < FREE + BUSY
    finally:
        consumer.close()
        raw.close()

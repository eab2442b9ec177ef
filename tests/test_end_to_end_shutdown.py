"""Tests the ends of an agent on SIGTERM, of its source, and of a second agent.

The source ends while an agent is connected, the second agent is on the same front end.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from tests.agent_process import Agent, Installation
from tests.checker.unit import RESIDENTS, insert_resident
from tests.checker.writer import Writer
from tests.services.kafka import KafkaBroker
from tests.services.postgres import PostgresServer, Version, child_pids
from tests.services.processes import free_port
from tests.waiting import BUSY, PATIENCE, eventually

GRACE = 10.0  # seconds the agent has after SIGTERM
STOP_HEALTHY, STOP_FRONT_DOWN = 5.0, 35.0  # seconds a fast shutdown of the source may take


class Scene(NamedTuple):
    """Holds a source and a broker that a test may freeze.

    The agent between them is installed, not started.
    """

    server: PostgresServer
    broker: KafkaBroker
    place: Installation


@pytest.fixture(scope="module")
def scene(kafka_broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One for all tests of this module; each leaves source and broker running."""
    with PostgresServer.start(18) as server:
        place = Installation(
            tmp_path_factory.mktemp("scene"),
            server.dsn(),
            kafka_broker.bootstrap,
            f"scene{free_port()}",
        )
        yield Scene(server, kafka_broker, place.install())


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """Processes that answer nothing."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def postgres_pids(server: PostgresServer) -> list[int]:
    """The server and all that serve its sessions."""
    postmaster = int((server.data_directory / "postmaster.pid").read_text().split()[0])
    return [postmaster, *child_pids(postmaster)]


def obstacle(kind: str, scene: Scene) -> AbstractContextManager[None]:
    """What stands in the way of a clean end."""
    if kind == "healthy":
        return nullcontext()
    if kind == "broker":
        return scene.broker.paused()
    return (
        scene.place.front_locked() if kind == "front end" else frozen(postgres_pids(scene.server))
    )


@pytest.mark.parametrize(
    ("kind", "seed"), [("healthy", 50), ("broker", 51), ("source", 52), ("front end", 53)]
)
def test_sigterm_ends_the_agent_within_ten_seconds(kind: str, seed: int, scene: Scene) -> None:
    """It exits with 0 when everything is well.

    It does so also with a peer that answers nothing and work that cannot be finished.
    """
    with (
        scene.place.start(covered=True) as agent,
        Writer(scene.place.source, seed, scene.place.tables) as writer,
    ):
        agent.wait_ready()
        writer.run(20)
        with obstacle(kind, scene):
            if kind != "source":  # which takes no more changes
                writer.run(20)
            seconds = agent.stop()
        assert agent.exit_code == 0, agent.log[-3000:]
        assert seconds < GRACE + BUSY
    with scene.place.start() as agent:
        verdict = scene.place.verdict()
        assert verdict.equal, verdict


def test_a_second_agent_on_the_same_front_end_leaves(scene: Scene) -> None:
    """It exits 75; the first goes on."""
    with scene.place.start() as first:
        first.wait_ready()
        with Agent(
            with_another_port(scene.place), scene.place.directory / "second.log", 0, covered=True
        ) as second:
            assert second.wait() == 75, second.log
            assert "ANOTHER_AGENT" in second.log
        first.wait_ready()


def with_another_port(place: Installation) -> Path:
    """The configuration again, for an agent that listens elsewhere."""
    other = place.directory / "other" / place.config.name
    other.parent.mkdir(exist_ok=True)
    other.write_text(
        place.config.read_text(encoding="utf-8").replace(f":{place.listen}", f":{free_port()}"),
        encoding="utf-8",
    )
    return other


@pytest.mark.parametrize("version", [15, 18])
def test_the_source_stops_with_a_healthy_agent(
    version: Version, kafka_broker: KafkaBroker, topic_prefix: str, tmp_path: Path
) -> None:
    """A fast shutdown ends within 5 s while changes flow.

    The agent goes on when the server is back.
    """
    with PostgresServer.start(version) as server:
        place = Installation(
            tmp_path, server.dsn(), kafka_broker.bootstrap, topic_prefix, tables=[RESIDENTS]
        ).install()
        with place.start() as agent:
            agent.wait_ready()
            with Writer(server.dsn(), 6, [RESIDENTS]) as writer:
                writer.run(20)
            assert server.stop("fast", PATIENCE) < STOP_HEALTHY + BUSY
            server.start_again()
            verdict = place.verdict()
            assert verdict.equal, verdict


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["SQLite locked", "PostgreSQL frozen"])
def test_the_source_stops_with_the_front_end_down(
    kind: str, kafka_broker: KafkaBroker, topic_prefix: str, tmp_path: Path
) -> None:
    """A fast shutdown ends within 35 s though changes cannot be stored.

    They arrive when all is back.
    """
    with PostgresServer.start(18) as server, PostgresServer.start(18) as other:
        front = other.dsn() if kind == "PostgreSQL frozen" else None
        place = Installation(
            tmp_path,
            server.dsn(),
            kafka_broker.bootstrap,
            topic_prefix,
            tables=[RESIDENTS],
            front=front,
        ).install()
        with (
            place.start() as agent,
            closing(psycopg.connect(server.dsn(), autocommit=True)) as connection,
        ):
            agent.wait_ready()
            with frozen(postgres_pids(other)) if front else place.front_locked():
                insert_resident(connection, -1)
                assert server.stop("fast", PATIENCE) < STOP_FRONT_DOWN + BUSY
            server.start_again()
            eventually(agent.ready, 60, "the agent is connected again")
            verdict = place.verdict()
            assert verdict.equal, verdict
            assert verdict.rows == 1

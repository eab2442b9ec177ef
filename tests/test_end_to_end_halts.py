"""Tests that the agent halts with exit code 78 and names what cannot be right (P5).

It halts before a wrong row or event is written.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.agent_process import Agent, Installation, written
from tests.checker.replay import messages
from tests.checker.rows import column_types, front_rows
from tests.checker.table import Row
from tests.checker.unit import RESIDENTS, insert_resident
from tests.checker.writer import Writer
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresServer
from tests.services.processes import free_port
from tests.waiting import PATIENCE, eventually

HALTED = 78
# Seconds between heartbeats: one comes at the start, no other within a test. The end of the log is
# not passed then, commits are.
QUIET = 300.0


@pytest.fixture
def place(database: str, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path) -> Installation:
    """An agent that has worked for a while and was stopped."""
    installation = Installation(
        tmp_path / "here", database, kafka.bootstrap, topic_prefix, tables=[RESIDENTS]
    ).install()
    work_and_stop(installation)
    return installation


def work_and_stop(place: Installation, seed: int = 7) -> None:
    """Something is written and arrives; then the agent ends."""
    with place.start(covered=True) as agent, Writer(place.source, seed, place.tables) as writer:
        agent.wait_ready()
        writer.run(15)
        verdict = place.verdict()
        assert verdict.equal, verdict
        agent.stop()


class Written:
    """What front end and topics hold."""

    def __init__(self, place: Installation) -> None:
        table = place.judged[0]
        types = column_types(place.source, table)
        self.rows: set[Row] = {row for _, row in front_rows(place.places.front, table, types)}
        self.events = sum(1 for _ in messages(place.bootstrap, [table.topic]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Written) and (self.rows, self.events) == (other.rows, other.events)

    __hash__ = None  # type: ignore[assignment]


def execute(conninfo: str, statement: str, *values: object) -> None:
    """One statement at the source."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def insert(conninfo: str, *numbers: int) -> str:
    """Inserts residents at the source, each in a transaction.

    Returns a position inside the last one, which only its commit passes.
    """
    position = ""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for number in numbers:
            with connection.transaction():
                insert_resident(connection, number)
                position = written(connection)
    return position


def assert_halts(place: Installation, code: str) -> None:
    """The agent ends with 78 and names the code, and nothing was written."""
    before = Written(place)
    with place.start(covered=True) as agent:
        assert agent.wait() == HALTED, agent.log[-3000:]
        assert f" code={code} " in agent.log
    assert Written(place) == before


def test_a_slot_dropped_and_created_again(place: Installation) -> None:
    """SLOT_ADVANCED: the changes in between are gone from the slot."""
    execute(place.source, "SELECT pg_drop_replication_slot(%s)", place.slot)
    insert(place.source, -1)
    execute(place.source, "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", place.slot)
    insert(place.source, -2)
    assert_halts(place, "SLOT_ADVANCED")


def test_a_slot_dropped(place: Installation) -> None:
    """SLOT_MISSING."""
    execute(place.source, "SELECT pg_drop_replication_slot(%s)", place.slot)
    assert_halts(place, "SLOT_MISSING")


def test_a_source_restored_from_a_copy(
    kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> None:
    """SOURCE_FORKED is named whether the restored server is behind or past the old end.

    In the second case it has been written to.
    """
    with PostgresServer.start(18) as server:
        place = Installation(
            tmp_path / "here", server.dsn(), kafka.bootstrap, topic_prefix, tables=[RESIDENTS]
        ).install()
        work_and_stop(place)
        server.stop()
        server.copy_data_directory(tmp_path / "copy")
        server.start_again()
        work_and_stop(place, seed=8)
        server.stop()
        server.restore(tmp_path / "copy")
        server.start_again()
        assert_halts(place, "SOURCE_FORKED")
        insert(place.source, *range(-2000, -1000))
        assert_halts(place, "SOURCE_FORKED")


def test_a_state_topic_deleted(place: Installation, kafka: KafkaAddress) -> None:
    """STATE_LOST: what was published is no longer known."""
    delete_state_topic(place, kafka)
    assert_halts(place, "STATE_LOST")


def test_a_state_topic_deleted_while_the_agent_runs(
    place: Installation, kafka: KafkaAddress
) -> None:
    """STATE_LOST is named at the recovery that follows the next event.

    The event is not published; the front end has it.
    """
    before = Written(place)
    with place.start(covered=True) as agent:
        agent.wait_ready()
        delete_state_topic(place, kafka)
        insert(place.source, -1)
        assert agent.wait() == HALTED, agent.log[-3000:]
        assert " code=STATE_LOST " in agent.log
    after = Written(place)
    assert after.events == before.events
    assert len(after.rows - before.rows) == 1


def delete_state_topic(place: Installation, kafka: KafkaAddress) -> None:
    """Deletes it and waits until it is gone."""
    for future in kafka.admin.delete_topics([place.state_topic]).values():
        future.result(PATIENCE)
    eventually(
        lambda: place.state_topic not in kafka.admin.list_topics(timeout=5).topics,
        what="the state topic is gone",
    )


def clone(place: Installation, to: Path) -> tuple[Path, int]:
    """Clones the agent's folder to another host, and returns configuration and port.

    It is the same file in another place, listening on a port of its own.
    """
    shutil.copytree(place.directory, to)
    port = free_port()
    config = to / place.config.name
    text = config.read_text(encoding="utf-8")
    config.write_text(
        text.replace(str(place.directory), str(to)).replace(f":{place.listen}", f":{port}"),
        encoding="utf-8",
    )
    return config, port


def test_an_agent_cloned_while_it_runs(place: Installation, tmp_path: Path) -> None:
    """DUPLICATE_AGENT: the slot is in use for longer than a dead agent could hold it.

    The clone publishes nothing, and the first goes on unharmed.
    """
    place.set_for_role("wal_sender_timeout", "3s")  # the clone waits twice as long and 10 s
    # While the slot stands still nothing else gives the clone away
    place.sections = {"source": {"heartbeat_seconds": QUIET}}
    place.write_config()
    with place.start() as first:
        first.wait_ready()
        inserted = insert(place.source, -1)
        eventually(lambda: place.caught_up(inserted), 60, "the first one is at rest", 0.5)
        config, port = clone(place, tmp_path / "there")
        with Agent(config, config.parent / "clone.log", port, covered=True) as second:
            assert second.wait() == HALTED, second.log[-3000:]
            assert " code=DUPLICATE_AGENT " in second.log, second.log[-3000:]
            assert "stage=publish" not in second.log
        assert_goes_on(first, place)


def test_an_agent_cloned_and_the_first_has_worked_since(
    place: Installation, tmp_path: Path
) -> None:
    """DUPLICATE_AGENT is named at once: the slot has moved, and the first one reads it.

    It goes on unharmed, and nobody is told to drop its slot.

    Not even by the commands that are tried next on the clone.
    """
    config, port = clone(place, tmp_path / "there")
    with place.start() as first:
        first.wait_ready()
        insert(place.source, -1)
        eventually(place.applied, 60, "the first one has taken the change", 0.5)
        with Agent(config, config.parent / "clone.log", port, covered=True) as second:
            assert second.wait() == HALTED, second.log[-3000:]
            assert " code=DUPLICATE_AGENT " in second.log, second.log[-3000:]
        copied = replace(place, directory=config.parent, listen=port)
        refused = {
            "DUPLICATE_AGENT": copied.command("check", expect=HALTED).stdout,
            "SLOT_BUSY": copied.command("rebind", "--after-restore", expect=HALTED).stderr,
        }
        for code, said in refused.items():
            assert code in said and "pg_drop_replication_slot" not in said, said
        assert_goes_on(first, place)


def assert_goes_on(agent: Agent, place: Installation) -> None:
    """The agent works, in the processes it had."""
    verdict = place.verdict(position=insert(place.source, -2))
    assert verdict.equal, verdict
    children = [line for line in agent.log.splitlines() if "attempt=2" in line]
    assert not children, children
    agent.check()


def test_an_agent_cloned_and_the_clone_has_worked(place: Installation, tmp_path: Path) -> None:
    """SLOT_ADVANCED: what the clone has acknowledged the first one will never see."""
    config, port = clone(place, tmp_path / "there")
    with Agent(config, config.parent / "agent.log", port, covered=True) as second:
        second.wait_ready()
        insert(place.source, -1)
        eventually(place.applied, 60, "the clone has taken the change", 0.5)
        second.stop()
    assert_halts(place, "SLOT_ADVANCED")

"""What cannot be right: the agent halts with exit code 78 and names it, before a wrong row or event is written (P5)."""

import shutil
from pathlib import Path

import psycopg
import pytest

from tests.agent_process import Agent, Installation
from tests.comparison import Row, column_types, front_rows, messages
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresServer
from tests.services.processes import free_port
from tests.waiting import eventually
from tests.workload import RESIDENTS, Writer, insert_resident

HALTED = 78


@pytest.fixture
def place(database: str, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path) -> Installation:
    """An agent that has worked for a while and was stopped."""
    installation = Installation(tmp_path / "here", database, kafka.bootstrap, topic_prefix, tables=[RESIDENTS]).install()
    work_and_stop(installation)
    return installation


def work_and_stop(place: Installation) -> None:
    """Something is written and arrives; then the agent ends."""
    with place.start() as agent, Writer(place.source, 7, place.tables) as writer:
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


def insert(conninfo: str, *numbers: int) -> None:
    """Residents at the source."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for number in numbers:
            insert_resident(connection, number)


def assert_halts(place: Installation, code: str) -> None:
    """The agent ends with 78 and names the code, and nothing was written."""
    before = Written(place)
    with place.start() as agent:
        assert agent.wait() == HALTED, agent.log[-3000:]
        assert f"\n{code}: " in agent.log
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


def test_a_source_restored_from_a_copy(kafka: KafkaAddress, topic_prefix: str, tmp_path: Path) -> None:
    """SOURCE_FORKED, whether the restored server is still behind or has been written to and is past the old end."""
    with PostgresServer.start(18) as server:
        place = Installation(tmp_path / "here", server.dsn(), kafka.bootstrap, topic_prefix, tables=[RESIDENTS]).install()
        work_and_stop(place)
        server.stop()
        server.copy_data_directory(tmp_path / "copy")
        server.start_again()
        work_and_stop(place)
        server.stop()
        server.restore(tmp_path / "copy")
        server.start_again()
        assert_halts(place, "SOURCE_FORKED")
        insert(place.source, *range(-2000, -1000))
        assert_halts(place, "SOURCE_FORKED")


def test_a_state_topic_deleted(place: Installation, kafka: KafkaAddress) -> None:
    """STATE_LOST: what was published is no longer known."""
    topic = f"{place.name}.sync-agent.{place.name}"
    for future in kafka.admin.delete_topics([topic]).values():
        future.result(30)
    eventually(lambda: topic not in kafka.admin.list_topics(timeout=5).topics, what="the state topic is gone")
    assert_halts(place, "STATE_LOST")


def clone(place: Installation, to: Path) -> tuple[Path, int]:
    """The agent's folder on another host: the same file in another place, listening on a port of its own; returns configuration and port."""
    shutil.copytree(place.directory, to)
    port = free_port()
    config = to / place.config.name
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace(str(place.directory), str(to)).replace(f":{place.listen}", f":{port}"), encoding="utf-8")
    return config, port


def test_an_agent_cloned_and_both_run(place: Installation, tmp_path: Path) -> None:
    """The clone, which cannot take the slot, reaches Kafka and finds the other's record: DUPLICATE_AGENT; the first goes on unharmed."""
    config, port = clone(place, tmp_path / "there")
    config.write_text(config.read_text(encoding="utf-8").replace(f"port = {source_port(place)}", f"port = {free_port()}"), encoding="utf-8")
    with place.start() as first:
        first.wait_ready()
        insert(place.source, -1)
        with Agent(config, config.parent / "agent.log", port) as second:
            assert second.wait() == HALTED, second.log[-3000:]
            assert "\nDUPLICATE_AGENT: " in second.log
        insert(place.source, -2)
        verdict = place.verdict()
        assert verdict.equal, verdict
        first.check()


def source_port(place: Installation) -> str:
    """The source's port as the configuration has it."""
    return next(line.split(" = ")[1] for line in place.config.read_text(encoding="utf-8").splitlines() if line.startswith("port = "))


def test_an_agent_cloned_and_the_clone_has_worked(place: Installation, tmp_path: Path) -> None:
    """SLOT_ADVANCED: what the clone has acknowledged the first one will never see."""
    config, port = clone(place, tmp_path / "there")
    with Agent(config, config.parent / "agent.log", port) as second:
        second.wait_ready()
        insert(place.source, -1)
        eventually(place.applied, 60, "the clone has taken the change", 0.5)
        second.stop()
    assert_halts(place, "SLOT_ADVANCED")

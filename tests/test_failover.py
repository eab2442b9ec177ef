"""Tests that a standby takes over with the replication slot it was given beforehand.

This is PostgreSQL 17 and later. There is one code and one way back, and no row is lost or published
twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from agent.connectors.postgres.kept_log import kept_log
from tests.agent_process import Installation, knows, written
from tests.checker.front import at_front
from tests.checker.replay import messages
from tests.checker.unit import RESIDENTS, insert_resident
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresServer
from tests.situations import ask
from tests.waiting import eventually

HALTED = 78
CODE = "SOURCE_PROMOTED"


def insert(conninfo: str, number: int) -> str:
    """A resident; returns a position within its transaction."""
    with psycopg.connect(conninfo) as connection:
        insert_resident(connection, number)
        return written(connection)


@contextmanager
def pair(place: Installation, primary: PostgresServer) -> Iterator[PostgresServer]:
    """A standby that is given the agent's slot, too."""
    with psycopg.connect(place.source, autocommit=True, replication="database") as connection:
        connection.pgconn.exec_(f"ALTER_REPLICATION_SLOT {place.slot} (FAILOVER true)".encode())
    primary.stop()
    with PostgresServer.standby_of(primary) as standby:
        yield standby


def goes_on(place: Installation, number: int) -> None:
    """The service takes up a further resident; no event is lost or told twice."""
    with place.start(covered=True) as agent:
        agent.wait_ready()
        assert place.verdict(position=insert(place.source, number)).equal
        agent.stop()
    assert events(place) == number


def given(standby: PostgresServer, place: Installation) -> bool:
    """Gives the standby the slot; whether it has it, and as it is by now."""
    query = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s"
    with psycopg.connect(place.source, autocommit=True) as connection:
        connection.execute("SELECT pg_log_standby_snapshot()")  # where the slot may begin anew
        wanted = connection.execute(query, [place.slot]).fetchone()
    database = str(conninfo_to_dict(place.source)["dbname"])
    with psycopg.connect(standby.dsn(database), autocommit=True) as connection:
        connection.execute("SELECT pg_sync_replication_slots()")
        found = connection.execute(f"{query} AND synced AND NOT temporary".encode(), [place.slot])
        return found.fetchone() == wanted


def promoted(place: Installation, primary: PostgresServer, standby: PostgresServer) -> None:
    """The primary is gone, and the configuration names the standby."""
    eventually(lambda: given(standby, place), 60, "the standby has the slot")
    with psycopg.connect(standby.dsn()) as connection:
        # What `status` asks is answered by a server in recovery, too
        kept = kept_log(connection, place.slot)
        assert kept is not None
        assert kept.unread_bytes >= 0
    primary.kill9()
    standby.promote()
    place.source = standby.dsn()
    place.write_config()


def test_a_standby_takes_over_with_the_slot(
    kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> None:
    """`check`, `init` and `rebind` say the same.

    `rebind` goes on without a copy where the history proves it, and with one where it does not.
    """
    with PostgresServer.start(17) as primary:
        place = Installation(
            tmp_path / "here", primary.dsn(), kafka.bootstrap, topic_prefix, tables=[RESIDENTS]
        ).install()
        with pair(place, primary) as standby:
            with place.start(covered=True) as agent:
                agent.wait_ready()
                assert place.verdict(position=insert(place.source, 1)).equal
                eventually(lambda: given(standby, place), 60, "the standby is given the slot", 0.2)
                agent.stop()
            promoted(place, primary, standby)
            for command in ("check", "init --apply", "rebind --after-upgrade"):
                told = ask(place.config, "en", *command.split())
                assert told.exit_code == HALTED and f"{CODE}: " in told.text, (command, told)
            assert (
                "no table is read again"
                in ask(place.config, "en", "rebind", "--after-failover").text
            )
            goes_on(place, 2)

            # More was applied than the promoted server has
            front = place.places.front
            knows(front, timeline=1)
            at_front(front, "UPDATE sync_agent_state SET position = 'F/0'")
            assert (
                "reads every table again"
                in ask(place.config, "en", "rebind", "--after-failover").text
            )
            goes_on(place, 3)


def events(place: Installation) -> int:
    """Events a reader of committed records sees."""
    return sum(1 for _ in messages(place.bootstrap, [place.judged[0].topic]))

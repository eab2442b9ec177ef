"""Tests checks A and B on real servers, and servers that shut down.

Each check fails before a message is delivered.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from agent.connectors.changes import Commit, Heartbeat, Message
from agent.connectors.position import position_number, position_text
from agent.connectors.postgres.source import PostgresSource
from agent.connectors.resume import Resume
from agent.errors import (
    AgentError,
    FrontReplaced,
    SlotAdvanced,
    SlotLost,
    SlotMissing,
    SourceForked,
    SourceNotPrimary,
    SourcePromoted,
    SourceReplaced,
    SourceUnreachable,
)
from tests.services.postgres import ENVIRONMENT, STOP_SIGNALS, PostgresServer
from tests.services.processes import ServerProcess
from tests.source.conftest import PostgresBusiness
from tests.source.reading import read_commits, read_until, silent_never, stored_after, transactions
from tests.waiting import BUSY, PATIENCE, eventually

INSERT = "INSERT INTO orders VALUES ({})"


def applied(
    business: PostgresBusiness,
    *numbers: int,
    acknowledged: bool = True,
    stored: Resume | None = None,
) -> Resume:
    """Rows written, each in its own transaction, read and stored; the source is closed again."""
    source, stored = business.source(), stored or business.initial()
    source.open(stored, silent_never)
    for number in numbers:
        business.transaction(INSERT.format(number))
    messages = read_until(
        source, lambda so_far: sum(isinstance(m, Commit) for m in so_far) >= len(numbers)
    )
    stored = stored_after(stored, messages)
    if acknowledged:
        source.acknowledge(position_number(stored.position))
        eventually(
            lambda: business.acknowledged() == position_number(stored.position),
            what="the server knows",
        )
    source.close()
    eventually(
        lambda: (
            not business.value(
                "SELECT active FROM pg_replication_slots WHERE slot_name = %s", business.slot
            )
        ),
        what="the slot is free",
    )
    return stored


def refused(business: PostgresBusiness, stored: Resume) -> AgentError:
    """Returns the error that `open` ends with."""
    with pytest.raises(AgentError) as caught:
        business.source().open(stored, silent_never)
    return caught.value


# ---- check A ----


def test_a_slot_dropped_is_missing(published: PostgresBusiness) -> None:
    """Named with the position since which changes may be gone."""
    stored = applied(published, 1)
    published.transaction(f"SELECT pg_drop_replication_slot('{published.slot}')")
    error = refused(published, stored)
    assert isinstance(error, SlotMissing)
    assert stored.position in error.advice("en")


def test_a_slot_of_another_database_is_named(published: PostgresBusiness) -> None:
    """Slots have one name in the whole server.

    A slot of another database never delivers our changes, and source.database may be wrong.
    """
    published.transaction(f"SELECT pg_drop_replication_slot('{published.slot}')")
    elsewhere = psycopg.conninfo.make_conninfo(published.conninfo, dbname="postgres")
    with psycopg.connect(elsewhere, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [published.slot]
        )
    try:
        error = refused(published, published.initial())
        assert isinstance(error, FrontReplaced)
        assert "database postgres" in error.text("en")
    finally:
        with psycopg.connect(elsewhere, autocommit=True) as connection:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [published.slot])


@pytest.mark.parametrize("how", ["advanced", "dropped and created again"])
def test_a_slot_somebody_moved_is_found(published: PostgresBusiness, how: str) -> None:
    """Both skip changes in silence; the slot then stands past what is stored."""
    stored = applied(published, 1)
    published.transaction(INSERT.format(2))
    if how == "advanced":
        published.transaction(
            f"SELECT pg_replication_slot_advance('{published.slot}', pg_current_wal_lsn())"
        )
    else:
        published.transaction(f"SELECT pg_drop_replication_slot('{published.slot}')")
        published.create_slot()
    error = refused(published, stored)
    assert isinstance(error, SlotAdvanced)
    assert position_text(published.acknowledged()) in error.text("en")


def test_a_slot_moved_to_what_is_stored_passes(published: PostgresBusiness) -> None:
    """Up to the stored position nothing is lost by it."""
    stored = applied(published, 1, 2, acknowledged=False)
    published.transaction(
        f"SELECT pg_replication_slot_advance('{published.slot}', '{stored.position}')"
    )
    applied(published, 3, stored=stored)


def test_a_slot_whose_log_is_gone_is_lost(
    private_server: PostgresServer, private: PostgresBusiness
) -> None:
    """Past max_slot_wal_keep_size the server gives the slot up; that is not a slot to wait for."""
    stored = applied(private, 1)
    private_server.reload({"max_slot_wal_keep_size": "1MB"})
    try:
        status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s"

        def lost() -> bool:
            private.transaction(
                INSERT.format("(SELECT max(id) + 1 FROM orders)"), "SELECT pg_switch_wal()"
            )
            with private.connect() as connection:
                connection.execute("CHECKPOINT")
            return bool(private.value(status, private.slot) == "lost")

        eventually(lost, 60, "the slot is lost")
    finally:
        private_server.reload({"max_slot_wal_keep_size": "-1"})
    error = refused(private, stored)
    assert isinstance(error, SlotLost)
    assert stored.position in error.advice("en")


# ---- check B ----


@pytest.mark.parametrize(
    ("changes", "kind"), [({"system_id": "1"}, SourceReplaced), ({"timeline": 7}, SourcePromoted)]
)
def test_another_server_is_found(
    published: PostgresBusiness, changes: dict[str, object], kind: type[AgentError]
) -> None:
    """By its system identifier, or the timeline of a promoted standby."""
    initial = published.initial()
    error = refused(published, initial._replace(identity={**initial.identity, **changes}))
    assert isinstance(error, kind)


@contextmanager
def as_standby(server: PostgresServer) -> Iterator[None]:
    """The stopped server runs as a standby without a primary."""
    sign = server.data_directory / "standby.signal"
    sign.touch()
    if server._owner is not None:
        shutil.chown(sign, server._owner, server._owner)
    process = ServerProcess(
        [server._binaries / "postgres", "-D", server.data_directory],
        server.data_directory.parent / "standby.log",
        owner=server._owner,
        env=ENVIRONMENT,
    )

    def answers() -> bool:
        process.check()
        with psycopg.connect(server.dsn()):
            return True

    try:
        eventually(answers, what="the standby answers")
        yield
    finally:
        process.stop(STOP_SIGNALS["fast"])
        sign.unlink()


def test_a_standby_is_no_source(private_server: PostgresServer, private: PostgresBusiness) -> None:
    """It is named as such, whatever else it lacks."""
    stored = private.initial()
    private_server.stop()
    try:
        with as_standby(private_server):
            assert isinstance(refused(private, stored), SourceNotPrimary)
    finally:
        private_server.start_again()


@pytest.fixture
def copied(private_server: PostgresServer, private: PostgresBusiness, tmp_path: Path) -> Resume:
    """Restores a server from a copy of its data directory; returns what the agent had stored.

    The copy lacks three transactions of that.
    """
    stored = applied(private, 1)
    private_server.stop()
    private_server.copy_data_directory(tmp_path / "copy")
    private_server.start_again()
    stored = applied(private, 2, 3, 4, stored=stored)
    private_server.stop()
    private_server.restore(tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy")
    private_server.start_again()
    return stored


def reaches(business: PostgresBusiness, position: int) -> bool:
    """Tells whether the server's log has come past a position."""
    return position_number(business.value("SELECT pg_current_wal_flush_lsn()::text")) > position


def test_a_restored_server_whose_log_is_too_short(
    private: PostgresBusiness, copied: Resume
) -> None:
    """Found at connection."""
    assert not reaches(private, position_number(copied.position))
    assert isinstance(refused(private, copied), SourceForked)


@pytest.mark.parametrize("written", ["other rows", "the same rows", "large rows"])
def test_a_restored_server_that_was_written_to(
    private: PostgresBusiness, copied: Resume, written: str
) -> None:
    """The copy has the same system identifier, the same timeline, and the slot where it was.

    It is found by the commits it sends again, before one is delivered.
    """
    text = {
        "other rows": "({0} + 10, 'other')",
        "the same rows": "({0})",
        "large rows": "({0} + 10, repeat('x', 5000))",
    }[written]
    number = 2
    while not reaches(private, position_number(copied.position)) or number <= 5:
        private.transaction(f"INSERT INTO orders VALUES {text.format(number)}")
        number += 1
    source = private.source()
    source.open(copied, silent_never)
    delivered: list[Message] = []
    with pytest.raises(SourceForked):
        deliver_until_halt(source, delivered)
    assert delivered == []
    assert private.acknowledged() <= position_number(copied.position)


def deliver_until_halt(source: PostgresSource, delivered: list[Message]) -> None:
    """Reads on and on; the halt passes through."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for message in source.read(0.05):
            delivered.append(message)  # noqa: PERF402 - what came before the halt counts


def test_a_restored_server_that_shuts_down(
    private_server: PostgresServer, private: PostgresBusiness, copied: Resume
) -> None:
    """Its end is not confirmed, and moves no position, until the last applied commit came again."""
    while not reaches(private, position_number(copied.position)):
        private.transaction("INSERT INTO other VALUES (1)")  # not in the stream
    source = private.source()
    source.open(copied, silent_never)
    assert list(source.read(0.2)) == []
    delivered: list[Message] = []
    ended: list[AgentError] = []

    def read() -> None:
        try:
            deliver_until_halt(source, delivered)
        except AgentError as error:
            ended.append(error)
            source.close()

    reader = threading.Thread(target=read)
    reader.start()
    private_server.stop("fast", PATIENCE)
    reader.join()
    private_server.start_again()
    assert delivered == []
    assert [type(error) for error in ended] == [SourceForked]


def test_a_crash_of_the_server_is_no_fork(
    private_server: PostgresServer, private: PostgresBusiness
) -> None:
    """After kill -9 the same history goes on.

    What was stored comes once more and passes, what is new is delivered.
    """
    stored = applied(private, 1, 2, acknowledged=False)
    private.transaction(INSERT.format(3))
    private_server.kill9()
    private_server.start_again()
    source = private.source()
    source.open(stored, silent_never)
    private.transaction(INSERT.format(4))
    assert [one.rows[0][2] for one in read_commits(source, 2)] == [("3", None), ("4", None)]


# ---- shutdown ----


class Agent:
    """Reads and acknowledges as the capture loop does.

    It runs in a thread of its own, until the source ends.
    """

    def __init__(self, business: PostgresBusiness, stored: Resume) -> None:
        self.messages: list[Message] = []
        self.error: AgentError | None = None
        self._source = business.source()
        self._source.open(stored, silent_never)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        deadline = time.monotonic() + PATIENCE
        try:
            while time.monotonic() < deadline:
                got = list(self._source.read(0.1))
                self.messages += got
                ends = [
                    message.position for message in got if isinstance(message, Commit | Heartbeat)
                ]
                if ends:
                    self._source.acknowledge(ends[-1])
        except AgentError as error:
            self.error = error
            self._source.close()


@pytest.mark.parametrize(
    "work", ["idle", "log that is not ours", "a transaction at the last moment"]
)
def test_the_server_stops_while_it_is_read(
    private_server: PostgresServer, private: PostgresBusiness, work: str
) -> None:
    """The server shuts down within 5 s, and everything was delivered.

    After its return nothing comes twice and nothing is missing.
    """
    agent = Agent(private, private.initial())
    private.transaction(INSERT.format(1))
    eventually(
        lambda: any(isinstance(message, Commit) for message in agent.messages),
        what="the first transaction",
    )
    if work == "log that is not ours":
        private.transaction("INSERT INTO other SELECT n FROM generate_series(1, 20000) n")
    elif work == "a transaction at the last moment":
        private.transaction("INSERT INTO orders SELECT n FROM generate_series(2, 20000) n")
    assert private_server.stop("fast", PATIENCE) < 5 + BUSY
    agent.thread.join()
    private_server.start_again()
    assert isinstance(agent.error, SourceUnreachable)
    assert len(transactions(agent.messages)) == (
        2 if work == "a transaction at the last moment" else 1
    )
    stored = stored_after(private.initial(), agent.messages)
    source = private.source()
    source.open(stored, silent_never)
    private.transaction(INSERT.format(100_000))
    (got,) = read_commits(source, 1)
    assert got.rows == [("I", None, ("100000", None))]


def test_the_server_stops_although_the_front_end_is_silent(
    private_server: PostgresServer, private: PostgresBusiness
) -> None:
    """Nobody reads, nothing can be confirmed: the connection is given up and the server goes."""
    silent_since: list[float] = []
    source = private.source()
    source.open(private.initial(), lambda: silent_since[0] if silent_since else None)
    private.transaction(INSERT.format(1))
    silent_since.append(time.monotonic() - 25)  # five more seconds to wait
    assert private_server.stop("fast", PATIENCE) < 10 + BUSY
    private_server.start_again()
    with pytest.raises(SourceUnreachable, match="the front end has accepted nothing"):
        list(source.read(0.1))

"""The hand-over between pages and the log of a server that logs before others see.

Both servers write a transaction into the log, send it, and only then let the engine commit. So
what a page shows and what the log has by then are never the same for certain: each change has to be
in the page or behind it in the stream, and one that is in both must do no harm.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.connectors.base import Ask
from agent.connectors.changes import Change, HighPosition, Message
from agent.connectors.mysql.source import MySqlSource
from agent.values.rows import Row
from tests.source.logged_unit import Unit, beaten
from tests.source.logging_mysql import FEW_KINDS, Logging, logging_server
from tests.source.reading import asking, awaited, read_commits, rows_of
from tests.waiting import eventually, never

KEYS = 4
GROUPED = {
    "mariadb": ("binlog_commit_wait_count = {0}", "binlog_commit_wait_usec = 2000"),
    "mysql": (
        "binlog_group_commit_sync_no_delay_count = {0}",
        "binlog_group_commit_sync_delay = 2000",
    ),
}

Program = Sequence[Sequence[tuple[str, int]]]  # transactions of steps: what is done to which key


@pytest.fixture(scope="module", params=FEW_KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Logging]:
    """A server of each kind in turn; each commit is synced, which makes it slow."""
    with logging_server(request.param) as found:
        with found.session() as run:
            run("SET GLOBAL sync_binlog = 1, innodb_flush_log_at_trx_commit = 1")
        yield found


class Schedule(NamedTuple):
    """What several sessions do at once, and when pages are read beside it."""

    programs: Sequence[Program]
    reads: Sequence[int]  # after how many further looks at the log a page is asked for
    limit: int  # rows of a page
    together: int  # how many commits the server waits for, to log them as one group
    undone: int  # of so many transactions one is rolled back
    xa: int  # so many sessions use XA transactions in one phase


STEPS = st.lists(st.tuples(st.sampled_from("RUDM"), st.integers(1, KEYS)), min_size=1, max_size=3)
SCHEDULES = st.builds(
    Schedule,
    st.lists(st.lists(STEPS, min_size=2, max_size=12), min_size=2, max_size=4),
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.sampled_from([KEYS, KEYS * 10]),
    st.sampled_from([0, 3]),
    st.sampled_from([3, 1000]),
    st.integers(0, 2),
)
CHANGES = {
    "R": "REPLACE INTO orders VALUES ({key}, '{note}')",
    "U": "UPDATE orders SET note = '{note}' WHERE id = {key}",
    "D": "DELETE FROM orders WHERE id = {key}",
    "M": "UPDATE IGNORE orders SET id = {other}, note = '{note}' WHERE id = {key}",
}


# How a session begins, ends and undoes its transactions: plain, and XA in one phase
PLAIN = (("BEGIN",), ("COMMIT",), ("ROLLBACK",))
XA = (
    ("XA START '{0}'",),
    ("XA END '{0}'", "XA COMMIT '{0}' ONE PHASE"),
    ("XA END '{0}'", "XA ROLLBACK '{0}'"),
)
DEADLOCKED = (1205, 1213, 1613, 1614)  # what is over as a whole then


def runs(unit: Unit, name: int, program: Program, schedule: Schedule) -> None:
    """Runs the transactions of one session."""
    begin, commit, undo = XA if name < schedule.xa else PLAIN
    with unit.server.session() as run:
        run("USE unit")
        for number, steps in enumerate(program):
            is_undone = number % schedule.undone == schedule.undone - 1
            changes = [
                CHANGES[step].format(key=key, other=key % KEYS + 1, note=f"{name}.{number}.{place}")
                for place, (step, key) in enumerate(steps)
            ]
            try:
                for statement in (*begin, *changes, *(undo if is_undone else commit)):
                    run(statement.format(name))
            except pymysql.MySQLError as error:
                assert error.args[0] in DEADLOCKED, error
                for statement in undo:
                    with suppress(pymysql.MySQLError):
                        run(statement.format(name))


class Front:
    """Applies the stream as a front end does, and compares pages with it."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.compared = 0
        self._ask: Ask | None = None
        self._window: list[Change] = []

    def asks(self, source: MySqlSource, limit: int) -> None:
        """Asks for a page, and opens its window."""
        if self._ask is None:
            self._window = []
            self._ask = asking(source, limit=limit)
            source.ask(self._ask)

    @property
    def waits(self) -> bool:
        """Tells whether a page was asked for that has not come."""
        return self._ask is not None

    def take(self, source: MySqlSource, messages: Sequence[Message]) -> None:
        """Applies messages."""
        for message in messages:
            if isinstance(message, Change):
                applied(self.rows, message)
                self._window.append(message)
            elif isinstance(message, HighPosition):
                self._merge(source, message)

    def _merge(self, source: MySqlSource, high: HighPosition) -> None:
        """The page, with the changes of its window on top, is what the stream has made."""
        page = source.page()
        assert page is not None
        assert self._ask is not None
        assert self._ask.token == high.token
        self._ask = None
        merged: dict[str, Row] = {str(row[0]): row for row in rows_of(page)}
        for change in self._window:
            applied(merged, change)
        assert merged == self.rows
        self.compared += 1


def applied(rows: dict[str, Row], change: Change) -> None:
    """Applies a change by its keys alone, as a front end does: what is there already is no harm."""
    if change.old is not None:
        rows.pop(str(change.old[0]), None)
    if change.new is not None:
        rows[str(change.new[0])] = change.new


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(SCHEDULES)
def test_each_change_is_in_the_page_or_behind_it(server: Logging, schedule: Schedule) -> None:
    """Whatever several sessions commit meanwhile, at once or in groups."""
    unit = Unit(server)
    family = "mariadb" if server.is_mariadb else "mysql"
    with server.session() as run:
        for setting in GROUPED[family]:
            run(f"SET GLOBAL {setting.format(schedule.together)}")
    source, front = unit.opened(), Front()
    sessions = [
        threading.Thread(target=runs, args=(unit, name, program, schedule))
        for name, program in enumerate(schedule.programs)
    ]
    try:
        for session in sessions:
            session.start()
        for looks in (*schedule.reads, 0):
            for _ in range(looks):
                front.take(source, list(source.read(0.002)))
            front.asks(source, schedule.limit)

            def comes() -> bool:
                front.take(source, list(source.read(0.01)))
                return not front.waits

            eventually(comes, what="a page and its high position come", interval=0)
    finally:
        for session in sessions:
            session.join()
    front.take(source, beaten(unit, source))
    with server.session() as run:
        left = run("SELECT id, note FROM unit.orders")
    assert front.rows == {str(key): (str(key), note) for key, note in left}
    assert front.compared == len(schedule.reads) + 1
    unit.close()


# ---- a transaction that is logged, and that nobody sees yet

# The plugin that lets a commit wait between log and engine, and what it calls the replica. MariaDB
# has it built in; the MySQL 8.0 of these tests came without
SEMI = {"mariadb": ("master", "slave"), "mysql9": ("source", "replica")}


@contextmanager
def unacknowledged(server: Logging) -> Iterator[None]:
    """Lets commits of the block wait for a replica that never answers; its end ends their wait."""
    role, replica = SEMI[server.kind]
    name = f"rpl_semi_sync_{role}"
    with server.session() as run:
        if not run(f"SHOW VARIABLES LIKE '{name}_enabled'"):
            run(f"INSTALL PLUGIN {name} SONAME 'semisync_{role}.so'")
        run(f"SET GLOBAL {name}_timeout = 600000, GLOBAL {name}_wait_point = AFTER_SYNC")
        run(f"SET GLOBAL {name}_wait_no_{replica} = ON, GLOBAL {name}_enabled = ON")
        try:
            yield
        finally:
            run(f"SET GLOBAL {name}_enabled = OFF")


def test_a_page_waits_until_others_see_what_was_delivered(server: Logging) -> None:
    """The stream has delivered a commit that no snapshot shows."""
    if server.kind not in SEMI:
        with server.session() as run:
            assert not run("SHOW VARIABLES LIKE 'rpl_semi_sync_%'")
        return

    unit = Unit(server)
    unit.commit("I1")
    source = unit.opened()
    read_commits(source, 1)
    session = threading.Thread(target=unit.commit, args=("U1", "I2"))
    ask = asking(source, limit=10)
    with unacknowledged(server):
        session.start()
        (delivered,) = read_commits(source, 1)
        with server.session() as run:
            assert list(run("SELECT id, note FROM unit.orders")) == [(1, "order 1")]
        source.ask(ask)
        messages: list[Message] = []

        def comes() -> bool:
            messages.extend(source.read(0.05))
            seen = source.housekeeping()
            assert seen is None or not seen.sees(delivered.transaction)
            return source.page() is not None or HighPosition(ask.token) in messages

        never(comes, 1.5, "a page comes")
    page, _ = awaited(source, ask)
    assert sorted(rows_of(page)) == [("1", "changed"), ("2", "order 2")]
    session.join()
    unit.close()

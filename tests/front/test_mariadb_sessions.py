"""Tests that sessions set what they need and verify that they have it.

A server's settings would otherwise change what the agent's statements mean.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import make_url

from agent.errors import (
    FrontBusy,
    FrontFull,
    FrontTableWrong,
    FrontUnfit,
    FrontUnreachable,
    LoginRefused,
    RowRefused,
)
from agent.front.base import Written
from agent.front.mariadb.front import MariaDbFront
from agent.front.mariadb.session import mariadb_engine
from agent.values.rows import Key
from tests.front.conftest import SOFT, WORDS, fetch, gone, initialise, put, write
from tests.services.mariadb import MariaDbServer, connected

# Each makes one of our statements fail, or say something else, where a session does not set it
CARELESS = {
    "sql_safe_updates": "1",
    "sql_select_limit": "3",
    "max_join_size": "1",
    "tx_read_only": "1",
    "autocommit": "0",
    "completion_type": "'CHAIN'",
    "foreign_key_checks": "0",
    "check_constraint_checks": "0",
    "unique_checks": "0",
    "max_statement_time": "9",
    "sql_auto_is_null": "1",
    "max_sort_length": "64",
    "tx_isolation": "'SERIALIZABLE'",
    "system_versioning_asof": "'2020-01-01 00:00:00'",
    "idle_transaction_timeout": "1",
    "sql_mode": "'ANSI'",
}
ROWS = 20


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDbServer]:
    """Yields a server that writes statements to its binary log."""
    own = MariaDbServer.start("--log-bin=log", "--server-id=1", "--binlog-format=STATEMENT")
    yield own
    own.close()


@contextmanager
def globally(server: MariaDbServer, **values: str) -> Iterator[None]:
    """Settings of the whole server, for sessions that begin within."""
    with connected(server.url) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL VARIABLES")
        before = dict(cursor.fetchall())
        for name, value in values.items():
            cursor.execute(f"SET GLOBAL {name} = {value}")
        try:
            yield
        finally:
            for name in values:
                old = before[name]
                plain = old == "DEFAULT" or old.replace(".", "").isdigit()
                cursor.execute(f"SET GLOBAL {name} = {old if plain else repr(old)}")


@pytest.fixture
def url(server: MariaDbServer) -> Iterator[str]:
    """Yields a fresh database in it."""
    with server.fresh_database() as database:
        yield database.replace("mariadb://", "mariadb+pymysql://", 1)


def test_the_agent_writes_under_every_careless_setting_at_once(
    server: MariaDbServer, url: str
) -> None:
    """Rows are inserted, changed, marked, deleted and counted, and the reader sees them.

    Nothing depends on the server's settings.
    """
    with globally(server, **CARELESS):
        front = MariaDbFront(url, None, 5.0, "unit")
        initialise(front)
        front.check(WORDS)
        front.open("nonce")
        rows: dict[Key, Written] = {(f"w{n}", str(n)): put((f"w{n}", str(n))) for n in range(ROWS)}
        write(front, WORDS, rows, "0/20")
        write(front, SOFT, {(str(n),): put((str(n), "x")) for n in range(ROWS)}, "0/30")
        write(front, SOFT, {(str(n),): gone() for n in range(ROWS // 2)}, "0/40")
        write(front, WORDS, {key: gone() for key in list(rows)[:5]}, "0/50")
        assert len(fetch(front, WORDS, *rows)) == ROWS - 5
        front.begin()
        assert front.count(WORDS) == ROWS - 5
        assert len(front.keys_after(WORDS, None, 100)) == ROWS - 5
        assert len(front.lines(SOFT, None, None)) == ROWS - ROWS // 2
        front.close()
        assert front.open("again").position == "0/50"
        front.close()


def test_a_session_has_what_it_asked_for(server: MariaDbServer, url: str) -> None:
    """Reads are repeatable where the user may not write rows to the binary log.

    InnoDB takes no READ COMMITTED there.
    """
    with (
        globally(server, **CARELESS),
        mariadb_engine(url, None, 2.5).connect() as connection,
    ):
        names = ", ".join(f"@@{name}" for name in CARELESS)
        found = connection.exec_driver_sql(f"SELECT {names}").one()
    assert dict(zip(CARELESS, map(str, found), strict=True)) == {
        "sql_safe_updates": "0",
        "sql_select_limit": str(2**64 - 1),
        "max_join_size": str(2**64 - 1),
        "tx_read_only": "0",
        "autocommit": "0",
        "completion_type": "NO_CHAIN",
        "foreign_key_checks": "1",
        "check_constraint_checks": "1",
        "unique_checks": "1",
        "max_statement_time": "0.0",
        "sql_auto_is_null": "0",
        "max_sort_length": "8192",
        "tx_isolation": "REPEATABLE-READ",
        "system_versioning_asof": "DEFAULT",
        "idle_transaction_timeout": "0",
        "sql_mode": "NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
    }


def test_a_user_that_may_choose_the_binary_log_reads_what_is_committed(
    server: MariaDbServer, url: str
) -> None:
    """READ COMMITTED, with rows in the log."""
    name = make_url(url).username
    with connected(server.url) as connection, connection.cursor() as cursor:
        cursor.execute(f"GRANT BINLOG ADMIN ON *.* TO '{name}'@'%'")
    with mariadb_engine(url, None, 2.5).connect() as connection:
        found = connection.exec_driver_sql("SELECT @@tx_isolation, @@binlog_format").one()
    assert tuple(found) == ("READ-COMMITTED", "ROW")


class _Sent(Exception):
    """An error as the driver raises it."""

    def __init__(self, number: int, message: str, sqlstate: str = "HY000") -> None:
        self.sqlstate = sqlstate
        super().__init__(number, message)


@pytest.mark.parametrize(
    ("number", "sqlstate", "expected"),
    [
        (2003, "", FrontUnreachable), (2006, "", FrontUnreachable), (2013, "", FrontUnreachable),
        (1053, "08S01", FrontUnreachable), (1927, "70100", FrontUnreachable),
        (4031, "HY000", FrontUnreachable), (1045, "28000", LoginRefused),
        (1049, "42000", LoginRefused), (1205, "HY000", FrontBusy), (1213, "40001", FrontBusy),
        (1021, "HY000", FrontFull), (1114, "HY000", FrontFull), (1040, "08004", FrontBusy),
        (1969, "70100", FrontBusy), (3024, "HY000", FrontBusy), (1290, "HY000", FrontBusy),
        (1175, "HY000", FrontUnfit), (1104, "42000", FrontUnfit), (1665, "HY000", FrontUnfit),
        (1792, "25006", FrontUnfit), (1227, "42000", FrontUnfit), (3750, "HY000", FrontUnfit),
        (1062, "23000", RowRefused), (1452, "23000", RowRefused), (1451, "23000", RowRefused),
        (3819, "HY000", RowRefused), (4025, "23000", RowRefused), (1644, "45000", RowRefused),
        (1526, "HY000", RowRefused), (1690, "22003", RowRefused), (1054, "42S22", FrontTableWrong),
        (1142, "42000", FrontTableWrong), (9999, "HY000", RowRefused),
    ],
)  # fmt: skip
def test_an_error_of_the_server_is_no_silence(
    number: int, sqlstate: str, expected: type[Exception]
) -> None:
    """Only an end of the connection is; without a table, what is left is the server's."""
    front = MariaDbFront("mariadb+pymysql://u@127.0.0.1:1/d", None, 1.0, "unit")
    found = front.error(_Sent(number, "Duplicate entry 'geheim' for key 'u'", sqlstate), WORDS)
    assert type(found) is expected
    alone = front.error(_Sent(number, "words", sqlstate), None)
    assert type(alone) is (FrontUnfit if expected in (RowRefused, FrontTableWrong) else expected)


@pytest.mark.parametrize(
    ("number", "message", "full"),
    [
        (1026, "Error writing file './d/t.MAI' (Errcode: 28 \"No space left on device\")", True),
        (1030, 'Got error 28 "No space left on device" from storage engine InnoDB', True),
        (3, "Error writing file '/tmp/x' (errno: 122 - Disk quota exceeded)", True),
        (1030, "Got error 168 from storage engine", False),
        (1062, "Duplicate entry 'Errcode: 28' for key 'u'", False),
    ],
)
def test_a_full_disk_is_told_by_the_systems_own_number(
    number: int, message: str, full: bool
) -> None:
    """Whatever file it was that could not grow."""
    front = MariaDbFront("mariadb+pymysql://u@127.0.0.1:1/d", None, 1.0, "unit")
    assert isinstance(front.error(_Sent(number, message), WORDS), FrontFull) is full


def test_a_duplicate_names_its_index_and_never_the_value() -> None:
    """The server's message quotes the value before it."""
    front = MariaDbFront("mariadb+pymysql://u@127.0.0.1:1/d", None, 1.0, "unit")
    found = front.error(_Sent(1062, "Duplicate entry 'geheim' for key 'u_name'", "23000"), WORDS)
    assert "unique index u_name" in str(found)
    assert "geheim" not in str(found)


def test_a_foreign_key_is_named(server: MariaDbServer, url: str) -> None:
    """A child before its parent."""
    front = MariaDbFront(url, None, 5.0, "unit")
    initialise(front)
    database = make_url(url).database
    with connected(server.url.set(database=database)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE parent (id bigint PRIMARY KEY)")
        cursor.execute(
            "ALTER TABLE words ADD CONSTRAINT the_parent FOREIGN KEY (id) REFERENCES parent (id)"
        )
    front.open("nonce")
    front.begin()
    with pytest.raises(RowRefused, match="the_parent"):
        front.write(WORDS, {("a", "1"): put(("a", "1"))}, 1)
    front.close()

"""Statements as sessions write them, and what a reader of rows must not pass over in them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.connectors.changes import Begin, Change, Commit, Truncate
from agent.connectors.mysql import event_types as types
from agent.connectors.mysql.events import query
from agent.connectors.mysql.source import MySqlSource
from agent.connectors.mysql.statements import Meaning, names_table, statement_of
from agent.errors import TableUnlogged
from tests.source.logged_unit import Unit, beaten, raised
from tests.source.logging_mysql import KINDS, Logging, logging_server
from tests.waiting import eventually

STATEMENTS_LOGGED = "SET SESSION binlog_format = STATEMENT"
INSERT = "INSERT INTO orders VALUES ({0}, 'x')"


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Logging]:
    """A server of each kind in turn."""
    with logging_server(request.param) as found:
        yield found


@contextmanager
def filled(server: Logging) -> Iterator[Unit]:
    """A unit with two rows, which were there before the agent begins."""
    unit = Unit(server)
    unit.commit("I1", "I2")
    unit.begin_here()
    yield unit
    unit.close()


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE TABLE /* of an application */ orders",
        "TRUNCATE TABLE/**/orders",
        "TRUNCATE unit./* x */orders",
        "TRUNCATE TABLE -- x\n orders",
        "TRUNCATE TABLE orders /* traced */",
    ],
)
def test_a_truncate_with_comments_is_followed(server: Logging, statement: str) -> None:
    with filled(server) as unit:
        source = unit.opened()
        unit.run(statement)
        assert any(isinstance(message, Truncate) for message in beaten(unit, source))


def test_an_optional_comment_hides_no_statement(server: Logging) -> None:
    """As a dump writes them, and the group of each ends with it."""
    with filled(server) as unit:
        source = unit.opened()
        unit.run("/*!40000 ALTER TABLE other DISABLE KEYS */")
        unit.commit("I3")
        assert any(isinstance(message, Change) for message in beaten(unit, source))
        unit.run("/*!50000 TRUNCATE TABLE orders */")
        becomes_outdated(source)


def becomes_outdated(source: MySqlSource) -> None:
    """Reads until the catalogue has to be read again."""

    def told() -> bool:
        list(source.read(0.05))
        return source.outdated()

    eventually(told, what="the catalogue has to be read again")


def test_a_savepoint_is_no_end_of_a_transaction(server: Logging) -> None:
    """What was stored of the first half would lose the second one."""
    with filled(server) as unit:
        source = unit.opened()
        unit.run("BEGIN", INSERT.format(3), "SAVEPOINT s", INSERT.format(4), "COMMIT")
        kinds = [type(m) for m in beaten(unit, source) if isinstance(m, Begin | Change | Commit)]
        assert kinds == [Begin, Change, Change, Commit]


@pytest.mark.parametrize(
    "statement",
    ["SET STATEMENT lock_wait_timeout = 5 FOR TRUNCATE TABLE orders"],
)
def test_a_prefix_hides_no_definition(server: Logging, statement: str) -> None:
    if not server.is_mariadb:
        with server.session() as run, pytest.raises(Exception, match="syntax"):
            run(statement)
        return
    with filled(server) as unit:
        source = unit.opened()
        unit.run(statement)
        becomes_outdated(source)


@pytest.mark.parametrize("statement", ["ANALYZE DELETE FROM orders WHERE id = 1"])
def test_a_prefix_hides_no_rows(server: Logging, statement: str) -> None:
    if not server.is_mariadb:
        with server.session() as run, pytest.raises(Exception, match="syntax"):
            run(statement)
        return
    with filled(server) as unit:
        source = unit.opened()
        unit.run(STATEMENTS_LOGGED, statement)
        raised(source, TableUnlogged)


@pytest.mark.parametrize("quote", ["", "`"])
def test_names_are_read_in_the_character_set_of_the_session(quote: str) -> None:
    raw = f"ALTER TABLE {quote}订单{quote} DROP PARTITION p".encode("gbk")
    assert names_table(statement_of(raw, "gbk"), ("unit", "订单"), "unit")
    assert not names_table(statement_of(raw, "gbk"), ("unit", "他"), "unit")
    assert not statement_of(raw).is_readable
    emptied = statement_of(f"TRUNCATE {quote}订单{quote}".encode("gbk"), "gbk")
    assert (emptied.meaning, emptied.table) == (Meaning.TRUNCATE, ("", "订单"))


def test_the_log_says_the_character_set_of_a_session(server: Logging) -> None:
    events = server.logged(["SET NAMES gbk", "CREATE TABLE t (id int)"])
    made = [query(event.body) for event in events if event.type == types.QUERY]
    assert [server.charsets[one.collation] for one in made if b"TABLE" in one.text] == ["gbk"]

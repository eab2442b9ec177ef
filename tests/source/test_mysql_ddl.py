"""What statements besides INSERT, UPDATE and DELETE do to a shared table, on each server.

Each of them is followed, or has the table compared, or suspends it by name, or does not concern it.
In the end the rows that the agent has are those of the server: a comparison reads them anew.
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Literal, NamedTuple

import pytest

from agent.connectors.changes import Change, Message, Truncate
from agent.connectors.mysql.source import MySqlSource
from agent.errors import TableUnlogged
from agent.values.rows import Row
from tests.source.logged_unit import Unit, beaten
from tests.source.logging_mysql import FEW_KINDS, Logging, logging_server
from tests.source.reading import silent_never, stored_after
from tests.waiting import eventually

# followed: the stream has each change. compared: the table is read again. suspended: its error is
# raised. nothing: no change comes, and none was made
Outcome = Literal["followed", "compared", "suspended", "nothing"]


class Case(NamedTuple):
    """Statements of an application, and what becomes of the shared table."""

    outcome: Outcome
    statements: Sequence[str]
    setup: Sequence[str] = ()  # before the agent begins
    only: Sequence[str] = FEW_KINDS  # servers that know the statements
    gone: bool = False  # no table has the name in the end


PARTS = (
    (
        "ALTER TABLE orders PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (3), "
        "PARTITION high VALUES LESS THAN MAXVALUE)"
    ),
)
COPY = "CREATE TABLE _orders_gho LIKE orders"
FILL = "INSERT INTO _orders_gho (id, note) SELECT id, CONCAT(note, '!') FROM orders"
DATABASE = ("CREATE DATABASE elsewhere", "CREATE TABLE elsewhere.orders (id int, note varchar(50))")
TRIGGER = "CREATE TRIGGER t AFTER INSERT ON other FOR EACH ROW "
INTO_ORDERS = f"{TRIGGER} INSERT INTO orders VALUES (NEW.id, 'by a trigger')"

CASES = {
    # Statements that change rows, and have them logged as rows
    "replace": Case("followed", ["REPLACE INTO orders VALUES (1, 'new'), (9, 'new')"]),
    "on duplicate key": Case(
        "followed",
        ["INSERT INTO orders VALUES (1, 'x') ON DUPLICATE KEY UPDATE id = 8, note = 'moved'"],
    ),
    "insert select": Case("followed", ["INSERT INTO orders SELECT id + 10, note FROM orders"]),
    "update of two tables": Case(
        "followed",
        ["UPDATE orders o JOIN other t ON o.id = t.id SET o.note = 'both', t.id = 7"],
        ["INSERT INTO other VALUES (1)"],
    ),
    "delete of two tables": Case(
        "followed",
        ["DELETE o, t FROM orders o JOIN other t ON o.id = t.id"],
        ["INSERT INTO other VALUES (1)"],
    ),
    "trigger into it": Case("followed", ["INSERT INTO other VALUES (20)"], [INTO_ORDERS]),
    "view over it": Case(
        "followed",
        ["UPDATE seen SET note = 'by a view'", "INSERT INTO seen VALUES (21, 'by a view')"],
        ["CREATE VIEW seen AS SELECT id, note FROM orders"],
    ),
    "truncate": Case("followed", ["TRUNCATE TABLE orders", "INSERT INTO orders VALUES (1, 'x')"]),
    # Definitions, after which all rows are read again
    "add a column": Case("compared", ["ALTER TABLE orders ADD further int DEFAULT 5 AFTER id"]),
    "add a column at once": Case(
        "compared", ["ALTER TABLE orders ADD further int, ALGORITHM = INSTANT"]
    ),
    "drop a column": Case(
        "compared",
        ["ALTER TABLE orders DROP further"],
        ["ALTER TABLE orders ADD further int FIRST"],
    ),
    "modify a type": Case("compared", ["ALTER TABLE orders MODIFY note varchar(2)"]),
    "character set": Case("compared", ["ALTER TABLE orders CONVERT TO CHARACTER SET gbk"]),
    "another key": Case("compared", ["ALTER TABLE orders DROP PRIMARY KEY, ADD PRIMARY KEY (id)"]),
    "rename a column": Case("compared", ["ALTER TABLE orders CHANGE note remark varchar(50)"]),
    "index": Case("compared", ["CREATE INDEX i ON orders (note)"]),
    "away and back": Case(
        "compared",
        [
            "RENAME TABLE orders TO away",
            "UPDATE away SET note = 'changed away'",
            "RENAME TABLE away TO orders",
        ],
    ),
    "dropped and created": Case(
        "compared",
        ["DROP TABLE orders", "CREATE TABLE orders (id int PRIMARY KEY, note varchar(50))"],
    ),
    "created anew of a query": Case(
        "compared",
        [
            "DROP TABLE orders",
            "CREATE TABLE orders (PRIMARY KEY (id)) SELECT 30 AS id, 'x' AS note",
        ],
        only=("mariadb", "mysql9"),  # MySQL before 8.0.21 refuses it where GTIDs are on
    ),
    "create or replace": Case(
        "compared",
        ["CREATE OR REPLACE TABLE orders (id int PRIMARY KEY, note varchar(50))"],
        only=("mariadb",),
    ),
    "dropped": Case("compared", ["DROP TABLE orders"], gone=True),
    "truncate a partition": Case("compared", ["ALTER TABLE orders TRUNCATE PARTITION low"], PARTS),
    "drop a partition": Case("compared", ["ALTER TABLE orders DROP PARTITION low"], PARTS),
    "exchange a partition": Case(
        "compared",
        ["ALTER TABLE orders EXCHANGE PARTITION low WITH TABLE spare"],
        ["CREATE TABLE spare LIKE orders", *PARTS],
    ),
    # What the tools do that change tables online, in their order
    "gh-ost": Case(
        "compared",
        [
            COPY,
            "ALTER TABLE _orders_gho ADD further int",
            FILL,
            "RENAME TABLE orders TO _orders_del, _orders_gho TO orders",
        ],
    ),
    "pt-online-schema-change": Case(
        "compared",
        [
            COPY,
            "ALTER TABLE _orders_gho ADD further int",
            (
                "CREATE TRIGGER pt_osc_del AFTER DELETE ON orders FOR EACH ROW "
                "DELETE IGNORE FROM _orders_gho WHERE _orders_gho.id <=> OLD.id"
            ),
            (
                "CREATE TRIGGER pt_osc_ins AFTER INSERT ON orders FOR EACH ROW "
                "REPLACE INTO _orders_gho (id, note) VALUES (NEW.id, NEW.note)"
            ),
            "INSERT INTO orders VALUES (40, 'meanwhile')",
            (
                "INSERT LOW_PRIORITY IGNORE INTO _orders_gho (id, note) SELECT id, note "
                "FROM orders FORCE INDEX (PRIMARY) WHERE id >= 1 LOCK IN SHARE MODE"
            ),
            "ANALYZE TABLE _orders_gho",
            "RENAME TABLE orders TO _orders_old, _orders_gho TO orders",
            "DROP TABLE IF EXISTS _orders_old",
            "DROP TRIGGER IF EXISTS pt_osc_ins",
        ],
    ),
    # What would change rows beside the log
    "cascade": Case(
        "suspended",
        [
            (
                "ALTER TABLE orders ADD parent int, ADD CONSTRAINT falls FOREIGN KEY (parent) "
                "REFERENCES other (id) ON DELETE CASCADE"
            )
        ],
        ["ALTER TABLE other ADD PRIMARY KEY (id)"],
        only=("mariadb", "mysql8"),
    ),
    "engine": Case("suspended", ["ALTER TABLE orders ENGINE = MyISAM"]),
    # What concerns other tables
    "another table altered": Case("nothing", ["ALTER TABLE other ADD further int"]),
    "the same name elsewhere": Case(
        "nothing",
        [
            "INSERT INTO elsewhere.orders VALUES (50, 'elsewhere')",
            "DELETE FROM elsewhere.orders",
        ],
        DATABASE,
    ),
    "truncated elsewhere": Case("nothing", ["TRUNCATE elsewhere.orders"], DATABASE),
    "defined elsewhere": Case(
        "nothing",
        [
            "USE elsewhere",
            "ALTER TABLE orders ADD further int",
            "RENAME TABLE orders TO another",
            "CREATE TABLE orders (id int)",
            "DROP TABLE orders",
        ],
        DATABASE,
    ),
    "defined from elsewhere": Case(
        "compared", ["USE elsewhere", "ALTER TABLE unit.orders ADD further int"], DATABASE
    ),
    "temporary table of its name": Case(
        "nothing",
        [
            "CREATE TEMPORARY TABLE orders (id int PRIMARY KEY, note varchar(50))",
            "INSERT INTO orders VALUES (60, 'temporary')",
            "TRUNCATE TABLE orders",
            "DROP TEMPORARY TABLE orders",
        ],
    ),
    "analyze": Case("nothing", ["ANALYZE TABLE orders", "CHECK TABLE orders"]),
}
RUNS = [(kind, name) for kind in FEW_KINDS for name, case in CASES.items() if kind in case.only]


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], Logging]]:
    """Yields what starts a server of a kind, once."""
    started: dict[str, Logging] = {}
    with ExitStack() as stack:

        def server(kind: str) -> Logging:
            if kind not in started:
                started[kind] = stack.enter_context(logging_server(kind))
            return started[kind]

        yield server


@pytest.mark.parametrize(("kind", "name"), RUNS)
def test_no_statement_leaves_the_agent_with_other_rows(
    servers: Callable[[str], Logging], kind: str, name: str
) -> None:
    case = CASES[name]
    unit = Unit(servers(kind))
    unit.run("DROP DATABASE IF EXISTS elsewhere")
    rows = [f"INSERT INTO orders (id, note) VALUES ({n}, 'n{n}')" for n in (1, 2, 3, 4)]
    unit.run(*case.setup, *rows)
    begun = rows_in(unit)
    unit.begin_here()
    source = unit.opened()
    fingerprint = source.fingerprints()
    unit.run(*case.statements)

    if case.outcome in ("followed", "nothing"):
        messages = beaten(unit, source)
        assert applied(begun, messages) == rows_in(unit)
        assert source.fingerprints() == fingerprint
        changes = [one for one in messages if isinstance(one, Change | Truncate)]
        assert bool(changes) == (case.outcome == "followed")
        assert not source.outdated()
        assert not source.comparisons(())
    elif case.outcome == "suspended":
        opened_again(unit, source)
        with pytest.raises(TableUnlogged):
            source.check_captured(unit.resource)
    else:
        opened_again(unit, source)
        now = source.fingerprints()
        assert now != fingerprint
        assert case.gone == (not now)
    unit.close()


# MySQL 8.0.15 has a fault because of which the tool refuses it
@pytest.mark.parametrize("kind", ["mariadb", "mysql9"])
def test_a_table_that_a_tool_changes_online_is_compared(
    servers: Callable[[str], Logging], kind: str
) -> None:
    """The real pt-online-schema-change, while an application writes."""
    unit = Unit(servers(kind))
    unit.run(*(f"INSERT INTO orders (id, note) VALUES ({n}, 'n{n}')" for n in range(1, 500)))
    unit.begin_here()
    source = unit.opened()
    fingerprint = source.fingerprints()

    url = unit.server.server.url
    place = f"h={url.host},P={url.port},u={url.username},D=unit,t=orders"
    alter = ["--execute", "--recursion-method=none", "--alter", "ADD COLUMN further INT"]
    command = ["pt-online-schema-change", *alter, place]
    number = 1000
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as tool:
        while tool.poll() is None:
            number += 1
            unit.commit(f"I{number}", f"U{number - 1}")
        said = tool.communicate()[0].decode()
    assert tool.returncode == 0, said

    opened_again(unit, source)
    assert source.fingerprints() != fingerprint
    unit.close()


def opened_again(unit: Unit, source: MySqlSource) -> None:
    """Opens the source as often as definitions ask for it, until it has read all."""
    stored = unit.initial()
    with unit.server.session() as run:
        executed = unit.server.position(run)

    def passed() -> bool:
        nonlocal stored
        messages = list(source.read(0.05))
        stored = stored_after(stored, messages)
        if source.outdated():
            source.open(stored, silent_never)
            return False
        source.housekeeping()
        return executed in stored.token

    eventually(passed, what="all definitions are passed")


def rows_in(unit: Unit) -> dict[str, Row]:
    """Returns the rows of the shared table, as texts."""
    with unit.server.session() as run:
        found = run("SELECT id, note FROM unit.orders")
    return {str(key): (str(key), str(note)) for key, note in found}


def applied(rows: dict[str, Row], messages: Sequence[Message]) -> dict[str, Row]:
    """Returns the rows after the changes of some messages."""
    rows = dict(rows)
    for message in messages:
        if isinstance(message, Truncate):
            rows.clear()
        elif isinstance(message, Change):
            if message.old is not None:
                del rows[str(message.old[0])]
            if message.new is not None:
                rows[str(message.new[0])] = message.new
    return rows

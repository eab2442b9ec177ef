"""Triggers note what an application does, and no statement of it fails because of them."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from agent.connectors.trigger.databases.base import KeyPart, LoggedTable, digest, parts
from agent.connectors.trigger.databases.opening import trigger_log_of
from tests.services.fixtures import fresh_database
from tests.source.noting import CREATE_ORDERS, KINDS, ORDERS, Noting, keys, step
from tests.waiting import eventually

MYSQL = ("mariadb", "mysql")
WRITERS, WRITES = 4, 25
Note = tuple[str, str | None, str | None]  # operation, key now, key before


@pytest.fixture(params=list(KINDS))
def noting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Noting]:
    """Yields a database of each kind, with the table of the notes."""
    make, server = KINDS[request.param]
    with make(request, tmp_path, server) as made:
        yield made


def test_each_change_notes_its_keys(noting: Noting) -> None:
    """Statements of one row and of several, key changes, and what is rolled back."""
    noting.make()
    noting.run(
        "INSERT INTO orders (id, note) VALUES (1, 'a')",
        "INSERT INTO orders (id) SELECT 2 FROM orders",
        "UPDATE orders SET price = 5",
        "UPDATE orders SET id = 3 WHERE id = 1",
        "DELETE FROM orders",
    )
    one, two, three = keys(1, 2, 3)
    found = of_one_key(noting.notes())
    assert found[:2] == [("I", one, None), ("I", two, None)]
    assert sorted(found[2:4]) == [("U", one, one), ("U", two, two)]
    assert found[4] == ("U", three, one)
    assert sorted(found[5:]) == [("D", None, two), ("D", None, three)]

    noting.together(
        "INSERT INTO orders (id) VALUES (4)",
        "SAVEPOINT here",
        "INSERT INTO orders (id) VALUES (5)",
        "ROLLBACK TO SAVEPOINT here" if noting.backend != "firebird" else "ROLLBACK TO here",
        "UPDATE orders SET id = 6 WHERE id = 4",
    )
    four, six = keys(4, 6)
    assert noting.notes() == [("I", four, None), ("U", six, four)]


@pytest.mark.parametrize("noting", ["postgres14", "postgres18"], indirect=True)
def test_the_keys_of_a_statement_are_a_few_notes(noting: Noting) -> None:
    """Also where a statement changes keys, changes nothing, or is several ones in one."""
    noting.make()
    count = 250
    numbers = range(1, count + 1)
    one_more = [number + 1 for number in numbers]
    noting.run(f"INSERT INTO orders (id) SELECT generate_series(1, {count})")
    notes = noting.notes()
    assert len(notes) == 3
    assert noted(notes) == {"I": (set(numbers), set())}

    noting.run("UPDATE orders SET price = 1", "UPDATE orders SET price = 2 WHERE id > 150")
    notes = noting.notes()
    assert len(notes) == 4
    assert noted(notes) == {"U": (set(numbers), set())}

    noting.administer("ALTER TABLE orders DROP CONSTRAINT orders_pkey")
    noting.run("UPDATE orders SET id = id + 1")
    assert noted(noting.notes()) == {"U": (set(one_more), set(numbers))}
    noting.run("UPDATE orders SET id = id - 1 WHERE id <= 3", "DELETE FROM orders WHERE id < 0")
    assert noted(noting.notes()) == {"U": ({1, 2}, {2, 3})}

    noting.run(
        "WITH gone AS (DELETE FROM orders WHERE id > 3 RETURNING id), "
        "made AS (INSERT INTO orders SELECT id + 1000 FROM gone WHERE id > 200 RETURNING id) "
        "UPDATE orders SET price = 4 WHERE id = 1"
    )
    deleted, inserted = set(range(4, count + 2)), set(range(1201, 1000 + count + 2))
    assert noted(noting.notes()) == {
        "D": (set(), deleted),
        "I": (inserted, set()),
        "U": ({1}, set()),
    }


def noted(notes: Sequence[Note]) -> dict[str, tuple[set[int], set[int]]]:
    """Returns the keys now and before by operation. A key must not come twice in a note."""
    found: dict[str, tuple[set[int], set[int]]] = {}
    for operation, now, before in notes:
        both = found.setdefault(operation, (set(), set()))
        for text, those in zip((now, before), both, strict=True):
            listed = parts(text or "")
            assert len(listed) == len(set(listed))
            those.update(map(int, listed))
    return found


@pytest.mark.parametrize("noting", ["postgres14", "postgres18"], indirect=True)
def test_a_bound_of_temporary_files_fails_no_statement(noting: Noting) -> None:
    """What a statement's triggers see would lie in such files: triggers of rows need none.

    A bound that is set afterwards makes nobody believe that triggers are missing.
    """
    noting.make()
    database = noting.engine.url.database
    noting.administer(f'ALTER DATABASE "{database}" SET temp_file_limit = 64')
    assert lacking(noting, [ORDERS]) == []
    with noting.engine.connect() as connection:
        now = noting.log.seen(connection, ORDERS)
    assert now.by_row
    noting.administer(*noting.log.drop_triggers(ORDERS), *noting.log.create_triggers(now))
    noting.run(
        "INSERT INTO orders (id, note) SELECT n, repeat('a', 50) FROM generate_series(1, 60000) n"
    )
    # What the test reads is larger, too
    noting.administer(f'ALTER DATABASE "{database}" RESET temp_file_limit')
    assert len(noting.notes()) == 60000


@pytest.mark.parametrize("noting", ["postgres14", "postgres18"], indirect=True)
def test_rows_that_no_statement_of_the_table_changes_are_noted_one_by_one(noting: Noting) -> None:
    """A partition may be written by itself, and a partitioned table writes into its partitions.

    A table that becomes a partition is found to lack its triggers.
    """
    noting.administer("CREATE TABLE areas (id INT NOT NULL PRIMARY KEY) PARTITION BY RANGE (id)")
    low = "CREATE TABLE low PARTITION OF areas FOR VALUES FROM (0) TO (100)"
    high = "CREATE TABLE high (id INT NOT NULL PRIMARY KEY)"
    noting.administer(low, high)
    tables = {}
    for name in ("areas", "low", "high"):
        with noting.engine.connect() as connection:
            tables[name] = noting.log.seen(connection, LoggedTable("", name, (KeyPart("id"),)))
        noting.administer(*noting.log.create_triggers(tables[name]))
    assert [table.by_row for table in tables.values()] == [True, True, False]
    assert lacking(noting, tables.values()) == []

    noting.administer("INSERT INTO areas VALUES (1), (2)", "UPDATE low SET id = 3 WHERE id = 1")
    one, two, three = keys(1, 2, 3)
    of_both = [("I", one, None)] * 2 + [("I", two, None)] * 2 + [("U", three, one)] * 2
    assert sorted(noting.notes()) == of_both

    noting.administer("ALTER TABLE areas ATTACH PARTITION high FOR VALUES FROM (100) TO (200)")
    assert lacking(noting, tables.values()) == ["high"]
    with noting.engine.connect() as connection:
        now = noting.log.seen(connection, tables["high"])
    noting.administer(*noting.log.drop_triggers(now), *noting.log.create_triggers(now))
    assert lacking(noting, [now]) == []
    noting.administer("INSERT INTO areas VALUES (100)")
    (new,) = keys(100)
    assert noting.notes() == [("I", new, None)] * 2


def lacking(noting: Noting, tables: Iterable[LoggedTable]) -> list[str]:
    """Returns the tables whose triggers do not note everything."""
    found = []
    for table in tables:
        with noting.engine.connect() as connection:
            if not noting.log.complete(table, noting.log.installed(connection, table)):
                found.append(table.name)
    return found


@pytest.mark.parametrize("noting", ["postgres18"], indirect=True)
def test_what_a_subscription_writes_is_noted(
    noting: Noting, request: pytest.FixtureRequest
) -> None:
    """It fires triggers of rows alone: a table that is subscribed later is found to lack them."""
    noting.make()
    slot = f"{noting.url.database}_slot"
    with (
        fresh_database(request.getfixturevalue("postgres18")) as publisher,
        psycopg.connect(publisher, autocommit=True) as there,
    ):
        there.execute(CREATE_ORDERS)
        there.execute("CREATE PUBLICATION all_orders FOR TABLE orders")
        there.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        options = f"create_slot = false, slot_name = '{slot}', copy_data = false"
        noting.administer(
            f"CREATE SUBSCRIPTION {slot} CONNECTION '{publisher}' "
            f"PUBLICATION all_orders WITH ({options})"
        )
        assert lacking(noting, [ORDERS]) == ["orders"]
        with noting.engine.connect() as connection:
            now = noting.log.seen(connection, ORDERS)
        noting.administer(*noting.log.drop_triggers(now), *noting.log.create_triggers(now))
        assert lacking(noting, [now]) == []

        there.execute("INSERT INTO orders (id) VALUES (1)")
        (one,) = keys(1)
        eventually(lambda: noting.notes() == [("I", one, None)], what="the note is there")
        noting.administer(
            f"ALTER SUBSCRIPTION {slot} DISABLE",
            f"ALTER SUBSCRIPTION {slot} SET (slot_name = NONE)",
            f"DROP SUBSCRIPTION {slot}",
        )
        active = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
        eventually(
            lambda: there.execute(active, [slot]).fetchone() == (False,), what="nobody reads"
        )
        there.execute("SELECT pg_drop_replication_slot(%s)", [slot])


@pytest.mark.parametrize("noting", ["postgres18"], indirect=True)
def test_triggers_of_an_older_version_stay(noting: Noting) -> None:
    """They were called for each row: that notes all there is to note."""
    noting.administer(CREATE_ORDERS)
    noting.administer(*noting.log.create_triggers(ORDERS._replace(by_row=True)))
    assert lacking(noting, [ORDERS]) == []


@pytest.mark.parametrize("noting", ["postgres14", "postgres18"], indirect=True)
def test_a_session_that_knows_the_table_as_it_was_goes_on(noting: Noting) -> None:
    """Its statements were planned before columns came and went, whatever these are called."""
    noting.make()
    with noting.connect() as session:
        for number, alteration in enumerate(
            (
                "ADD keys int DEFAULT 1, ADD key_now text, ADD noted text, ADD part int",
                "ADD r int, ADD s int, ADD name text, ADD operation text",
                "DROP note",
                "RENAME price TO key_before",
                "ALTER key_before TYPE bigint",
            )
        ):
            step(session, f"INSERT INTO orders (id) VALUES ({number})")
            noting.administer(f"ALTER TABLE orders {alteration}")
            step(session, "INSERT INTO orders (id) SELECT generate_series(1000, 1200)")
            step(session, "UPDATE orders SET id = id WHERE id < 100")
            step(session, "DELETE FROM orders WHERE id >= 100")
    assert {operation for operation, _, _ in noting.notes()} == {"I", "U", "D"}


def of_one_key(notes: Sequence[Note]) -> list[Note]:
    """Returns notes as a trigger of rows writes them. A note of several keys has them in a row."""
    found: list[Note] = []
    for operation, now, before in notes:
        other = before or now if operation == "U" else before
        for new, old in zip_longest(keys(*parts(now or "")), keys(*parts(other or ""))):
            found.append((operation, new, old))
    return found


def test_keys_of_several_parts_are_read_back(noting: Noting) -> None:
    """Whatever stands in them."""
    binary = {
        "postgresql": "bytea",
        "sqlite": "BLOB",
        "firebird": "CHAR(3) CHARACTER SET OCTETS",
    }.get(noting.backend, "binary(3)")
    table = LoggedTable("", "parts", (KeyPart("n"), KeyPart("t"), KeyPart("b", "bytes")))
    columns = f"n DECIMAL(10,2) NOT NULL, t VARCHAR(20) NOT NULL, b {binary} NOT NULL"
    noting.make(table, f"CREATE TABLE parts ({columns}, note INT, PRIMARY KEY (n, t, b))")

    octets = "x'00ff3a'" if noting.backend != "postgresql" else "'\\x00ff3a'"
    for text in ("", "a:b", "it''s", "中文 3:x", "\"`'||'"):
        spelled = text if "''" in text else text.replace("'", "''")
        noting.run(f"INSERT INTO parts (n, t, b) VALUES (-1.5, '{spelled}', {octets})")
        ((_, now, _),) = noting.notes()
        assert now is not None
        number, read, read_octets = parts(now)
        assert float(number) == -1.5
        assert read == spelled.replace("''", "'")
        assert read_octets.lower() == "00ff3a"


def test_every_column_but_the_key_may_be_altered(noting: Noting) -> None:
    """Each time, the next changes are made and noted."""
    noting.make()
    rename = "ALTER TABLE orders RENAME COLUMN note TO remark"
    alterations = ["ALTER TABLE orders ADD added INT", rename]
    if noting.backend == "firebird":
        alterations[1] = "ALTER TABLE orders ALTER COLUMN note TO remark"
    if noting.backend == "mariadb":
        # Its oldest releases know no RENAME COLUMN
        alterations[1] = "ALTER TABLE orders CHANGE note remark VARCHAR(60)"
    if noting.backend == "postgresql":
        alterations.append("ALTER TABLE orders ALTER COLUMN remark TYPE text")
    if noting.backend in MYSQL:
        alterations.append("ALTER TABLE orders MODIFY remark VARCHAR(100), ENGINE=InnoDB")
    drop = "ALTER TABLE orders DROP remark"
    alterations += [drop if noting.backend != "sqlite" else drop.replace("DROP", "DROP COLUMN")]

    for number, alteration in enumerate(alterations):
        noting.administer(alteration)
        noting.run(
            f"INSERT INTO orders (id) VALUES ({number})",
            f"UPDATE orders SET price = 1 WHERE id = {number}",
            f"DELETE FROM orders WHERE id = {number}",
        )
        assert [operation for operation, _, _ in noting.notes()] == ["I", "U", "D"], alteration


def test_an_upsert_notes_what_it_does(noting: Noting) -> None:
    noting.make()
    insert = "INSERT INTO orders (id, price) VALUES (1, 1)"
    upsert = {
        "postgresql": f"{insert} ON CONFLICT (id) DO UPDATE SET price = 2",
        "sqlite": f"{insert} ON CONFLICT (id) DO UPDATE SET price = 2",
        "firebird": "UPDATE OR INSERT INTO orders (id, price) VALUES (1, 2)",
    }.get(noting.backend, f"{insert} ON DUPLICATE KEY UPDATE price = 2")
    noting.run(insert, upsert)
    (one,) = keys(1)
    assert of_one_key(noting.notes()) == [("I", one, None), ("U", one, one)]

    if noting.backend in (*MYSQL, "sqlite"):
        noting.run("REPLACE INTO orders (id, price) VALUES (1, 3)")
        found = {now or before for _, now, before in noting.notes()}
        assert found == {one}
        assert noting.value("SELECT price FROM orders") == 3


def test_what_is_not_noted_is_said(noting: Noting) -> None:
    """TRUNCATE, cascades, rows that REPLACE removes: the log says of each whether it is noted."""
    noting.make()
    items = LoggedTable("", "items", (KeyPart("id"),))
    reference = "order_id INT REFERENCES orders(id) ON DELETE CASCADE"
    if noting.backend in MYSQL:
        reference = "order_id INT, FOREIGN KEY (order_id) REFERENCES orders(id) ON DELETE CASCADE"
    noting.make(items, f"CREATE TABLE items (id INT NOT NULL PRIMARY KEY, code INT, {reference})")
    pragma = ["PRAGMA foreign_keys = ON"] if noting.backend == "sqlite" else []
    noting.run("INSERT INTO orders (id) VALUES (1)", "INSERT INTO items VALUES (7, 1, 1)")
    noting.notes()

    noting.run(*pragma, "DELETE FROM orders")
    noted = [before for operation, _, before in noting.notes() if operation == "D"]
    assert (keys(7)[0] in noted) == noting.log.notes_cascades

    if noting.backend in ("postgresql", *MYSQL):
        noting.administer("TRUNCATE TABLE items")
        noted_operations = [operation for operation, _, _ in noting.notes()]
        assert noted_operations == (["T"] if noting.log.notes_truncate else [])

    if noting.backend in (*MYSQL, "sqlite"):
        noting.administer("CREATE UNIQUE INDEX by_code ON items (code)")
        noting.run("INSERT INTO items (id, code) VALUES (1, 1)")
        noting.notes()
        noting.run("REPLACE INTO items (id, code) VALUES (2, 1)")
        noted = [before for operation, _, before in noting.notes() if operation == "D"]
        assert (keys(1)[0] in noted) == noting.log.notes_replaced


@pytest.mark.parametrize("noting", [kind for kind in KINDS if kind != "firebird"], indirect=True)
def test_the_session_of_the_application_finds_its_own_last_number(noting: Noting) -> None:
    """What a program asks for after an insert is not the number of a note.

    In Firebird the statement itself returns it.
    """
    identity = {
        "postgresql": "bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        "sqlite": "INTEGER PRIMARY KEY",
    }.get(noting.backend, "bigint AUTO_INCREMENT PRIMARY KEY")
    numbered = LoggedTable("", "numbered", (KeyPart("id"),))
    noting.make(numbered, f"CREATE TABLE numbered (id {identity}, note INT)")
    noting.make()
    last = {"postgresql": "SELECT lastval()", "sqlite": "SELECT last_insert_rowid()"}
    with noting.connect() as connection:
        for _ in range(5):
            step(connection, "INSERT INTO orders (id) VALUES (17)")
            step(connection, "DELETE FROM orders")
        result = connection.exec_driver_sql("INSERT INTO numbered (note) VALUES (1)")
        if noting.backend in MYSQL:
            assert result.lastrowid == 1
        connection.commit()
        asked = last.get(noting.backend, "SELECT last_insert_id()")
        assert step(connection, asked) == 1
        if noting.backend != "sqlite":
            step(connection, "UPDATE numbered SET note = 2")
            step(connection, "INSERT INTO orders (id) VALUES (18)")
            assert step(connection, asked) == 1


def test_a_log_that_is_there_is_left_alone(noting: Noting) -> None:
    with pytest.raises(DBAPIError):
        noting.administer(*noting.log.create_log())
    noting.make()
    noting.run("INSERT INTO orders (id) VALUES (1)")
    assert len(noting.notes()) == 1


def test_triggers_that_are_gone_are_missed(noting: Noting) -> None:
    """A removal that is repeated passes; afterwards nothing is noted any more."""
    noting.make()
    with noting.engine.connect() as connection:
        before = noting.log.installed(connection, ORDERS)
        assert before.keys() == noting.log.expected(ORDERS)
    noting.administer(*noting.log.drop_triggers(ORDERS))
    noting.administer(*noting.log.drop_triggers(ORDERS))
    with noting.engine.connect() as connection:
        assert noting.log.installed(connection, ORDERS) == {}
    noting.run("INSERT INTO orders (id) VALUES (1)")
    assert noting.notes() == []

    noting.administer(*noting.log.create_triggers(ORDERS))
    with noting.engine.connect() as connection:
        after = noting.log.installed(connection, ORDERS)
    assert after.keys() == before.keys()
    if noting.backend in ("postgresql", *MYSQL):
        assert digest(after) != digest(before), "others than before"
    noting.administer(*noting.log.drop_triggers(ORDERS), *noting.log.drop_log())
    noting.run("INSERT INTO orders (id) VALUES (2)")


def test_writers_of_the_same_rows_do_not_fail(noting: Noting) -> None:
    """Each commits what it would without triggers, while notes are read and deleted."""
    noting.make()
    noting.run("INSERT INTO orders (id, price) VALUES (1, 0)")
    noting.notes()
    failures: list[Exception] = []

    def write() -> None:
        try:
            with noting.connect() as connection:
                if noting.backend == "sqlite":
                    step(connection, "PRAGMA busy_timeout = 60000")
                for _ in range(WRITES):
                    update(connection)
        except DBAPIError as error:
            failures.append(error)

    def update(connection: Connection) -> None:
        """Repeats what Firebird refuses by itself: the row has changed since the snapshot."""
        while True:
            try:
                step(connection, "UPDATE orders SET price = price + 1 WHERE id = 1")
                return
            except DBAPIError as error:
                if noting.backend != "firebird" or "update conflicts" not in str(error):
                    raise
                connection.rollback()

    writers = [threading.Thread(target=write) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    found = 0
    while any(writer.is_alive() for writer in writers):
        found += _drained(noting)
    found += _drained(noting)
    assert failures == []
    assert found == WRITERS * WRITES
    assert noting.value("SELECT price FROM orders") == WRITERS * WRITES


@pytest.mark.parametrize("kind", ["mariadb", "mysql8", "mysql9"])
def test_a_long_statement_keeps_nobody_waiting_for_the_log(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Numbers of notes are given without a lock that lasts as long as the statement."""
    make, server = KINDS[kind]
    with make(request, tmp_path, server) as noting, noting.engine.connect() as holder:
        noting.make()
        step(holder, "CREATE TABLE seeds (id INT PRIMARY KEY)")
        step(holder, "INSERT INTO seeds VALUES (1), (2), (3)")
        name = noting.url.database
        step(holder, f"SELECT GET_LOCK('{name}', 1)")
        bulk = f"SELECT id + 100 * IF(id = 2, GET_LOCK('{name}', 600), 1) FROM seeds ORDER BY id"
        statement = f"INSERT INTO orders (id) {bulk}"
        long = threading.Thread(target=noting.administer, args=(statement,))
        long.start()

        waiting = "SELECT count(*) FROM information_schema.processlist WHERE state = 'User lock'"
        eventually(lambda: step(holder, waiting) == 1, what="the long statement has begun")
        noting.run("SET SESSION innodb_lock_wait_timeout = 1", "INSERT INTO orders (id) VALUES (7)")
        step(holder, f"SELECT RELEASE_LOCK('{name}')")
        long.join()
        assert len(noting.notes()) == 4


def _drained(noting: Noting) -> int:
    """Reads some notes and deletes exactly these; returns how many."""
    with noting.engine.connect() as connection:
        if noting.backend == "sqlite":
            step(connection, "PRAGMA busy_timeout = 60000")
        rows = connection.exec_driver_sql(f"SELECT id FROM {noting.log.log_name}").all()
        connection.commit()
        for (number,) in rows:
            step(connection, f"DELETE FROM {noting.log.log_name} WHERE id = '{number}'")
    return len(rows)


@pytest.mark.parametrize("text", ["x", "1", "2:a", "1:ab", ":a", "-1:a", "一:a"])
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        parts(text)


def test_the_statements_are_made_of_names_alone() -> None:
    """The same names give the same statements, in which no column but the key stands."""
    assert "note" in CREATE_ORDERS
    for backend in ("postgresql", "mariadb", "mysql", "sqlite", "firebird"):
        log = trigger_log_of(backend)
        assert log is not None
        made = "\n".join(log.create_triggers(ORDERS))
        assert "price" not in made
        assert made == "\n".join(log.create_triggers(ORDERS))
    assert trigger_log_of("access") is None

"""Tests what depends on the server, on every supported version.

That is partitions, TRUNCATE, inheritance, prepared and nested transactions, and generated columns.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from agent.connectors.base import Ask, Page
from agent.connectors.changes import Change, Commit, Message, Truncate
from agent.connectors.postgres.partitions import FOLLOWS_SINCE
from agent.connectors.postgres.session import connect
from agent.connectors.postgres.source import PostgresSource
from agent.values.lines import row_of
from agent.values.rows import Row
from tests.services.fixtures import fresh_database
from tests.services.postgres import PostgresAddress
from tests.source.conftest import PostgresBusiness
from tests.source.reading import Delivered, silent_never, transactions
from tests.waiting import eventually

VERSIONS = [14, 15, 16, 17, 18]
NUMBERS = count(1)


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda version: f"postgres{version}")
def conninfo(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yields one database of each version for all tests, which have schemas of their own."""
    server: PostgresAddress = request.getfixturevalue(f"postgres{request.param}")
    with fresh_database(server) as made:
        yield made


@pytest.fixture
def business(conninfo: str, tmp_path: Path) -> Iterator[PostgresBusiness]:
    """Yields the database, with an empty schema in front of the path."""
    schema = f"s{next(NUMBERS)}"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    made = PostgresBusiness(f"{conninfo} options='-c search_path={schema}'", tmp_path)
    yield made
    made.close()
    made.drop_slot()


class Following:
    """A source that follows tables from now on."""

    def __init__(self, business: PostgresBusiness, *tables: str, publish: str = "") -> None:
        self.business = business
        self.schema = str(business.value("SELECT current_schema()"))
        business.publish(*(publish or ", ".join(tables)).split(", "))
        self.source: PostgresSource = business.source(
            business.settings(tuple(f"{self.schema}.{table}" for table in tables))
        )
        self.source.open(business.initial(), silent_never)
        self._come: list[Message] = []

    def until(self, mark: str) -> list[Delivered]:
        """Returns the transactions up to the one that inserts this number into any table.

        Those without changes, which old servers send too, are left out.
        """

        def come() -> bool:
            self._come += self.source.read(0.02)
            return any(
                isinstance(m, Change) and m.new is not None and m.new[0] == mark for m in self._come
            ) and isinstance(self._come[-1], Commit)

        eventually(come, what="the messages come", interval=0)
        return [one for one in transactions(self._come) if one.changes]

    def page(self, table: str) -> list[tuple[str | None, ...]]:
        """Returns all rows of a table as a page, in some order that stays."""
        found = self.source.tables()[self.schema, table]
        self.source.ask(
            Ask(f"page {next(NUMBERS)}", table, found, found.columns, (), "", limit=1000)
        )

        def read() -> Page | None:
            self._come += self.source.read(0.02)
            return self.source.page()

        page = eventually(read, what="the page is read", interval=0)
        assert page is not None
        self.source.withdraw()
        return sorted(map(row_of, page.lines), key=str)


def news(one: Delivered) -> list[Row | None]:
    """Returns the new rows of a transaction."""
    return [new for _, _, new in one.rows]


def names(truncate: object) -> set[str]:
    """Returns the tables of a TRUNCATE."""
    assert isinstance(truncate, Truncate)
    return {relation.table for relation in truncate.relations}


def test_partitions_come_as_their_root(business: PostgresBusiness) -> None:
    """Rows of leaves come as the root's, however deep, put there directly or moved between leaves.

    A page has them all, and the fingerprint shows what the stream does not.
    """
    business.transaction(
        "CREATE TABLE parts (id int, kind text, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind)",
        "CREATE TABLE low PARTITION OF parts FOR VALUES IN ('a')",
        "CREATE TABLE mid PARTITION OF parts FOR VALUES IN ('b', 'c') PARTITION BY RANGE (id)",
        "CREATE TABLE deep PARTITION OF mid FOR VALUES FROM (0) TO (100)",
        "INSERT INTO parts VALUES (1, 'a'), (2, 'b')",
    )
    following = Following(business, "parts")
    business.transaction(
        "INSERT INTO deep VALUES (3, 'c')",
        "UPDATE parts SET kind = 'a' WHERE id = 2",
        "DELETE FROM low WHERE id = 1",
    )
    assert following.page("parts") == [("2", "a"), ("3", "c")]
    seen = [following.source.fingerprints()[following.schema, "parts"]]
    business.transaction("TRUNCATE low")
    seen.append(following.source.fingerprints()[following.schema, "parts"])
    business.transaction(
        "CREATE TABLE more (id int NOT NULL, kind text NOT NULL, PRIMARY KEY (id, kind))"
    )
    if int(business.value("SHOW server_version_num")) >= FOLLOWS_SINCE:
        # 14 would go on to take the table for one of its own
        business.transaction("INSERT INTO more VALUES (7, 'd')")
    business.transaction("ALTER TABLE parts ATTACH PARTITION more FOR VALUES IN ('d')")
    seen.append(following.source.fingerprints()[following.schema, "parts"])
    business.transaction("TRUNCATE parts")
    business.transaction("INSERT INTO parts VALUES (9, 'd')")
    changes, truncated, last = following.until("9")
    assert changes.rows == [
        ("I", None, ("3", "c")),
        ("D", ("2", "b"), None),
        ("I", None, ("2", "a")),
        ("D", ("1", "a"), None),
    ]
    assert {change.relation.table for change in changes.changes if isinstance(change, Change)} == {
        "parts"
    }
    assert [names(change) for change in truncated.changes] == [{"parts"}]
    assert news(last) == [("9", "d")]
    assert seen[0].verify != seen[1].verify, "the leaf's TRUNCATE streams nothing"
    assert seen[0].copy == seen[1].copy != seen[2].copy
    assert following.page("parts") == [("9", "d")]


def test_truncate_tells_every_table_it_empties(business: PostgresBusiness) -> None:
    """Several, and by CASCADE; only published ones, once each, in their place between the rows."""
    business.transaction(
        "CREATE TABLE a (id int PRIMARY KEY)",
        "CREATE TABLE b (id int PRIMARY KEY REFERENCES a)",
        "CREATE TABLE c (id int PRIMARY KEY)",
    )
    business.transaction("CREATE TABLE unseen (id int PRIMARY KEY REFERENCES a)")
    following = Following(business, "a", "b", "c")
    business.transaction(
        "INSERT INTO a VALUES (1)",
        "INSERT INTO b VALUES (1)",
        "TRUNCATE a CASCADE",
        "INSERT INTO a VALUES (2)",
        "TRUNCATE c, b, unseen RESTART IDENTITY",
    )
    business.transaction("TRUNCATE unseen")
    business.transaction("INSERT INTO c VALUES (9)")
    one, _ = following.until("9")
    assert [
        names(change) if isinstance(change, Truncate) else change.relation.table
        for change in one.changes
    ] == ["a", "b", {"a", "b"}, "a", {"b", "c"}]


def test_a_parent_comes_without_the_tables_that_inherit_from_it(business: PostgresBusiness) -> None:
    """The parent is published with ONLY, as init does.

    A child's rows are its own, in the stream, on a page and in a TRUNCATE; a child can be shared,
    too.
    """
    business.transaction(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent)",
        "CREATE TABLE other () INHERITS (parent)",
    )
    following = Following(business, "parent", "child", publish="ONLY parent, ONLY child")
    business.transaction(
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (2)",
        "INSERT INTO other VALUES (3)",
    )
    assert (following.page("parent"), following.page("child")) == ([("1",)], [("2",)])
    business.transaction(
        "UPDATE parent SET id = id + 10",
        "UPDATE ONLY parent SET id = id + 100",
        "TRUNCATE parent",
        "INSERT INTO child VALUES (9)",
    )
    made, changed = following.until("9")
    assert [
        (change.relation.table, change.new) for change in made.changes if isinstance(change, Change)
    ] == [("parent", ("1",)), ("child", ("2",))]
    assert [
        (change.relation.table, change.new)
        for change in changed.changes
        if isinstance(change, Change)
    ][:3] == [
        ("parent", ("11",)), ("child", ("12",)), ("parent", ("111",)),
    ]  # fmt: skip
    assert [names(change) for change in changed.changes if isinstance(change, Truncate)] == [
        {"parent", "child"}
    ]


def test_a_prepared_transaction_comes_when_it_is_committed(business: PostgresBusiness) -> None:
    """It comes whole and once, after what was committed before it, under the number it had.

    No snapshot sees it until then. One that is rolled back never comes.
    """
    business.transaction("CREATE TABLE prepared (id int PRIMARY KEY)")
    following = Following(business, "prepared")
    name = f"{following.schema}-two"
    with business.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO prepared VALUES (1), (2)")
        xid = connection.execute("SELECT pg_current_xact_id()::text::int8").fetchone()
        connection.execute(f"PREPARE TRANSACTION '{name}'".encode())
        connection.execute("BEGIN")
        connection.execute("INSERT INTO prepared VALUES (5)")
        connection.execute(f"PREPARE TRANSACTION '{name} undone'".encode())
    assert xid is not None
    business.transaction("INSERT INTO prepared VALUES (3)")
    assert following.page("prepared") == [("3",)]
    with connect(business.settings().postgres) as session:
        snapshot = eventually(following.source.housekeeping, what="a snapshot is taken")
        assert snapshot is not None
        assert not snapshot.sees(xid[0])
        session.execute(f"ROLLBACK PREPARED '{name} undone'".encode())
        session.execute(f"COMMIT PREPARED '{name}'".encode())
    business.transaction("INSERT INTO prepared VALUES (9)")
    before, prepared, last = following.until("9")
    assert ([news(one) for one in (before, prepared, last)], prepared.transaction) == (
        [[("3",)], [("1",), ("2",)], [("9",)]],
        xid[0] & 0xFFFFFFFF,
    )
    assert following.page("prepared") == [("1",), ("2",), ("3",), ("9",)]


def test_subtransactions_come_as_what_is_left_of_them(business: PostgresBusiness) -> None:
    """Subtransactions come as what is left of them; their own numbers are never seen.

    These are savepoints within savepoints, more of them than a backend keeps in memory, and blocks
    with exceptions.
    """
    business.transaction("CREATE TABLE nested (id int PRIMARY KEY)")
    following = Following(business, "nested")
    many = [
        step
        for n in range(100, 200)
        for step in (
            f"SAVEPOINT s{n}",
            f"INSERT INTO nested VALUES ({n})",
            *([f"ROLLBACK TO s{n}"] if n % 3 else []),
        )
    ]
    block = """DO $$ BEGIN FOR n IN 20..24 LOOP
                   BEGIN
                       INSERT INTO nested VALUES (n); PERFORM 1 / ((n + 1) % 2);
                   EXCEPTION WHEN division_by_zero THEN NULL; END;
               END LOOP; END $$"""
    business.transaction(
        "INSERT INTO nested VALUES (1)",
        "SAVEPOINT outside", "INSERT INTO nested VALUES (2)",
        "SAVEPOINT inside", "INSERT INTO nested VALUES (3)",
        "RELEASE inside", "ROLLBACK TO outside",
        "SAVEPOINT kept", "INSERT INTO nested VALUES (4)",
        "ROLLBACK TO kept", "INSERT INTO nested VALUES (5)", "RELEASE kept",
        *many, block, "INSERT INTO nested VALUES (9)",
    )  # fmt: skip
    (one,) = following.until("9")
    wanted = [1, 5, *(n for n in range(100, 200) if n % 3 == 0), 20, 22, 24, 9]
    assert news(one) == [(str(n),) for n in wanted]


def test_transactions_that_are_open_at_once_come_in_the_order_of_their_commits(
    business: PostgresBusiness,
) -> None:
    """Each comes whole, whoever began first.

    One is larger than the server keeps in memory, one is undone.
    """
    business.transaction("CREATE TABLE open (id int PRIMARY KEY, note text)")
    following = Following(business, "open")
    sessions = [psycopg.connect(business.conninfo) for _ in range(4)]
    for turn in range(3):
        for number, session in enumerate(sessions):
            session.execute("INSERT INTO open VALUES (%s, 'x')", [100 * number + turn + 10])
    sessions[1].execute(
        "INSERT INTO open SELECT n, repeat('x', 2000) FROM generate_series(1000, 1999) n"
    )
    for number in (3, 1):
        sessions[number].commit()
    sessions[2].rollback()
    business.transaction("INSERT INTO open VALUES (5)")
    sessions[0].commit()
    business.transaction("INSERT INTO open VALUES (9)")
    found = following.until("9")
    for session in sessions:
        session.close()
    assert [len(one.changes) for one in found] == [3, 1003, 1, 3, 1]
    assert [new[0] for one in (found[0], found[3]) for new in news(one) if new] == [
        "310",
        "311",
        "312",
        "10",
        "11",
        "12",
    ]


def test_generated_columns_come_from_18_on(business: PostgresBusiness) -> None:
    """They come when the publication says so.

    On a page they always come, so an older server's are refused before anything starts.
    """
    business.transaction(
        "CREATE TABLE made (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)"
    )
    following = Following(business, "made")
    (column,) = [
        column
        for column in following.source.tables()[following.schema, "made"].columns
        if column.name == "twice"
    ]
    assert column.generated == "s"
    business.transaction("INSERT INTO made VALUES (1)")
    streams = int(business.value("SHOW server_version_num")) >= 180_000
    if streams:
        business.transaction(
            f"ALTER PUBLICATION {business.slot} SET (publish_generated_columns = stored)"
        )
    business.transaction("INSERT INTO made VALUES (9)")
    assert [news(one) for one in following.until("9")] == [
        [("1",)],
        [("9", "18") if streams else ("9",)],
    ]
    assert following.page("made") == [("1", "2"), ("9", "18")]


def test_what_the_publication_carries(business: PostgresBusiness) -> None:
    """Read alike from every version's catalogue."""
    business.transaction(
        "CREATE TABLE shared (id int PRIMARY KEY)", "CREATE TABLE unseen (id int PRIMARY KEY)"
    )
    following = Following(business, "shared", "unseen", publish="shared")
    assert [
        following.source.unpublished(following.schema, table) for table in ("shared", "unseen")
    ] == ["", "it is not in the publication"]
    before = following.source.fingerprints()[following.schema, "shared"]
    assert before.copy["publication"]
    assert following.source.fingerprints()[following.schema, "shared"] == before
    business.transaction(
        f"ALTER PUBLICATION {business.slot} DROP TABLE shared",
        f"ALTER PUBLICATION {business.slot} ADD TABLE shared",
    )
    assert (
        following.source.fingerprints()[following.schema, "shared"].copy["publication"]
        != before.copy["publication"]
    )

"""Tests pages of PostgreSQL tables, and what its catalogue says of the tables.

That is sizes, rights, odd keys, partitions, locks, and lost connections.
"""

from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from typing import Any

import psycopg
import pytest

from agent.connectors.base import Ask, Fingerprint, Page
from agent.connectors.changes import HighPosition
from agent.connectors.postgres import catalogue, fingerprints, pages
from agent.connectors.postgres.pages import PageReader
from agent.connectors.postgres.session import connect
from agent.connectors.table import SourceTable
from agent.errors import AgentError, ReadRefused, SourceUnreachable, TableChanged
from agent.values.lines import row_of
from tests.source.conftest import PostgresBusiness
from tests.source.reading import read_until, silent_never
from tests.waiting import eventually, never

NUMBERS = count()
READING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'unit-sync-agent'"
)


@pytest.fixture
def reader(published: PostgresBusiness) -> Iterator[PageReader]:
    """Yields a reader of the database's pages."""
    opened = PageReader(published.settings().postgres)
    yield opened
    opened.close()


def described(
    business: PostgresBusiness, name: str = "orders", schema: str = "public"
) -> SourceTable:
    """Returns the table as the catalogue has it now."""
    with connect(business.settings().postgres) as connection:
        return catalogue.tables(connection, [(schema, name)])[schema, name].table


def asking(table: SourceTable, **given: Any) -> Ask:
    """Returns rows of a table to read."""
    return Ask(
        f"token {next(NUMBERS)}",
        table.table,
        table,
        given.pop("columns", table.columns),
        (),
        "",
        **given,
    )


def page_of(reader: PageReader, ask: Ask) -> Page:
    """Returns the page, once it is read."""
    reader.ask(ask)
    page = eventually(lambda: reader.page(0.1), what="the page is read")
    assert page is not None
    assert page.token == ask.token
    return page


def refused(reader: PageReader, ask: Ask) -> AgentError:
    """Returns the error in its stead."""
    reader.ask(ask)

    def come() -> AgentError | None:
        try:
            reader.page(0.1)
        except AgentError as error:
            return error
        return None

    error = eventually(come, what="the page is refused")
    assert error is not None
    return error


def rows_of(page: Page) -> list[tuple[str | None, ...]]:
    """Returns the page's rows."""
    return [row_of(line) for line in page.lines]


# ---- sizes


def test_a_page_too_large_is_made_smaller(
    published: PostgresBusiness, reader: PageReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page says after how many rows it was cut, and the next one goes on there.

    A single row comes however large it is.
    """
    monkeypatch.setattr(pages, "MAX_BYTES", 2_000)
    published.transaction(
        "INSERT INTO orders SELECT n, repeat('x', CASE WHEN n = 11 THEN 9000 ELSE 400 END) "
        "FROM generate_series(1, 20) n"
    )
    table, found, after = described(published), list[str | None](), None
    while True:
        page = page_of(reader, asking(table, limit=1_000, after=after))
        assert sum(map(len, page.lines)) <= 2_000 + 9_000
        assert page.limit < 20 or not page.more
        found += [row[0] for row in rows_of(page)]
        after = (str(found[-1]),)
        if not page.more:
            break
    assert found == [str(n) for n in range(1, 21)]


def test_a_page_leaves_no_transaction_behind(
    published: PostgresBusiness, reader: PageReader
) -> None:
    """No snapshot is held between pages; one connection serves them all."""
    table = described(published)
    for _ in range(3):
        page_of(reader, asking(table, limit=10))
    assert published.value(READING) == 1
    assert (
        published.value(
            "SELECT state FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'unit-sync-agent'"
        )
        == "idle"
    )


# ---- keys


def test_keys_of_any_content(published: PostgresBusiness, reader: PageReader) -> None:
    """Pages go on after each key, and look-ups find each.

    Keys hold quotes, backslashes, percent signs, line ends, braces, and NULL's own text.
    """
    words = [
        "",
        "'",
        "\\",
        "%s",
        "a\nb",
        "\\N",
        "{}",
        "NULL",
        '"',
        "$1",
        "张三",
        "𠮷",
        " a",
        "a ",
        "A",
    ]
    published.transaction(
        'CREATE TABLE "odd ""keys" ("it\'s" text, n int, PRIMARY KEY (n, "it\'s"))'
    )
    with published.connect() as connection:
        connection.cursor().executemany(
            'INSERT INTO "odd ""keys" VALUES (%s, %s)',
            [(word, n) for word in words for n in (-1, 10)],
        )
    table = described(published, 'odd "keys')
    assert table.key == ("n", "it's")
    found: list[tuple[str | None, ...]] = []
    more = True
    while more:
        page = page_of(
            reader,
            asking(table, limit=4, after=(str(found[-1][1]), str(found[-1][0])) if found else None),
        )
        found += rows_of(page)
        more = page.more
    expected = [(word, n) for word in words for n in ("-1", "10")]
    assert sorted(found, key=str) == sorted(expected, key=str)
    page = page_of(reader, asking(table, keys=[(n, word) for word, n in expected] + [("7", "'")]))
    assert sorted(rows_of(page), key=str) == sorted(expected, key=str)


def test_keys_that_are_no_values_of_their_type_are_not_in_the_source(
    published: PostgresBusiness, reader: PageReader
) -> None:
    """A hand may have put them into the front end, where the column is wider."""
    published.commit("I1", "I2")
    page = page_of(
        reader,
        asking(described(published), keys=[("1",), ("one",), ("99999999999",), ("2",), ("",)]),
    )
    assert sorted(rows_of(page)) == [("1", "order 1"), ("2", "order 2")]


def test_a_partitioned_table_is_one_and_a_parent_is_alone(
    published: PostgresBusiness, reader: PageReader
) -> None:
    """Pages have rows as the stream has them.

    Rows of partitions are the root's, rows of tables that inherit are not the parent's.
    """
    published.transaction(
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE high PARTITION OF parts FOR VALUES FROM (10) TO (100) "
        "PARTITION BY RANGE (id)",
        "CREATE TABLE higher PARTITION OF high FOR VALUES FROM (10) TO (100)",
        "INSERT INTO parts VALUES (5), (50)",
        "CREATE TABLE child () INHERITS (orders)",
        "INSERT INTO child VALUES (7, 'of the child')",
        "INSERT INTO orders VALUES (1, 'its own')",
    )
    assert rows_of(page_of(reader, asking(described(published, "parts"), limit=10))) == [
        ("5",),
        ("50",),
    ]
    orders = described(published)
    assert rows_of(page_of(reader, asking(orders, limit=10))) == [("1", "its own")]
    assert rows_of(page_of(reader, asking(orders, keys=[("1",), ("7",)]))) == [("1", "its own")]


# ---- what stands in the way


def test_rows_that_may_not_be_read_are_named(published: PostgresBusiness) -> None:
    """Without the right, and with a policy that would hide rows: never an empty page."""
    published.commit("I1")
    role = f"{published.slot}_reader"
    published.transaction(f"CREATE ROLE {role} LOGIN")
    reader, table = PageReader(published.settings(user=role).postgres), described(published)
    error = refused(reader, asking(table, limit=10))
    assert isinstance(error, ReadRefused)
    assert (error.resource, "public.orders" in error.text("en")) == ("orders", True)
    published.transaction(f"GRANT SELECT ON orders TO {role}")
    assert rows_of(page_of(reader, asking(table, limit=10))) == [("1", "order 1")]
    published.transaction(
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY few ON orders TO {role} USING (id > 1)",
    )
    assert isinstance(refused(reader, asking(table, limit=10)), ReadRefused)
    reader.close()
    eventually(lambda: published.value(READING) == 0, what="the connection is gone")
    published.transaction("DROP POLICY few ON orders", f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE orders DROP COLUMN note",
        "ALTER TABLE orders RENAME note TO remark",
        "DROP TABLE orders",
    ],
)
def test_a_table_that_changed_is_named(
    published: PostgresBusiness, reader: PageReader, statement: str
) -> None:
    """What the resource was compiled for is not there any more; afterwards the reader goes on."""
    table = described(published)
    published.transaction(statement)
    error = refused(reader, asking(table, limit=10))
    assert isinstance(error, TableChanged)
    assert error.resource == "orders"
    assert reader.page() is None
    assert page_of(reader, asking(described(published, '订单 "Q"'), limit=10)).lines == []


def test_a_page_waits_for_a_lock(published: PostgresBusiness, reader: PageReader) -> None:
    """A statement that holds the table holds the page, not the service."""
    published.commit("I1")
    table = described(published)
    with psycopg.connect(published.conninfo) as other:
        other.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        reader.ask(asking(table, limit=10))
        never(lambda: reader.page(0.0), 1.0, "a page comes")
    page = eventually(lambda: reader.page(0.1), what="the page is read")
    assert page is not None
    assert (rows_of(page), page.limit) == ([("1", "order 1")], 10)


@pytest.mark.parametrize("end", ["withdraw", "close"])
def test_a_page_that_is_given_up_ends_at_once(
    published: PostgresBusiness, reader: PageReader, end: str
) -> None:
    """Its session at the server ends too, also out of a wait."""
    table = described(published)
    with psycopg.connect(published.conninfo) as other:
        other.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        reader.ask(asking(table, limit=10))
        eventually(
            lambda: published.value(f"{READING} AND wait_event_type = 'Lock'") == 1,
            what="the page waits",
        )
        getattr(reader, end)()
        assert reader.page() is None
    eventually(lambda: published.value(READING) == 0, what="the session is gone")
    assert page_of(reader, asking(table, limit=10)).lines == []


def test_a_lost_connection_is_unreachable_and_the_next_page_has_its_own(
    published: PostgresBusiness, reader: PageReader
) -> None:
    """While a page is read. Between two it is opened anew, and nobody hears of it."""
    table = described(published)
    ended = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'unit-sync-agent'"
    )
    with psycopg.connect(published.conninfo) as other:
        other.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        ask = asking(table, limit=10)
        reader.ask(ask)
        eventually(
            lambda: published.value(f"{READING} AND wait_event_type = 'Lock'") == 1,
            what="the page waits",
        )
        assert published.value(ended) == 1
        with pytest.raises(SourceUnreachable):
            eventually_page(reader)
    page_of(reader, asking(table, limit=10))
    assert published.value(ended) == 1
    page_of(reader, asking(table, limit=10))


def test_a_connection_that_died_between_two_pages_does_not_end_the_stream(
    published: PostgresBusiness,
) -> None:
    """The server ended the session, as it does when one is idle.

    The page has another one, and the stream goes on where it was.
    """
    walsender = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s"
    died = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query = 'commit'"
    )
    table, source = described(published), published.source()
    published.transaction("INSERT INTO orders VALUES (1, 'a'), (2, 'b')")
    source.open(published.initial(), silent_never)
    before = published.value(walsender, published.slot)

    found, tokens = [], list[str]()
    for after in (None, ("1",)):
        ask = asking(table, limit=1, after=after)
        tokens.append(ask.token)
        source.ask(ask)
        read_until(source, lambda messages: HighPosition(tokens[-1]) in messages)
        page = source.page()
        assert page is not None
        found += rows_of(page)
        source.withdraw()
        assert published.value(died) == 1
    assert found == [("1", "a"), ("2", "b")]
    assert published.value(walsender, published.slot) == before


def eventually_page(reader: PageReader) -> None:
    """Waits for the page, and lets an error out."""
    for _ in range(100):
        if reader.page(0.1) is not None:
            return


# ---- the catalogue


def fingerprint(
    business: PostgresBusiness, columns: Sequence[str] = ("id", "note"), name: str = "orders"
) -> Fingerprint:
    """Returns what the catalogue says of a table of which these columns matter."""
    with connect(business.settings().postgres) as connection:
        return fingerprints.fingerprints(connection, business.slot, {("public", name): columns})[
            "public", name
        ]


PUBLISH = "CREATE PUBLICATION {0} FOR TABLE orders WITH (publish_via_partition_root = true)"
MOVES = {
    "a column that does not matter": (["ALTER TABLE orders ADD extra int"], {"others"}),
    "a column dropped and added again": (
        ["ALTER TABLE orders DROP note", "ALTER TABLE orders ADD note text"],
        {"columns"},
    ),
    "another type": (["ALTER TABLE orders ALTER note TYPE varchar(99)"], {"columns", "storage"}),
    "a rewrite": (["ALTER TABLE orders ALTER id TYPE bigint"], {"columns", "storage"}),
    "a rewrite that changes no column": (
        ["CREATE INDEX by ON orders (note)", "CLUSTER orders USING by"],
        {"storage"},
    ),
    "TRUNCATE": (["TRUNCATE orders"], {"storage"}),
    "another replica identity": (["ALTER TABLE orders REPLICA IDENTITY FULL"], {"identity"}),
    "a publication made again": (["DROP PUBLICATION {0}", PUBLISH], {"publication"}),
    "a table taken out and put in again": (
        ["ALTER PUBLICATION {0} DROP TABLE orders", "ALTER PUBLICATION {0} ADD TABLE orders"],
        {"publication"},
    ),
    "a table taken out": (["ALTER PUBLICATION {0} DROP TABLE orders"], {"publication"}),
    "rows": (
        [
            "INSERT INTO orders SELECT n, 'x' FROM generate_series(1, 500) n",
            "UPDATE orders SET note = 'y'",
            "DELETE FROM orders WHERE id > 5",
        ],
        set(),
    ),
    "statistics, an index, a comment": (
        ["ANALYZE orders", "CREATE INDEX by ON orders (note)", "COMMENT ON TABLE orders IS 'ours'"],
        set(),
    ),
    "another table": (["ALTER TABLE other ADD extra int", "TRUNCATE other"], set()),
}


@pytest.mark.parametrize("case", MOVES)
def test_each_part_of_the_fingerprint_moves_for_its_reason(
    published: PostgresBusiness, case: str
) -> None:
    """Whatever may change rows without a row in the stream changes the fingerprint.

    What the stream tells changes nothing.
    """
    statements, parts = MOVES[case]
    published.transaction("INSERT INTO orders VALUES (0, 'x')")
    before = fingerprint(published)
    published.transaction(*[statement.format(published.slot) for statement in statements])
    after = fingerprint(published)
    assert {part for part, value in after.parts.items() if value != before.parts[part]} == parts


def test_how_types_are_written_is_part_of_the_fingerprint(published: PostgresBusiness) -> None:
    """Renamed labels and further attributes change every row's text, however deep they lie.

    Only those of columns that matter count.
    """
    published.transaction(
        "CREATE TYPE mood AS ENUM ('a', 'b')", "CREATE TYPE pair AS (x int, y mood)",
        "CREATE DOMAIN pairs AS pair[]", "CREATE TYPE colour AS ENUM ('c')",
        "CREATE TABLE typed (id int PRIMARY KEY, p pairs, hidden colour)",
    )  # fmt: skip
    columns = ("id", "p")
    seen = [fingerprint(published, columns, "typed")]
    for statement in (
        "ALTER TYPE mood RENAME VALUE 'b' TO 'c'",
        "ALTER TYPE pair ADD ATTRIBUTE z int",
        "ALTER TYPE colour RENAME VALUE 'c' TO 'd'",
        "SELECT 1",
    ):
        published.transaction(statement)
        seen.append(fingerprint(published, columns, "typed"))
    moved = [
        {part for part, value in b.parts.items() if value != a.parts[part]}
        for a, b in pairwise(seen)
    ]
    assert moved == [{"storage"}, {"storage"}, set(), set()]


def test_partitions_are_part_of_the_fingerprint(published: PostgresBusiness) -> None:
    """Attached, detached, and rewritten one by one."""
    published.transaction(
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10)",
    )
    seen = [fingerprint(published, ("id",), "parts")]
    for statement in (
        "CREATE TABLE high PARTITION OF parts FOR VALUES FROM (10) TO (20)",
        "ALTER TABLE parts DETACH PARTITION high",
        "ALTER TABLE parts ATTACH PARTITION high FOR VALUES FROM (10) TO (20)",
        "TRUNCATE low",
    ):
        published.transaction(statement)
        seen.append(fingerprint(published, ("id",), "parts"))
    moved = [
        {part for part, value in b.parts.items() if value != a.parts[part]}
        for a, b in pairwise(seen)
    ]
    assert [bool(parts & {"leaves"}) for parts in moved] == [True, True, True, False]
    assert moved[3] == {"storage"}


def test_estimates_count_partitions_and_know_nothing_of_a_new_table(
    published: PostgresBusiness,
) -> None:
    """What ANALYZE found, over all leaves; 0 before."""
    published.transaction(
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE high PARTITION OF parts FOR VALUES FROM (10) TO (1000)",
    )
    oid = described(published, "parts").oid
    with connect(published.settings().postgres) as connection:
        assert catalogue.estimate(connection, oid) == 0
        published.transaction(
            "INSERT INTO parts SELECT generate_series(0, 499)", "ANALYZE parts, low, high"
        )
        assert catalogue.estimate(connection, oid) == 500

"""Tests keys whose order depends on names of types and operators.

The session does not find these in its search_path, or finds others.
"""

from typing import NamedTuple

import psycopg
import pytest

from agent.config import ResourceSettings
from agent.connectors.base import Ask, Page
from agent.connectors.postgres import catalogue
from agent.connectors.postgres.pages import PageReader
from agent.connectors.postgres.setup import facts
from agent.connectors.postgres.setup import tables as table_checks
from agent.connectors.table import Criterion, SourceTable, passing
from agent.errors import Suspend
from agent.values.rows import Key
from tests.source.conftest import PostgresBusiness
from tests.source.test_postgres_pages import asking, described, rows_of
from tests.waiting import Hopeless, eventually

ROWS = 60
LABELS = ", ".join(f"'{'zyxab'[n % 5]}{n}'" for n in range(1, ROWS + 1))


DOWN = (
    "CREATE OPERATOR CLASS app.down FOR TYPE int USING btree AS OPERATOR 1 >, OPERATOR 2 >=,"
    " OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 app.turned(int, int)"
)


class Case(NamedTuple):
    """A table `app.keyed`, and how its key is made of a number n."""

    made: tuple[str, ...]
    key: str  # SELECT list over n
    extensions: tuple[str, ...] = ()
    icu: bool = False  # which not every build of PostgreSQL has


KEYS = {
    "citext": Case(
        ("CREATE TABLE app.keyed (k app.citext PRIMARY KEY)",),
        "(CASE WHEN n % 2 = 0 THEN 'Key' ELSE 'kEY' END || n)::app.citext",
        ("citext",),
    ),
    "citext and a number": Case(
        ("CREATE TABLE app.keyed (k app.citext, m int, PRIMARY KEY (k, m))",),
        "(CASE WHEN n % 2 = 0 THEN 'Key' ELSE 'kEY' END || n / 9)::app.citext, n",
        ("citext",),
    ),
    "a number, citext and a number": Case(
        ("CREATE TABLE app.keyed (a int, k app.citext, m int, PRIMARY KEY (a, k, m))",),
        "n / 30, (CASE WHEN n % 2 = 0 THEN 'Key' ELSE 'kEY' END || n / 9)::app.citext, n",
        ("citext",),
    ),
    "a domain over citext": Case(
        (
            "CREATE DOMAIN app.login AS app.citext CHECK (length(value::text) < 90)",
            "CREATE TABLE app.keyed (k app.login PRIMARY KEY)",
        ),
        "(CASE WHEN n % 2 = 0 THEN 'Key' ELSE 'kEY' END || n)::app.login",
        ("citext",),
    ),
    "an array of citext": Case(
        ("CREATE TABLE app.keyed (k app.citext[] PRIMARY KEY)",),
        "ARRAY[CASE WHEN n % 2 = 0 THEN 'Key' ELSE 'kEY' END, n::text]::app.citext[]",
        ("citext",),
    ),
    "ltree": Case(
        ("CREATE TABLE app.keyed (k app.ltree PRIMARY KEY)",),
        "('top.' || n % 7 || '.n' || n)::app.ltree",
        ("ltree",),
    ),
    "isbn": Case(
        ("CREATE TABLE app.keyed (k app.issn PRIMARY KEY)",),
        "substr((app.make_valid(('977' || lpad((1000000 + n * 7)::text, 7, '0') || '00?')"
        "::app.ean13))::text, 1, 17)::app.issn",
        ("isn",),
    ),
    "an enum": Case(
        (
            f"CREATE TYPE app.level AS ENUM ({LABELS})",
            "CREATE TABLE app.keyed (k app.level PRIMARY KEY)",
        ),
        "(substr('zyxab', n % 5 + 1, 1) || n)::app.level",
    ),
    "a domain over an enum": Case(
        (
            "CREATE DOMAIN app.own AS app.level",
            "CREATE TABLE app.keyed (k app.own PRIMARY KEY)",
        ),
        "(substr('zyxab', n % 5 + 1, 1) || n)::app.own",
    ),
    "a range": Case(
        (
            'CREATE TYPE app.words AS RANGE (subtype = text, collation = "C")',
            "CREATE TABLE app.keyed (k app.words, n int, PRIMARY KEY (k, n))",
        ),
        "app.words(n::text, NULL), n",
    ),
    "a composite": Case(
        (
            "CREATE TYPE app.pair AS (a text, b int)",
            "CREATE TABLE app.keyed (k app.pair PRIMARY KEY)",
        ),
        "ROW('p' || n % 3, n)::app.pair",
    ),
    "a domain over a composite": Case(
        (
            "CREATE DOMAIN app.two AS app.pair",
            "CREATE TABLE app.keyed (k app.two PRIMARY KEY)",
        ),
        "ROW('p' || n % 3, n)::app.pair::app.two",
    ),
    "a domain over an array": Case(
        (
            "CREATE DOMAIN app.codes AS int[]",
            "CREATE TABLE app.keyed (k app.codes PRIMARY KEY)",
        ),
        "ARRAY[n % 4, n]::app.codes",
    ),
    "another operator class": Case(
        (
            "CREATE TABLE app.keyed (k text NOT NULL, m varchar(9) NOT NULL)",
            "CREATE UNIQUE INDEX named ON app.keyed (k text_pattern_ops, m varchar_pattern_ops)",
            "ALTER TABLE app.keyed REPLICA IDENTITY USING INDEX named",
        ),
        "CASE WHEN n % 2 = 0 THEN 'é' ELSE 'Z' END || n / 5, 'm' || n",
    ),
    "operator classes that differ": Case(
        (
            "CREATE TABLE app.keyed (k text NOT NULL, m int NOT NULL)",
            "CREATE UNIQUE INDEX named ON app.keyed (k text_pattern_ops, m)",
            "ALTER TABLE app.keyed REPLICA IDENTITY USING INDEX named",
        ),
        "CASE WHEN n % 2 = 0 THEN 'é' ELSE 'Z' END || n / 5, n",
    ),
    "a reverse operator class": Case(
        (
            (
                "CREATE FUNCTION app.turned(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS "
                "'SELECT pg_catalog.btint4cmp(b, a)'"
            ),
            DOWN,
            "CREATE TABLE app.keyed (k int NOT NULL, m int NOT NULL)",
            "CREATE UNIQUE INDEX named ON app.keyed (k app.down, m)",
            "ALTER TABLE app.keyed REPLICA IDENTITY USING INDEX named",
        ),
        "n / 7, n",
    ),
    "an index that descends": Case(
        (
            "CREATE TABLE app.keyed (k int NOT NULL, m text NOT NULL)",
            "CREATE UNIQUE INDEX named ON app.keyed (k DESC, m)",
            "ALTER TABLE app.keyed REPLICA IDENTITY USING INDEX named",
        ),
        "n / 7, 'm' || n",
    ),
    "a collation of the index": Case(
        (
            'CREATE TABLE app.keyed (k text NOT NULL COLLATE "C")',
            "CREATE UNIQUE INDEX named ON app.keyed (k COLLATE app.chinese)",
            "ALTER TABLE app.keyed REPLICA IDENTITY USING INDEX named",
        ),
        "chr(19968 + n * 37 % 61) || n",
        icu=True,
    ),
    "a collation that ignores case": Case(
        ("CREATE TABLE app.keyed (k text COLLATE app.caseless, m int, PRIMARY KEY (k, m))",),
        "CASE WHEN n % 2 = 0 THEN 'Key' ELSE 'kEY' END || n / 9, n",
        icu=True,
    ),
    "bits, names and padded texts": Case(
        (
            (
                'CREATE TABLE app.keyed (a bit(6), b "char", c name, d char(4), e varchar(5), '
                "PRIMARY KEY (a, b, c, d, e))"
            ),
        ),
        "(n % 3)::bit(6), chr(97 + n % 4)::\"char\", 'n' || n % 5, 'd' || n % 2, n::text",
    ),
}
# Operators that are found before PostgreSQL's own where the search_path says so, and are wrong.
TRAPPED = ("int", "text", "varchar", "name", "bpchar")
TRAPS = (
    *(
        f"CREATE FUNCTION trap.never({of}, {of}) RETURNS bool LANGUAGE sql IMMUTABLE AS "
        "'SELECT false'"
        for of in TRAPPED
    ),
    *(
        f"CREATE OPERATOR trap.{name} (LEFTARG = {of}, RIGHTARG = {of}, FUNCTION = trap.never)"
        for name in ("<", ">", "=", ">=")
        for of in TRAPPED
    ),
    "CREATE DOMAIN trap.text AS pg_catalog.int4",
    "CREATE DOMAIN trap.varchar AS pg_catalog.int4",
    "CREATE FUNCTION trap.count() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
    (
        "CREATE FUNCTION trap.unnest(pg_catalog.text[]) RETURNS SETOF pg_catalog.text "
        "LANGUAGE sql AS 'SELECT NULL::pg_catalog.text'"
    ),
)


COLLATIONS = (
    "CREATE COLLATION app.chinese (provider = icu, locale = 'zh-u-co-stroke')",
    (
        "CREATE COLLATION app.caseless "
        "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
    ),
)


def prepared(business: PostgresBusiness) -> dict[str, SourceTable]:
    """Returns the tables of all cases with their rows, by case, as the catalogue has them.

    It makes the traps as well.
    """
    icu = bool(
        business.value("SELECT EXISTS (SELECT FROM pg_collation WHERE collname = 'zh-x-icu')")
    )
    cases = {name: case for name, case in KEYS.items() if icu or not case.icu}
    extensions = sorted({name for case in cases.values() for name in case.extensions})
    business.transaction(
        "CREATE SCHEMA app",
        *(f"CREATE EXTENSION {name} SCHEMA app" for name in extensions),
        *(COLLATIONS if icu else ()),
        "CREATE SCHEMA trap",
        *TRAPS,
    )
    for name, case in cases.items():
        made = [
            statement.replace("app.keyed", f'app."key: {name}"').replace("named", f'"{name} index"')
            for statement in case.made
        ]
        rows = f"SELECT {case.key} FROM generate_series(1, {ROWS}) n"
        business.transaction(*made, f'INSERT INTO app."key: {name}" {rows}')
    return {name: described(business, f"key: {name}", "app") for name in cases}


def page_of(reader: PageReader, ask: Ask) -> Page:
    """Returns the page; an error of its table ends the test at once."""

    def come() -> Page | None:
        try:
            return reader.page(0.1)
        except Suspend as error:
            raise Hopeless(f"{ask.resource}: {error.text('en')}") from error

    reader.ask(ask)
    page = eventually(come, what="the page is read")
    assert page is not None
    return page


def keys(reader: PageReader, table: SourceTable) -> list[Key]:
    """Returns every key of the table, page by page, as they come."""
    found: list[Key] = []
    while True:
        page = page_of(reader, asking(table, limit=7, after=found[-1] if found else None))
        found += rows_of(page)  # type: ignore[arg-type]
        if not page.more:
            return found


@pytest.mark.parametrize("search_path", ["public", "trap, pg_catalog", "''"])
def test_every_key_comes_once(postgres_business: PostgresBusiness, search_path: str) -> None:
    """Whatever the session's search_path: by pages, by itself, and all are counted."""
    tables = prepared(postgres_business)
    database = str(postgres_business.value("SELECT current_database()"))
    postgres_business.transaction(f'ALTER DATABASE "{database}" SET search_path = {search_path}')
    reader = PageReader(postgres_business.settings().postgres)
    wrong = {}
    for name, table in tables.items():
        found = keys(reader, table)
        by_themselves = rows_of(page_of(reader, asking(table, keys=found)))
        counted = page_of(reader, asking(table, counted=())).total
        numbers = len(found), len(set(found)), len(set(by_themselves)), counted
        if numbers != (ROWS, ROWS, ROWS, ROWS):
            wrong[name] = numbers
    reader.close()
    assert wrong == {}


FILTERED = """
    CREATE TYPE pair AS (a int, b int);
    CREATE TABLE kept (
        id int PRIMARY KEY, b boolean, c char(8), n numeric(6,2), t timestamp, p pair, x text
    );
    INSERT INTO kept SELECT
        n,
        (ARRAY[true, false, NULL])[n % 3 + 1],
        (ARRAY['000000', 'a', NULL])[n % 3 + 1],
        n / 4.0,
        '2026-01-01'::timestamp + n % 2 * interval '1 day',
        (ARRAY[ROW(NULL, NULL)::pair, ROW(1, 2)::pair, NULL])[n % 3 + 1],
        (ARRAY['A', 'a', 'é', NULL, '''', '\\', '%s', '{}'])[n % 8 + 1]
    FROM generate_series(1, 60) n"""
FILTERS: dict[str, list[Criterion]] = {
    "true": [Criterion("b", True, frozenset({"t"}))],
    "not true": [Criterion("b", False, frozenset({"t"}))],
    "padded": [Criterion("c", False, frozenset({"000000  "}))],
    "not padded": [Criterion("c", True, frozenset({"000000"}))],
    "without padding": [Criterion("c", True, frozenset({"000000"}), "padded")],
    "a number": [Criterion("n", True, frozenset({"1", "2.5"}), "number")],
    "a time": [Criterion("t", True, frozenset({"2026-01-02 00:00:00"}))],
    "no composite": [Criterion("p", True)],
    "a composite": [Criterion("p", False)],
    "of NULLs": [Criterion("p", True, frozenset({"(,)"}))],
    "texts": [Criterion("x", True, frozenset({"A", "'", "\\", "%s", "{}", ""}))],
    "two": [Criterion("x", False, frozenset({"A", "a"})), Criterion("b", True, frozenset({"f"}))],
}


def test_those_are_counted_that_the_row_function_keeps(
    postgres_business: PostgresBusiness,
) -> None:
    """The same text on both sides, NULL and a composite value of NULLs told apart."""
    postgres_business.transaction(*FILTERED.split(";"))
    table = described(postgres_business, "kept")
    reader = PageReader(postgres_business.settings().postgres)
    rows = rows_of(page_of(reader, asking(table, limit=100)))
    places = [column.name for column in table.columns]
    for name, criteria in FILTERS.items():
        wanted = sum(
            all(passing(one)(row[places.index(one.column)]) for one in criteria) for row in rows
        )
        assert page_of(reader, asking(table, counted=criteria)).total == wanted, name
    reader.close()


def test_a_key_whose_index_has_no_order_is_none(database: str) -> None:
    """A temporal key of PostgreSQL 18 is no btree.

    `check` says so, and its statements give another one.
    """
    with psycopg.connect(database, autocommit=True) as connection:
        if connection.info.server_version < 180_000:
            pytest.skip("temporal keys come with PostgreSQL 18")
        connection.execute(
            "CREATE TABLE stay (room int4range, during daterange, "
            "PRIMARY KEY (room, during WITHOUT OVERLAPS))"
        )
        name = ("public", "stay")
        resource = ResourceSettings(name="stay", table="public.stay", columns=["room", "during"])
        entry = catalogue.tables(connection, [name])[name]
        traits = facts.traits(connection, [entry.table.oid])[entry.table.oid]
        (finding,) = table_checks.check_table(resource, entry, traits, 180_000)
        assert (finding.level, finding.code) == ("error", "KEY_UNORDERED"), finding
        for statement in finding.fix.splitlines():
            connection.execute(statement.encode())
        assert catalogue.tables(connection, [name])[name].table.key == ("id",)

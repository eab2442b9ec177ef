"""Tests row filters as a person writes them, on each kind of type.

They are compared with what the server streams and copies.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import sql

from agent.config import PostgresSettings, ResourceSettings, Settings
from agent.connectors.changes import Change
from agent.connectors.postgres import filters
from agent.connectors.postgres.copy_out import copy_out
from agent.connectors.postgres.session import connect
from agent.connectors.postgres.source import PostgresSource
from agent.errors import ConfigInvalid, ReadRefused
from agent.resource import Resource
from agent.values.lines import row_of
from agent.values.rows import Row
from tests.services.fixtures import fresh_database
from tests.services.postgres import PostgresAddress
from tests.source.conftest import PostgresBusiness
from tests.source.reading import read_until, silent_never

MADE = (
    "CREATE SCHEMA app",
    "CREATE TYPE app.level AS ENUM ('秘密', 'public', 'it''s')",
    "CREATE DOMAIN app.grade AS app.level",
    "CREATE DOMAIN app.code AS char(6) CHECK (VALUE <> '999999')",
    "CREATE DOMAIN app.rate AS numeric(6,2)",
    """CREATE TYPE app."%s {x} ""q"" '" AS ENUM ('a', 'b')""",
)


class Kind(NamedTuple):
    """Describes a column type with values for its filter.

    There are values as a person may write them, the stored values that they mean, and one that they
    do not mean.
    """

    type_name: str
    written: list[Any]
    meant: list[str]
    other: str


KINDS = [
    Kind("char(8)", ["000000", "310101"], ["000000", "310101  "], "000001"),
    Kind("char(4)", ["a"], ["a"], "b"),
    Kind("bpchar", ["a"], ["a", "a   "], " a"),
    Kind("varchar(6)", ["a ", 310101], ["a ", "310101"], "a"),
    Kind("text", ["北京", "1.0", 7], ["北京", "1.0", "7"], "1"),
    Kind("name", ["n"], ["n"], "m"),
    Kind('"char"', ["x"], ["x"], "y"),
    Kind("boolean", ["true"], ["t"], "f"),
    Kind("boolean", [False], ["f"], "t"),
    Kind("boolean", ["yes", 1, "on"], ["t"], "f"),
    Kind("int4", ["007", 8], ["7", "8"], "9"),
    Kind("oid", [7], ["7"], "8"),
    Kind("numeric(6,2)", [1, "2.5"], ["1", "2.50"], "2"),
    Kind("numeric", ["1.0", "1e2", 5], ["1", "1.000", "100", "100.0", "5.0"], "10"),
    Kind("float8", ["0", "1e3", "0.1"], ["0", "-0", "1000", "0.1"], "1"),
    Kind("float4", ["0.1", "-0"], ["0.1", "0", "-0"], "0.2"),
    Kind("date", ["2026-1-5", 20260106], ["2026-01-05", "2026-01-06"], "2026-05-01"),
    Kind("date", ["infinity", "0044-03-15 BC"], ["infinity", "0044-03-15 BC"], "-infinity"),
    Kind("timestamp", ["2026-01-05T12:00"], ["2026-01-05 12:00:00"], "2026-01-05 12:00:00.1"),
    Kind("timestamp(0)", ["2026-01-05 12:00:00"], ["2026-01-05 12:00:00"], "2026-01-05"),
    Kind("timestamptz", ["2026-01-05 20:00+08"], ["2026-01-05 12:00Z"], "2026-01-05 20:00Z"),
    Kind("time", ["8:05"], ["08:05:00"], "20:05"),
    Kind(
        "uuid",
        ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"],
        ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12",
    ),
    Kind("bytea", ["\\x00FF", "a\\\\"], ["\\x00ff", "\\x615c"], "\\x00"),
    Kind("inet", ["10.0.0.1/32"], ["10.0.0.1"], "10.0.0.1/8"),
    Kind("macaddr", ["08-00-2B-01-02-03"], ["08:00:2b:01:02:03"], "08:00:2b:01:02:04"),
    Kind("bit(3)", ["101"], ["101"], "100"),
    Kind("money", ["1.50", 2], ["1.5", "2"], "3"),
    Kind("pg_lsn", ["0/00ff"], ["0/FF"], "0/FE"),
    Kind("app.level", ["秘密", "it's"], ["秘密", "it's"], "public"),
    Kind("app.grade", ["秘密"], ["秘密"], "public"),
    Kind("app.code", ["0"], ["0"], "1"),
    Kind("app.rate", ["1.5"], ["1.5"], "1.51"),
    Kind("""app."%s {x} ""q"" '\"""", ["a"], ["a"], "b"),
]  # fmt: skip

# What is no value of the type, or would be another after a cast, or tomorrow
WRONG: list[tuple[str, Any]] = [
    ("int4", "x"), ("int4", "1.5"), ("int4", True), ("int2", 70000), ("oid", -1),
    ("date", "2026-02-30"), ("date", "today"), ("date", "Tomorrow "), ("date", "2026-01-05 13:00"),
    ("date", "2026-01-05 00:00+08"), ("timestamp", "now"), ("timestamp", "2026-01-05 12:00+08"),
    ("timestamp(0)", "2026-01-05 12:00:00.5"), ("timestamp", "2026-01-05 12:00:00.1234567"),
    ("timestamptz(3)", "2026-01-05 12:00:00.0005Z"), ("timestamptz", "yesterday"), ("time", "now"),
    ("time", "12:00+08"), ("time", "2026-01-05 12:00"), ("time(0)", "12:00:00.5"),
    ("char(4)", "abcde"), ("varchar(4)", "abcde"), ("varchar(4)", "abcd "), ('"char"', "xy"),
    ("name", "n" * 64), ("text", True), ("text", "a\0b"), ("numeric(6,2)", "1.005"),
    ("numeric(6,2)", 123456), ("numeric(3,0)", "1.5"), ("float4", 16777217), ("float8", "1e400"),
    ("money", "1.005"), ("bit(3)", "1010"), ("bit(3)", "10"), ("varbit(2)", "101"),
    ("boolean", "maybe"), ("boolean", 2), ("uuid", "a0ee"), ("bytea", "\\xzz"), ("inet", "10.0.0"),
    ("app.level", "secret"), ("app.grade", "secret"), ("app.code", "999999"),
    ("app.code", "1234567"), ("app.rate", "1.555"),
]  # fmt: skip

# Types with several spellings of one value
SEVERAL = [
    "interval", "json", "jsonb", "timetz", "int4[]", "text[]", "int4range", "app.pair",
    "app.caseless", "point", "box", "tsvector", "xml", "app.spans",
]  # fmt: skip


@pytest.fixture(scope="module", params=["postgres14", "postgres18"])
def business(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresBusiness]:
    """Yields a database on the oldest and on the newest server.

    One table has every type of KINDS in a column.
    """
    server: PostgresAddress = request.getfixturevalue(request.param)
    with fresh_database(server) as conninfo:
        business = PostgresBusiness(conninfo, tmp_path_factory.mktemp("filters"))
        columns = ", ".join(f"c{i} {kind.type_name}" for i, kind in enumerate(KINDS))
        wrong = ", ".join(f"c{i} {type_name}" for i, (type_name, _) in enumerate(WRONG))
        several = ", ".join(f"c{i} {type_name}" for i, type_name in enumerate(SEVERAL))
        business.transaction(
            *MADE,
            "CREATE TYPE app.pair AS (a int, b numeric)",
            "CREATE EXTENSION citext SCHEMA app",
            "CREATE DOMAIN app.caseless AS app.citext",
            "CREATE DOMAIN app.spans AS interval",
            f"CREATE TABLE app.typed (id int PRIMARY KEY, {columns})",
            "ALTER TABLE app.typed REPLICA IDENTITY FULL",
            f"CREATE TABLE app.wrong (id int PRIMARY KEY, {wrong})",
            f"CREATE TABLE app.several (id int PRIMARY KEY, {several})",
        )
        business.publish("app.typed")
        yield business
        business.close()


def sharing(business: PostgresBusiness, table: str, *conditions: dict[str, Any]) -> Settings:
    """Settings that share a table under a filter, the second resource of its configuration."""
    given = {"name": "r1", "table": table, "columns": ["id"], "filter": list(conditions)}
    resources = [
        ResourceSettings(name="r0", table="app.other", columns=["id"]),
        ResourceSettings.model_validate(given),
    ]
    return business.settings((table,)).model_copy(update={"resource": resources})


def passing(source: PostgresSource, settings: Settings) -> Resource:
    """Returns the second resource compiled, as the service does."""
    shared = settings.resource[1]
    table = source.tables()[PostgresSettings.place(shared.table)]
    return Resource(
        shared, settings.kafka, table, source.origin(table), source.criteria(shared, table)
    )


def copied(connection: psycopg.Connection[Any], resource: Resource) -> list[Row]:
    """Returns the rows as a page has them."""
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in resource.reading)
    name = sql.Identifier(resource.table.schema, resource.table.table)
    query = sql.SQL("COPY (SELECT {} FROM {} t ORDER BY id) TO STDOUT").format(columns, name)
    lines = chain.from_iterable(copy_out(connection, query.as_bytes(connection)))
    return [row_of(line) for line in lines]


@pytest.fixture(scope="module")
def stored(business: PostgresBusiness) -> dict[int, list[tuple[int, bool | None]]]:
    """Returns of each kind which rows hold a value that is meant.

    It is None where the column is NULL.
    """
    found: dict[int, list[tuple[int, bool | None]]] = {}
    with business.connect() as connection:
        number = 0
        for i, kind in enumerate(KINDS):
            insert = f"INSERT INTO app.typed (id, c{i}) VALUES (%s, %s)"
            found[i] = []
            for value in [*kind.meant, kind.other, None]:
                number += 1
                connection.execute(insert.encode(), (number, value))
                meant = None if value is None else value != kind.other
                found[i].append((number, meant))
    return found


@pytest.mark.parametrize("wanted", ["is_in", "not_in"])
def test_values_are_compared_as_values_of_the_column(
    business: PostgresBusiness,
    stored: dict[int, list[tuple[int, bool | None]]],
    wanted: str,
) -> None:
    """A row is shared or kept back by what its value is, not by how it is written.

    Stream, pages and the SQL that counts agree on it.
    """
    base = business.settings(("app.typed",))
    source = business.source(base)
    source.open(business.initial(), silent_never)
    count = sum(map(len, stored.values()))
    messages = read_until(source, lambda got: sum(isinstance(m, Change) for m in got) == count)
    relation = next(message.relation for message in messages if isinstance(message, Change))
    changes = [message.new for message in messages if isinstance(message, Change)]
    wrong: list[str] = []
    with connect(base.postgres) as connection:
        for i, kind in enumerate(KINDS):
            settings = sharing(business, "app.typed", {"column": f"c{i}", wanted: kind.written})
            source._settings = settings
            resource = passing(source, settings)
            read = resource.bind(relation).read
            streamed = [read(row) for row in changes if row is not None]
            expected = {
                number
                for number, meant in stored[i]
                if (bool(meant) if wanted == "is_in" else not meant)
            }
            counting = sql.SQL("SELECT id FROM app.typed t WHERE {}").format(
                filters.condition(resource.criteria)
            )
            numbers = {number for number, _ in stored[i]}
            ways = {
                "stream": {int(str(r[0])) for r in streamed if resource.passes(r, False)},
                "pages": {
                    int(str(r[0]))
                    for r in copied(connection, resource)
                    if resource.passes(r, False)
                },
                "sql": {number for (number,) in connection.execute(counting)},
            }
            wrong += [
                f"{kind.type_name} {wanted} {kind.written}: "
                f"{way} {sorted(ids & numbers)}, not {sorted(expected)}"
                for way, ids in ways.items()
                if ids & numbers != expected
            ]
    source.close()
    assert wrong == []


def refused(business: PostgresBusiness, table: str, *conditions: dict[str, Any]) -> list[str]:
    """Returns the problems that the source names."""
    settings = sharing(business, table, *conditions)
    shared = settings.resource[1]
    with connect(settings.postgres) as connection:
        name = PostgresSettings.place(shared.table)
        source = PostgresSource(settings)
        source._side = connection
        with pytest.raises(ConfigInvalid) as caught:
            source.criteria(shared, source.tables()[name])
    return list(caught.value.problems)


def test_what_is_none_of_the_type_is_named(business: PostgresBusiness) -> None:
    """Each with its place, and none with its value; the values beside it are right."""
    conditions: list[dict[str, Any]] = [
        {"column": f"c{i}", "not_in": [value]} for i, (_, value) in enumerate(WRONG)
    ]
    problems = refused(business, "app.wrong", *conditions)
    named = [problem.partition(": ")[0] for problem in problems]
    assert named == [f"resource[1].filter[{i}].not_in[0]" for i in range(len(WRONG))]
    assert not any("999999" in problem or "2026" in problem for problem in problems)


def test_the_place_of_one_value_among_many(business: PostgresBusiness) -> None:
    """All that are wrong, and only those."""
    found = refused(
        business,
        "app.typed",
        {"column": "id", "is_null": False},
        {"column": "c13", "is_in": ["1", "x", "2", "1..2"]},
    )
    assert [problem.partition(": ")[0] for problem in found] == [
        "resource[1].filter[1].is_in[1]",
        "resource[1].filter[1].is_in[3]",
    ]


def test_types_whose_equal_values_are_written_in_several_ways(business: PostgresBusiness) -> None:
    """The filter is refused with its column; a test for NULL is not."""
    conditions: list[dict[str, Any]] = [
        {"column": f"c{i}", "not_in": ["1"]} for i in range(len(SEVERAL))
    ]
    problems = refused(business, "app.several", *conditions)
    assert [problem.partition(": ")[0] for problem in problems] == [
        f"resource[1].filter[{i}].column" for i in range(len(SEVERAL))
    ]
    tests = [{"column": f"c{i}", "is_null": True} for i in range(len(SEVERAL))]
    settings = sharing(business, "app.several", *tests)
    with connect(settings.postgres) as connection:
        source = PostgresSource(settings)
        source._side = connection
        assert passing(source, settings).passes(("1", *[None] * len(SEVERAL)), False) is True


def test_a_collation_under_which_texts_are_equal_that_differ(
    postgres15: PostgresAddress, tmp_path: Path
) -> None:
    """Refused, too; a build without ICU has no such collation."""
    with fresh_database(postgres15) as conninfo:
        business = PostgresBusiness(conninfo, tmp_path)
        try:
            business.transaction(
                "CREATE COLLATION loose "
                "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
                "CREATE TABLE named (id int PRIMARY KEY, name text COLLATE loose)",
            )
        except psycopg.errors.FeatureNotSupported:
            return
        (problem,) = refused(business, "public.named", {"column": "name", "is_in": ["a"]})
        assert problem.startswith("resource[1].filter[0].column: values of type text")


def test_a_type_that_the_role_may_not_name(business: PostgresBusiness) -> None:
    """The error says which right is lacking."""
    role = sql.Identifier(f"{business.slot}_role")
    with business.connect() as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        settings = sharing(business, "app.typed", {"column": "c29", "not_in": ["public"]})
        shared = settings.resource[1]
        try:
            with connect(settings.postgres) as connection:
                source = PostgresSource(settings)
                source._side = connection
                table = source.tables()["app", "typed"]
                connection.execute(sql.SQL("SET ROLE {}").format(role))
                with pytest.raises(ReadRefused, match=r"USAGE on the schema of type app\.level"):
                    source.criteria(shared, table)
        finally:
            owner.execute(sql.SQL("DROP ROLE {}").format(role))

"""Tests what a comparison with the source rests on.

These are the same bytes for the same value, a known order of keys, and copies that begin again.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql as psql

from agent.errors import TableChanged
from agent.front.base import Copy, Stored
from agent.front.postgres.front import PostgresFront
from agent.front.sqlite.columns import IN, OUT
from agent.front.sqlite.front import SqliteFront
from agent.front.store import SqlFront
from agent.outbox.reader import Reader
from agent.resource import FrontColumn, Target
from agent.values import column_types as v
from agent.values.canonical import SESSION
from agent.values.lines import line_of
from tests.front.conftest import (
    PLAIN,
    SOFT,
    WORDS,
    Fronts,
    initialise,
    progress,
    put,
    sql,
    target,
    write,
)

on_databases = pytest.mark.parametrize("fronts", ["sqlite", "postgres", "mariadb"], indirect=True)

# ---- bytes

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
AWKWARD = st.text(st.sampled_from("\\\b\f\n\r\t\vNabtn\u0085\u2028"), max_size=8)
POWERS = [10.0**n for n in range(-8, 20)]
LARGE = (
    st.floats(width=64)
    | st.sampled_from([*POWERS, -0.0, 5e-324, 1.7976931348623157e308, 999999999999999.9, 123456.7])
    | st.integers(50, 1023).map(lambda n: 2.0**n)
)
LARGE |= st.integers(2**53, 2**62).map(float)  # where many shortest texts lie half-way
SMALL = st.floats(width=32) | st.sampled_from([*POWERS, -0.0, 999999.0, 1234567.0])


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    """Yields a session that writes values in the one text form."""
    with psycopg.connect(database, autocommit=True) as opened:
        for name, value in SESSION.items():
            opened.execute("select set_config(%s, %s, false)", (name, value))
        yield opened


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(large=LARGE, small=SMALL)
def test_sqlite_writes_floats_as_postgres_does(
    connection: psycopg.Connection, large: float, small: float
) -> None:
    """Rows are equal byte for byte, whatever the number.

    A row that differs in its text alone would count as a difference.
    """
    row = connection.execute(
        "select (%s::text::float8)::text, (%s::text::float8::float4)::text",
        (repr(large), repr(small)),
    ).fetchone()
    assert row is not None
    assert [
        OUT[kind](IN[kind](text)) for kind, text in zip((v.FLOAT8, v.FLOAT4), row, strict=True)
    ] == list(row)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.lists(st.none() | TEXTS | AWKWARD, min_size=1, max_size=4))
def test_lines_are_the_servers_own(connection: psycopg.Connection, row: list[str | None]) -> None:
    """Rows of front ends without COPY are compared with the source's as lines."""
    values = psql.SQL(", ").join([psql.Literal(value) + psql.SQL("::text") for value in row])
    with (
        connection.cursor() as cursor,
        cursor.copy(psql.SQL("COPY (SELECT {}) TO STDOUT").format(values)) as copy,
    ):
        assert b"".join(bytes(data) for data in copy) == line_of(row) + b"\n"


def test_lines_of_a_wider_column_are_as_the_source_writes_them(
    database: str, postgres_url: str
) -> None:
    """5.00 stays 5.00 in a column with more digits.

    What somebody has written there beyond the source's digits is shown, not hidden.
    """
    narrow = target("narrow", ("id", "名称", "amount"), (0,))
    front = PostgresFront(postgres_url, None, 1.0, "unit")
    initialise(front)
    sql(database, 'CREATE TABLE narrow (id int8 primary key, "名称" text, amount numeric(40,12))')
    front.check(narrow)
    front.open("nonce")
    write(
        front, narrow, {("1",): put(("1", "a\t", "5.0000000000")), ("2",): put(("2", None, None))}
    )
    sql(database, "INSERT INTO narrow VALUES (3, 'by hand', 5.000000000001)")
    front.begin()
    wanted = [
        line_of(row)
        for row in (
            ("1", "a\t", "5.0000000000"),
            ("2", None, None),
            ("3", "by hand", "5.000000000001"),
        )
    ]
    assert sorted(front.lines(narrow, None, None)) == wanted
    front.close()


# ---- the order of keys

# A source's type -> for sqlite and for postgres: a column that holds it, and whether keys stand in
# the source's order there.
KEY_TYPES = {
    (v.INT4, "integer"): (("INTEGER", True), ("integer", True)),
    (v.INT8, "bigint"): (("INTEGER", True), ("numeric", True)),
    (v.NUMERIC, "numeric(10,2)"): (("TEXT", False), ("numeric(12,3)", True)),
    (v.DATE, "date"): (("TEXT", False), ("date", True)),
    (v.TIMESTAMPTZ, "timestamp with time zone"): (
        ("TEXT", False),
        ("timestamp with time zone", True),
    ),
    (v.UUID, "uuid"): (("TEXT", False), ("uuid", True)),
    (v.TEXT, "text"): (("TEXT", False), ('text COLLATE "C"', False)),
    (v.VARCHAR, "character varying(9)"): (("TEXT", False), ("character varying(9)", False)),
}


@pytest.mark.parametrize("source", KEY_TYPES, ids=lambda source: source[1])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_sources_order_is_certain_for_some_types_only(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, source: tuple[int, str]
) -> None:
    """Numbers, times and uuids; one doubtful column of the key makes the whole key doubtful."""
    (sqlite_type, in_sqlite), (postgres_type, in_postgres) = KEY_TYPES[source]
    one = Target(
        "one",
        None,
        "one",
        (FrontColumn("k", *source, True, True), FrontColumn("n", v.INT4, "integer", True, True)),
        (0, 1),
        False,
        {},
    )
    front: SqlFront
    if kind == "sqlite":
        with sqlite3.connect(tmp_path / "front.db") as connection:
            connection.execute(f"CREATE TABLE one (k {sqlite_type}, n INTEGER, PRIMARY KEY (k, n))")
        connection.close()
        front = SqliteFront(f"sqlite:///{tmp_path}/front.db", 1.0, "unit")
    else:
        sql(
            request.getfixturevalue("database"),
            f"CREATE TABLE one (k {postgres_type}, n integer, PRIMARY KEY (k, n))",
        )
        front = PostgresFront(request.getfixturevalue("postgres_url"), None, 1.0, "unit")
    front.check(one)
    assert front.same_order(one) is (in_sqlite if kind == "sqlite" else in_postgres)
    assert front.same_order(one._replace(key=(1,)))
    front.engine.dispose()


def test_a_value_held_as_text_is_in_no_order(database: str, postgres_url: str) -> None:
    """Such a column keeps every value, but not the order."""
    sql(database, 'CREATE TABLE one (k text COLLATE "C" PRIMARY KEY)')
    one = Target(
        "one", None, "one", (FrontColumn("k", v.DATE, "date", True, True),), (0,), False, {}
    )
    front = PostgresFront(postgres_url, None, 1.0, "unit")
    front.check(one)
    assert not front.same_order(one)


# ---- beginning anew


def state_of(front: SqlFront) -> Stored:
    """Returns what the service finds at its next start."""
    stored = front.open("again")
    front.close()
    return stored


def opened(fronts: Fronts) -> SqlFront:
    """Returns the front end on a database, open."""
    front = fronts.new()
    assert isinstance(front, SqlFront)
    front.open("nonce")
    return front


@on_databases
def test_a_new_stream_makes_every_table_copying(fronts: Fronts) -> None:
    """What was known of the old stream is forgotten, and numbers go on.

    What is suspended stays so, and what a copy had read counts no more.
    """
    front = opened(fronts)
    front.begin()
    front.set_state(PLAIN.resource, "live", None)
    front.set_state(WORDS.resource, "copying", Copy("extras", ("a", "1")))
    front.note_holes(WORDS.resource, [("b", "1")], [])
    front.commit(
        progress("0/20", number=7, batch=3, seqs={PLAIN.resource: (7, 5)}, transactions=(8,))
    )
    front.suspend(
        TableChanged(resource=SOFT.resource, table="app.soft", change="column x does not exist")
    )
    front.close()
    front.follow({"system_id": "2", "timeline": 5}, "1/30", 99)
    stored = state_of(front)
    assert (
        stored.identity["system_id"],
        stored.identity["timeline"],
        stored.position,
        stored.position_time_us,
        stored.commit,
    ) == ("2", 5, "1/30", 99, ("", 0, 0))
    assert (
        stored.number,
        stored.batch,
        stored.source_id,
        stored.resources[PLAIN.resource].seq,
    ) == (7, 3, "source", 7)
    states = {name: state.state for name, state in stored.resources.items()}
    assert states == {
        PLAIN.resource: "copying",
        WORDS.resource: "copying",
        SOFT.resource: "suspended",
    }
    assert (
        dict(stored.copies),
        list(stored.transactions),
        set().union(*stored.holes.values()),
    ) == (
        {},
        [],
        set(),
    )


@on_databases
def test_a_table_made_anew_is_copied_from_the_beginning(fronts: Fronts) -> None:
    """Also one that was suspended; the others keep what they had."""
    front = opened(fronts)
    kept = Copy("extras", ("1",))
    front.start_copy(PLAIN.resource, kept)
    front.suspend(
        TableChanged(resource=WORDS.resource, table="app.words", change="column x does not exist")
    )
    front.close()
    front.copy_again([WORDS.resource])
    stored = state_of(front)
    assert (stored.resources[WORDS.resource].state, stored.copies) == (
        "copying",
        {PLAIN.resource: kept},
    )
    row = Reader(front.engine, "unit").resources()[WORDS.resource]
    assert (row["code"], row["details"]) == ("", "{}")


@on_databases
def test_the_reader_sees_how_far_copies_are(fronts: Fronts) -> None:
    """For `status`, beside the service."""
    front = opened(fronts)
    reader = Reader(front.engine, "unit")
    assert reader.copies() == {}
    copy = Copy("extras", ("a\t", "1"), "7", rows=3)
    front.start_copy(WORDS.resource, copy)
    assert reader.copies() == {WORDS.resource: copy}
    front.close()

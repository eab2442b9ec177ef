"""Tests what SQLite and PostgreSQL front ends do in their own way.

That is refusals at start, errors, locks, and the reader beside the writer.
"""

import sqlite3
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from agent.errors import (
    FrontBusy,
    FrontTableWrong,
    FrontUnfit,
    FrontUnreachable,
    NotInitialised,
    RowRefused,
)
from agent.front.base import PART, Batch
from agent.front.postgres.columns import accepts
from agent.front.postgres.front import PostgresFront
from agent.front.sqlite.columns import affinity
from agent.front.sqlite.front import SqliteFront
from agent.front.store import SqlFront
from agent.outbox.frames import BatchWriter, OutboxEvent, event_id, frames
from agent.outbox.reader import Published, Reader
from tests.front.conftest import (
    PLAIN,
    SOFT,
    WORDS,
    Fronts,
    fetch,
    initialise,
    progress,
    put,
    remedy,
    sql,
    target,
    write,
)

NARROW = target("narrow", ("id", "名称", "amount"), (0,))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Returns a fresh SQLite database."""
    return f"sqlite:///{tmp_path}/front.db"


def sqlite(url: str, statement: str) -> list[tuple[object, ...]]:
    """Runs a statement beside the front."""
    with sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None) as connection:
        return connection.execute(statement).fetchall()


def database_name(conninfo: str) -> str:
    """Returns the name of the database."""
    return str(conninfo_to_dict(conninfo)["dbname"])


# ---- refusals at start

SQLITE_WRONG = {
    "key": ('CREATE TABLE narrow (id INTEGER, "名称" TEXT, amount TEXT)', "primary key"),
    "collation": (
        'CREATE TABLE narrow (id TEXT COLLATE NOCASE PRIMARY KEY, "名称" TEXT, amount TEXT)',
        "must be INTEGER",
    ),
    "numeric": (
        'CREATE TABLE narrow (id INTEGER PRIMARY KEY, "名称" TEXT, amount NUMERIC)',
        "amount is NUMERIC",
    ),
    "missing": ('CREATE TABLE narrow (id INTEGER PRIMARY KEY, "名称" TEXT)', "amount is missing"),
    "not null": (
        'CREATE TABLE narrow (id INTEGER PRIMARY KEY, "名称" TEXT NOT NULL, amount TEXT)',
        "NOT NULL",
    ),
    "extra": (
        (
            'CREATE TABLE narrow (id INTEGER PRIMARY KEY, "名称" TEXT, amount TEXT, '
            "more TEXT NOT NULL)"
        ),
        "more is NOT NULL",
    ),
}
POSTGRES_WRONG = {
    "key": ('CREATE TABLE narrow (id int8, "名称" text, amount numeric)', "no primary key"),
    "varchar": (
        'CREATE TABLE narrow (id int8 primary key, "名称" varchar(5), amount numeric)',
        "narrower",
    ),
    "int": (
        'CREATE TABLE narrow (id int4 primary key, "名称" text, amount numeric)',
        "id is integer, narrower",
    ),
    "scale": (
        'CREATE TABLE narrow (id int8 primary key, "名称" text, amount numeric(30,2))',
        "numeric(30,2), narrower",
    ),
    "missing": ('CREATE TABLE narrow (id int8 primary key, "名称" text)', "amount is missing"),
    "generated": (
        (
            'CREATE TABLE narrow (id int8 primary key, "名称" text, '
            "amount numeric(30,10) generated always as (1) stored)"
        ),
        "generated",
    ),
    "not null": (
        'CREATE TABLE narrow (id int8 primary key, "名称" text not null, amount numeric)',
        "NOT NULL",
    ),
    "extra": (
        (
            'CREATE TABLE narrow (id int8 primary key, "名称" text, amount numeric, '
            "more text not null)"
        ),
        "more is NOT NULL",
    ),
}


@pytest.mark.parametrize("case", SQLITE_WRONG)
def test_sqlite_refuses_a_table_that_would_change_rows(sqlite_url: str, case: str) -> None:
    """The error names table, column and what it must be."""
    statement, reason = SQLITE_WRONG[case]
    sqlite(sqlite_url, statement)
    with pytest.raises(FrontTableWrong, match=f"narrow.*{reason}") as wrong:
        SqliteFront(sqlite_url, 1.0, "unit").check(NARROW)
    if case == "missing":  # all that an ALTER TABLE of SQLite can mend
        sqlite(sqlite_url, remedy(wrong.value))
        SqliteFront(sqlite_url, 1.0, "unit").check(NARROW)


def test_sqlite_refuses_a_key_collation(sqlite_url: str) -> None:
    """NOCASE would make 'A' and 'a' one row."""
    sqlite(
        sqlite_url,
        'CREATE TABLE words ("名称" TEXT COLLATE NOCASE, id INTEGER, PRIMARY KEY ("名称", id))',
    )
    with pytest.raises(FrontTableWrong, match="NOCASE"):
        SqliteFront(sqlite_url, 1.0, "unit").check(WORDS)


@pytest.mark.parametrize("case", POSTGRES_WRONG)
def test_postgres_refuses_a_table_that_would_change_rows(
    database: str, postgres_url: str, case: str
) -> None:
    """The error names table, column and what it must be, and the statement that makes it so."""
    statement, reason = POSTGRES_WRONG[case]
    sql(database, statement)
    with pytest.raises(FrontTableWrong) as refused:
        PostgresFront(postgres_url, None, 1.0, "unit").check(NARROW)
    assert reason in str(refused.value)
    sql(database, remedy(refused.value))
    PostgresFront(postgres_url, None, 1.0, "unit").check(NARROW)


def test_postgres_names_the_grant_that_is_missing(database: str, postgres_url: str) -> None:
    """A missing grant is named before the first UPDATE needs a temporary table.

    It is named before init makes tables of its own, or a front-end table, too.
    """
    name, role = database_name(database), f"front_{database_name(database)}"
    schema = "create schema own"
    for statement in (
        schema,
        f"create role {role} login",
        f"revoke all on database {name} from public",
    ):
        sql(database, statement)
    sql(database, f"grant connect on database {name} to {role}")
    sql(database, "revoke create on schema public from public")
    front = PostgresFront(str(make_url(postgres_url).set(username=role)), None, 1.0, "unit")
    try:
        for right in ("TEMPORARY", "CREATE"):
            with pytest.raises(FrontUnfit, match=right) as unfit, front.reading() as connection:
                front.check_rights(connection)
            sql(database, str(unfit.value)[str(unfit.value).index("GRANT") :])
        initialise(front)
        elsewhere = WORDS._replace(schema="own")
        with pytest.raises(FrontTableWrong, match="CREATE") as wrong:
            front.check_room(elsewhere)
        sql(database, str(wrong.value)[str(wrong.value).index("GRANT") :])
        front.check_room(elsewhere)
        with pytest.raises(FrontTableWrong, match="CREATE SCHEMA nowhere"):
            front.check_room(WORDS._replace(schema="nowhere"))
        front.open("nonce")
        sql(database, f"revoke temporary on database {name} from {role}")
        with pytest.raises(FrontUnfit, match="temporary table of words"):
            write(front, WORDS, {("a", "1"): put(("a", "1"))})
        front.close()
        with pytest.raises(FrontUnfit, match=f"GRANT TEMPORARY ON DATABASE {name} TO {role};"):
            front.open("nonce")
    finally:
        front.close()
        front.engine.dispose()
        sql(database, f"drop owned by {role}")
        sql(database, f"drop role {role}")


def test_postgres_refuses_a_nondeterministic_key(database: str, postgres_url: str) -> None:
    """A collation under which different bytes are equal merges rows.

    This build has no ICU: the catalogue row is written by this test.
    """
    sql(database, 'CREATE TABLE words ("名称" text, id int8, primary key ("名称", id))')
    sql(
        database,
        "update pg_attribute set attcollation = "
        "(select oid from pg_collation where collname = 'POSIX') "
        "where attrelid = 'words'::regclass and attname = '名称'",
    )
    sql(database, "update pg_collation set collisdeterministic = false where collname = 'POSIX'")
    with pytest.raises(FrontTableWrong, match="nondeterministic"):
        PostgresFront(postgres_url, None, 1.0, "unit").check(WORDS)


@pytest.mark.parametrize("front_of", ["sqlite", "postgres"])
def test_tables_we_create_pass_their_own_check(
    request: pytest.FixtureRequest, sqlite_url: str, front_of: str
) -> None:
    """Creating is idempotent and fits; a table that is missing is named."""
    front: SqlFront = (
        SqliteFront(sqlite_url, 1.0, "unit")
        if front_of == "sqlite"
        else PostgresFront(request.getfixturevalue("postgres_url"), None, 1.0, "unit")
    )
    with pytest.raises(FrontTableWrong, match="does not exist"):
        front.check(PLAIN)
    for one in (PLAIN, WORDS, SOFT):
        assert front.create(one)
        assert not front.create(one)
        front.check(one)
    with pytest.raises(FrontTableWrong, match="ex_batch is missing"):
        front.check(WORDS._replace(technical={"batch": "ex_batch"}))


def test_an_uninitialised_front_end_says_so(sqlite_url: str) -> None:
    """Before init there is nothing to open."""
    with pytest.raises(NotInitialised):
        SqliteFront(sqlite_url, 1.0, "unit").open("nonce")
    front = SqliteFront(sqlite_url, 1.0, "unit")
    initialise(front)
    front.update_state(initialised=0)
    with pytest.raises(NotInitialised):
        front.open("nonce")


@pytest.mark.parametrize(
    ("source", "wide", "narrow"),
    [
        ("smallint", "integer", "boolean"), ("integer", "numeric", "smallint"),
        ("bigint", "text", "integer"), ("numeric(10,2)", "numeric(12,4)", "numeric(11,4)"),
        ("numeric", "text", "numeric(10,2)"),
        ("character varying(20)", "character varying(20)", "character varying(19)"),
        ("character varying", "text", "character varying(20)"),
        (
            "timestamp(3) without time zone",
            "timestamp without time zone",
            "timestamp(3) with time zone",
        ),
        (
            "timestamp without time zone",
            "timestamp(6) without time zone",
            "timestamp(3) without time zone",
        ),
        ("date", "date", "timestamp without time zone"),
    ],
)  # fmt: skip
def test_which_types_hold_which(source: str, wide: str, narrow: str) -> None:
    """Wider is fine, narrower is not."""
    assert accepts(source, wide)
    assert not accepts(source, narrow)


def test_sqlite_affinities() -> None:
    """https://www.sqlite.org/datatype3.html, section 3.1.1 examples."""
    examples = {
        "INT": "INTEGER",
        "VARCHAR(255)": "TEXT",
        "": "BLOB",
        "DOUBLE PRECISION": "REAL",
        "DECIMAL(10,5)": "NUMERIC",
        "FLOATING POINT": "INTEGER",
    }
    assert {declared: affinity(declared) for declared in examples} == examples


# ---- errors


def test_a_locked_sqlite_is_busy_and_nothing_remains(sqlite_url: str) -> None:
    """Another writer's lock ends in FRONT_BUSY after the bounded wait."""
    initialise(SqliteFront(sqlite_url, 1.0, "unit"))
    front = SqliteFront(sqlite_url, 0.2, "unit")
    front.open("nonce")
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(FrontBusy):
        front.begin()
    other.execute("ROLLBACK")
    front.close()


def test_a_locked_postgres_table_is_busy(database: str, postgres_url: str) -> None:
    """A row lock held by the platform ends in FRONT_BUSY, and the whole transaction is gone."""
    initialise(PostgresFront(postgres_url, None, 1.0, "unit"))
    front = PostgresFront(postgres_url, None, 0.2, "unit")
    front.open("nonce")
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE words")
        with pytest.raises(FrontBusy):
            write(front, WORDS, {("a", "1"): put(("a", "1"))})
        front.rollback()
    write(front, WORDS, {("b", "1"): put(("b", "1"))})
    assert fetch(front, WORDS, ("a", "1"), ("b", "1")) == {("b", "1"): ("b", "1")}
    front.close()


def test_a_refused_row_names_the_table_and_no_value(database: str, postgres_url: str) -> None:
    """A row the table cannot hold suspends its table; the error carries no value."""
    front = PostgresFront(postgres_url, None, 1.0, "unit")
    initialise(front)
    sql(database, 'ALTER TABLE words ALTER "名称" TYPE varchar(3)')
    front.open("nonce")
    with pytest.raises(RowRefused) as refused:
        write(front, WORDS, {("canary", "1"): put(("canary", "1"))})
    assert refused.value.resource == WORDS.resource
    assert "canary" not in str(refused.value)
    front.close()


def test_a_postgres_that_is_away_is_unreachable() -> None:
    """Nobody listens: retry."""
    with pytest.raises(FrontUnreachable):
        PostgresFront("postgresql+psycopg://nobody@127.0.0.1:1/nothing", None, 1.0, "unit").open(
            "nonce"
        )


def test_the_password_is_read_at_each_connection(postgres_url: str) -> None:
    """So that a change needs no restart; this server does not ask for it."""
    read: list[str] = []

    def password() -> str:
        read.append("secret")
        return read[-1]

    front = PostgresFront(postgres_url, password, 1.0, "unit")
    initialise(front)
    before = len(read)
    for _ in range(2):
        front.open("nonce")
        front.close()
    assert len(read) == before + 2


# ---- values

TEXTS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))
ROWS = st.tuples(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.none() | TEXTS,
    # PostgreSQL has no -0
    st.none() | st.decimals(-(10**19), 10**19, places=10).map(lambda d: format(d or abs(d), "f")),
    st.none() | st.sampled_from("tf"),
    st.none() | st.sampled_from(["2024-02-29", "0044-03-15 BC", "10000-01-01", "infinity"]),
    st.none()
    | st.sampled_from(["1970-01-01 00:00:00+00", "0001-12-31 23:59:59.999999+00 BC", "-infinity"]),
    st.none()
    | st.sampled_from(["0", "-0", "NaN", "Infinity", "-Infinity", "1.5", "1e+300", "5e-324"]),
    st.none() | st.binary().map(lambda b: "\\x" + b.hex()),
    st.none() | st.sampled_from(["null", "1", '"x"', '{"甲": [1, 2]}']),
    st.none() | st.text("ab ", max_size=5).map(lambda t: t.ljust(5)),
)


NOT_NATIVE = {
    "0044-03-15 BC", "10000-01-01", "infinity", "0001-12-31 23:59:59.999999+00 BC", "-infinity",
    "-0", "NaN", "Infinity", "-Infinity",
}  # fmt: skip


@pytest.mark.parametrize("fronts", ["sqlite", "postgres", "mariadb"], indirect=True)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=ROWS)
def test_any_row_round_trips(fronts: Fronts, row: tuple[str, *tuple[str | None, ...]]) -> None:
    """What is written is read back byte for byte, for values of every form.

    Written once more it stands under its own key.
    """
    if fronts.kind == "mariadb":  # whose own types refuse some: tests/front/test_native_types.py
        row = (row[0], *(None if value in NOT_NATIVE else value for value in row[1:]))
    front = fronts.new()
    front.open("nonce")
    rows = []
    for _ in range(2):
        write(front, PLAIN, {(row[0],): put(row)})
        rows.append(front.count(PLAIN))
    (found,) = fetch(front, PLAIN, (row[0],)).values()
    front.close()
    assert found == row
    assert rows[0] == rows[1]


# ---- the reader


@pytest.fixture
def filled(fronts: Fronts) -> SqlFront:
    """Returns a front end with three batches: events 1-2, a heartbeat, event 3 (in two parts)."""
    if fronts.kind == "memory":
        pytest.fail("the reader reads SQL databases")
    front = fronts.new()
    assert isinstance(front, SqlFront)
    front.open("nonce")
    writer = BatchWriter(0, 0)
    for n, values in enumerate(([b"one", b"two"], [], [b"x" * 2_500_000])):
        front.begin()
        if values:
            writer.begin(n, 100 + n, 1000 + n)
            for value in values:
                writer.event("p.t", 1, writer.number + 1, b"k", value)
            writer.commit(110 + n)
        else:
            writer.heartbeat(105, 1005)
        batch = writer.take()
        assert batch is not None
        front.store(batch, 1000 + n)
        front.commit(progress("0/20", number=writer.number, batch=writer.batch))
    return front


@pytest.mark.parametrize("fronts", ["sqlite", "postgres", "mariadb"], indirect=True)
def test_the_reader_sees_batches_in_order_and_whole(filled: SqlFront) -> None:
    """Batches come in order, large ones put together; the backlog counts events."""
    reader = Reader(filled.engine, "unit")
    batches, more = reader.waiting(0)
    assert [(b.first_number, b.last_number) for b in batches] == [(1, 2), (3, 2), (3, 3)]
    assert not more
    assert reader.waiting(2) == (batches[2:], False)
    assert reader.waiting(3) == ([], False)
    events = [f for b in batches for f in frames(b) if isinstance(f, OutboxEvent)]
    assert [len(e.value) for e in events] == [3, 3, 2_500_000]
    assert (reader.backlog(0).events, reader.backlog(2).events, reader.backlog(3)) == (3, 1, (0, 0))
    assert reader.event_id(2, "source") == event_id("source", 100, 1000, 1)
    assert reader.event_id(4, "source") is None
    assert [reader.batch_of(n) for n in range(4)] == [0, 0, 2, 3]


@pytest.mark.parametrize("fronts", ["sqlite", "postgres", "mariadb"], indirect=True)
def test_one_query_reads_all_that_waits_within_bounds(filled: SqlFront) -> None:
    """Many small batches come at once.

    One that the bound would cut comes with the next query, or alone.
    """
    reader = Reader(filled.engine, "unit")
    in_two = Batch(16, 16, 16, b"y" * (PART + 1))
    large = Batch(18, 18, 18, b"z" * (17 * PART))
    stored = [Batch(n, n, n, b"x") for n in range(4, 16)] + [in_two, Batch(17, 17, 17, b"x"), large]
    filled.begin()
    for batch in stored:
        filled.store(batch, 1000)
    filled.commit(progress("0/30", number=18, batch=18))
    assert reader.waiting(1).batches[2:] == stored[:12]
    assert reader.waiting(3) == (stored[:14], True)
    assert reader.waiting(17) == ([large], True)
    assert reader.waiting(18) == ([], False)


@pytest.mark.parametrize("fronts", ["sqlite", "postgres", "mariadb"], indirect=True)
def test_the_published_mark_never_waits(filled: SqlFront) -> None:
    """While the writer holds the lock the mark is not written.

    Afterwards it is, and the batches it covers are gone.
    """
    reader = Reader(filled.engine, "unit")
    assert reader.published().number == 0  # the publisher has read before it writes
    mark = Published(2, "id", 2, "0/20", 5)
    filled.begin()
    filled.write(WORDS, {("a", "1"): put(("a", "1"))}, 1)
    if filled.engine.dialect.name == "sqlite":  # one write lock for all
        assert not reader.mark_published(mark)
    filled.rollback()
    assert reader.mark_published(mark)
    assert reader.published() == mark
    assert [each.batch for each in reader.waiting(0).batches] == [3]
    filled.close()


@pytest.mark.parametrize("fronts", ["sqlite", "postgres", "mariadb"], indirect=True)
def test_the_reader_knows_who_the_agent_is(filled: SqlFront) -> None:
    """Identity, epoch, nonce and table states as stored."""
    reader = Reader(filled.engine, "unit")
    identity = reader.identity()
    assert (identity.source_id, identity.nonce, identity.number, identity.epoch) == (
        "source",
        "nonce",
        3,
        1,
    )
    assert reader.resources()[WORDS.resource]["state"] == "copying"
    filled.close()

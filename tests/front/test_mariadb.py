"""Tests what a MariaDB front end does in its own way.

That is refusals at start, sessions, values its types would change, locks, packets, and DDL beside a
transaction.
"""

import threading
from collections.abc import Callable

import pymysql
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import inspect, make_url

from agent.errors import (
    FrontBusy,
    FrontTableWrong,
    FrontUnfit,
    FrontUnreachable,
    LoginRefused,
    NotInitialised,
    RowRefused,
)
from agent.front.base import Batch
from agent.front.mariadb.columns import TEXT, column_type, declared, holds
from agent.front.mariadb.front import MariaDbFront
from agent.front.mariadb.session import mariadb_engine
from agent.front.mariadb.values import Values
from agent.outbox.reader import Published, Reader
from agent.resource import FrontColumn, Target
from agent.values import column_types as v
from tests.front.conftest import (
    PLAIN,
    SOFT,
    WORDS,
    fetch,
    gone,
    initialise,
    progress,
    put,
    remedy,
    target,
    write,
)
from tests.services.mariadb import MariaDbAddress, connected, execute
from tests.waiting import eventually

NARROW = target("narrow", ("id", "名称", "amount"), (0,))
BIN = "ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"


@pytest.fixture
def front(mariadb_url: str) -> MariaDbFront:
    """Returns an initialised front end, not open."""
    made = MariaDbFront(mariadb_url, None, 1.0, "unit")
    initialise(made)
    return made


@pytest.fixture
def administrator(mariadb_server: MariaDbAddress, mariadb_database: str) -> str:
    """URL of the administrator in the same database."""
    return mariadb_server.url.set(database=mariadb_database.rpartition("/")[2]).render_as_string(
        hide_password=False
    )


def table(*columns: tuple[str, int, str], key: int = 1) -> Target:
    """Returns a table of these columns (name, type, its name), of which the first are the key."""
    listed = tuple(
        FrontColumn(name, oid, kind, builtin=True, not_null=i < key)
        for i, (name, oid, kind) in enumerate(columns)
    )
    return Target("t", None, "t", listed, tuple(range(key)), soft_delete=False, technical={})


# ---- refusals at start

WRONG = {
    "key": (
        f"(id bigint, `名称` longtext, amount decimal(30,10)) {BIN}",
        "no primary key or unique index on (id)",
    ),
    "key and more": (
        (
            "(id bigint, `名称` longtext, amount decimal(30,10), more int, "
            f"primary key (id, more)) {BIN}"
        ),
        "more is NOT NULL",
    ),
    "another key": (
        (
            "(id bigint, `名称` longtext, amount decimal(30,10), more int default 1, "
            f"primary key (id, more)) {BIN}"
        ),
        "unique index on (id) alone",
    ),
    "unique": (
        (
            "(id bigint primary key, `名称` varchar(10), amount decimal(30,10), "
            f"unique u (amount)) {BIN}"
        ),
        "must be LONGTEXT",
    ),
    "text": (f"(id bigint primary key, `名称` text, amount decimal(30,10)) {BIN}", "名称 is text"),
    "integer": (
        f"(id int primary key, `名称` longtext, amount decimal(30,10)) {BIN}",
        "id is int(11)",
    ),
    "unsigned": (
        f"(id bigint unsigned primary key, `名称` longtext, amount decimal(30,10)) {BIN}",
        "unsigned",
    ),
    "scale": (
        f"(id bigint primary key, `名称` longtext, amount decimal(30,9)) {BIN}",
        "amount is decimal(30,9)",
    ),
    "precision": (
        f"(id bigint primary key, `名称` longtext, amount decimal(29,10)) {BIN}",
        "amount is decimal(29,10)",
    ),
    "double": (
        f"(id bigint primary key, `名称` longtext, amount double) {BIN}",
        "amount is double",
    ),
    "missing": (f"(id bigint primary key, `名称` longtext) {BIN}", "amount is missing"),
    "generated": (
        f"(id bigint primary key, `名称` longtext, amount decimal(30,10) as (1) stored) {BIN}",
        "amount is generated",
    ),
    "not null": (
        f"(id bigint primary key, `名称` longtext not null, amount decimal(30,10)) {BIN}",
        "名称 is NOT NULL",
    ),
    "extra": (
        f"(id bigint primary key, `名称` longtext, amount decimal(30,10), more int not null) {BIN}",
        "more is NOT NULL",
    ),
    "charset": (
        (
            "(id bigint primary key, `名称` longtext character set utf8mb3, "
            f"amount decimal(30,10)) {BIN}"
        ),
        "character set utf8mb3",
    ),
    "engine": (
        (
            "(id bigint primary key, `名称` longtext, amount decimal(30,10)) "
            "ENGINE = MyISAM DEFAULT CHARACTER SET utf8mb4"
        ),
        "engine is MyISAM",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_table_that_would_change_rows_is_refused(
    administrator: str, mariadb_url: str, case: str
) -> None:
    """The error names table, column and what it must be."""
    statement, reason = WRONG[case]
    execute(administrator, f"CREATE TABLE narrow {statement}")
    with pytest.raises(FrontTableWrong, match="narrow") as refused:
        MariaDbFront(mariadb_url, None, 1.0, "unit").check(NARROW)
    assert reason in str(refused.value)
    if case != "key and more":  # a part of a primary key cannot become nullable
        execute(administrator, remedy(refused.value))
        MariaDbFront(mariadb_url, None, 1.0, "unit").check(NARROW)


def test_the_right_to_make_the_agents_tables_is_asked_for_before(
    administrator: str, mariadb_url: str
) -> None:
    """And only where one is to be made; nothing is made by asking."""
    front = MariaDbFront(mariadb_url, None, 1.0, "unit")
    url = make_url(mariadb_url)
    revoke = f"REVOKE CREATE ON `{url.database}`.* FROM '{url.username}'@'%'"
    execute(administrator, revoke)
    with pytest.raises(FrontUnfit, match="CREATE") as unfit, front.reading() as connection:
        front.check_rights(connection)
    execute(administrator, str(unfit.value)[str(unfit.value).index("GRANT") :])
    with front.reading() as connection:
        front.check_rights(connection)
        assert not inspect(connection).get_table_names()
    initialise(front)
    execute(administrator, revoke)
    front.open("nonce")
    front.close()


@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE", "DELETE"])
def test_a_missing_right_is_named(administrator: str, mariadb_url: str, right: str) -> None:
    """Before a row needs it; rights that roles bring count."""
    front, user, database = (
        MariaDbFront(mariadb_url, None, 1.0, "unit"),
        make_url(mariadb_url).username,
        make_url(mariadb_url).database,
    )
    front.create(PLAIN)
    execute(administrator, f"REVOKE {right} ON `{database}`.* FROM '{user}'@'%'")
    with pytest.raises(FrontTableWrong, match=f"lacks the right {right};") as lacking:
        front.check(PLAIN)
    grant = str(lacking.value)
    execute(administrator, grant[grant.index("GRANT") :])
    front.check(PLAIN)


@pytest.mark.parametrize(
    "collation",
    ["utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_bin", "utf8mb4_unicode_nopad_ci"],
)
def test_key_collations_that_merge_rows_are_refused(
    administrator: str, mariadb_url: str, collation: str
) -> None:
    """Case, accents, trailing spaces or all characters of four bytes would be one key."""
    execute(
        administrator,
        f"CREATE TABLE words (`名称` varchar(766) COLLATE {collation}, id bigint, "
        f"PRIMARY KEY (`名称`, id)) {BIN}",
    )
    with pytest.raises(FrontTableWrong, match=f"collation {collation}.*must be utf8mb4_nopad_bin"):
        MariaDbFront(mariadb_url, None, 1.0, "unit").check(WORDS)


def test_a_key_on_the_beginning_of_a_column_is_refused(
    administrator: str, mariadb_url: str
) -> None:
    """Rows whose keys begin alike would be one."""
    execute(
        administrator,
        "CREATE TABLE words (`名称` varchar(766), id bigint NOT NULL, "
        f"PRIMARY KEY (`名称`(10), id)) {BIN}",
    )
    with pytest.raises(FrontTableWrong, match="alone and whole"):
        MariaDbFront(mariadb_url, None, 1.0, "unit").check(WORDS)


def test_tables_we_create_pass_their_own_check(administrator: str, mariadb_url: str) -> None:
    """Creating is idempotent and fits, whatever the defaults of server and database are.

    A table whose name differs in its case only is another table.
    """
    front = MariaDbFront(mariadb_url, None, 1.0, "unit")
    execute(administrator, "CREATE TABLE WORDS (id int)")
    with pytest.raises(FrontTableWrong, match="does not exist"):
        front.check(WORDS)
    for one in (PLAIN, WORDS, SOFT):
        assert front.create(one)
        assert not front.create(one)
        front.check(one)
    with pytest.raises(FrontTableWrong, match="technical column ex_batch is missing"):
        front.check(WORDS._replace(technical={"batch": "ex_batch"}))


def test_the_agents_own_tables_roll_back_and_tell_names_apart(
    administrator: str, front: MariaDbFront
) -> None:
    """InnoDB and a collation by bytes, though the database's defaults are others."""
    rows = execute(
        administrator,
        "SELECT engine, table_collation FROM information_schema.tables "
        "WHERE table_schema = database() AND table_name LIKE 'sync%'",
    )
    assert len(rows) > 8
    assert set(rows) == {("InnoDB", "utf8mb4_bin")}


# ---- types


def test_types_we_create() -> None:
    """Numbers, dates and times get the database's own types, or PostgreSQL's text.

    Short texts become VARCHAR, everything else LONGTEXT.
    """
    kinds = table(
        ("a", v.INT2, "smallint"), ("b", v.BOOL, "boolean"),
        ("c", v.VARCHAR, "character varying(20)"), ("d", v.VARCHAR, "character varying(256)"),
        ("e", v.NUMERIC, "numeric(10,2)"), ("f", v.NUMERIC, "numeric"),
        ("g", v.FLOAT8, "double precision"), ("h", v.TIMESTAMPTZ, "timestamp with time zone"),
        ("i", v.BYTEA, "bytea"), ("j", v.UUID, "uuid"), ("k", 1007, "integer[]"),
        ("l", v.BPCHAR, "character(3)"), ("m", v.DATE, "date"),
    )  # fmt: skip
    assert [column_type(kinds, i) for i in range(len(kinds.columns))] == [
        "SMALLINT", "TINYINT(1)", "VARCHAR(20)", "LONGTEXT", "DECIMAL(10,2)", "LONGTEXT", "DOUBLE",
        "DATETIME(6)", "LONGBLOB", "VARCHAR(36)", "LONGTEXT", "VARCHAR(3)", "DATE",
    ]  # fmt: skip
    assert [column_type(kinds, i, TEXT) for i in range(len(kinds.columns))] == [
        "SMALLINT", "TINYINT(1)", "VARCHAR(20)", "LONGTEXT", "VARCHAR(13)", "LONGTEXT",
        "VARCHAR(32)", "VARCHAR(36)", "LONGBLOB", "VARCHAR(36)", "LONGTEXT", "VARCHAR(3)",
        "VARCHAR(16)",
    ]  # fmt: skip
    assert {
        column_type(
            table(
                ("a", v.INT8, "bigint"),
                *[(f"c{n}", v.VARCHAR, "character varying(255)") for n in range(80)],
            ),
            1,
        )
    } == {"LONGTEXT"}


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ([("a", v.TEXT, "text")], "VARCHAR(768)"),
        ([("a", v.VARCHAR, "character varying(1000)")], "VARCHAR(768)"),
        ([("a", v.TEXT, "text"), ("b", v.INT8, "bigint")], "VARCHAR(766)"),
        ([("a", v.TEXT, "text"), ("b", v.TEXT, "text")], "VARCHAR(384)"),
        ([("a", v.BYTEA, "bytea"), ("b", v.UUID, "uuid")], f"VARBINARY({3072 - 4 * 36})"),
    ],
)
def test_keys_fill_what_an_index_holds(
    mariadb_url: str, columns: list[tuple[str, int, str]], wanted: str
) -> None:
    """And the server takes them."""
    made = table(*columns, key=len(columns))
    assert column_type(made, 0) == wanted
    front = MariaDbFront(mariadb_url, None, 1.0, "unit")
    assert front.create(made)
    front.check(made)


def test_a_key_too_wide_for_an_index_is_refused(mariadb_url: str) -> None:
    """Before the server has to."""
    wide = table(*[(f"c{n}", v.VARCHAR, "character varying(200)") for n in range(4)], key=4)
    with pytest.raises(FrontTableWrong, match="3072 bytes"):
        MariaDbFront(mariadb_url, None, 1.0, "unit").create(wide)


@pytest.mark.parametrize(
    ("oid", "kind", "wide", "narrow"),
    [
        (v.INT4, "integer", "bigint(20)", "smallint(6)"),
        (v.INT2, "smallint", "longtext", "smallint(5) unsigned"),
        (v.BOOL, "boolean", "int(11)", "bit(1)"),
        (v.NUMERIC, "numeric(10,2)", "decimal(12,4)", "decimal(11,4)"),
        (v.NUMERIC, "numeric", "longtext", "decimal(65,30)"),
        (v.TIMESTAMP, "timestamp without time zone", "datetime(6)", "datetime"),
        (v.TIMESTAMP, "timestamp(3) without time zone", "datetime(3)", "datetime(2)"),
        (v.TIMESTAMPTZ, "timestamp with time zone", "datetime(6)", "timestamp(6)"),
        (v.DATE, "date", "date", "datetime(6)"),
        (v.VARCHAR, "character varying(20)", "varchar(20)", "varchar(19)"),
        (v.VARCHAR, "character varying(300)", "text", "tinytext"),
        (v.BPCHAR, "character(5)", "varchar(5)", "char(5)"),
        (v.TEXT, "text", "longtext", "mediumtext"), (v.BYTEA, "bytea", "longblob", "blob"),
        (v.FLOAT8, "double precision", "double", "float"), (v.JSONB, "jsonb", "longtext", "json"),
    ],
)  # fmt: skip
def test_which_columns_hold_which_types(oid: int, kind: str, wide: str, narrow: str) -> None:
    """A wider column is accepted, a narrower one is not.

    CHAR cuts spaces, TIMESTAMP ends in 2038, FLOAT shows six digits.
    """
    one = table(("id", v.INT8, "bigint"), ("x", oid, kind))
    assert holds(one, 1, declared(wide))
    assert not holds(one, 1, declared(narrow))


# ---- values in columns that somebody made

NATIVE = table(
    ("id", v.INT8, "bigint"), ("n", v.NUMERIC, "numeric(10,2)"), ("d", v.DATE, "date"),
    ("t", v.TIMESTAMP, "timestamp without time zone"),
    ("z", v.TIMESTAMPTZ, "timestamp with time zone"), ("i", v.INT4, "integer"),
)  # fmt: skip
NATIVE_TABLE = (
    "CREATE TABLE t (id bigint auto_increment PRIMARY KEY, n decimal(14,4), d date, "
    f"t datetime(6), z datetime(6), i varchar(20)) {BIN}"
)


def test_native_columns_give_the_sources_text_back(administrator: str, front: MariaDbFront) -> None:
    """5.00 stays 5.00 with more scale, and zone and fraction are as PostgreSQL writes them.

    Key 0 is no request for the next number.
    """
    execute(administrator, NATIVE_TABLE)
    front.check(NATIVE)
    front.open("nonce")
    rows = [
        ("0", "5.00", "2024-02-29", "2024-02-29 12:00:00", "2024-02-29 12:00:00.5+00", "7"),
        (
            "1",
            "-0.10",
            "0001-01-01",
            "9999-12-31 23:59:59.999999",
            "0001-01-01 00:00:00.000001+00",
            "-7",
        ),
        ("2", None, None, None, None, None),
    ]
    write(front, NATIVE, {(row[0],): put(row) for row in rows})
    assert fetch(front, NATIVE, ("0",), ("1",), ("2",)) == {(row[0],): row for row in rows}
    execute(administrator, "UPDATE t SET n = 5.0001 WHERE id = 2")
    assert fetch(front, NATIVE, ("2",))["2",][1] == "5.0001"
    front.close()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (1, "NaN"),
        (2, "infinity"),
        (2, "0044-03-15 BC"),
        (3, "10000-01-01 00:00:00"),
        (4, "-infinity"),
        (5, "x" * 21),
    ],
)
def test_a_value_a_native_column_lacks_is_refused(
    administrator: str, front: MariaDbFront, place: int, value: str
) -> None:
    """The table is named and the column, never the value; nothing remains."""
    execute(administrator, NATIVE_TABLE)
    front.check(NATIVE)
    front.open("nonce")
    front.begin()
    with pytest.raises(RowRefused) as refused:
        front.write(
            NATIVE, {("1",): put(("1", *[value if i == place else None for i in range(1, 6)]))}, 1
        )
    assert NATIVE.columns[place].name in refused.value.text("en")
    assert value not in str(refused.value)
    front.close()


@pytest.mark.parametrize("key", ["a" * 769, "a" * 768 + " ", "𠮷" * 769])
def test_a_key_is_refused_rather_than_cut(front: MariaDbFront, key: str) -> None:
    """The server cuts trailing spaces without an error, strict or not.

    Therefore the length is checked before.
    """
    front.create(only := table(("a", v.TEXT, "text")))
    front.open("nonce")
    write(front, only, {("a" * 768,): put(("a" * 768,))})
    front.begin()
    with pytest.raises(RowRefused, match="longer than column a"):
        front.write(only, {(key,): put((key,))}, 1)
    front.rollback()
    assert len(fetch(front, only, ("a" * 768,))) == 1
    front.close()


@settings(max_examples=300)
@given(
    a=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    b=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
)
def test_pages_end_where_they_should(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """The spelled-out comparison of keys is the comparison of tuples."""
    from agent.front.mariadb.rows import beyond

    for operator, wanted in ((">", a > b), ("<=", a <= b)):
        spelled = beyond([str(part) for part in a], [str(part) for part in b], operator)
        assert (
            eval(spelled.replace(" = ", " == ").replace("AND", "and").replace("OR", "or")) is wanted
        )


def test_keys_page_through_a_table_in_its_own_order(front: MariaDbFront) -> None:
    """Each key once, whatever it is made of."""
    front.open("nonce")
    words = ["", "'", "\\", "A", "a", "a ", "Ａ", "𠮷", "𠀀"]
    write(front, WORDS, {(word, str(n)): put((word, str(n))) for word in words for n in (-1, 2)})
    front.begin()
    seen: list[tuple[str, ...]] = []
    while page := front.keys_after(WORDS, seen[-1] if seen else None, 4):
        seen += page
    assert sorted(seen) == sorted((word, n) for word in words for n in ("-1", "2"))
    front.close()


def test_only_numbers_stand_in_the_sources_order(front: MariaDbFront) -> None:
    """And pages of such a table are read as lines."""
    assert (front.same_order(PLAIN), front.same_order(WORDS), front.same_order(SOFT)) == (
        True,
        False,
        True,
    )
    front.open("nonce")
    write(front, SOFT, {(str(n),): put((str(n), f"{n}\t")) for n in range(5)})
    write(front, SOFT, {("2",): gone()})
    front.begin()
    assert sorted(front.lines(SOFT, ("0",), ("3",))) == [b"1\t1\\t", b"3\t3\\t"]
    assert len(front.lines(SOFT, None, None)) == 4
    front.close()


# ---- sessions


def test_sessions_do_not_hang_on_the_servers_settings(mariadb_url: str) -> None:
    """The test's server has an empty sql_mode, another zone and another collation."""
    with mariadb_engine(mariadb_url, None, 2.5).connect() as connection:
        names = (
            "sql_mode, time_zone, innodb_lock_wait_timeout, lock_wait_timeout, "
            "character_set_client, tx_isolation, default_storage_engine"
        )
        found = connection.exec_driver_sql(
            "SELECT " + ", ".join(f"@@{name}" for name in names.split(", "))
        ).one()
    mode, *others = found
    assert "STRICT_ALL_TABLES" in mode
    assert others == ["+00:00", 3, 3, "utf8mb4", "READ-COMMITTED", "InnoDB"]


def test_a_server_that_cannot_keep_the_promise_is_named(
    administrator: str, mariadb_url: str
) -> None:
    """MySQL's name for a MariaDB; a packet too small for the outbox."""
    with pytest.raises(FrontUnfit, match=r"version 10.*mariadb\+pymysql"):
        MariaDbFront(mariadb_url.replace("mariadb+", "mysql+"), None, 1.0, "unit").open("nonce")
    execute(administrator, "SET GLOBAL max_allowed_packet = 1048576")
    try:
        with pytest.raises(FrontUnfit, match="max_allowed_packet is 1048576"):
            MariaDbFront(mariadb_url, None, 1.0, "unit").open("nonce")
    finally:
        execute(administrator, "SET GLOBAL max_allowed_packet = 16777216")


def test_a_refused_login_and_a_server_that_is_away(mariadb_url: str) -> None:
    """Each has its own error; both are tried again."""
    with pytest.raises(LoginRefused):
        MariaDbFront(mariadb_url, lambda: "wrong", 1.0, "unit").open("nonce")
    with pytest.raises(FrontUnreachable, match=r"127\.0\.0\.1"):
        MariaDbFront("mariadb+pymysql://nobody@127.0.0.1:1/nothing", None, 1.0, "unit").open(
            "nonce"
        )


def test_a_changed_password_is_read_at_the_next_connection(
    administrator: str, mariadb_url: str
) -> None:
    """The front end that was refused gets in with what the file says by then."""
    known = ["old"]
    front = MariaDbFront(mariadb_url, lambda: known[-1], 1.0, "unit")
    execute(administrator, f"ALTER USER {make_url(mariadb_url).username}@'%' IDENTIFIED BY 'new'")
    with pytest.raises(LoginRefused):
        front.open("nonce")
    known.append("new")
    with pytest.raises(NotInitialised):
        front.open("nonce")


# ---- one transaction


def test_a_lock_wait_leaves_no_half_transaction(mariadb_database: str, front: MariaDbFront) -> None:
    """The server undoes only the statement that waited.

    Going on and committing is impossible until everything is rolled back.
    """
    front.open("nonce")
    write(front, WORDS, {("held", "1"): put(("held", "1"))})
    with connected(mariadb_database) as other:
        other.cursor().execute("BEGIN")
        other.cursor().execute("SELECT * FROM words FOR UPDATE")
        front.begin()
        front.write(SOFT, {("1",): put(("1", "half"))}, 1)
        with pytest.raises(FrontBusy, match="Lock wait timeout"):
            front.write(WORDS, {("held", "1"): gone()}, 1)
        onward: list[Callable[[], object]] = [
            lambda: front.write(SOFT, {("2",): put(("2", "more"))}, 1),
            lambda: front.commit(progress("0/30")),
            front.begin,
        ]
        for further in onward:
            with pytest.raises(FrontUnreachable, match="has failed"):
                further()
    front.rollback()
    assert fetch(front, SOFT, ("1",), ("2",)) == {}
    front.close()
    assert front.open("again").position == "0/20"
    front.close()


def test_ddl_of_others_waits_for_the_transaction(administrator: str, front: MariaDbFront) -> None:
    """An ALTER of a table that has been written to waits for the transaction.

    The transaction becomes visible as a whole.
    """
    front.open("nonce")
    front.begin()
    front.write(WORDS, {("a", "1"): put(("a", "1"))}, 1)
    ddl = threading.Thread(target=execute, args=(administrator, "ALTER TABLE words ADD more int"))
    ddl.start()
    waiting = (
        "SELECT count(*) FROM information_schema.processlist WHERE state LIKE '%metadata lock%'"
    )
    eventually(lambda: execute(administrator, waiting) == [(1,)], what="the other waits")
    assert execute(administrator, "SELECT count(*) FROM soft") == [(0,)]
    front.write(SOFT, {("1",): put(("1", "一"))}, 1)
    front.commit(progress("0/20"))
    ddl.join(10)
    assert not ddl.is_alive()
    assert len(fetch(front, WORDS, ("a", "1"))) == len(fetch(front, SOFT, ("1",))) == 1
    front.close()


def test_ddl_of_others_within_a_transaction_leaves_all_or_nothing(
    administrator: str, front: MariaDbFront
) -> None:
    """A write fails when a table not yet touched loses a column.

    What was written before is gone too.
    """
    front.open("nonce")
    front.begin()
    front.write(WORDS, {("a", "1"): put(("a", "1"))}, 1)
    front.store(Batch(1, 1, 1, b"payload"), 5)
    execute(administrator, "ALTER TABLE soft DROP `名称`")
    with pytest.raises(FrontTableWrong, match=r"soft.*Unknown column"):
        front.write(SOFT, {("1",): put(("1", "一"))}, 1)
    front.rollback()
    assert fetch(front, WORDS, ("a", "1")) == {}
    front.close()
    assert Reader(front.engine, "unit").waiting(0) == ([], False)


def test_a_killed_session_is_a_lost_connection(administrator: str, front: MariaDbFront) -> None:
    """Nothing of its transaction remains, and the lock is free."""
    front.open("nonce")
    front.begin()
    front.write(WORDS, {("a", "1"): put(("a", "1"))}, 1)
    (session,) = execute(
        administrator,
        "SELECT id FROM information_schema.processlist "
        "WHERE db = database() AND user <> substring_index(user(), '@', 1)",
    )
    execute(administrator, f"KILL {session[0]}")
    with pytest.raises(FrontUnreachable):
        front.commit(progress("0/20"))
    front.close()
    assert front.open("again").position == "0/10"
    assert fetch(front, WORDS, ("a", "1")) == {}
    front.close()


# ---- sizes


def test_large_rows_pass_and_rows_larger_than_a_packet_are_named(front: MariaDbFront) -> None:
    """Statements are cut by bytes; a row that no statement holds suspends its table."""
    front.open("nonce")
    rows = {(str(n),): (str(n), "甲" * 400_000) for n in range(6)}
    write(front, SOFT, {key: put(row) for key, row in rows.items()})
    assert fetch(front, SOFT, *rows) == rows
    front.begin()
    with pytest.raises(RowRefused, match=r"soft.*max_allowed_packet of 16777216"):
        front.write(SOFT, {("7",): put(("7", "甲" * 5_600_000))}, 1)
    front.close()


# ---- the reader beside the writer


def test_the_published_mark_does_not_meet_the_writer(front: MariaDbFront) -> None:
    """A batch being written does not keep those before it from being deleted.

    A lock on the mark does, and nobody waits.
    """
    front.open("nonce")
    front.begin()
    front.store(Batch(1, 1, 1, b"one"), 5)
    front.commit(progress("0/20", number=1, batch=1))
    front.begin()
    front.store(Batch(2, 2, 2, b"two"), 5)
    reader = Reader(front.engine, "unit")
    assert reader.mark_published(Published(1, "id", 1, "0/20", 5))
    front.commit(progress("0/30", number=2, batch=2))
    assert [each.batch for each in reader.waiting(0).batches] == [2]
    front.begin()
    front.connection.exec_driver_sql("SELECT * FROM sync_agent_unit_published FOR UPDATE")
    assert not reader.mark_published(Published(2, "id", 2, "0/30", 5))
    front.close()


def test_columns_not_checked_yet_are_as_we_create_them() -> None:
    """A table just created is written to without a look at the catalogue."""
    columns = Values(NARROW, {})
    assert columns.row(("1", "a'\\", None)) == ["1", r"'a\'\\'", "NULL"]
    assert pymysql.converters.escape_string("a'\\") == r"a\'\\"


@pytest.mark.parametrize(
    ("scheme", "collation"),
    [("mariadb+pymysql", "utf8mb4_nopad_bin"), ("mysql+pymysql", "utf8mb4_0900_bin")],
)
def test_the_plan_names_collation_and_engine(scheme: str, collation: str) -> None:
    """Without a connection; MySQL has a collation of its own (the server itself: not tried)."""
    statement = MariaDbFront(f"{scheme}://u@127.0.0.1:1/d", None, 1.0, "unit").create_statement(
        WORDS
    )
    assert "`名称` VARCHAR(766) NOT NULL" in statement
    assert statement.endswith(f"ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation}")

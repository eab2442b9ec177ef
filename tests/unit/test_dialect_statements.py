"""Statements for databases that cannot be had here, as SQLAlchemy writes them without a server.

What a real server makes of them is another matter: `sync-agent selftest` tells.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, make_url, types
from sqlalchemy.dialects import mssql as mssql_module
from sqlalchemy.dialects import oracle as oracle_module
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import psycopg2
from sqlalchemy.types import TypeEngine

from agent.config import ResourceSettings
from agent.connectors.changes import Relation
from agent.connectors.database.catalogue import ReadTable, _described
from agent.connectors.database.rows import RowReader
from agent.connectors.database.session import Database, address_of
from agent.connectors.dialects.base import Dialect, Kind
from agent.connectors.dialects.opening import dialect_of
from agent.connectors.polling.tables import unfit
from agent.connectors.table import SourceColumn, SourceTable
from agent.connectors.trigger.databases.base import KeyPart, LoggedTable
from agent.connectors.trigger.databases.opening import trigger_log_of
from agent.connectors.trigger.keys import keys_reader, logged
from agent.errors import SourceUnfit
from agent.values.canonical import canonical
from agent.values.column_types import Type

# Some of their types have no annotations
oracle: Any = oracle_module
mssql: Any = mssql_module

NUMBER = "1234567890123456789012345678.0123456789"  # 38 digits
URLS = {
    "oracle": "oracle+oracledb://u@host:1521/?service_name=UNIT",
    "mssql": "mssql+pymssql://u@host/unit",
    "dm": "dm://u@host:5236",
    "kingbase": "kingbase://u@host:54321/unit",
    "opengauss": "opengauss://u@host:5432/unit",
}
COMPILERS: Mapping[str, Any] = {
    "oracle": oracle.dialect,
    "mssql": mssql.dialect,
    "kingbase": psycopg2.dialect,
    "opengauss": psycopg2.dialect,
}


def named(name: str, **attributes: Any) -> Any:
    """A type of dmSQLAlchemy, which is known by its name."""
    return SimpleNamespace(__visit_name__=name, **attributes)


def dialect(name: str) -> Dialect:
    """The dialect of a database."""
    found = dialect_of(make_url(URLS[name]))
    assert found is not None
    return found


def compiled(name: str, statement: Any) -> str:
    """A statement on one line."""
    if name in COMPILERS:
        compiler = COMPILERS[name]()
    else:
        compiler = dialect(name).engine(make_url(URLS[name]), None, 5.0).dialect
    return " ".join(str(statement.compile(dialect=compiler)).split())


def table(name: str, key: tuple[str, ...], **columns: TypeEngine[Any]) -> ReadTable:
    """A table with these columns."""
    kinds: dict[str, Kind] = {}
    described = []
    for column, declared in columns.items():
        kind = dialect(name).kind(declared, in_key=column in key)
        assert kind is not None, column
        kinds[column] = kind
        described.append(
            SourceColumn(column, kind.oid, kind.oid, kind.name, True, column in key, "")
        )
    made = SourceTable(1, "", "permit", tuple(described), key, "d")
    return ReadTable(made, kinds, kinds, {}, Relation(1, "", "permit", "d", ()))


def page(name: str, read: ReadTable, after: tuple[str, ...]) -> str:
    """The statement that reads a page behind a key."""
    reader = RowReader(dialect(name), "r", read, list(read.kinds))
    statement = reader.select().where(reader.after(after))
    return compiled(name, reader.in_key_order(statement, 10))


def test_a_page_of_oracle() -> None:
    """Numbers and times are read as texts, and compared as what they are."""
    read = table(
        "oracle",
        ("id", "day"),
        id=oracle.NUMBER(10, 0),
        day=oracle.DATE(),
        changed=oracle.TIMESTAMP(),
        seen=oracle.TIMESTAMP(timezone=True),
        note=types.CLOB(),
    )
    assert page("oracle", read, ("7", "2024-02-29 03:04:05")) == (
        "SELECT to_char(permit.id, :to_char_2) AS to_char_1, "
        "to_char(permit.day, :to_char_4) AS to_char_3, "
        "to_char(permit.changed, :to_char_6) AS to_char_5, "
        "to_char(sys_extract_utc(permit.seen), :to_char_8) AS to_char_7, permit.note "
        "FROM permit WHERE permit.id >= :id_1 AND (permit.id > :id_2 OR permit.id = :id_3 "
        "AND permit.day > to_date(:to_date_1, :to_date_2)) ORDER BY permit.id, permit.day "
        "FETCH FIRST __[POSTCOMPILE_param_1] ROWS ONLY"
    )


def test_a_page_of_sql_server() -> None:
    """A key of several columns is looked up by AND and OR: it has no rows as values."""
    read = table(
        "mssql",
        ("id", "at"),
        id=mssql.DECIMAL(38, 10),
        at=mssql.DATETIME2(6),
        fine=mssql.DATETIME2(7),
        seen=mssql.DATETIMEOFFSET(3),
        version=mssql.TIMESTAMP(),
    )
    assert page("mssql", read, ("7.5", "2024-02-29 03:04:05.12")) == (
        "SELECT TOP __[POSTCOMPILE_param_1] convert(varchar(50), permit.id) AS convert_1, "
        "convert(varchar(40), permit.at, 121) AS convert_2, "
        "convert(varchar(40), permit.fine, 121) AS convert_3, "
        "convert(varchar(40), convert(datetime2, switchoffset(permit.seen, 0)), 121) AS convert_4, "
        "convert(bigint, permit.version) AS convert_5 "
        "FROM permit WHERE permit.id >= :id_1 AND (permit.id > :id_2 OR permit.id = :id_3 "
        "AND permit.at > convert(datetime2(6), :param_2, 121)) ORDER BY permit.id, permit.at"
    )
    reader = RowReader(dialect("mssql"), "r", read, ["id"])
    under = reader._among([reader.key_values(("1", "2024-02-29 00:00:00"))])
    assert " IN " not in compiled("mssql", under)


def test_a_page_of_dm() -> None:
    read = table("dm", ("id",), id=named("NUMBER", precision=38, scale=10), at=named("DATETIME"))
    assert page("dm", read, ("7",)) == (
        "SELECT CAST(permit.id AS VARCHAR2(60 CHAR)) AS id, "
        "to_char(permit.at, ?) AS to_char_1 "
        "FROM permit WHERE permit.id > ? ORDER BY permit.id "
        "FETCH FIRST ? ROWS ONLY"
    )


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("oracle", "FROM permit WHERE permit.id = :id_1 FOR UPDATE SKIP LOCKED"),
        ("mssql", "FROM permit WITH (UPDLOCK, ROWLOCK, READPAST) WHERE permit.id = :id_1"),
        ("dm", "FROM permit WHERE permit.id = ? FOR UPDATE SKIP LOCKED"),
        ("opengauss", "FOR NO KEY UPDATE SKIP LOCKED"),
    ],
)
def test_rows_are_locked_before_their_flag_is_set(name: str, read: str) -> None:
    """Those that the application is changing are left out."""
    found = table(name, ("id",), id=types.INTEGER())
    reader = RowReader(dialect(name), "r", found, ["id"])
    assert compiled(name, reader.locking(reader.equal(("7",)))).endswith(read)


@pytest.mark.parametrize("name", ["kingbase", "opengauss"])
def test_a_page_of_postgresqls_kin(name: str) -> None:
    read = table(name, ("id",), id=postgresql.NUMERIC(38, 10), at=postgresql.TIMESTAMP())
    assert page(name, read, ("7",)) == (
        "SELECT CAST(permit.id AS TEXT) AS id, CAST(permit.at AS TEXT) AS at FROM permit "
        "WHERE permit.id > CAST(%(param_1)s AS NUMERIC(38, 10)) "
        "ORDER BY permit.id LIMIT %(param_2)s"
    )


INSTANT = "2024-02-29 03:04:05.12"
# A type as the catalogue gives it, what it becomes, and a value of the driver with its text
TYPES: Mapping[str, tuple[tuple[Any, str, Any, str], ...]] = {
    "oracle": (
        (oracle.NUMBER(4, 0), "smallint", "-7", "-7"),
        (oracle.NUMBER(1, 0), "smallint", "1", "1"),
        (oracle.NUMBER(9, 0), "integer", "7", "7"),
        (oracle.NUMBER(18, 0), "bigint", "7", "7"),
        (oracle.NUMBER(38, 0), "numeric(38,0)", "7", "7"),
        (oracle.NUMBER(38, 10), "numeric(38,10)", NUMBER, NUMBER),
        (oracle.NUMBER(5, -2), "numeric(5,-2)", "1200", "1200"),
        (oracle.NUMBER(), "numeric", ".5", "0.5"),
        (oracle.NUMBER(), "numeric", "1E-100", "0." + "0" * 99 + "1"),
        (oracle.FLOAT(126), "numeric", "-.1", "-0.1"),
        (types.INTEGER(), "numeric(38,0)", "9" * 38, "9" * 38),
        (oracle.BINARY_DOUBLE(), "double precision", 1e300, "1e+300"),
        (oracle.BINARY_FLOAT(), "real", 0.10000000149011612, "0.1"),
        (
            oracle.DATE(),
            "timestamp without time zone",
            " 2024-02-29 03:04:05",
            "2024-02-29 03:04:05",
        ),
        (oracle.TIMESTAMP(), "timestamp without time zone", f" {INSTANT}0000000", INSTANT),
        (
            oracle.TIMESTAMP(timezone=True),
            "timestamp with time zone",
            f" {INSTANT}0000000",
            f"{INSTANT}+00",
        ),
        (
            oracle.TIMESTAMP(local_timezone=True),
            "timestamp with time zone",
            f" {INSTANT}0000000",
            f"{INSTANT}+00",
        ),
        (types.CHAR(3), "character varying(3)", "Y  ", "Y  "),
        (types.NCHAR(3), "character varying(3)", "中  ", "中  "),
        (types.VARCHAR(20), "character varying(20)", "a", "a"),
        (types.NVARCHAR(20), "character varying(20)", "中", "中"),
        (types.CLOB(), "text", "中", "中"),
        (oracle.NCLOB(), "text", "中", "中"),
        (oracle.RAW(16), "bytea", b"\0\xff", "\\x00ff"),
        (oracle.BLOB(), "bytea", b"", "\\x"),
    ),
    "mssql": (
        (mssql.BIT(), "boolean", True, "t"),
        (mssql.TINYINT(), "smallint", 255, "255"),
        (mssql.SMALLINT(), "smallint", -7, "-7"),
        (mssql.INTEGER(), "integer", 7, "7"),
        (mssql.BIGINT(), "bigint", 7, "7"),
        (mssql.DECIMAL(38, 10), "numeric(38,10)", NUMBER, NUMBER),
        (mssql.NUMERIC(5, 0), "numeric(5,0)", "7", "7"),
        (mssql.MONEY(), "numeric(19,4)", "-0.5000", "-0.5000"),
        (mssql.SMALLMONEY(), "numeric(10,4)", "1.2345", "1.2345"),
        (mssql.FLOAT(53), "double precision", 0.1, "0.1"),
        (mssql.REAL(), "real", 0.10000000149011612, "0.1"),
        (mssql.DATE(), "date", "2024-02-29", "2024-02-29"),
        (mssql.TIME(3), "time without time zone", "23:59:59.500", "23:59:59.5"),
        (mssql.TIME(7), "character varying(16)", "23:59:59.1234567", "23:59:59.1234567"),
        (mssql.DATETIME(), "timestamp without time zone", "2024-02-29 03:04:05.120", INSTANT),
        (
            mssql.SMALLDATETIME(),
            "timestamp without time zone",
            "2024-02-29 03:04:00.000",
            "2024-02-29 03:04:00",
        ),
        (mssql.DATETIME2(3), "timestamp without time zone", "2024-02-29 03:04:05.120", INSTANT),
        (mssql.DATETIME2(), "character varying(27)", f"{INSTANT}34567", f"{INSTANT}34567"),
        (
            mssql.DATETIMEOFFSET(6),
            "timestamp with time zone",
            "2024-02-29 03:04:05.1200000",
            f"{INSTANT}+00",
        ),
        (mssql.CHAR(3), "character varying(3)", "Y  ", "Y  "),
        (mssql.NVARCHAR(20), "character varying(20)", "中", "中"),
        (mssql.NVARCHAR(), "text", "中", "中"),
        (mssql.NTEXT(), "text", "中", "中"),
        (mssql.XML(), "text", "<a/>", "<a/>"),
        (mssql.VARBINARY(9), "bytea", b"\0\xff", "\\x00ff"),
        (mssql.IMAGE(), "bytea", b"", "\\x"),
        (mssql.TIMESTAMP(), "bigint", 2001, "2001"),
        (
            mssql.UNIQUEIDENTIFIER(),
            "uuid",
            UUID("6ccd780c-baba-1026-9564-5b8c656024db"),
            "6ccd780c-baba-1026-9564-5b8c656024db",
        ),
    ),
    "dm": (
        (named("BIT"), "boolean", 1, "t"),
        (named("SMALLINT"), "smallint", -7, "-7"),
        (types.INTEGER(), "integer", 7, "7"),
        (named("BIGINT"), "bigint", 7, "7"),
        (named("NUMBER", precision=38, scale=10), "numeric(38,10)", NUMBER, NUMBER),
        (named("DECIMAL", precision=None, scale=None), "numeric", "0.5", "0.5"),
        (named("DOUBLE"), "double precision", 0.1, "0.1"),
        (named("REAL"), "real", 0.10000000149011612, "0.1"),
        (named("DATE"), "date", "2024-02-29", "2024-02-29"),
        (named("TIME"), "time without time zone", time(3, 4, 5), "03:04:05"),
        (named("DATETIME"), "timestamp without time zone", f"{INSTANT}0000", INSTANT),
        (
            named("DMTIMESTAMP", timezone=False),
            "timestamp without time zone",
            f"{INSTANT}0000",
            INSTANT,
        ),
        (
            named("DMTIMESTAMP", timezone=True),
            "timestamp with time zone",
            f"{INSTANT}0000",
            f"{INSTANT}+00",
        ),
        (named("CHAR", length=3), "character varying(3)", "Y  ", "Y  "),
        (named("VARCHAR", length=20), "character varying(20)", "中", "中"),
        (named("CLOB"), "text", SimpleNamespace(read=lambda: "中"), "中"),
        (named("BLOB"), "bytea", SimpleNamespace(read=lambda: b"\0"), "\\x00"),
        (named("VARBINARY"), "bytea", b"\0\xff", "\\x00ff"),
    ),
}


@pytest.mark.parametrize("name", TYPES)
def test_types_become_canonical_ones(name: str) -> None:
    for declared, expected, value, text in TYPES[name]:
        kind = dialect(name).kind(declared, in_key=False)
        assert kind is not None, declared
        assert kind.name == expected, declared
        assert kind.write(value) == text, declared
        assert canonical(text, Type(kind.oid, kind.name)), declared


@pytest.mark.parametrize(
    ("name", "declared", "value"),
    [
        ("oracle", oracle.TIMESTAMP(), " 2024-02-29 03:04:05.123456789"),
        ("oracle", oracle.DATE(), "-4712-01-01 00:00:00"),
        ("oracle", types.VARCHAR(5), "a\0"),
        ("mssql", mssql.DECIMAL(5, 2), "many"),
        ("dm", named("BIT"), 2),
        ("dm", named("CLOB"), SimpleNamespace(read=lambda: b"?")),
    ],
)
def test_what_has_no_canonical_text_is_refused(name: str, declared: Any, value: object) -> None:
    """Nothing is cut off, and nothing is guessed."""
    kind = dialect(name).kind(declared, in_key=False)
    assert kind is not None
    with pytest.raises((ValueError, TypeError, ArithmeticError)):
        kind.write(value)


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("oracle", oracle.INTERVAL()),
        ("oracle", oracle.LONG()),
        ("oracle", oracle.BFILE()),
        ("oracle", oracle.ROWID()),
        ("oracle", types.NullType()),
        ("mssql", mssql.SQL_VARIANT()),
        ("mssql", types.NullType()),
        ("dm", named("INTERVAL")),
        ("dm", types.NullType()),
    ],
)
def test_other_types_are_not_read(name: str, declared: Any) -> None:
    assert dialect(name).kind(declared, in_key=False) is None


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("oracle", oracle.BINARY_FLOAT()),
        ("oracle", types.CLOB()),
        ("mssql", mssql.REAL()),
        ("mssql", mssql.DATETIME2(7)),
        ("dm", named("REAL")),
    ],
)
def test_some_types_make_no_key(name: str, declared: Any) -> None:
    """Their texts give no value back."""
    assert dialect(name).kind(declared, in_key=True) is None
    assert dialect(name).kind(declared, in_key=False) is not None


@pytest.mark.parametrize("name", ["oracle", "mssql", "dm"])
def test_a_moment_that_the_database_cannot_have_equals_none(name: str) -> None:
    """What stands in the front end may be of another source."""
    moment = {"oracle": oracle.DATE(), "mssql": mssql.DATETIME(), "dm": named("DATETIME")}[name]
    kind = dialect(name).kind(moment, in_key=True)
    assert kind is not None
    for text in ("infinity", "0044-03-15 12:00:00 BC", "12024-01-01 00:00:00"):
        assert compiled(name, kind.bind(text)) == "NULL"


def failure(*arguments: object) -> Exception:
    """An error of a driver."""
    return Exception(*arguments)


def details(code: int, full_code: str = "") -> SimpleNamespace:
    """What errors of oracledb and dmPython hold."""
    return SimpleNamespace(code=code, full_code=full_code)


@pytest.mark.parametrize(
    ("name", "error", "trouble", "code"),
    [
        ("oracle", failure(details(1017, "ORA-01017")), "login", "ORA-01017"),
        ("oracle", failure(details(942, "ORA-00942")), "missing", "ORA-00942"),
        ("oracle", failure(details(1031, "ORA-01031")), "denied", "ORA-01031"),
        ("oracle", failure(details(1555, "ORA-01555")), "busy", "ORA-01555"),
        ("oracle", failure(details(3113, "ORA-03113")), "unreachable", "ORA-03113"),
        ("oracle", failure(details(0, "DPY-6005")), "unreachable", "DPY-6005"),
        ("oracle", failure(details(0, "DPY-4024")), "busy", "DPY-4024"),
        ("oracle", failure(details(1, "ORA-00001")), "unfit", "ORA-00001"),
        ("oracle", failure(), "unfit", "Exception"),
        ("mssql", failure((18456, b"...")), "login", "error 18456"),
        ("mssql", failure(208, b"..."), "missing", "error 208"),
        ("mssql", failure((229, b"...")), "denied", "error 229"),
        ("mssql", failure((1222, b"...")), "busy", "error 1222"),
        ("mssql", failure((20009, b"...")), "unreachable", "error 20009"),
        (
            "mssql",
            failure((3952, b"...")),
            "unfit",
            "error 3952 (ALLOW_SNAPSHOT_ISOLATION is off)",
        ),
        ("mssql", failure("text"), "unfit", "error -1"),
        ("dm", failure(details(-2501)), "login", "error -2501"),
        ("dm", failure(details(-2106)), "missing", "error -2106"),
        ("dm", failure(details(-70028)), "unreachable", "error -70028"),
        ("dm", failure("text"), "unfit", "error 0"),
    ],
)
def test_errors_of_the_drivers(name: str, error: Exception, trouble: str, code: str) -> None:
    assert (dialect(name).trouble(error), dialect(name).code(error)) == (trouble, code)


def test_an_address_tells_service_and_database_apart() -> None:
    assert address_of(make_url(URLS["oracle"])) == "host:1521/UNIT"
    assert address_of(make_url(URLS["mssql"])) == "host/unit"


class Raw:
    """A driver's connection that notes what is done with it."""

    def __init__(self) -> None:
        self.done: list[object] = []

    def __setattr__(self, name: str, value: object) -> None:
        if name != "done":
            self.done.append((name, value))
        super().__setattr__(name, value)

    def commit(self) -> None:
        """Notes a commit."""
        self.done.append("COMMIT")

    def rollback(self) -> None:
        """Notes a rollback."""
        self.done.append("ROLLBACK")


class Noted:
    """A connection of SQLAlchemy that notes the statements of a transaction."""

    def __init__(self) -> None:
        self.raw = Raw()
        self.connection = SimpleNamespace(dbapi_connection=self.raw)

    def exec_driver_sql(self, statement: str) -> Any:
        """Notes a statement."""
        self.raw.done.append(statement)
        return SimpleNamespace(scalar=lambda: 1)


SNAPSHOTS: Mapping[str, list[object]] = {
    "oracle": [
        ("autocommit", False), "SET TRANSACTION READ ONLY", "READ", "ROLLBACK",
        ("autocommit", True),
    ],
    "dm": [
        ("autoCommit", False), "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "READ", "ROLLBACK",
        ("autoCommit", True),
    ],
    "mssql": [
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT", "BEGIN TRANSACTION",
        "SELECT TOP 1 1 FROM sys.objects", "READ", "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION",
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_snapshot_is_a_transaction_that_ends(name: str) -> None:
    """Also where reading fails."""
    for failing in (False, True):
        noted: Any = Noted()
        connection: Connection = noted
        try:
            with dialect(name).snapshot(connection):
                noted.exec_driver_sql("READ")
                if failing:
                    raise LookupError
        except LookupError:
            assert failing
        assert noted.raw.done == SNAPSHOTS[name]


@pytest.mark.parametrize("name", ["oracle", "dm", "mssql"])
def test_notes_are_deleted_in_a_transaction(name: str) -> None:
    for failing, last in ((False, "COMMIT"), (True, "ROLLBACK")):
        noted: Any = Noted()
        try:
            with dialect(name).writing(noted):
                noted.exec_driver_sql("DELETE")
                if failing:
                    raise LookupError
        except LookupError:
            assert failing
        ends = [step for step in noted.raw.done if last in str(step)]
        assert len(ends) == 1
        assert noted.raw.done.index("DELETE") < noted.raw.done.index(ends[0])


KEYED = LoggedTable(
    "",
    "permit",
    (
        KeyPart("id", "number"),
        KeyPart("name"),
        KeyPart("at", "moment"),
        KeyPart("day", "date"),
        KeyPart("b", "bytes"),
    ),
)
# How each part of the key is written within a trigger
PARTS: Mapping[str, tuple[str, ...]] = {
    "oracle": (
        """TO_NCHAR(:NEW."ID", 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')""",
        """TO_NCHAR(:NEW."NAME")""",
        (
            """TO_NCHAR(CAST(:NEW."AT" AS TIMESTAMP(6)), 'YYYY-MM-DD HH24:MI:SS.FF6', """
            """'NLS_CALENDAR=GREGORIAN')"""
        ),
        (
            """TO_NCHAR(CAST(:OLD."DAY" AS TIMESTAMP(6)), 'YYYY-MM-DD HH24:MI:SS.FF6', """
            """'NLS_CALENDAR=GREGORIAN')"""
        ),
        """LENGTH4(TO_NCHAR(RAWTOHEX(:OLD."B"))) || ':' || TO_NCHAR(RAWTOHEX(:OLD."B"))""",
    ),
    "dm": (
        """CAST(:NEW."ID" AS VARCHAR(2000))""",
        """TO_CHAR(:NEW."AT", 'YYYY-MM-DD HH24:MI:SS.FF6')""",
        """TO_CHAR(:NEW."DAY", 'YYYY-MM-DD')""",
        """RAWTOHEX(:OLD."B")""",
    ),
    "mssql": (
        "CONVERT(nvarchar(max), [id])",
        "CONVERT(nvarchar(40), [at], 121)",
        "CONVERT(nvarchar(max), CONVERT(varbinary(max), [b]), 2)",
        "LEN((CONVERT(nvarchar(max), [name]) + N'.') COLLATE Latin1_General_100_CI_AS_SC) - 1",
    ),
    "kingbase": (
        """NEW."id"::text""",
        """to_char(NEW."at", 'YYYY-MM-DD HH24:MI:SS.US')""",
        """to_char(OLD."day", 'YYYY-MM-DD')""",
        """encode(OLD."b", 'hex')""",
    ),
}
PARTS = {**PARTS, "opengauss": PARTS["kingbase"]}


@pytest.mark.parametrize("name", PARTS)
def test_a_trigger_writes_every_key_without_the_session(name: str) -> None:
    """No setting of the application's session changes a note; only the key is named."""
    log = trigger_log_of(name)
    assert log is not None
    made = "\n".join(log.create_triggers(KEYED))
    for part in PARTS[name]:
        assert part in made
    for operation in ("'I'", "'U'", "'D'"):
        assert operation in made
    assert log.log_name in made
    (create, *_) = log.create_log()
    assert create.startswith(f"CREATE TABLE {log.log_name} (")
    assert all(log.log in statement.lower() for statement in log.drop_log())
    assert all(
        log.trigger(KEYED, "note").lower() in statement.lower()
        for statement in log.drop_triggers(KEYED)
    )


def test_what_a_trigger_notes_is_read_as_the_pages_key() -> None:
    """Forms of a database's own: Oracle's dates with a time, and numbers without their zeros."""
    read = table("oracle", ("n", "d"), n=oracle.NUMBER(10, 2), d=oracle.DATE())
    made = logged(read)
    assert made is not None
    assert [part.form for part in made.key] == ["number", "moment"]
    day = "2024-02-29 03:04:05.000000"
    key = ("1.50", "2024-02-29 03:04:05")
    assert keys_reader(read)(f"3:1.526:{day}") == [key]
    assert keys_reader(read)(2 * f"3:1.526:{day}") == [key, key]
    with pytest.raises(ValueError, match="argument 2"):
        keys_reader(read)(f"3:1.526:{day}3:1.5")


def test_values_that_drivers_give_are_written_too() -> None:
    """Whatever a driver makes of a text, its own types have the same texts."""
    moment = dialect("oracle").kind(oracle.DATE(), in_key=False)
    number = dialect("oracle").kind(oracle.NUMBER(10, 2), in_key=False)
    day = dialect("mssql").kind(mssql.DATE(), in_key=False)
    assert moment is not None
    assert number is not None
    assert day is not None
    assert moment.write(datetime(2024, 2, 29)) == "2024-02-29 00:00:00"  # noqa: DTZ001
    assert number.write(Decimal("1.5")) == "1.50"
    assert day.write(date(2024, 2, 29)) == "2024-02-29"


TABLE = Path(__file__).parents[2] / "docs" / "types.md"


# Which no statement writes, or which need a newer server than the documents speak of
UNTRIED = {"ROWVERSION", "TIMESTAMP", "BOOLEAN"}


def documented(kind: str, *, read: bool = False) -> list[str]:
    """The columns of a kind of database that the table names; with `read` those not refused."""
    same = {"KingbaseES": "PostgreSQL", "openGauss": "PostgreSQL"}.get(kind, kind)
    rows = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = line.split("|")
        if len(cells) > 4 and cells[1].strip() == same and not (read and "always" in cells[4]):
            rows.append(cells[2])
    return rows


@pytest.mark.parametrize(
    "url", ["sqlite:////x", "mariadb://u@h/d", "firebird://u@h/d", *URLS.values()]
)
def test_the_self_test_tries_each_type_of_the_documents(url: str) -> None:
    """Of those that are written in capitals, each word of a type's name."""
    found = dialect_of(make_url(url))
    assert found is not None
    tried = set()
    for sample in found.samples:
        tried.update(re.findall(r"\w+", sample.declared.upper()))
    for row in documented(found.name, read=True):
        named = set(re.findall(r"[A-Z][A-Z0-9_]+", row))
        assert named - tried <= UNTRIED, row


@pytest.mark.parametrize(
    "url",
    ["sqlite:////x", "mariadb://u@h/d", "postgresql://u@h/d", "firebird://u@h/d", *URLS.values()],
)
def test_the_documents_say_what_becomes_of_each_type(url: str) -> None:
    """Of each that the self-test tries, by its name before the sizes."""
    found = dialect_of(make_url(url))
    assert found is not None
    assert found.samples
    rows = [columns.lower() for columns in documented(found.name)]
    for sample in found.samples:
        name = sample.declared.lower().partition("(")[0].split(" ")[0]
        assert any(name in re.findall(r"[a-z_0-9]+", row) for row in rows), sample.declared


def test_long_texts_of_oracle_in_another_encoding_are_refused_by_name() -> None:
    """A CLOB has its database's character set, an NCLOB one of its own."""
    oracle = dialect_of(make_url(URLS["oracle"]))
    assert oracle is not None
    declared: list[TypeEngine[Any]] = [types.CLOB(), oracle_module.NCLOB(), types.VARCHAR(20)]
    assert all(oracle.kind(one, in_key=False) for one in declared)

    oracle.encoding = "gbk"
    refused = [oracle.kind(one, in_key=False) is None for one in declared]
    assert refused == [True, False, False]

    columns = [{"name": "id", "type": types.INTEGER(), "nullable": False}]
    columns += [{"name": "note", "type": types.CLOB(), "nullable": True}]
    inspector: Any = SimpleNamespace(
        get_columns=lambda *_, **__: columns,
        get_pk_constraint=lambda *_, **__: {"constrained_columns": ["id"]},
    )
    read = _described(inspector, oracle, 1, ("", "permit"), ())
    resource = ResourceSettings.model_validate(
        {"name": "permit", "table": "permit", "columns": ["id", "note"]}
    )
    assert "column note has type CLOB in gbk" in str(unfit(resource, read))


@pytest.mark.parametrize("kind", ["postgresql", "firebird", "mssql", "dm", "kingbase", "opengauss"])
def test_an_encoding_is_refused_where_no_text_has_one(kind: str) -> None:
    """Rather than passed over: the texts would be wrong."""
    with pytest.raises(SourceUnfit, match="no texts in another encoding"):
        Database(URLS.get(kind, f"{kind}://u@h/d"), None, 20.0, "gbk")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "oracle", "mssql"])
def test_zero_dates_are_refused_where_there_are_none(kind: str) -> None:
    """A setting that does nothing would be trusted."""
    with pytest.raises(SourceUnfit, match="no zero dates"):
        Database(URLS.get(kind, f"{kind}://u@h/d"), None, 20.0, zero_dates="null")

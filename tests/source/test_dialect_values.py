"""Values of each database as canonical texts, and texts as the values they were read from."""

import math
import struct
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from random import Random
from socket import AF_INET6, inet_pton
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent.connectors.database.catalogue import ReadTable, tables
from agent.connectors.database.rows import RowReader
from agent.errors import ValueUnreadable
from agent.values.canonical import canonical
from agent.values.writing import inet_text
from tests.source.databases import DRIVERS, KINDS, MYSQL, Place, place_of

PLACE = ("", "t")


class Case(NamedTuple):
    """A column as it is declared, and literals with the texts that they are read as."""

    declared: str
    values: Sequence[tuple[str, str]]


NUMBER = "1234567890123456789012345678.0123456789"  # 38 digits

UUID = "6ccd780c-baba-1026-9564-5b8c656024db"
POINT = "0101000000000000000000f03f0000000000000040"  # (1 2) as WKB

CASES: dict[str, tuple[Case, ...]] = {
    "sqlite": (
        Case("INTEGER", [("-9223372036854775808", "-9223372036854775808"), ("7", "7")]),
        Case("REAL", [("0.1", "0.1"), ("1e300", "1e+300"), ("5", "5")]),
        Case("DECIMAL(10,2)", [("5", "5"), ("2.50", "2.5")]),
        Case("BOOLEAN", [("1", "t"), ("0", "f")]),
        Case("VARCHAR(20)", [("' 中文 '", " 中文 "), ("'12'", "12")]),
        Case("TEXT", [("''", "")]),
        Case("BLOB", [("x'00ff'", "\\x00ff")]),
        Case("DATE", [("'2024-02-29'", "2024-02-29")]),
        Case(
            "DATETIME",
            [
                ("'2024-02-29 03:04:05.120'", "2024-02-29 03:04:05.12"),
                ("'2024-02-29T03:04:05'", "2024-02-29 03:04:05"),
            ],
        ),
        Case("TIME", [("'03:04:05'", "03:04:05")]),
        Case("JSON", [("'{\"a\": 1}'", '{"a": 1}')]),
    ),
    "firebird": (
        Case("SMALLINT", [("-32768", "-32768")]),
        Case("INTEGER", [("2147483647", "2147483647")]),
        Case("BIGINT", [("-9223372036854775808", "-9223372036854775808")]),
        Case(
            "INT128",
            [("1234567890123456789012345678901234567", "1234567890123456789012345678901234567")],
        ),
        Case("NUMERIC(4,2)", [("327.67", "327.67"), ("-0.5", "-0.50")]),
        Case("DECIMAL(38,10)", [(NUMBER, NUMBER), ("-0.5", "-0.5000000000")]),
        Case("DECFLOAT(34)", [("1.50", "1.50"), ("1e3", "1000")]),
        Case("FLOAT", [("0.1", "0.1"), ("16777216", "1.6777216e+07"), ("3.1415927", "3.1415927")]),
        Case("DOUBLE PRECISION", [("0.1", "0.1"), ("1e300", "1e+300")]),
        Case("BOOLEAN", [("TRUE", "t"), ("FALSE", "f")]),
        Case("DATE", [("'2024-02-29'", "2024-02-29")]),
        Case("TIME", [("'23:59:59.5'", "23:59:59.5"), ("'00:00:00'", "00:00:00")]),
        Case("TIMESTAMP", [("'2024-02-29 03:04:05.1200'", "2024-02-29 03:04:05.12")]),
        Case(
            "TIMESTAMP WITH TIME ZONE",
            [("'2024-02-29 03:04:05 Asia/Shanghai'", "2024-02-28 19:04:05+00")],
        ),
        Case("CHAR(5)", [("'ab '", "ab"), ("'中'", "中")]),
        Case("VARCHAR(20)", [("'ab '", "ab "), ("'𠀀'", "𠀀"), ("''", "")]),
        Case("BLOB SUB_TYPE TEXT", [("'中文 '", "中文 ")]),
        Case("CHAR(3) CHARACTER SET OCTETS", [("x'00ff'", "\\x00ff00")]),
        Case("VARCHAR(9) CHARACTER SET OCTETS", [("x'00ff'", "\\x00ff")]),
        Case("BLOB", [("x'00ff'", "\\x00ff")]),
    ),
    "mariadb": (
        Case("TINYINT(1)", [("1", "1"), ("-128", "-128")]),
        Case("SMALLINT UNSIGNED", [("65535", "65535")]),
        Case("MEDIUMINT", [("-8388608", "-8388608")]),
        Case("INT UNSIGNED", [("4294967295", "4294967295")]),
        Case("BIGINT", [("-9223372036854775808", "-9223372036854775808")]),
        Case("BIGINT UNSIGNED", [("18446744073709551615", "18446744073709551615")]),
        Case("DECIMAL(38,10)", [(NUMBER, NUMBER), ("-0.5", "-0.5000000000")]),
        Case("DECIMAL", [("12", "12")]),
        Case("FLOAT", [("0.1", "0.1"), ("16777216", "1.6777216e+07"), ("3.1415927", "3.1415927")]),
        Case("DOUBLE", [("0.1", "0.1"), ("1e300", "1e+300")]),
        Case("BIT(1)", [("b'1'", "t"), ("b'0'", "f")]),
        Case("BIT(10)", [("b'1000000000'", "512")]),
        Case("DATE", [("'2024-02-29'", "2024-02-29")]),
        Case("DATETIME(3)", [("'2024-02-29 03:04:05.120'", "2024-02-29 03:04:05.12")]),
        Case("DATETIME", [("'9999-12-31 23:59:59'", "9999-12-31 23:59:59")]),
        Case("TIMESTAMP(6) NULL", [("'2024-02-29 03:04:05.000001'", "{utc}")]),
        Case("TIME(6)", [("'23:59:59.5'", "23:59:59.5"), ("'00:00:00'", "00:00:00")]),
        Case("YEAR", [("2024", "2024")]),
        Case("CHAR(5)", [("'ab '", "ab"), ("'中'", "中")]),
        Case("VARCHAR(20)", [("'ab '", "ab "), ("'𠀀'", "𠀀")]),
        Case("LONGTEXT", [("'a\\nb\\tc'", "a\nb\tc")]),
        Case("ENUM('x','y')", [("'y'", "y")]),
        Case("SET('x','y')", [("'y,x'", "x,y")]),
        Case("BINARY(3)", [("x'00ff'", "\\x00ff00")]),
        Case("VARBINARY(9)", [("x'00ff'", "\\x00ff")]),
        Case("LONGBLOB", [("x''", "\\x")]),
        Case("JSON", [("'{\"a\": 1}'", '{"a": 1}')]),
        Case("POINT", [("ST_GeomFromText('POINT(1 2)')", f"\\x00000000{POINT}")]),
        Case("GEOMETRY", [("ST_GeomFromText('POINT(1 2)')", f"\\x00000000{POINT}")]),
    ),
    "postgresql": (
        Case("boolean", [("true", "t"), ("false", "f")]),
        Case("smallint", [("-5", "-5")]),
        Case("bigint", [("9223372036854775807", "9223372036854775807")]),
        Case("numeric(38,10)", [(NUMBER, NUMBER)]),
        Case("numeric", [("'NaN'", "NaN"), ("1.50", "1.50")]),
        Case("real", [("0.1", "0.1")]),
        Case("double precision", [("'-Infinity'", "-Infinity"), ("1e300", "1e+300")]),
        Case("date", [("'2024-02-29'", "2024-02-29"), ("'infinity'", "infinity")]),
        Case("timestamp(3)", [("'2024-02-29 03:04:05.120'", "2024-02-29 03:04:05.12")]),
        Case("timestamptz", [("'2024-02-29 03:04:05+08'", "2024-02-28 19:04:05+00")]),
        Case("time", [("'24:00'", "24:00:00")]),
        Case("timetz", [("'03:04:05+08'", "03:04:05+08")]),
        Case("interval", [("'1 day 2 hours'", "P1DT2H")]),
        Case("character(5)", [("'ab'", "ab   ")]),
        Case("varchar(20)", [("'ab '", "ab ")]),
        Case("text", [("E'a\\nb'", "a\nb")]),
        Case("bytea", [("'\\x00ff'", "\\x00ff")]),
        Case("json", [('\'{"b": 1, "a": 2}\'', '{"b": 1, "a": 2}')]),
        Case("jsonb", [('\'{"b": 1, "a": 2}\'', '{"a": 2, "b": 1}')]),
        Case("uuid", [(f"'{UUID}'", UUID)]),
        Case("inet", [("'10.0.0.1'", "10.0.0.1")]),
        Case("integer[]", [("'{1,2}'", "{1,2}")]),
        Case("pg_catalog.pg_lsn", [("'0/1'", "0/1")]),
        Case("mood", [("'happy'", "happy")]),
        Case("positive", [("7", "7")]),
    ),
}
# What MySQL has in common with MariaDB stands there
CASES["mysql"] = CASES["mariadb"]
CASES["mariadb"] += (
    Case("UUID", [(f"'{UUID}'", UUID)]),
    Case("INET4", [("'192.0.2.0'", "192.0.2.0"), ("'0.0.0.0'", "0.0.0.0")]),
    Case("INET6", [("'::'", "::"), ("'::ffff:192.0.2.1'", "::ffff:192.0.2.1")]),
)
# Types of a newer server alone
NEWER = {"mysql9": (Case("VECTOR(3)", [("STRING_TO_VECTOR('[1,0.5,-2e-30]')", "{1,0.5,-2e-30}")]),)}

BEFORE = {
    "sqlite": (),
    "mariadb": (),
    "mysql": (),
    "firebird": (),
    "postgresql": (
        "CREATE TYPE mood AS ENUM ('sad', 'happy')",
        "CREATE DOMAIN positive AS integer CHECK (value > 0)",
    ),
}

# Literals that are no value of their column's type
REFUSED = {
    "sqlite": (
        ("INTEGER", "'seven'"),
        ("DECIMAL(10,2)", "'many'"),
        ("BOOLEAN", "2"),
        ("DATE", "'29.02.2024'"),
        ("DATETIME", "1709175845"),
        ("DATETIME", "'2024-02-29T03:04:05Z'"),
        ("TEXT", "x'00'"),
        ("TEXT", "'a' || char(0)"),
        ("BLOB", "'text'"),
    ),
    "mariadb": (
        ("DATE", "'0000-00-00'"),
        ("DATE", "'2024-00-10'"),
        ("DATETIME", "'0000-00-00 00:00:00'"),
        ("TIMESTAMP NULL", "'0000-00-00 00:00:00'"),
        ("TIME", "'-00:00:01'"),
        ("TIME", "'100:00:00'"),
        ("TEXT", "x'00'"),
    ),
    "postgresql": (),
    "firebird": (("TIME WITH TIME ZONE", "'03:04:05 Asia/Shanghai'"),),
}
REFUSED["mysql"] = REFUSED["mariadb"]

# Lets the application write them
LOOSE = {"mysql": ("SET SESSION sql_mode = ''",)}


@pytest.fixture(params=dict.fromkeys([*KINDS, "firebird", *MYSQL, *DRIVERS]))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database of each kind in turn."""
    with place_of(request.param, request, tmp_path) as made:
        yield made


def described(place: Place) -> ReadTable:
    """The table `t`."""
    database = place.database
    with database.connect() as connection:
        return tables(connection, database.dialect, {PLACE: ()})[PLACE]


def read(place: Place, *columns: str) -> list[tuple[str | None, ...]]:
    """Reads columns of the table `t`, in the order of its key."""
    database, found = place.database, described(place)
    reader = RowReader(database.dialect, "r", found, columns)
    with (
        database.connect() as connection,
        database.guarded("r", "t"),
        database.dialect.snapshot(connection),
    ):
        statement = reader.in_key_order(reader.select(), 1000)
        return list(reader.rows(connection, statement))


def test_every_type_is_read_as_canonical_text(place: Place) -> None:
    """Whatever the session of the application writes, in one table of all types."""
    place.execute(*BEFORE[place.family])
    cases = [*CASES[place.family], *NEWER.get(place.kind, ())]
    declared = ", ".join(f"c{number} {case.declared}" for number, case in enumerate(cases))
    place.execute(f"CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, {declared})")

    expected: dict[int, dict[str, str]] = {}
    for number, case in enumerate(cases):
        for row, (literal, written) in enumerate(case.values):
            expected.setdefault(row, {})[f"c{number}"] = written
            place.execute(*_upsert(place, row, f"c{number}", literal))

    found = described(place)
    assert not found.unreadable
    columns = {column.name: column.type for column in found.table.columns}
    names = [f"c{number}" for number in range(len(cases))]
    for key, *texts in read(place, "id", *names):
        for name, text in zip(names, texts, strict=True):
            wanted = expected[int(str(key))].get(name)
            if wanted == "{utc}":
                assert text is not None
                assert text.endswith(":04:05.000001+00")
            else:
                assert text == wanted, name
            assert text is None or canonical(text, columns[name]), name


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_addresses_are_spelled_as_postgresql_does(place: Place) -> None:
    """Those that have runs of zeros, and the old address within the new one."""
    random = Random(20261201)
    words = (0, 0, 0, 1, 0x10, 0xFFFF)
    packed = [random.randbytes(4) for _ in range(50)]
    packed += [struct.pack(">8H", *random.choices(words, k=8)) for _ in range(2000)]
    packed += [bytes(16 - size) + random.randbytes(size) for size in range(17) for _ in range(20)]
    packed += [bytes(10) + b"\xff\xff" + random.randbytes(4) for _ in range(20)]
    packed += [inet_pton(AF_INET6, one) for one in ("::1", "::0.1.0.0", "::0.0.1.0", "1::")]

    with place.open() as connection:
        shown = connection.exec_driver_sql(
            "SELECT a::inet::text FROM unnest(%s::text[]) WITH ORDINALITY AS one (a, n) ORDER BY n",
            ([str(ip_address(one)) for one in packed],),
        ).scalars()
        asked = [text.partition("/")[0] for text in shown]
    assert [inet_text(one) for one in packed] == asked
    assert [inet_text(str(ip_address(one))) for one in packed] == asked


def _upsert(place: Place, number: int, name: str, literal: str) -> list[str]:
    ignore = {
        "sqlite": "INSERT OR IGNORE INTO t (id) VALUES ({0})",
        "mariadb": "INSERT IGNORE INTO t (id) VALUES ({0})",
        "mysql": "INSERT IGNORE INTO t (id) VALUES ({0})",
        "postgresql": "INSERT INTO t (id) VALUES ({0}) ON CONFLICT DO NOTHING",
        "firebird": "UPDATE OR INSERT INTO t (id) VALUES ({0})",
    }[place.family]
    update = f"UPDATE t SET {name} = {literal} WHERE id = {number}"
    return [ignore.format(number), update]


def test_what_is_no_value_of_its_type_is_refused_by_name(place: Place) -> None:
    """Zero dates, durations, and what SQLite keeps in any column: the column is named."""
    for number, (declared, literal) in enumerate(REFUSED[place.family]):
        place.execute(
            *LOOSE.get(place.family, ()),
            "DROP TABLE IF EXISTS t",
            f"CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v {declared})",
            f"INSERT INTO t VALUES (1, {literal})",
        )
        with pytest.raises(ValueUnreadable, match="column v") as refused:
            read(place, "id", "v")
        assert literal.strip("'") not in refused.value.text(), number


KEYS = {
    "sqlite": ("INTEGER", "DECIMAL(10,2)", "VARCHAR(20)", "BLOB", "DATETIME"),
    "mariadb": ("BIGINT", "DECIMAL(38,10)", "VARCHAR(20)", "VARBINARY(9)", "DATETIME(3)"),
    "postgresql": ("bigint", "numeric(38,10)", "varchar(20)", "bytea", "timestamp(3)"),
    "firebird": (
        "BIGINT",
        "DECIMAL(38,10)",
        "VARCHAR(20)",
        "CHAR(5)",
        "VARCHAR(9) CHARACTER SET OCTETS",
        "BOOLEAN",
        "DATE",
        "TIME",
        "TIMESTAMP",
        "TIMESTAMP WITH TIME ZONE",
    ),
}
KEYS["mysql"] = KEYS["mariadb"]


def test_a_key_gives_back_the_row(place: Place) -> None:
    """Of each type that keys have, alone and together."""
    cases = {case.declared: case for case in CASES[place.family]}
    for declared in KEYS[place.family]:
        case = cases.get(declared, Case("", [("5", ""), ("7", "")]))
        values = [literal for literal, _ in case.values]
        rows = [f"INSERT INTO t VALUES ({literal}, {i})" for i, literal in enumerate(values)]
        place.execute(
            "DROP TABLE IF EXISTS t",
            f"CREATE TABLE t (k {declared} NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (k, n))",
            *rows,
        )
        database, found = place.database, described(place)
        reader = RowReader(database.dialect, "r", found, ("k", "n"))
        with (
            database.connect() as connection,
            database.guarded("r", "t"),
            database.dialect.snapshot(connection),
        ):
            statement = reader.in_key_order(reader.select(), 100)
            keys = [tuple(map(str, row)) for row in reader.rows(connection, statement)]
            assert len(keys) == len(values)
            for i, key in enumerate(keys):
                assert list(reader.under(connection, [key])) == [key], declared
                page = reader.page(connection, key, 100)
                assert len(page.lines) == len(keys) - i - 1, declared
            assert sorted(reader.under(connection, [*keys, ("?", "x")])) == sorted(keys)


TYPES = {
    "sqlite": {"n": "DECIMAL(38,10)", "f": "DOUBLE", "d": "DATETIME", "b": "BLOB", "s": "TEXT"},
    "mariadb": {
        "n": "DECIMAL(38,10)",
        "f": "DOUBLE",
        "d": "DATETIME(6)",
        "b": "LONGBLOB",
        "s": "LONGTEXT",
    },
    "postgresql": {
        "n": "numeric(38,10)",
        "f": "double precision",
        "d": "timestamp",
        "b": "bytea",
        "s": "text",
    },
    "firebird": {
        "n": "DECIMAL(38,10)",
        "f": "DOUBLE PRECISION",
        "d": "TIMESTAMP",
        "b": "BLOB",
        "s": "BLOB SUB_TYPE TEXT",
    },
}
TYPES["mysql"] = TYPES["mariadb"]
NUMBERS = st.decimals(
    min_value=-(10**27), max_value=10**27, places=10, allow_nan=False, allow_infinity=False
)
# Columns have no zone, and in Firebird four digits of a second
MOMENTS = st.datetimes(min_value=datetime(1000, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=moment.microsecond // 100 * 100)
)
TEXTS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "n": NUMBERS,
            "f": st.floats(allow_nan=False, allow_infinity=False),
            "d": MOMENTS,
            "b": st.binary(max_size=20),
            "s": TEXTS,
        }
    ),
    min_size=1,
    max_size=30,
)


@settings(
    max_examples=15,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=ROWS)
def test_any_value_comes_back(place: Place, rows: list[dict[str, Any]]) -> None:
    """The text that is read is canonical, and gives the very value that was written."""
    columns = TYPES[place.family]
    declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    place.execute(
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, {declared})",
    )
    written = [{"id": i, **_native(place, row)} for i, row in enumerate(rows)]
    place.insert("INSERT INTO t VALUES (:id, :n, :f, :d, :b, :s)", written)

    kinds = {column.name: column.type for column in described(place).table.columns}
    for row, texts in zip(rows, read(place, *columns), strict=True):
        for name, text in zip(columns, texts, strict=True):
            assert text is not None
            assert canonical(text, kinds[name]), name
        number, double, moment, octets, string = map(str, texts)
        # SQLite keeps a real number as an integer where both are equal, so `1e18` has two texts.
        wanted = _native(place, row)["n"]
        assert type(wanted)(number) == wanted
        assert math.isclose(float(double), row["f"], rel_tol=0, abs_tol=0)
        assert datetime.fromisoformat(moment.ljust(26, "0") if "." in moment else moment) - row[
            "d"
        ] == timedelta(0)
        assert bytes.fromhex(octets[2:]) == row["b"]
        assert string == row["s"]


def _native(place: Place, row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row as SQLite can hold it: it has no decimals, and no dates.

    Firebird's driver writes no date before 1858.
    """
    if place.family == "firebird":
        return {**row, "d": str(row["d"])[: len("2024-02-29 03:04:05.0000")]}
    if place.family != "sqlite":
        return row
    return {**row, "n": float(row["n"]), "d": row["d"].isoformat(" ")}

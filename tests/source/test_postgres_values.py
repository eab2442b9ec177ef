"""Tests that PostgreSQL's text of random values becomes the JSON that docs/events.md promises.

tests/front/test_types.py has the rest.
"""

import base64
import math
import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.pq import ExecStatus

from agent.connectors.postgres.catalogue import tables
from agent.connectors.postgres.session import connect
from agent.values import column_types as v
from agent.values.canonical import canonical
from agent.values.forms import form as form_of
from agent.values.key_text import text_of
from tests.services.fixtures import fresh_database
from tests.services.postgres import PostgresAddress
from tests.source.conftest import PostgresBusiness


def json_of(type_oid: int, text: str) -> bytes:
    """Returns a value as an event carries it."""
    form = form_of(v.Type(type_oid))
    return orjson.dumps(text if form is None else form(text))


MINUTES = st.integers(-15 * 60 + 1, 15 * 60 - 1).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def same_float(given: float, got: Any) -> bool:
    """Numbers by value, the others by name."""
    if math.isnan(given):
        return bool(got == "NaN")
    if math.isinf(given):
        return bool(got == ("Infinity" if given > 0 else "-Infinity"))
    return isinstance(got, int | float) and float(got) == given


def same_single(given: float, got: Any) -> bool:
    """The JSON number names this single-precision value and no other."""
    return same_float(given, got) or struct.pack(">f", float(got)) == struct.pack(">f", given)


class Kind(NamedTuple):
    """A type, values for it, and whether parsed JSON is what one of them must become."""

    name: str
    oid: int
    values: st.SearchStrategy[Any]
    same: Callable[[Any, Any], bool]


def equal(given: Any, got: Any) -> bool:
    """The very value, of the very type."""
    return type(given) is type(got) and bool(given == got)


# The bounds of a strategy have no time zone.
FIRST = datetime(1, 1, 3)  # noqa: DTZ001
LAST = datetime(9999, 12, 29)  # noqa: DTZ001

KINDS = [
    Kind("bool", v.BOOL, st.booleans(), equal),
    Kind("int2", v.INT2, st.integers(-(2**15), 2**15 - 1), equal),
    Kind("int4", v.INT4, st.integers(-(2**31), 2**31 - 1), equal),
    Kind("int8", v.INT8, st.integers(-(2**63), 2**63 - 1), equal),
    Kind("oid", v.OID, st.integers(0, 2**32 - 1), equal),
    Kind("float8", v.FLOAT8, st.floats(), same_float),
    Kind("float4", v.FLOAT4, st.floats(width=32), same_single),
    Kind(
        "numeric", v.NUMERIC, st.decimals(allow_infinity=False, allow_nan=False, places=12),
        lambda given, got: type(got) is str and Decimal(got) == given,
    ),
    Kind("text", v.TEXT, texts, equal),
    Kind("varchar", v.VARCHAR, texts, equal),
    Kind(
        "bytea", v.BYTEA, st.binary(max_size=60),
        lambda given, got: base64.b64decode(got, validate=True) == given,
    ),
    Kind(
        "uuid", v.UUID, st.uuids(),
        lambda given, got: uuid.UUID(got) == given and got == str(given),
    ),
    Kind("date", v.DATE, st.dates(), lambda given, got: got == given.isoformat()),
    Kind("time", v.TIME, st.times(), lambda given, got: time.fromisoformat(got) == given),
    Kind(
        "timetz", v.TIMETZ, st.times(timezones=MINUTES),
        lambda given, got: time.fromisoformat(got) == given,
    ),
    Kind(
        "timestamp", v.TIMESTAMP, st.datetimes(),
        lambda given, got: "T" in got and datetime.fromisoformat(got) == given,
    ),
    Kind(
        "timestamptz", v.TIMESTAMPTZ,
        st.datetimes(FIRST, LAST, timezones=MINUTES),
        lambda given, got: (
            got.endswith("Z") and "T" in got
            and datetime.fromisoformat(got) == given.astimezone(UTC)
        ),
    ),
    Kind("json", v.JSON, json_values.map(lambda value: orjson.dumps(value).decode()), equal),
    Kind(
        "jsonb", v.JSONB, json_values.map(lambda value: orjson.dumps(value).decode()),
        lambda given, got: orjson.loads(got) == orjson.loads(given),
    ),
]  # fmt: skip


@pytest.fixture(scope="module", params=["postgres15", "postgres18"])
def reading(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[psycopg.Connection[Any]]:
    """Yields a connection that reads rows, as the source makes it."""
    server: PostgresAddress = request.getfixturevalue(request.param)
    with (
        fresh_database(server) as conninfo,
        connect(
            PostgresBusiness(conninfo, tmp_path_factory.mktemp("values")).settings().postgres
        ) as connection,
    ):
        yield connection


def outputs(connection: psycopg.Connection[Any], query: str) -> list[tuple[str | None, ...]]:
    """Returns rows in the types' own output form, untouched by the driver.

    A cast to text would turn t into true and take the padding of char(n) away.
    """
    result = connection.pgconn.exec_(query.encode())
    assert result.status == ExecStatus.TUPLES_OK, result.error_message
    cells = [
        [result.get_value(row, column) for column in range(result.nfields)]
        for row in range(result.ntuples)
    ]
    return [tuple([None if cell is None else cell.decode() for cell in row]) for row in cells]


def server_texts(
    connection: psycopg.Connection[Any], type_name: str, given: Sequence[Any]
) -> list[str]:
    """Returns the server's texts of values of a type."""
    rows = sql.SQL(", ").join(
        [sql.SQL("(({})::{})").format(sql.Literal(value), sql.SQL(type_name)) for value in given]
    )
    return [
        str(text)
        for (text,) in outputs(connection, sql.SQL("VALUES {}").format(rows).as_string(connection))
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_the_servers_text_becomes_the_documented_json(
    reading: psycopg.Connection[Any], kind: Kind, data: st.DataObject
) -> None:
    """Parsed by a consumer, each form gives back the value that was stored."""
    given = data.draw(st.lists(kind.values, min_size=1, max_size=60))
    parameters = [repr(value) if kind.name.startswith("float") else value for value in given]
    for value, text in zip(given, server_texts(reading, kind.name, parameters), strict=True):
        assert canonical(text, v.Type(kind.oid)), text
        parsed = orjson.loads(json_of(kind.oid, text))
        assert kind.same(value, parsed), f"{value!r} became {parsed!r}"
        if kind.oid in (v.DATE, v.TIMESTAMP, v.TIMESTAMPTZ, v.TIMETZ):
            assert text_of(parsed, kind.oid) == text


@settings(max_examples=25)
@given(days=st.lists(st.integers(-2_451_545, 2_145_031_948), min_size=1, max_size=40))
def test_dates_of_any_year_are_expanded(reading: psycopg.Connection[Any], days: list[int]) -> None:
    """Year, month and day are as the server counts them.

    44 BC is -000043, years past 9999 carry a plus sign.
    """
    rows = reading.execute(
        """
        SELECT d::text, (d + time '12:30:15.5')::text,
            extract(year FROM d)::int, extract(month FROM d)::int, extract(day FROM d)::int
        FROM (
            SELECT date '2000-01-01' + n FROM unnest(%s::int[]) n WHERE n < 100000000
        ) AS given(d)
        """,
        [days],
    ).fetchall()
    for day, moment, year, month, number in rows:
        iso = year if year > 0 else year + 1  # there is no year 0 in the server's counting
        expected = (
            f"{iso:04d}-{month:02d}-{number:02d}"
            if 1 <= iso <= 9999
            else f"{'-' if iso < 0 else '+'}{abs(iso):06d}-{month:02d}-{number:02d}"
        )
        assert orjson.loads(json_of(v.DATE, day)) == expected
        assert orjson.loads(json_of(v.TIMESTAMP, moment)) == f"{expected}T12:30:15.5"
        zoned = moment.removesuffix(" BC") + "+00" + (" BC" if moment.endswith(" BC") else "")
        assert orjson.loads(json_of(v.TIMESTAMPTZ, zoned)) == f"{expected}T12:30:15.5Z"
        assert text_of(expected, v.DATE) == day
        assert text_of(f"{expected}T12:30:15.5", v.TIMESTAMP) == moment
        assert text_of(f"{expected}T12:30:15.5Z", v.TIMESTAMPTZ) == zoned


@settings(max_examples=25)
@given(cents=st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=40))
def test_an_amount_is_told_from_its_json(
    reading: psycopg.Connection[Any], cents: list[int]
) -> None:
    """Amounts are read by the two amounts that come with the catalogue.

    It does not matter in which way this database writes money.
    """
    reading.execute("CREATE TABLE IF NOT EXISTS public.paid (amount money PRIMARY KEY)")
    (column,) = tables(reading, [("public", "paid")])["public", "paid"].table.columns
    amounts = [f"{number // 100}.{number % 100:02d}" for number in cents]
    form = form_of(column.type)
    assert form is not None
    for text in server_texts(reading, "money", amounts):
        assert text_of(form(text), v.MONEY, column.money_forms) == text


# Types, and the letters that their texts and near misses of them are made of
SPELLED: dict[str, tuple[int, str]] = {
    "int2": (v.INT2, "-+019 ."),
    "float4": (v.FLOAT4, "-+0123456789.e"),
    "float8": (v.FLOAT8, "-+0123456789.e"),
    "numeric": (v.NUMERIC, "-+0129.e"),
    "numeric(5,2)": (v.NUMERIC, "-0129."),
    "date": (v.DATE, "-0129 BC"),
    "time": (v.TIME, "0245:."),
    "timetz": (v.TIMETZ, "0245:.+-"),
    "timestamptz": (v.TIMESTAMPTZ, "-0129:. +BC"),
    "interval": (v.INTERVAL, "PTYMDHS-0126."),
    "bytea": (v.BYTEA, "\\x0fF"),
    "uuid": (v.UUID, "0aF-"),
    "jsonb": (v.JSONB, '{"a": 1}[]0.,e-'),
}
TEXTS: dict[int, list[str]] = {
    v.DATE: ["2026-11-24", "0044-03-15 BC", "12026-02-28", "2023-02-29"],
    v.TIME: ["10:15:04.5", "24:00:00"],
    v.TIMETZ: ["10:15:04.5+08", "24:00:00-03:30"],
    v.TIMESTAMPTZ: ["2026-11-24 02:15:04.8+00", "0044-03-15 12:00:00+00 BC"],
    v.INTERVAL: ["P1Y2M3DT4H5M6.7S", "P-1Y-2M", "PT-4H-5M"],
    v.BYTEA: ["\\x00ff"],
    v.UUID: ["0b8e4a5c-0000-4000-8000-000000000000"],
    v.JSONB: ['{"a": 1.50, "bb": [null, true]}'],
}


@st.composite
def near_misses(draw: st.DrawFn, kind: str) -> str:
    """Returns a text with up to two letters changed, left out or put in."""
    oid, letters = SPELLED[kind]
    text = draw(
        st.sampled_from(TEXTS.get(oid, [""])) if oid in TEXTS else st.text(letters, max_size=8)
    )
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(text)))
        text = (
            text[:place]
            + draw(st.text(letters, max_size=1))
            + text[place + draw(st.integers(0, 1)) :]
        )
    return text


@pytest.mark.parametrize("kind", SPELLED)
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_text_is_canonical_if_the_server_writes_it_so(
    reading: psycopg.Connection[Any], kind: str, data: st.DataObject
) -> None:
    """And it is not where the server refuses it or writes another one."""
    text = data.draw(near_misses(kind))
    column = v.Type(SPELLED[kind][0], kind)
    try:
        (written,) = server_texts(reading, kind, [text])
    except AssertionError:  # the server refuses it
        written = ""
    assert canonical(text, column) == (written == text and text != ""), written

"""Tests native columns of MariaDB: a value comes back letter by letter, or is refused.

This holds in keys, in ranges and in tables of version 0.1.0 too.
"""

from collections.abc import Iterator, Sequence
from decimal import Context, Decimal
from typing import NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent.errors import FrontTableWrong, RowRefused
from agent.front.mariadb.columns import MYSQL, TEXT, column_type, declared, holds
from agent.front.mariadb.front import MariaDbFront
from agent.front.mariadb.values import Unfit, Values
from agent.resource import FrontColumn, Target
from agent.values import column_types as v
from agent.values.canonical import SESSION
from agent.values.lines import row_of
from tests.checker.rows import front_rows
from tests.checker.table import SharedTable
from tests.checker.values import ValueType, form
from tests.front.conftest import IDENTITY, gone, progress, put
from tests.front.types import dates, moments, special, times, zoned
from tests.services.fixtures import fresh_database
from tests.services.mariadb import MariaDbAddress
from tests.services.postgres import PostgresAddress

Texts = st.SearchStrategy[str]
EXACT = Context(prec=100)


class Kind(NamedTuple):
    """Names a type, the column we make for it, and values of it.

    `keyed` says that it is native in a key as well.
    """

    oid: int
    name: str
    column: str
    values: Texts
    keyed: bool = True


def numbers(before: int, after: int) -> Texts:
    """Numbers of so many digits before and after the point, and NaN."""
    most = 10 ** (before + after) - 1
    whole = st.integers(-most, most).map(lambda n: format(Decimal(n).scaleb(-after, EXACT), "f"))
    return whole | st.sampled_from(["NaN", "0", "-0.0"])


FLOATS = st.sampled_from([*special, "-0", "1e-45", "3.4028235e38", "16777216", "0.0001", "0.00001"])
DOUBLES = st.sampled_from(["5e-324", "1.7976931348623157e308", "9007199254740993"])
KINDS: Sequence[Kind] = [
    Kind(v.NUMERIC, "numeric(10,2)", "decimal(10,2)", numbers(8, 2)),
    Kind(v.NUMERIC, "numeric(65,38)", "decimal(65,38)", numbers(27, 38)),
    Kind(v.NUMERIC, "numeric(5)", "decimal(5,0)", numbers(5, 0)),
    Kind(
        v.NUMERIC, "numeric(3,5)", "decimal(5,5)",
        numbers(0, 5).filter(lambda n: n == "NaN" or abs(Decimal(n)) < Decimal("0.01")),
    ),
    Kind(
        v.NUMERIC, "numeric(3,-2)", "decimal(5,0)",
        st.integers(-999, 999).map(lambda n: str(n * 100)),
    ),
    Kind(v.DATE, "date", "date", dates),
    Kind(v.TIME, "time without time zone", "time(6)", times),
    Kind(v.TIME, "time(2) without time zone", "time(6)", times),
    Kind(v.TIMESTAMP, "timestamp without time zone", "datetime(6)", moments),
    Kind(
        v.TIMESTAMP, "timestamp(3) without time zone", "datetime(6)",
        moments.filter(lambda moment: "294276" not in moment),
    ),
    Kind(v.TIMESTAMPTZ, "timestamp with time zone", "datetime(6)", zoned),
    Kind(v.FLOAT4, "real", "double", st.floats(width=32).map(repr) | FLOATS, keyed=False),
    Kind(
        v.FLOAT8, "double precision", "double",
        st.floats().map(repr) | st.floats(1e14, 1e16).map(repr) | FLOATS | DOUBLES, keyed=False,
    ),
]  # fmt: skip
COLUMNS = [f"c{n}" for n in range(len(KINDS))]


def keyed(*kinds: Kind, name: str = "natively") -> Target:
    """Returns a table whose key is these columns, with one more."""
    columns = [
        FrontColumn(f"k{i}", kind.oid, kind.name, builtin=True, not_null=True)
        for i, kind in enumerate(kinds)
    ]
    more = FrontColumn("n", v.INT4, "integer", builtin=True, not_null=False)
    return Target(name, None, name, (*columns, more), tuple(range(len(kinds))), False, {})


WIDE = Target(
    "wide",
    None,
    "wide",
    (
        FrontColumn("id", v.INT8, "bigint", builtin=True, not_null=True),
        *(
            FrontColumn(name, kind.oid, kind.name, builtin=True, not_null=False)
            for name, kind in zip(COLUMNS, KINDS, strict=True)
        ),
    ),
    (0,),
    False,
    {},
)  # fmt: skip


class Held(NamedTuple):
    """A front end in MariaDB, and a PostgreSQL that writes values as a source does."""

    front: MariaDbFront
    source: psycopg.Connection
    url: str  # for the judge

    def texts(self, kind: Kind, values: Sequence[str]) -> list[str]:
        """Returns the values as PostgreSQL writes them."""
        question = (
            f"SELECT v::{kind.name}::text FROM unnest(%s::text[]) WITH ORDINALITY AS t(v, n) "
            "ORDER BY n"
        )
        return [str(row[0]) for row in self.source.execute(question.encode(), [list(values)])]


@pytest.fixture(scope="module")
def held(mariadb_server: MariaDbAddress, postgres18: PostgresAddress) -> Iterator[Held]:
    """Yields one front end for every example, as init makes it."""
    options = " ".join(f"-c {name}={value.replace(' ', '')}" for name, value in SESSION.items())
    with (
        mariadb_server.fresh_database() as url,
        fresh_database(postgres18) as conninfo,
        psycopg.connect(conninfo, options=options, autocommit=True) as source,
    ):
        front = MariaDbFront(url.replace("mariadb://", "mariadb+pymysql://", 1), None, 5.0, "unit")
        front.initialise(IDENTITY, {"wide": "p"})
        front.create(WIDE)
        front.check(WIDE)
        front.open("nonce")
        yield Held(front, source, url)
        front.close()
        front.engine.dispose()


def refused(text: str) -> bool:
    """What no native column holds."""
    year, hyphen, _ = text.partition("-")
    far = bool(hyphen) and year.isdigit() and len(year) > 4
    return far or text in (*special, "-0") or "infinity" in text or text.endswith(" BC")


# ---- rows


@settings(
    max_examples=60,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(row=st.tuples(*[st.none() | kind.values for kind in KINDS]))
def test_values_come_back_as_they_were(held: Held, row: tuple[str | None, ...]) -> None:
    """Values come back letter by letter, whatever the type.

    What a column cannot hold is refused before the server could change it.
    """
    texts = [
        None if value is None else held.texts(kind, [value])[0]
        for kind, value in zip(KINDS, row, strict=True)
    ]
    fit: list[str | None] = []
    for i, (kind, text) in enumerate(zip(KINDS, texts, strict=True)):
        columns = Values(WIDE._replace(columns=(WIDE.columns[i + 1],), key=()), {})
        if text is not None and refused(text):
            with pytest.raises(Unfit):
                columns.row((text,))
            fit.append(None)
        else:
            fit.append(text)
        assert kind.column == declared_type(kind)
    stored = ("1", *fit)
    held.front.begin()
    held.front.write(WIDE, {("1",): put(stored)}, 1)
    (found,) = held.front.fetch(WIDE, [("1",)]).values()
    assert dict(zip(COLUMNS, found[1:], strict=True)) == dict(zip(COLUMNS, fit, strict=True))
    assert [row_of(line) for line in held.front.lines(WIDE, None, None)] == [stored]
    held.front.rollback()


def declared_type(kind: Kind) -> str:
    """Returns the type of the column we make."""
    return column_type(WIDE, 1 + KINDS.index(kind)).lower()


def test_the_columns_are_native(held: Held) -> None:
    """As the server has them."""
    with held.front.engine.connect() as connection:
        rows = connection.exec_driver_sql("SHOW COLUMNS FROM wide").all()
        assert [row[1] for row in rows[1:]] == [kind.column for kind in KINDS]


def test_a_row_with_a_value_that_no_column_holds_is_refused(held: Held) -> None:
    """By name, and the value is not told."""
    for value in ("NaN", "Infinity"):
        row = ("7", *[None] * (len(KINDS) - 1), value)
        held.front.begin()
        with pytest.raises(RowRefused, match=r"column c\d+ cannot hold a value") as told:
            held.front.write(WIDE, {("7",): put(row)}, 1)
        assert value not in str(told.value).replace("NaN, infinity or -0", "")
        held.front.rollback()


def test_the_judge_reads_native_columns(held: Held) -> None:
    """The forms an event carries, from what MariaDB holds."""
    stored = {
        "c0": "-0.10", "c5": "0001-01-01", "c6": "24:00:00", "c7": "00:00:00.05",
        "c8": "0099-12-31 23:59:59.5", "c10": "2026-11-24 02:15:04+00", "c12": "1.5e+300",
    }  # fmt: skip
    row = ("5", *[stored.get(name) for name in COLUMNS])
    held.front.begin()
    held.front.write(WIDE, {("5",): put(row)}, 1)
    held.front.commit(progress("0/30"))
    names = ["id", *COLUMNS]
    table = SharedTable("p", "public", "wide", {name: name for name in names}, ("id",), "wide")
    kinds = [ValueType(v.INT8), *(ValueType(kind.oid) for kind in KINDS)]
    rows = dict(front_rows(held.url, table, dict(zip(names, kinds, strict=True))))
    assert rows[(5,)] == tuple(form(kind, text) for kind, text in zip(kinds, row, strict=True))


# ---- keys


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.keyed], ids=lambda kind: kind.name)
def test_native_keys(held: Held, kind: Kind) -> None:
    """Rows are found, changed, deleted and listed in PostgreSQL's order.

    A bound that no row can have lies where the source puts it.
    """
    target = keyed(kind, name=f"keyed {KINDS.index(kind)}")

    @settings(
        max_examples=4,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(values=st.lists(kind.values, min_size=4, max_size=12))
    def rows(values: list[str]) -> None:
        every = held.texts(kind, values)
        ranked = [
            str(row[0])
            for row in held.source.execute(
                "SELECT v::text AS written FROM "
                f"(SELECT DISTINCT unnest(%s::text[])::{kind.name} AS v) t ORDER BY t.v".encode(),
                [every],
            )
        ]
        fit = [text for text in ranked if not refused(text)]
        held.front.begin()
        held.front.write(target, {(text,): put((text, str(n))) for n, text in enumerate(fit)}, 1)
        assert held.front.fetch(target, [(text,) for text in ranked]).keys() == {
            (text,) for text in fit
        }
        assert [key for (key,) in held.front.keys_after(target, None, 100)] == fit
        assert held.front.same_order(target)
        for after in ranked:
            past = [row_of(line)[0] for line in held.front.lines(target, (after,), None)]
            assert sorted(map(str, past)) == sorted(
                text for text in fit if ranked.index(text) > ranked.index(after)
            )
            upto = [row_of(line)[0] for line in held.front.lines(target, None, (after,))]
            assert sorted(map(str, upto)) == sorted(
                text for text in fit if ranked.index(text) <= ranked.index(after)
            )
        held.front.write(target, {(text,): gone() for text in ranked}, 1)
        assert held.front.keys_after(target, None, 100) == []
        held.front.rollback()

    held.front.create(target)
    held.front.check(target)
    try:
        rows()
    finally:
        held.front.rollback()


def test_bounds_of_several_columns(held: Held) -> None:
    """Where the first part of a bound can be in no row, the others do not matter."""
    target = keyed(KINDS[5], KINDS[0], name="two")
    held.front.create(target)
    held.front.check(target)
    keys = [("2026-01-01", "1.00"), ("2026-01-01", "2.50"), ("2026-01-02", "0.10")]
    held.front.begin()
    held.front.write(target, {key: put((*key, "1")) for key in keys}, 1)
    for after, count in {
        ("-infinity", "5.00"): 3, ("0044-03-15 BC", "5.00"): 3, ("infinity", "0.00"): 0,
        ("2026-01-01", "NaN"): 1, ("2026-01-01", "1.00"): 2,
    }.items():  # fmt: skip
        assert len(held.front.lines(target, after, None)) == count
        assert len(held.front.lines(target, None, after)) == 3 - count
    held.front.rollback()


TEXTS_STILL = [
    (v.NUMERIC, "numeric"), (v.NUMERIC, "numeric(66,2)"), (v.NUMERIC, "numeric(60,39)"),
    (v.TIMETZ, "time with time zone"), (v.INTERVAL, "interval"), (v.UUID, "uuid"),
    (v.JSONB, "jsonb"),
]  # fmt: skip


def test_types_that_stay_text() -> None:
    """Some types stay text, and every type does where it is asked for.

    These are floats in a key, numbers without or with too many digits, times with a zone, and
    intervals.
    """
    assert column_type(keyed(KINDS[-1]), 0) == "VARCHAR(32)"
    for oid, name in TEXTS_STILL:
        kind = column_type(
            keyed()._replace(columns=(FrontColumn("c", oid, name, builtin=True, not_null=False),)),
            0,
        )
        assert kind.startswith(("VARCHAR", "LONGTEXT")), name
    assert column_type(WIDE, 2, MYSQL).startswith("VARCHAR")
    assert all(
        column_type(WIDE, i + 1, TEXT).startswith(("VARCHAR", "LONGTEXT"))
        for i in range(len(KINDS))
    )


# ---- tables that exist


def test_a_table_of_version_0_1_goes_on(held: Held, mariadb_url: str) -> None:
    """Values for texts fit, in keys too, and hold what native columns refuse.

    The setting `front.types = "text"` makes columns so.
    """
    target = keyed(KINDS[0], Kind(v.TEXT, "text", "", st.nothing()), KINDS[10], name="old")
    before, now = (
        MariaDbFront(mariadb_url, None, 5.0, "unit", types) for types in ("text", "native")
    )
    before.initialise(IDENTITY, {"old": "p"})
    before.create(target)
    now.check(target)
    now.open("nonce")
    row = ("NaN", "张", "infinity", "1")
    now.begin()
    now.write(target, {row[:3]: put(row)}, 1)
    assert now.fetch(target, [row[:3]]) == {row[:3]: row}
    assert not now.same_order(target)
    now.commit(progress("0/20"))
    now.close()


@pytest.mark.parametrize(
    ("kind", "column", "fits"),
    [
        (KINDS[0], "decimal(12,4)", True),
        (KINDS[0], "decimal(11,4)", False),
        (KINDS[0], "double", False),
        (KINDS[6], "time(6)", True),
        (KINDS[6], "time(3)", False),
        (KINDS[7], "time(2)", True),
        (KINDS[9], "datetime(3)", True),
        (KINDS[8], "timestamp(6)", False),
        (KINDS[11], "double", True),
        (KINDS[11], "float", False),
        (KINDS[12], "double(10,2)", False),
        (KINDS[12], "double unsigned", False),
        (KINDS[4], "decimal(5,0)", True),
        (KINDS[4], "decimal(3,0)", False),
    ],
)
def test_columns_that_somebody_made(kind: Kind, column: str, fits: bool) -> None:
    """Taken where no digit is lost; a float, in a key, only as text."""
    plain = WIDE._replace(columns=(WIDE.columns[0], *keyed(kind).columns[:1]))
    assert holds(plain, 1, declared(column)) is fits
    if not kind.keyed:
        assert not holds(keyed(kind), 0, declared(column))


def test_a_wider_source_is_not_rounded(held: Held) -> None:
    """A digit more than the column has is refused here.

    The server would round it with a note that nobody reads.
    """
    target = keyed(KINDS[5])
    narrow = target._replace(
        columns=(
            target.columns[0],
            FrontColumn("n", v.NUMERIC, "numeric(10,3)", builtin=True, not_null=False),
        )
    )
    with held.front.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE natively (k0 date primary key, n decimal(10,2))")
    with pytest.raises(FrontTableWrong, match="n is decimal"):
        held.front.check(narrow)
    columns = Values(narrow, {"n": declared("decimal(10,2)")})
    with pytest.raises(Unfit, match="too many digits"):
        columns.row(("2026-01-01", "1.125"))

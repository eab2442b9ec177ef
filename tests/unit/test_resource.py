"""Tests a resource: which columns and rows leave, under which names and keys.

What is not listed never leaves.
"""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Settings
from agent.connectors.changes import Column, Relation
from agent.connectors.memory import MemorySource
from agent.connectors.postgres.origin import PostgresOrigin
from agent.connectors.table import SourceColumn, SourceTable
from agent.errors import TableChanged
from agent.resource import Binding, Resource
from agent.values import column_types as v
from agent.values.rows import UNCHANGED, Row

CANARY = "canary-7f3a"
COLUMNS = {
    "部门": (v.TEXT, "text"),
    "id": (v.INT8, "bigint"),
    "secret": (v.TEXT, "text"),
    "name": (v.VARCHAR, "character varying(20)"),
    "active": (v.BOOL, "boolean"),
    "level": (v.INT4, "integer"),
}


def source_table(
    key: tuple[str, ...] = ("id",),
    identity: str = "d",
    columns: dict[str, tuple[int, str]] | None = None,
) -> SourceTable:
    """Returns the table as the catalogue has it."""
    listed = tuple(
        SourceColumn(name, oid, oid, text, True, name in key, "")
        for name, (oid, text) in (columns or COLUMNS).items()
    )
    return SourceTable(16400, "public", "Person 人", listed, key, identity)


def relation(table: SourceTable, order: tuple[str, ...] | None = None) -> Relation:
    """Returns the table as the stream describes it."""
    names = order or tuple(column.name for column in table.columns)
    oids = {column.name: column.type_oid for column in table.columns}
    columns = tuple(
        Column(name, oids[name], -1, table.identity == "f" or name in table.key) for name in names
    )
    return Relation(table.oid, table.schema, table.table, table.identity, columns)


def settings_of(**given: Any) -> Settings:
    """Returns settings with one resource."""
    kafka = {"bootstrap_servers": ["h:1"], "prefix": "unit", **given.pop("kafka", {})}
    resource = {"name": "person", "table": "public.Person 人", "columns": ["id", "name"], **given}
    return Settings.model_validate(
        {
            "source": {"host": "h", "database": "biz", "user": "u"},
            "kafka": kafka,
            "resource": [resource],
        }
    )


def resource_of(table: SourceTable | None = None, **given: Any) -> Resource:
    """Returns a resource on that table."""
    settings = settings_of(**given)
    table = table or source_table()
    criteria = MemorySource({}).criteria(settings.resource[0], table)
    origin = PostgresOrigin("unit", "biz", table.schema, table.table)
    return Resource(settings.resource[0], settings.kafka, table, origin, criteria)


def bound(table: SourceTable | None = None, **given: Any) -> Binding:
    """Returns a resource fitted to the stream."""
    table = table or source_table()
    return resource_of(table, **given).bind(relation(table))


def shared(binding: Binding, row: Row) -> Row:
    """Returns what of a stream row is shared."""
    return binding.resource.shared(binding.read(row))


def passes(binding: Binding, row: Row, shared_before: bool = False) -> bool | None:
    """Tells whether a stream row meets the filter."""
    return binding.resource.passes(binding.read(row), shared_before)


ROW: Row = ("财政", "7", CANARY, "张三", "t", "3")


# ---- columns, names, keys ----


def test_listed_columns_leave_in_the_order_listed() -> None:
    """The order and choice are the configuration's, not the table's."""
    binding = bound(columns=["level", "id", "部门"])
    assert shared(binding, ROW) == ("3", "7", "财政")
    assert binding.key_of(ROW) == ("7",)
    assert binding.resource.key_of(("3", "7", "财政")) == ("7",)
    assert (
        binding.resource.row_json(("3", "7", None))
        == b'{"level":3,"id":7,"\xe9\x83\xa8\xe9\x97\xa8":null}'
    )


def test_one_column_is_still_a_row() -> None:
    """A table of its key alone."""
    binding = bound(columns=["id"])
    assert (shared(binding, ROW), binding.key_of(ROW), binding.resource.key_of(("7",))) == (
        ("7",),
        ("7",),
        ("7",),
    )


def test_renamed_columns_have_their_new_names_everywhere() -> None:
    """Front-end table, events and keys; the source's name is used towards the source only."""
    binding = bound(columns=["id", "name"], rename={"id": "编号", "name": 'N"'})
    assert [column.name for column in binding.resource.target.columns] == ["编号", 'N"']
    assert orjson.loads(binding.resource.row_json(("7", "张三"))) == {"编号": 7, 'N"': "张三"}
    assert binding.resource.key_json(("7",)) == '{"编号":7}'.encode()
    assert shared(binding, ROW) == ("7", "张三")


def test_keys_stand_in_the_order_of_the_index() -> None:
    """Not in the order of the columns: a key is compared byte for byte."""
    table = source_table(key=("name", "id"))
    binding = bound(table, columns=["id", "level", "name"])
    assert binding.key_of(ROW) == ("张三", "7")
    assert binding.resource.key_of(("7", "3", "张三")) == ("张三", "7")
    assert binding.resource.target.key == (2, 0)
    assert binding.resource.key_json(("张三", "7")) == '{"name":"张三","id":7}'.encode()


def test_the_target_follows_the_configuration() -> None:
    """Schema, table, topic, delete mode, technical columns; types are those below a domain."""
    domain = source_table(columns={**COLUMNS})
    domain = domain._replace(
        columns=tuple(
            c._replace(type_oid=99_000) if c.name == "name" else c for c in domain.columns
        )
    )
    given: dict[str, Any] = {
        "target": "front.person",
        "topic": "t",
        "delete": "soft",
        "technical": {"deleted": "gone", "operation": "op"},
    }
    resource = resource_of(domain, **given)
    target = resource.target
    assert (target.resource, target.name, target.schema, target.table, resource.topic) == (
        "person",
        "front.person",
        "front",
        "person",
        "t",
    )
    assert (target.soft_delete, target.technical) == (True, {"deleted": "gone", "operation": "op"})
    assert [(c.name, c.type_oid, c.type_name, c.not_null) for c in target.columns] == [
        ("id", v.INT8, "bigint", True),
        ("name", v.VARCHAR, "character varying(20)", False),
    ]
    plain = resource_of()
    assert (plain.target.name, plain.target.schema, plain.topic, plain.target.soft_delete) == (
        "Person 人",
        None,
        "unit.person",
        False,
    )


@given(st.permutations(list(COLUMNS)))
def test_the_order_of_the_stream_does_not_matter(order: list[str]) -> None:
    """Columns are found by name."""
    table = source_table()
    binding = resource_of(
        table, columns=["level", "id"], filter=[{"column": "active", "is_in": [True]}]
    ).bind(relation(table, tuple(order)))
    row = tuple(dict(zip(COLUMNS, ROW, strict=True))[name] for name in order)
    assert binding.read(row) == ("3", "7", "t")
    assert shared(binding, row) == ("3", "7")
    assert binding.key_of(row) == ("7",)
    assert passes(binding, row) is True


# ---- deny by default ----


@given(
    st.lists(
        st.sampled_from([name for name in COLUMNS if name not in ("id", "secret")]), unique=True
    ),
    st.booleans(),
    st.sampled_from([{}, {"filter": [{"column": "secret", "is_null": False}]}]),
)
def test_a_column_not_listed_never_leaves(
    columns: list[str], first: bool, extra: dict[str, Any]
) -> None:
    """Its value is in no row, key or JSON, whatever else is listed, even when a filter tests it."""
    listed = ["id", *columns] if first else [*columns, "id"]
    binding = bound(columns=listed, **extra)
    row = shared(binding, ROW)
    assert CANARY not in row
    assert CANARY not in binding.key_of(ROW)
    assert CANARY not in binding.resource.key_of(binding.read(ROW))
    complete = tuple(value if isinstance(value, str) else None for value in row)
    assert CANARY.encode() not in binding.resource.row_json(complete)
    assert CANARY.encode() not in binding.resource.key_json(("7",))
    assert "secret" not in [column.name for column in binding.resource.target.columns]
    assert b"secret" not in binding.resource.row_json(complete)


def test_errors_name_tables_and_columns_only() -> None:
    """What an error says never holds a value."""
    with pytest.raises(TableChanged) as caught:
        resource_of(columns=["id", "none"], filter=[{"column": "gone", "is_in": [CANARY]}])
    assert "none, gone" in caught.value.text("en")
    assert CANARY not in str(caught.value) + repr(caught.value.values)


# ---- the filter ----

CONDITIONS: dict[str, dict[str, Any]] = {
    "in": {"column": "level", "is_in": [1, "3"]},
    "not in": {"column": "level", "not_in": [2, 5]},
    "null": {"column": "level", "is_null": True},
    "not null": {"column": "level", "is_null": False},
}


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ("in", "1", True), ("in", "3", True), ("in", "2", False), ("in", None, False),
        ("in", "03", False),
        ("not in", "1", True), ("not in", "2", False), ("not in", None, True),
        ("null", None, True), ("null", "", False), ("null", "1", False),
        ("not null", None, False), ("not null", "", True),
    ],
)  # fmt: skip
def test_one_condition(condition: str, value: str | None, expected: bool) -> None:
    """Values are compared as PostgreSQL writes them; NULL is in no list."""
    binding = bound(filter=[CONDITIONS[condition]])
    assert binding.resource.filtered
    for shared_before in (False, True):
        assert passes(binding, (*ROW[:5], value), shared_before) is expected


@pytest.mark.parametrize(
    ("wanted", "text", "expected"),
    [(True, "t", True), (True, "f", False), (False, "f", True), (False, None, False)],
)
def test_booleans_are_compared_as_postgres_writes_them(
    wanted: bool, text: str | None, expected: bool
) -> None:
    """`true` in the configuration is PostgreSQL's t."""
    binding = bound(filter=[{"column": "active", "is_in": [wanted]}])
    assert passes(binding, (*ROW[:4], text, "3")) is expected


YES, NO, UNKNOWN = "1", "2", UNCHANGED


@pytest.mark.parametrize(
    ("level", "department", "new_row", "shared_row"),
    [
        (YES, YES, True, True),
        (YES, NO, False, False),
        (NO, YES, False, False),
        (NO, NO, False, False),
        (YES, UNKNOWN, None, True),
        (UNKNOWN, YES, None, True),
        (UNKNOWN, UNKNOWN, None, True),
        (NO, UNKNOWN, False, False),
        (UNKNOWN, NO, False, False),
    ],
)
def test_all_conditions_must_hold(
    level: Any, department: Any, new_row: bool | None, shared_row: bool | None
) -> None:
    """A value not sent is taken to hold where the row was shared.

    Else the answer is open, unless another condition denies.
    """
    binding = bound(filter=[{"column": "level", "is_in": [1]}, {"column": "部门", "is_in": ["1"]}])
    row: Row = (department, "7", CANARY, "张三", "t", level)
    assert passes(binding, row) is new_row
    assert passes(binding, row, shared_before=True) is shared_row


def test_without_a_filter_every_row_passes() -> None:
    """Unchanged values do not matter then."""
    binding = bound()
    assert not binding.resource.filtered
    assert passes(binding, (UNCHANGED,) * 6) is True


def test_what_the_filter_tests_is_read_once_and_not_shared() -> None:
    """Pages and stream are read alike.

    The listed columns come in their order, then what is only tested, each once.
    """
    tests = [
        {"column": "level", "is_in": [3]},
        {"column": "level", "is_null": False},
        {"column": "active", "is_in": [True]},
    ]
    binding = bound(columns=["active", "id"], filter=tests)
    assert [column.name for column in binding.resource.reading] == ["active", "id", "level"]
    assert binding.read(ROW) == ("t", "7", "3")
    assert shared(binding, ROW) == ("t", "7")
    assert passes(binding, ROW) is True
    assert passes(binding, (*ROW[:4], "f", "3")) is False


# ---- tables that changed ----


@pytest.mark.parametrize(
    ("table", "given", "said"),
    [
        (source_table(), {"columns": ["id", "name", "born"]}, "column born does not exist"),
        (
            source_table(),
            {"filter": [{"column": "born", "is_null": True}]},
            "column born does not exist",
        ),
        (source_table(key=()), {}, "it has no usable key"),
        (source_table(key=("id", "level")), {}, "key column level is not listed"),
    ],
)
def test_a_table_that_lacks_what_is_configured(
    table: SourceTable, given: dict[str, Any], said: str
) -> None:
    """Found in the catalogue, before any row."""
    with pytest.raises(TableChanged) as caught:
        resource_of(table, **given)
    assert said in caught.value.text("en")
    assert caught.value.resource == "person"
    assert "public.Person 人" in caught.value.text("zh_CN")


def changed(**columns: Column | None) -> Relation:
    """Returns the table in the stream with some columns replaced, or taken away."""
    described = relation(source_table())
    kept = [columns.get(column.name, column) for column in described.columns]
    return described._replace(columns=tuple(column for column in kept if column is not None))


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (changed(name=None), "column name is not in the stream"),
        (changed(level=None), "column level is not in the stream"),  # tested by the filter
        (changed(name=Column("name", v.INT4, -1, False)), "type of column name changed"),
        (changed(level=Column("level", v.TEXT, -1, False)), "type of column level changed"),
        (changed(id=Column("id", v.INT8, -1, False)), "replica identity changed"),
        (changed(name=Column("name", v.VARCHAR, -1, True)), "replica identity changed"),
        (relation(source_table())._replace(identity="n"), "replica identity changed"),
    ],
)
def test_a_table_that_differs_in_the_stream(described: Relation, said: str) -> None:
    """Found at the table's description, before its first row."""
    with pytest.raises(TableChanged) as caught:
        resource_of(filter=[{"column": "level", "is_in": [1]}]).bind(described)
    assert said in caught.value.text("en")


@pytest.mark.parametrize(
    "described",
    [
        changed(secret=None),
        changed(secret=Column("secret", v.INT4, -1, False), 部门=None),
        relation(source_table())._replace(
            columns=(Column("new", v.TEXT, -1, False), *relation(source_table()).columns)
        ),
        relation(source_table())._replace(
            identity="f",
            columns=tuple(c._replace(identity=True) for c in relation(source_table()).columns),
        ),
    ],
)
def test_what_is_not_shared_may_change(described: Relation) -> None:
    """Columns not listed come and go; FULL names every column."""
    names = [column.name for column in described.columns]
    row = tuple(dict(zip(COLUMNS, ROW, strict=True)).get(name, CANARY) for name in names)
    assert shared(resource_of().bind(described), row) == ("7", "张三")


@pytest.mark.parametrize(
    ("type_oid", "text"),
    [
        (v.INT8, "-9223372036854775808"), (v.BOOL, "t"), (v.TEXT, "张三 \"'\\\n"), (v.TEXT, "12"),
        (v.UUID, "0f8fad5b-d9cb-469f-a165-70867728950e"), (v.NUMERIC, "12.50"),
        (v.DATE, "2026-11-24"), (v.TIMESTAMP, "2026-11-24 10:15:04.863769"),
        (v.TIMESTAMPTZ, "2026-11-24 02:15:04+00"), (v.TIMESTAMPTZ, "infinity"),
        (v.DATE, "0044-03-15 BC"), (v.DATE, "0001-03-15 BC"), (v.DATE, "5874897-12-31"),
        (v.DATE, "-infinity"), (v.TIMESTAMP, "0044-03-15 10:15:04 BC"),
        (v.TIMESTAMPTZ, "0044-03-15 10:15:04.5+00 BC"), (v.TIMESTAMPTZ, "12026-01-01 00:00:00+00"),
        (v.TIMETZ, "10:15:04+08"), (v.TIMETZ, "10:00:00-05:30"), (v.TIMETZ, "10:15:04.5+00:00:15"),
        (v.BYTEA, "\\x00ff"), (v.FLOAT8, "1.5"),
    ],
)  # fmt: skip
def test_a_key_is_told_from_its_json(type_oid: int, text: str) -> None:
    """As the topic has it; of a key made of two columns each has its place."""
    columns = {"id": (type_oid, "t"), "name": (v.TEXT, "text")}
    resource = resource_of(source_table(("name", "id"), columns=columns))
    assert resource.key_of_kafka(resource.kafka_key(("n", text)).decode()) == ("n", text)


@pytest.mark.parametrize(
    ("forms", "texts"),
    [
        (
            ("$90,000,000,000,000,000.00", "-$90,000,000,000,000,000.00"),
            ["$0.00", "$12.50", "$1,234.50", "-$1,234,567.05", "-$0.01"],
        ),
        (
            ("90.000.000.000.000.000,00 €", "-90.000.000.000.000.000,00 €"),
            ["0,07 €", "1.234,50 €", "-1.234.567,00 €"],
        ),
        (
            ("￥9,000,000,000,000,000,000", "(￥9,000,000,000,000,000,000)"),
            ["￥0", "￥1,234", "(￥123,456)"],
        ),
        (
            ("₹ 9,00,00,00,00,00,00,000.00", "-₹ 9,00,00,00,00,00,00,000.00"),
            ["₹ 12,34,567.00", "₹ 999.00"],
        ),
    ],
)  # fmt: skip
def test_a_key_of_money_is_told_in_the_way_the_database_writes_it(
    forms: tuple[str, ...], texts: list[str]
) -> None:
    """Currency, grouping and sign are a matter of its lc_monetary."""
    digits = 0 if forms[0].startswith("￥") else 2
    table = source_table(columns={"id": (v.MONEY, "money"), "name": (v.TEXT, "text")})
    columns = [column._replace(money_digits=digits, money_forms=forms) for column in table.columns]
    resource = resource_of(table._replace(columns=tuple(columns)))
    for text in texts:
        assert resource.key_of_kafka(resource.kafka_key((text,)).decode()) == (text,)


@pytest.mark.parametrize(
    ("type_oid", "text"),
    [
        (v.DATE, '{"id":"-0043-03-15"}'), (v.TIMETZ, '{"id":"10:15:04+08"}'),
        (v.MONEY, '{"id":"12.50"}'),
        (v.INT8, '{"id":[1]}'), (v.INT8, '{"other":1}'), (v.INT8, "{"), (v.INT8, '{"id": 1}'),
        (v.INT8, "7"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_no_key(type_oid: int, text: str) -> None:
    """Several texts of one form, another table's, no JSON: it is never guessed."""
    assert (
        resource_of(
            source_table(columns={"id": (type_oid, "t"), "name": (v.TEXT, "text")})
        ).key_of_kafka(text)
        is None
    )

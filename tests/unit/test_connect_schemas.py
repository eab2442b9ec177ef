"""Tests keys and events with Connect's schema; the names are Debezium's.

Each payload fits its schema as JsonConverter checks it.
"""

import base64
import math
from typing import Any

import orjson
import pytest

from agent.connectors.changes import Begin
from agent.outbox.transactions import Transactions
from agent.resource import Resource
from agent.values import column_types as v
from agent.values import connect
from tests.unit.test_resource import resource_of, source_table

# type, PostgreSQL's text, schema's type, its name, and what a Java reader of that type gets
VALUES: list[tuple[int, str, str, str | None, object]] = [
    (v.BOOL, "t", "boolean", None, True),
    (v.INT2, "-32768", "int16", None, -(2**15)),
    (v.INT4, "7", "int32", None, 7),
    (v.INT8, "9223372036854775807", "int64", None, 2**63 - 1),
    (v.OID, "4294967295", "int64", None, 2**32 - 1),
    (v.FLOAT4, "1.1", "float", None, 1.1),
    (v.FLOAT8, "5e-324", "double", None, 5e-324),
    (v.FLOAT8, "-Infinity", "double", None, -math.inf),
    (v.FLOAT4, "Infinity", "float", None, math.inf),
    (v.FLOAT8, "NaN", "double", None, None),
    (v.BYTEA, "\\x00ff", "bytes", None, b"\x00\xff"),
    (v.NUMERIC, "NaN", "string", None, "NaN"),
    (
        v.TIMESTAMPTZ,
        "2026-11-24 02:15:04.5+00",
        "string",
        "io.debezium.time.ZonedTimestamp",
        "2026-11-24T02:15:04.5Z",
    ),
    (v.TIMESTAMP, "2026-11-24 02:15:04", "string", None, "2026-11-24T02:15:04"),
    (v.DATE, "2026-11-24", "string", None, "2026-11-24"),
    (v.INTERVAL, "P1Y", "string", "io.debezium.time.Interval", "P1Y"),
    (
        v.UUID,
        "00000000-0000-0000-0000-000000000000",
        "string",
        "io.debezium.data.Uuid",
        "00000000-0000-0000-0000-000000000000",
    ),
    (v.JSONB, '{"a": 1}', "string", "io.debezium.data.Json", '{"a": 1}'),
    (v.TEXT, "张三", "string", None, "张三"),
]


def read(schema: dict[str, Any], value: Any) -> Any:
    """Returns the payload as JsonConverter reads it.

    Names that the schema does not know are lost, a null where none may be is refused, and a number
    must be one.
    """
    if value is None:
        assert schema["optional"], f"{schema.get('field')} is null"
        return None
    if schema["type"] == "struct":
        names = [field["field"] for field in schema["fields"]]
        assert set(value) <= set(names), "a field without schema"
        return {
            field["field"]: read(field, value.get(field["field"])) for field in schema["fields"]
        }
    if schema["type"] == "array":
        return [read(schema["items"] | {"optional": False}, item) for item in value]
    kinds = {"boolean": bool, "float": float, "double": float, "string": str, "bytes": str}
    assert type(value) is kinds.get(schema["type"], int) or (
        type(value) is int and schema["type"] in ("float", "double")
    )
    return base64.b64decode(str(value)) if schema["type"] == "bytes" else value


def decoded(data: bytes) -> Any:
    """Returns the payload of a record, read by its own schema."""
    # This parser refuses what BigDecimal takes
    record = orjson.loads(data.replace(b"-1e999", b'"-inf"').replace(b"1e999", b'"inf"'))
    assert set(record) == {"schema", "payload"}
    return record


@pytest.fixture
def resource() -> Resource:
    """With a schema; the key is not in the order of the columns."""
    return resource_of(
        source_table(("name", "id")),
        columns=["id", "active", "name"],
        rename={"name": "姓名 %b%"},
        kafka={"value_format": "json-schema"},
    )


@pytest.mark.parametrize(("type_oid", "text", "kind", "name", "expected"), VALUES)
def test_each_form_fits_its_schema(
    type_oid: int, text: str, kind: str, name: str | None, expected: object
) -> None:
    """The converter makes of each value what it is."""
    column = v.Type(type_oid)
    schema, form = connect.schema_of(column), connect.form(column)
    written = orjson.dumps(form(text) if form else text)
    value = {b"1e999": math.inf, b"-1e999": -math.inf}.get(written) or orjson.loads(written)
    assert (schema["type"], schema.get("name")) == (kind, name)
    assert read(schema | {"optional": True}, value) == expected


def test_an_array_is_a_text() -> None:
    """Nobody knows how many dimensions its next value has."""
    array = v.Type(v.INT4 + 1, elements=(v.Element(v.INT4, ","),))
    assert connect.schema_of(array)["type"] == "string"
    assert connect.form(array) is None


@pytest.mark.parametrize("op", [b"c", b"u", b"d", b"r"])
def test_events_and_keys_fit(resource: Resource, op: bytes) -> None:
    """Whole rows, key-only rows before a delete, a place in a transaction or none."""
    row, key = resource.row_json(("7", None, "张三")), resource.key_json(("张三", "7"))
    begin = Begin(556, 24023200, 1559033904863769)
    source = resource.origin.read(begin, 5) if op == b"r" else resource.origin.source(begin, 5, 6)
    before, after = {
        b"c": (b"null", row),
        b"r": (b"null", row),
        b"u": (row, row),
        b"d": (key, b"null"),
    }[op]
    transactions = Transactions(schemas=True)
    transactions.begin(begin)
    value = decoded(
        resource.envelope.value(
            op, before, after, source, 1, transactions.place("public.x") if op == b"u" else b"null"
        )
    )
    names = [
        value["schema"]["name"],
        *(field.get("name") for field in value["schema"]["fields"][:4]),
    ]
    assert names == [
        "unit.person.Envelope",
        "unit.person.Value",
        "unit.person.Value",
        "io.debezium.connector.postgresql.Source",
        "event.block",
    ]
    shown = read(value["schema"], value["payload"])
    assert (shown["op"], shown["source"]["table"], shown["ts_ms"]) == (op.decode(), "Person 人", 0)
    assert shown["after"] == (None if op == b"d" else {"id": 7, "active": None, "姓名 %b%": "张三"})
    assert shown["before"] == {
        b"d": {"id": 7, "active": None, "姓名 %b%": "张三"},
        b"u": {"id": 7, "active": None, "姓名 %b%": "张三"},
    }.get(op)
    kafka_key = decoded(resource.kafka_key(("张三", "7")))
    assert kafka_key["schema"]["name"] == "unit.person.Key"
    assert read(kafka_key["schema"], kafka_key["payload"]) == {"姓名 %b%": "张三", "id": 7}


def test_begin_and_end_fit() -> None:
    """With Debezium's names."""
    transactions = Transactions(schemas=True)
    transactions.begin(Begin(5, 77, 9_000))
    opening, closing = transactions.take("public.a"), transactions.end()
    assert opening is not None
    assert closing is not None
    for boundary, status, count in ((opening, "BEGIN", None), (closing, "END", 1)):
        key, value = decoded(boundary.key), decoded(boundary.value)
        assert read(key["schema"], key["payload"]) == {"id": "5:77"}
        shown = read(value["schema"], value["payload"])
        assert (shown["status"], shown["event_count"], shown["ts_ms"]) == (status, count, 9)
        assert value["schema"]["name"] == "io.debezium.connector.common.TransactionMetadataValue"


def test_the_default_has_no_schema() -> None:
    """Key and row are the same bytes, with nothing around them."""
    plain = resource_of()
    assert plain.kafka_key(("7",)) == plain.key_json(("7",)) == b'{"id":7}'
    assert plain.envelope.value(b"c", b"null", b"{}", b"{}", 1).startswith(
        b'{"before":null,"after":{},'
    )

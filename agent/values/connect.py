"""Kafka Connect's JSON with schemas, by which its JsonConverter reads keys and events.

The converter reads it under schemas.enable=true. The schema of a table is constant and is built
once, as the bytes that go before and behind each payload. Names of schemas are Debezium's.

Source of the format: Kafka's connect-json, JsonSchema and JsonConverter. Source of the names:
Debezium's PostgreSQL connector and JDBC sink 3.5.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from agent.values import column_types as v
from agent.values import forms
from agent.values.column_types import Type
from agent.values.forms import Form

Schema = dict[str, Any]


class Shell(NamedTuple):
    """The bytes that stand before and behind a payload."""

    head: bytes
    tail: bytes

    def around(self, payload: bytes) -> bytes:
        """Returns the payload in its shell."""
        return b"".join((self.head, payload, self.tail))


PLAIN = Shell(b"", b"")  # JSON without schema

STRING: Schema = {"type": "string"}
INT32: Schema = {"type": "int32"}
_JSON: Schema = {"type": "string", "name": "io.debezium.data.Json", "version": 1}
# Schemas by type; every other type is a string. Dates and times without a zone are strings, too,
# for Debezium's own ISO types end in Z.
_TYPES: Mapping[int, Schema] = {
    v.BOOL: {"type": "boolean"},
    v.INT2: {"type": "int16"},
    v.INT4: {"type": "int32"},
    v.INT8: {"type": "int64"},
    v.OID: {"type": "int64"},
    v.FLOAT4: {"type": "float"},
    v.FLOAT8: {"type": "double"},
    v.BYTEA: {"type": "bytes"},
    v.TIMESTAMPTZ: {"type": "string", "name": "io.debezium.time.ZonedTimestamp", "version": 1},
    v.INTERVAL: {"type": "string", "name": "io.debezium.time.Interval", "version": 1},
    v.UUID: {"type": "string", "name": "io.debezium.data.Uuid", "version": 1},
    v.JSON: _JSON,
    v.JSONB: _JSON | {"parameters": {"__debezium.source.column.type": "JSONB"}},
}
_SNAPSHOT = "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"
_FLOATS: Mapping[str, bytes] = {"NaN": b"null", "Infinity": b"1e999", "-Infinity": b"-1e999"}


def schema_of(column: Type) -> Schema:
    """Returns the schema of a type's values, as `form` writes them."""
    return STRING if column.elements else _TYPES.get(column.oid, STRING)


def form(column: Type) -> Form | None:
    """Returns the form of a type that the converter reads right; None where it is the text itself.

    The converter takes a text in place of a number for 0. So an infinite float is a number that is
    too large, which it reads as infinite, and NaN, which has no such form, is null. An array is
    PostgreSQL's text: Connect's arrays have one number of dimensions, which PostgreSQL's types do
    not say (docs/consumers.md).
    """
    if column.elements:
        return None
    return _float if column.oid in (v.FLOAT4, v.FLOAT8) else forms.form(column)


def _float(text: str) -> object:
    return orjson.Fragment(_FLOATS.get(text) or text)


def key(topic: str, fields: Iterable[tuple[str, Schema]]) -> Shell:
    """Returns what stands around the key of a topic's records.

    `fields`: name and schema of the key's columns.
    """
    parts = [field(name, schema, optional=False) for name, schema in fields]
    return _shell(struct(f"{topic}.Key", parts))


def envelope(topic: str, fields: Iterable[tuple[str, Schema, bool]], source: Schema) -> Shell:
    """Returns what stands around an event.

    `fields`: name and schema of the shared columns, and whether they belong to the key. Columns
    beside the key are optional even where they are never NULL: the `before` of a delete has the
    key only. `source`: the schema of the block that tells where the event comes from.
    """
    columns = [field(name, schema, optional=not in_key) for name, schema, in_key in fields]
    row = struct(f"{topic}.Value", columns, optional=True)
    parts = [
        row | {"field": "before"},
        row | {"field": "after"},
        source | {"field": "source"},
        _BLOCK | {"field": "transaction"},
        field("op", STRING, optional=False),
        *numbers("ts_ms", "ts_us", "ts_ns"),
    ]
    return _shell(struct(f"{topic}.Envelope", parts, version=2))


def _shell(schema: Schema) -> Shell:
    return Shell(b'{"schema":%b,"payload":' % orjson.dumps(schema), b"}")


def struct(
    name: str, fields: list[Schema], *, optional: bool = False, version: int | None = None
) -> Schema:
    """Returns the schema of a struct."""
    made: Schema = {"type": "struct", "fields": fields, "optional": optional, "name": name}
    if version is not None:
        made["version"] = version
    return made


def field(name: str, schema: Schema, *, optional: bool = True) -> Schema:
    """Returns the schema of a value as that of a struct's field."""
    return schema | {"optional": optional, "field": name}


def texts(*names: str) -> list[Schema]:
    """Returns fields that always hold a text."""
    return [field(name, STRING, optional=False) for name in names]


def numbers(*names: str, optional: bool = True) -> list[Schema]:
    """Returns fields that hold an integer."""
    return [field(name, {"type": "int64"}, optional=optional) for name in names]


_SNAPSHOT_TYPE: Schema = {
    "type": "string",
    "name": "io.debezium.data.Enum",
    "version": 1,
    "parameters": {"allowed": _SNAPSHOT},
    "default": "false",
}


def origin_head() -> list[Schema]:
    """Returns the fields with which the schema of each `source` block begins."""
    return [
        *texts("version", "connector", "name"),
        *numbers("ts_ms", optional=False),
        *numbers("ts_us", "ts_ns"),
        field("snapshot", _SNAPSHOT_TYPE),
    ]


_BLOCK = struct(
    "event.block",
    [
        *texts("id"),
        *numbers("total_order", "data_collection_order", optional=False),
    ],
    optional=True,
    version=1,
)
_COLLECTION = struct(
    "event.collection",
    [
        *texts("data_collection"),
        *numbers("event_count", optional=False),
    ],
    version=1,
)
TRANSACTION_KEY = _shell(
    struct(
        "io.debezium.connector.common.TransactionMetadataKey",
        texts("id"),
        version=1,
    )
)
TRANSACTION_VALUE = _shell(
    struct(
        "io.debezium.connector.common.TransactionMetadataValue",
        [
            *texts("status", "id"),
            *numbers("event_count"),
            {"type": "array", "items": _COLLECTION, "optional": True, "field": "data_collections"},
            *numbers("ts_ms", optional=False),
        ],
        version=1,
    )
)

"""Kafka Connect's JSON with schemas: what its JsonConverter (schemas.enable=true) reads keys and events by.

The schema of a table is constant and built once, as the bytes that go before and behind each payload. Names of schemas are Debezium's.
Source of the format: Kafka's connect-json, JsonSchema and JsonConverter; of the names: Debezium's PostgreSQL connector and JDBC sink 3.5.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from agent.values import forms as v
from agent.values.forms import Form

Schema = dict[str, Any]


class Shell(NamedTuple):
    """What stands before and behind a payload."""

    head: bytes
    tail: bytes

    def around(self, payload: bytes) -> bytes:
        """The payload in its shell."""
        return b"".join((self.head, payload, self.tail))


PLAIN = Shell(b"", b"")  # JSON without schema

_STRING: Schema = {"type": "string"}
_JSON: Schema = {"type": "string", "name": "io.debezium.data.Json", "version": 1}
# Schemas by type; every other type is a string. Dates and times without zone are strings, too: Debezium's own ISO types end in Z.
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


def column(type_oid: int, elements: tuple[v.Element, ...] = ()) -> Schema:
    """The schema of a value of this (base) type, as `form` writes it."""
    return _STRING if elements else _TYPES.get(type_oid, _STRING)


def form(type_oid: int, elements: tuple[v.Element, ...] = (), money_digits: int = 2) -> Form | None:
    """Like values.form, but what the converter reads right: it takes any text in place of a number for 0.

    A number that is too large is read as infinite; NaN has no form at all and is null. An array is PostgreSQL's text: Connect's arrays have
    one number of dimensions, which PostgreSQL's types do not say (docs/consumers.md).
    """
    if elements:
        return None
    return _float if type_oid in (v.FLOAT4, v.FLOAT8) else v.form(type_oid, (), money_digits)


def _float(text: str) -> object:
    return orjson.Fragment(_FLOATS.get(text) or text)


def key(topic: str, fields: Iterable[tuple[str, Schema]]) -> Shell:
    """Around the key of a topic's records; `fields`: name and schema of its columns."""
    return _shell(
        _struct(f"{topic}.Key", [_field(name, schema, optional=False) for name, schema in fields])
    )


def envelope(topic: str, fields: Iterable[tuple[str, Schema, bool]]) -> Shell:
    """Around an event; `fields`: name and schema of the shared columns, and whether they belong to the key.

    Columns beside the key are optional even where they are never NULL: the `before` of a delete has the key only.
    """
    row = _struct(
        f"{topic}.Value",
        [_field(name, schema, optional=not in_key) for name, schema, in_key in fields],
        optional=True,
    )
    return _shell(
        _struct(
            f"{topic}.Envelope",
            [
                row | {"field": "before"},
                row | {"field": "after"},
                _SOURCE | {"field": "source"},
                _BLOCK | {"field": "transaction"},
                _field("op", _STRING, optional=False),
                *(_field(name, {"type": "int64"}) for name in ("ts_ms", "ts_us", "ts_ns")),
            ],
            version=2,
        )
    )


def _shell(schema: Schema) -> Shell:
    return Shell(b'{"schema":%b,"payload":' % orjson.dumps(schema), b"}")


def _struct(
    name: str, fields: list[Schema], *, optional: bool = False, version: int | None = None
) -> Schema:
    return {"type": "struct", "fields": fields, "optional": optional, "name": name} | (
        {} if version is None else {"version": version}
    )


def _field(name: str, schema: Schema, *, optional: bool = True) -> Schema:
    return schema | {"optional": optional, "field": name}


_SNAPSHOT_TYPE: Schema = {
    "type": "string",
    "name": "io.debezium.data.Enum",
    "version": 1,
    "parameters": {"allowed": _SNAPSHOT},
    "default": "false",
}
_SOURCE = _struct(
    "io.debezium.connector.postgresql.Source",
    [
        *(_field(name, _STRING, optional=False) for name in ("version", "connector", "name")),
        _field("ts_ms", {"type": "int64"}, optional=False),
        *(_field(name, {"type": "int64"}) for name in ("ts_us", "ts_ns")),
        _field("snapshot", _SNAPSHOT_TYPE),
        _field("db", _STRING, optional=False),
        _field("sequence", _STRING),
        *(_field(name, _STRING, optional=False) for name in ("schema", "table")),
        *(_field(name, {"type": "int64"}) for name in ("txId", "lsn", "xmin")),
        _field("origin", _STRING),
        _field("origin_lsn", {"type": "int64"}),
    ],
)
_BLOCK = _struct(
    "event.block",
    [
        _field("id", _STRING, optional=False),
        *(
            _field(name, {"type": "int64"}, optional=False)
            for name in ("total_order", "data_collection_order")
        ),
    ],
    optional=True,
    version=1,
)
_COLLECTION = _struct(
    "event.collection",
    [
        _field("data_collection", _STRING, optional=False),
        _field("event_count", {"type": "int64"}, optional=False),
    ],
    version=1,
)
TRANSACTION_KEY = _shell(
    _struct(
        "io.debezium.connector.common.TransactionMetadataKey",
        [_field("id", _STRING, optional=False)],
        version=1,
    )
)
TRANSACTION_VALUE = _shell(
    _struct(
        "io.debezium.connector.common.TransactionMetadataValue",
        [
            *(_field(name, _STRING, optional=False) for name in ("status", "id")),
            _field("event_count", {"type": "int64"}),
            {"type": "array", "items": _COLLECTION, "optional": True, "field": "data_collections"},
            _field("ts_ms", {"type": "int64"}, optional=False),
        ],
        version=1,
    )
)

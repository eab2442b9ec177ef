"""Debezium's envelope, built from value forms that are already JSON (docs/events.md; names as Debezium's PostgreSQL connector)."""

from collections.abc import Sequence

import orjson

from agent import __version__
from agent.events.changes import Begin


class Origin:
    """The parts of `source` that stay the same: for one table, then for one transaction."""

    def __init__(self, prefix: str, database: str, schema: str, table: str) -> None:
        head = {"version": __version__, "connector": "postgresql", "name": prefix}
        self._head = orjson.dumps(head)[:-1]
        self._table = orjson.dumps({"schema": schema, "table": table})[1:-1]
        self._database = orjson.dumps(database)
        self._begin: Begin | None = None
        self._parts = (b"", b"")

    def source(self, begin: Begin, last_position: int, lsn: int) -> bytes:
        """The `source` object of a change at `lsn` in the transaction `begin`; `last_position` is where the transaction before it ended."""
        if begin is not self._begin:
            self._begin = begin
            us = begin.time_us
            self._parts = (
                b'%b,"ts_ms":%d,"ts_us":%d,"ts_ns":%d,"snapshot":"false","db":%b,"sequence":"[\\"%d\\",\\"'
                % (self._head, us // 1000, us, us * 1000, self._database, last_position),
                b'\\"]",%b,"txId":%d,"lsn":' % (self._table, begin.xid),
            )
        number = b"%d" % lsn
        return b"".join((self._parts[0], number, self._parts[1], number, b',"xmin":null,"origin":null,"origin_lsn":null}'))


def json_object(names: Sequence[bytes], values: Sequence[bytes]) -> bytes:
    """A JSON object from names (each `"name":` already encoded) and encoded values."""
    return b"{" + b",".join([name + value for name, value in zip(names, values, strict=True)]) + b"}"


def json_name(name: str) -> bytes:
    """A member name ready for `json_object`."""
    return orjson.dumps(name) + b":"


def envelope(op: bytes, before: bytes, after: bytes, source: bytes, now_ns: int) -> bytes:
    """The whole value of an event; `before` and `after` are JSON (`null` where there is none), `now_ns` the processing time."""
    return b'{"before":%b,"after":%b,"source":%b,"transaction":null,"op":"%b","ts_ms":%d,"ts_us":%d,"ts_ns":%d}' % (
        before, after, source, op, now_ns // 1_000_000, now_ns // 1000, now_ns,
    )  # fmt: skip

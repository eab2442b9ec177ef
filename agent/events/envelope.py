"""Debezium's envelope, built from value forms that are already JSON (docs/events.md; names as Debezium's PostgreSQL connector)."""

import orjson

from agent import __version__
from agent.events.changes import Begin
from agent.events.connect import Shell


class Origin:
    """The parts of `source` that stay the same: for one table, then for one transaction."""

    def __init__(self, prefix: str, database: str, schema: str, table: str) -> None:
        head = {"version": __version__, "connector": "postgresql", "name": prefix}
        self._head = orjson.dumps(head)[:-1]
        self._table = orjson.dumps({"schema": schema, "table": table})[1:-1]
        self._database = orjson.dumps(database)
        self._begin: Begin | None = None
        self._parts = (b"", b"")

    def read(self, begin: Begin, last_position: int) -> bytes:
        """The `source` object of a row that was read, not streamed: as Debezium's incremental snapshots have it, without txId and lsn."""
        us = begin.time_us
        return (
            b'%b,"ts_ms":%d,"ts_us":%d,"ts_ns":%d,"snapshot":"incremental","db":%b,"sequence":"[\\"%d\\",null]",%b,'
            b'"txId":null,"lsn":null,"xmin":null,"origin":null,"origin_lsn":null}'
        ) % (self._head, us // 1000, us, us * 1000, self._database, last_position, self._table)

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
        return b"".join(
            (
                self._parts[0],
                number,
                self._parts[1],
                number,
                b',"xmin":null,"origin":null,"origin_lsn":null}',
            )
        )


class Envelope:
    """The values of one table's events. What is the same for all is written once, a schema too."""

    def __init__(self, shell: Shell) -> None:
        head, tail = (part.replace(b"%", b"%%") for part in shell)
        self._form = (
            head
            + b'{"before":%b,"after":%b,"source":%b,"transaction":null,"op":"%b","ts_ms":%d,"ts_us":%d,"ts_ns":%d}'
            + tail
        )
        self._placed = self._form.replace(
            b'"transaction":null,"op":"%b"', b'"transaction":%b,"op":"%b"'
        )

    def value(
        self,
        op: bytes,
        before: bytes,
        after: bytes,
        source: bytes,
        now_ns: int,
        transaction: bytes | None = None,
    ) -> bytes:
        """The whole value of an event; `before` and `after` are JSON (`null` where there is none), `now_ns` the processing time.

        `transaction`: the event's place in its source transaction as JSON, where somebody wants to know it.
        """
        if transaction is not None:
            return self._placed % (
                before,
                after,
                source,
                transaction,
                op,
                now_ns // 1_000_000,
                now_ns // 1000,
                now_ns,
            )
        return self._form % (before, after, source, op, now_ns // 1_000_000, now_ns // 1000, now_ns)

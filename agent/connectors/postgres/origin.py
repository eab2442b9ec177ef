"""The `source` block of events, as Debezium's PostgreSQL connector has it (docs/events.md)."""

import orjson

from agent import __version__
from agent.connectors.changes import Begin
from agent.values import connect
from agent.values.connect import STRING, Schema, field, numbers, struct, texts

_SCHEMA = struct(
    "io.debezium.connector.postgresql.Source",
    [
        *connect.origin_head(),
        *texts("db"),
        field("sequence", STRING),
        *texts("schema", "table"),
        *numbers("txId", "lsn", "xmin"),
        field("origin", STRING),
        *numbers("origin_lsn"),
    ],
)


class PostgresOrigin:
    """See Origin. What stays the same for the table, then for the transaction, is written once."""

    def __init__(self, prefix: str, database: str, schema: str, table: str) -> None:
        head = {"version": __version__, "connector": "postgresql", "name": prefix}
        self._head = orjson.dumps(head)[:-1]
        self._table = orjson.dumps({"schema": schema, "table": table})[1:-1]
        self._database = orjson.dumps(database)
        self._begin: Begin | None = None
        self._parts = (b"", b"")

    @property
    def schema(self) -> Schema:
        """See Origin.schema."""
        return _SCHEMA

    def read(self, begin: Begin, previous_end: int) -> bytes:
        """See Origin.read: as Debezium's incremental snapshots have it, without txId and lsn."""
        us = begin.time_us
        return (
            b'%b,"ts_ms":%d,"ts_us":%d,"ts_ns":%d,"snapshot":"incremental","db":%b,'
            b'"sequence":"[\\"%d\\",null]",%b,'
            b'"txId":null,"lsn":null,"xmin":null,"origin":null,"origin_lsn":null}'
        ) % (self._head, us // 1000, us, us * 1000, self._database, previous_end, self._table)

    def source(self, begin: Begin, previous_end: int, position: int) -> bytes:
        """See Origin.source."""
        if begin is not self._begin:
            self._begin = begin
            self._parts = self._of_transaction(begin, previous_end)
        before, behind = self._parts
        lsn = b"%d" % position
        end = b',"xmin":null,"origin":null,"origin_lsn":null}'
        return b"".join((before, lsn, behind, lsn, end))

    def _of_transaction(self, begin: Begin, previous_end: int) -> tuple[bytes, bytes]:
        """Writes what stands before, and behind, the first mention of a change's position."""
        us = begin.time_us
        before = (
            b'%b,"ts_ms":%d,"ts_us":%d,"ts_ns":%d,"snapshot":"false","db":%b,'
            b'"sequence":"[\\"%d\\",\\"'
        ) % (self._head, us // 1000, us, us * 1000, self._database, previous_end)
        behind = b'\\"]",%b,"txId":%d,"lsn":' % (self._table, begin.transaction)
        return before, behind

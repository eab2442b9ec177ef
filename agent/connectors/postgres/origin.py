"""The `source` block of events, as Debezium's PostgreSQL connector has it (docs/events.md)."""

import orjson

from agent import __version__
from agent.connectors.changes import Begin


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
                b'\\"]",%b,"txId":%d,"lsn":' % (self._table, begin.transaction),
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

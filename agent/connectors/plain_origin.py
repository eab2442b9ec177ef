"""The `source` block of events of a source that has nothing to tell beside table and time."""

import orjson

from agent import __version__
from agent.connectors.changes import Begin
from agent.values import connect
from agent.values.connect import Schema, struct, texts

_SCHEMA = struct(
    "unit.sync.agent.Source", [*connect.origin_head(), *texts("db", "schema", "table")]
)


class PlainOrigin:
    """See Origin. `connector` names the kind of source, `prefix` is the one of the topics."""

    def __init__(self, connector: str, prefix: str, database: str, schema: str, table: str) -> None:
        head = {"version": __version__, "connector": connector, "name": prefix}
        self._head = orjson.dumps(head)[:-1]
        place = {"db": database, "schema": schema, "table": table}
        self._place = orjson.dumps(place)[1:]

    @property
    def schema(self) -> Schema:
        """See Origin.schema."""
        return _SCHEMA

    def source(self, begin: Begin, previous_end: int, position: int) -> bytes:
        """See Origin.source."""
        return self._written(begin, b"false")

    def read(self, begin: Begin, previous_end: int) -> bytes:
        """See Origin.read."""
        return self._written(begin, b"incremental")

    def _written(self, begin: Begin, snapshot: bytes) -> bytes:
        us = begin.time_us
        form = b'%b,"ts_ms":%d,"ts_us":%d,"ts_ns":%d,"snapshot":"%b",%b'
        return form % (self._head, us // 1000, us, us * 1000, snapshot, self._place)

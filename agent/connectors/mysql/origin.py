"""The `source` block of events, as Debezium's MySQL and MariaDB connectors have it."""

from collections.abc import Callable
from typing import NamedTuple

import orjson

from agent import __version__
from agent.connectors.changes import Begin
from agent.values import connect
from agent.values.connect import INT32, STRING, Schema, field, numbers, struct, texts


class Whereabouts(NamedTuple):
    """Where in the log a transaction begins."""

    gtid: str  # as the server writes it
    server_id: int  # of the server on which it was made
    file: str
    offset: int


NOWHERE = Whereabouts("", 0, "", 0)


def _schema(kind: str) -> Schema:
    return struct(
        f"io.debezium.connector.{kind}.Source",
        [
            *connect.origin_head(),
            *texts("db"),
            field("sequence", STRING),
            field("table", STRING),
            *numbers("server_id", optional=False),
            field("gtid", STRING),
            *texts("file"),
            *numbers("pos", optional=False),
            field("row", INT32, optional=False),
            *numbers("thread"),
            field("query", STRING),
        ],
    )


class MySqlOrigin:
    """See Origin. `kind` is mysql or mariadb.

    `where` tells where a transaction begins, by its number.
    """

    def __init__(
        self, kind: str, prefix: str, schema: str, table: str, where: Callable[[int], Whereabouts]
    ) -> None:
        head = {"version": __version__, "connector": kind, "name": prefix}
        self._head = orjson.dumps(head)[:-1]
        self._place = orjson.dumps({"db": schema, "sequence": None, "table": table})[1:-1]
        self._schema = _schema(kind)
        self._where = where
        self._begin: Begin | None = None
        self._block = b""

    @property
    def schema(self) -> Schema:
        """See Origin.schema."""
        return self._schema

    def source(self, begin: Begin, previous_end: int, position: int) -> bytes:
        """See Origin.source."""
        if begin is not self._begin:
            self._begin = begin
            self._block = self._written(begin, b"false", self._where(begin.transaction))
        row = position - begin.commit_position - 1
        return b'%b,"row":%d,"thread":null,"query":null}' % (self._block, row)

    def read(self, begin: Begin, previous_end: int) -> bytes:
        """See Origin.read: as Debezium's incremental snapshots have it."""
        block = self._written(begin, b"incremental", NOWHERE)
        return block + b',"row":0,"thread":null,"query":null}'

    def _written(self, begin: Begin, snapshot: bytes, where: Whereabouts) -> bytes:
        """Writes what is the same for all rows of a transaction."""
        us = begin.time_us
        times = b'"ts_ms":%d,"ts_us":%d,"ts_ns":%d' % (us // 1000, us, us * 1000)
        place = {
            "server_id": where.server_id,
            "gtid": where.gtid or None,
            "file": where.file,
            "pos": where.offset,
        }
        parts = (self._head, times, b'"snapshot":"%b"' % snapshot, self._place)
        return b",".join((*parts, orjson.dumps(place)[1:-1]))

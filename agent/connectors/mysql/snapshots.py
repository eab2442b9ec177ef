"""Snapshots of a server, and where in its log each of them lies.

Both servers write a transaction into the log before others see it. So a page may be used only if
its snapshot shows all that the stream has delivered, and only once the stream has delivered all
that the snapshot shows (DESIGN of the hand-over: docs/decisions/visibility-hand-over.md).
"""

from typing import Final

from sqlalchemy import Connection

from agent.connectors.mysql.gtids import DomainPositions, GtidSet
from agent.connectors.mysql.log_place import LogPlace
from agent.connectors.mysql.server import Executed, LogEnd, Server, executed, log_end

_ISOLATION: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
_PLACE: Final = (
    "SHOW STATUS WHERE variable_name IN ('binlog_snapshot_file', 'binlog_snapshot_position')"
)
_BEGIN: Final = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"


class Snapshot:
    """A reading transaction. It shows every transaction of `before`, and none behind `end`."""

    def __init__(self, connection: Connection, before: Executed, end: LogEnd) -> None:
        self._connection = connection
        self._before = before
        self._end = end

    def shows(self, delivered: Executed) -> bool:
        """Tells whether it shows every transaction that was delivered."""
        if isinstance(self._before, GtidSet):
            return isinstance(delivered, GtidSet) and self._before.contains(delivered)
        return isinstance(delivered, DomainPositions) and self._before.reaches(delivered)

    def is_reached(self, place: LogPlace) -> bool:
        """Tells whether a stream at this place has delivered every transaction that it shows."""
        return LogEnd(place.file, place.offset).order >= self._end.order

    def end(self) -> None:
        """Ends the transaction; what was learnt of the snapshot is kept."""
        self._connection.exec_driver_sql("ROLLBACK")


def open_snapshot(connection: Connection, server: Server) -> Snapshot:
    """Begins a reading transaction. Raises the driver's errors."""
    if server.is_mariadb:
        return _of_mariadb(connection)
    # The set is that of transactions that others see by now; the log's end is behind all of them
    before = executed(connection, server)
    connection.exec_driver_sql(_ISOLATION)
    connection.exec_driver_sql(_BEGIN)
    return Snapshot(connection, before, log_end(connection, server))


def _of_mariadb(connection: Connection) -> Snapshot:
    """MariaDB tells exactly where in the log a snapshot lies."""
    connection.exec_driver_sql(_ISOLATION)
    connection.exec_driver_sql(_BEGIN)
    found = {}
    for name, value in connection.exec_driver_sql(_PLACE).all():
        found[str(name).lower()] = str(value)
    end = LogEnd(found["binlog_snapshot_file"], int(found["binlog_snapshot_position"]))
    asked = "SELECT BINLOG_GTID_POS(%s, %s)"
    position = connection.exec_driver_sql(asked, (end.file, end.offset)).scalar()
    return Snapshot(connection, DomainPositions.parse(str(position or "")), end)

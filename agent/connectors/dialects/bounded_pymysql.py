"""MariaDB connections that end soon when the process is asked to stop.

A line can be dead while TCP still stands.
"""

from typing import Any

import pymysql
from pymysql.constants import CR

from agent import stop_watch


class BoundedConnection(pymysql.Connection):  # type: ignore[misc]  # the driver has no types
    """A connection whose line can be shut from another thread, its greeting included."""

    def connect(self, sock: Any = None) -> None:
        """See pymysql.Connection.connect."""
        stop_watch.register(self)
        super().connect(sock)

    def shut(self) -> None:
        """See agent.stop_watch.Line."""
        line = self._sock
        if line is not None:
            stop_watch.shut_socket(line.fileno())


def bounded(**named: Any) -> BoundedConnection:
    """Connects as pymysql.connect does; a process that is asked to stop shuts the connection.

    Such a process waits for no new connection either: that raises OperationalError, and so does a
    login that needs a package which is not installed.
    """
    seconds = stop_watch.seconds_to_connect()
    if not seconds:
        raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, "the process is to stop")
    try:
        return BoundedConnection(**named, connect_timeout=seconds)
    except RuntimeError as error:
        raise pymysql.OperationalError(CR.CR_AUTH_PLUGIN_CANNOT_LOAD, str(error)) from None

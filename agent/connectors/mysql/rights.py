"""The rights that the agent needs at a server, as statements and by trying each of them."""

import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from agent.connectors.mysql.dump import Dump
from agent.connectors.mysql.server import Server
from agent.connectors.table import TableName
from agent.findings import Finding, error
from agent.messages import mark

Rows = Sequence[tuple[Any, ...]]

READ_LOG: Final = "REPLICATION SLAVE"
# The server's numbers of the errors; the first one when a reader of the log registers
_DENIED: Final = (1045, 1142, 1143, 1227)
_REPLICAS_SINCE: Final = (8, 0, 22)  # the version of MySQL that calls them so


def see_log(*, is_mariadb: bool) -> str:
    """Returns the right to ask where the log ends."""
    return "BINLOG MONITOR" if is_mariadb else "REPLICATION CLIENT"


def allowed(connection: Connection, statement: str) -> Rows | None:
    """Returns the rows of an answer; None where a right is missing. Raises other errors."""
    try:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]
    except DBAPIError as refused:
        if not _is_denied(refused.orig):
            raise
        return None


def _is_denied(refused: BaseException | None) -> bool:
    return bool(refused is not None and refused.args and refused.args[0] in _DENIED)


# ---- asking


def log_status(connection: Connection, server: Server) -> Rows | None:
    """Returns file, offset and filters of the log, if any; None where a right is missing."""
    newer = not server.is_mariadb and server.version >= (8, 2)
    asked = "SHOW BINARY LOG STATUS" if newer else "SHOW MASTER STATUS"
    return allowed(connection, asked)


def log_files(connection: Connection) -> Rows | None:
    """Returns name and bytes of each file of the log; None where a right is missing."""
    return allowed(connection, "SHOW BINARY LOGS")


def replicas(connection: Connection, server: Server) -> Rows | None:
    """Returns id and host of every reader of the log; None where a right is missing."""
    newer = not server.is_mariadb and server.version >= _REPLICAS_SINCE
    return allowed(connection, "SHOW REPLICAS" if newer else "SHOW SLAVE HOSTS")


def is_replica(connection: Connection, server: Server) -> bool:
    """Tells whether the server takes over changes of another one.

    Without the right to see it, MariaDB tells of it only while that goes on.
    """
    if not server.is_mariadb:
        newer = server.version >= _REPLICAS_SINCE
        asked = "SHOW REPLICA STATUS" if newer else "SHOW SLAVE STATUS"
        return bool(allowed(connection, asked))
    shown = allowed(connection, "SHOW ALL SLAVES STATUS")
    if shown is not None:
        return bool(shown)
    asked = "SHOW GLOBAL STATUS WHERE variable_name = 'Slaves_running'"
    rows = allowed(connection, asked) or ()
    return any(int(count) > 0 for _, count in rows)


def may_read_log(connection: Connection, server: Server, server_id: int) -> bool:
    """Tries the right to read the log. The connection is used for nothing else afterwards."""
    if not server.is_mariadb:
        return replicas(connection, server) is not None
    # MariaDB shows its replicas to its administrators only; any reader may register
    driver: Any = connection.connection.driver_connection
    try:
        Dump(driver, server_id).register(socket.gethostname())
    except driver.Error as refused:
        if not _is_denied(refused):
            raise
        return False
    return True


def account_of(connection: Connection) -> str:
    """Returns the account of a connection, as a GRANT names it."""
    found = str(connection.exec_driver_sql("SELECT current_user()").scalar())
    user, _, host = found.rpartition("@")
    return account(user, host)


# ---- writing


def account(user: str, host: str = "%") -> str:
    """Writes an account as a GRANT names it."""
    return f"{_literal(user)}@{_literal(host)}"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def grant_log(right: str, to: str) -> str:
    """Returns the statement that grants a right on the log."""
    return f"GRANT {right} ON *.* TO {to};"


def grant_table(place: TableName, to: str) -> str:
    """Returns the statement that lets the agent read a table, whose schema is given."""
    table = ".".join(_quoted(part) for part in place if part)
    return f"GRANT SELECT ON {table} TO {to};"


def statements(to: str, places: Iterable[TableName], *, is_mariadb: bool) -> Iterator[str]:
    """Yields the statements by which an administrator makes the agent's account."""
    yield f"CREATE USER {to} IDENTIFIED BY '...';"
    yield grant_log(f"{READ_LOG}, {see_log(is_mariadb=is_mariadb)}", to)
    for place in places:
        yield grant_table(place, to)


def drop(to: str) -> str:
    """Returns the statement that takes the agent's account away."""
    return f"DROP USER {to};"


def missing(right: str, to: str) -> Finding:
    """Says that the account lacks a right on the log."""
    text = mark("the account {account} lacks the right {right}")
    return error("RIGHT_MISSING", text, grant_log(right, to), account=to, right=right)

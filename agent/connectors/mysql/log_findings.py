"""Judges for `init` and `check` what a server says of its log to those who have the rights."""

import socket
from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from agent.connectors.mysql import rights
from agent.connectors.mysql.server import Server
from agent.findings import Finding, error
from agent.messages import mark, translate

_ON: Final = ("on", "1")


class Reader(NamedTuple):
    """Who reads the log."""

    account: str  # as a GRANT names it
    server_id: int
    # Another host may read the log with the same id, as long as this one does not
    has_standby: bool


def judged_log(
    connection: Connection, server: Server, reader: Reader, schemas: Collection[str]
) -> Iterator[Finding]:
    """Yields what stands against reading the log as this account. Raises the driver's errors.

    The connection is used for nothing else afterwards. `schemas`: of the shared tables.
    """
    yield from _not_taken_over(connection, server)
    status = rights.log_status(connection, server)
    if status is None:
        yield rights.missing(rights.see_log(is_mariadb=server.is_mariadb), reader.account)
    for row in status or ():
        yield from _filtered(row, schemas)
    yield from _id_taken(server, reader, rights.replicas(connection, server) or ())
    if not rights.may_read_log(connection, server, reader.server_id):
        yield rights.missing(rights.READ_LOG, reader.account)


def _not_taken_over(connection: Connection, server: Server) -> Iterator[Finding]:
    updates = server.variable("log_replica_updates") or server.variable("log_slave_updates")
    if updates in _ON or not rights.is_replica(connection, server):
        return
    name = "log_slave_updates" if server.is_mariadb else "log_replica_updates"
    text = mark("the server is a replica, and what it takes over is not in its binary log ({name})")
    fix = mark("-- in my.cnf, section [mysqld], then restart it; or let the agent read its primary")
    yield error("LOG_INCOMPLETE", text, f"{translate(fix)}\n{name} = ON", name=name)


def _filtered(status: tuple[Any, ...], schemas: Collection[str]) -> Iterator[Finding]:
    """Yields the shared schemas of which nothing is logged."""
    only, never = (_listed(status[2]), _listed(status[3]))
    for schema in sorted(schemas):
        if (only and schema not in only) or (not only and schema in never):
            name = "binlog_do_db" if only else "binlog_ignore_db"
            text = mark("{name} keeps the changes of database {schema} out of the binary log")
            fix = mark("-- take it out of my.cnf, then restart the server")
            yield error("LOG_FILTERED", text, translate(fix), name=name, schema=schema)


def _listed(names: object) -> list[str]:
    return [name for name in str(names or "").split(",") if name]


def _id_taken(server: Server, reader: Reader, replicas: rights.Rows) -> Iterator[Finding]:
    """Yields that another reader of the log has the agent's number.

    The agent itself, or the other host of a pair, is shown by its host.
    """
    own = socket.gethostname()
    taken = server.variable("server_id") == str(reader.server_id)
    for replica in replicas:
        is_other = str(replica[1]) != own and not reader.has_standby
        taken = taken or (int(replica[0]) == reader.server_id and is_other)
    if taken:
        text = mark("another server or reader of the log has the server id {number}")
        fix = mark("Set source.server_id to a number that no other has.")
        yield error("SERVER_ID_TAKEN", text, translate(fix), number=reader.server_id)

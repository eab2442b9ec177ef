"""Tells whether a server has everything that the agent needs to go on where it was left."""

import re
from collections.abc import Mapping
from typing import Final, Literal

from sqlalchemy import Connection

from agent.connectors.mysql import rights
from agent.connectors.mysql.gtids import DomainPositions, GtidSet
from agent.connectors.mysql.log_place import LogPlace
from agent.connectors.mysql.server import Server, executed, purged
from agent.connectors.resume import Resume

# What is wrong: the server lacks transactions that were applied, or has deleted later ones
Gap = Literal["", "foreign", "purged"]

_LIST: Final = "Gtid_list"  # the event with the last transactions before a file of MariaDB
_EVENTS: Final = 10  # it is among the first of a file
_FILE: Final = re.compile(r"[^'\\]+")


def left_at(resume: Resume, *, is_mariadb: bool) -> LogPlace:
    """Returns where the agent was left: by its token, or by what `init` has stored.

    Raises Damaged.
    """
    if resume.token:
        return LogPlace.of_token(resume.token, is_mariadb=is_mariadb)
    noted = str(resume.identity.get("executed", ""))
    return LogPlace(DomainPositions.parse(noted) if is_mariadb else GtidSet.parse(noted))


def gap_behind(connection: Connection, server: Server, place: LogPlace) -> Gap:
    """Tells what stands between a place and what the server can send. Raises the driver's errors.

    Where a right to see the files is missing, MariaDB's deleted ones are not found.
    """
    left = place.gtids
    now = executed(connection, server)
    if isinstance(left, GtidSet) and isinstance(now, GtidSet):
        if not now.contains(left):
            return "foreign"
        return "" if left.contains(purged(connection)) else "purged"
    if isinstance(left, DomainPositions):
        if not _has(connection, left):
            return "foreign"
        return "" if left.reaches(_before_oldest(connection)) else "purged"
    return "foreign"


def _has(connection: Connection, left: DomainPositions) -> bool:
    """Tells whether a MariaDB server has the last transactions of each domain, of their servers.

    That it has later numbers proves nothing: another server may have written them.
    """
    state = connection.exec_driver_sql("SELECT @@global.gtid_binlog_state").scalar()
    last = _by_server(str(state or ""))
    for domain, (server, counted) in left.last.items():
        if last.get((domain, server), 0) < counted:
            return False
    return True


def _by_server(state: str) -> Mapping[tuple[int, int], int]:
    """Reads MariaDB's last transaction of each server in each domain."""
    found = {}
    for part in state.split(","):
        if part.strip():
            domain, server, counted = map(int, part.strip().split("-"))
            found[domain, server] = counted
    return found


def _before_oldest(connection: Connection) -> DomainPositions:
    """Returns the last transactions that a MariaDB server has deleted from its log."""
    files = rights.log_files(connection) or ()
    if not files or not _FILE.fullmatch(str(files[0][0])):
        return DomainPositions()
    asked = f"SHOW BINLOG EVENTS IN '{files[0][0]}' LIMIT {_EVENTS}"
    for event in rights.allowed(connection, asked) or ():
        if event[2] == _LIST:
            listed = str(event[5]).strip("[]")
            return DomainPositions.parse(listed)
    return DomainPositions()

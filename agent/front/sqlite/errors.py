"""What SQLite's errors mean for a front end.

SQLite's messages name tables and columns, never values. Only a trigger's own words may, which are
left out.
"""

import sqlite3
from pathlib import Path

from agent.errors import (
    AgentError,
    FrontBusy,
    FrontFull,
    FrontTableWrong,
    FrontUnfit,
    FrontUnreachable,
    RowRefused,
)
from agent.resource import Target

# The meaning of SQLite's primary result codes (https://www.sqlite.org/rescode.html). `away`,
# `busy` (locks, space, memory) and `unfit` (the file, its rights) concern all tables, `table` one
# as it is. The others, and what Python's driver refuses by itself, concern the statement, and so
# the table that it was for.
KINDS = {
    sqlite3.SQLITE_ERROR: "table",
    sqlite3.SQLITE_PERM: "unfit",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
    sqlite3.SQLITE_NOMEM: "busy",
    sqlite3.SQLITE_READONLY: "unfit",
    sqlite3.SQLITE_INTERRUPT: "busy",
    sqlite3.SQLITE_IOERR: "busy",
    sqlite3.SQLITE_CORRUPT: "unfit",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_CANTOPEN: "away",
    sqlite3.SQLITE_PROTOCOL: "busy",
    sqlite3.SQLITE_SCHEMA: "busy",
    sqlite3.SQLITE_NOLFS: "unfit",
    sqlite3.SQLITE_AUTH: "unfit",
    sqlite3.SQLITE_FORMAT: "unfit",
    sqlite3.SQLITE_NOTADB: "unfit",
}


def _kind(code: int | None) -> str:
    """Returns whom an error concerns; None: the driver's own."""
    if code is None:
        return "row"
    if code == sqlite3.SQLITE_IOERR_WRITE:  # a quota, or a limit of the file's size
        return "full"
    return KINDS.get(code & 0xFF, "row")


def error_of(cause: BaseException, target: Target | None, path: Path) -> AgentError:
    """Returns our error for the driver's; `target` is the table written to, if any."""
    code = getattr(cause, "sqlite_errorcode", None)
    named = str(getattr(cause, "sqlite_errorname", type(cause).__name__))
    reason = named if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER else f"{named}: {cause}"

    match _kind(code):
        case "busy":
            return FrontBusy(reason=reason)
        case "full":
            return FrontFull(reason=f"{path}: {reason}")
        case "away":
            return FrontUnreachable(reason=reason)
        case "table" if target is not None:
            return FrontTableWrong(resource=target.resource, table=target.name, reason=reason)
        case "row" if target is not None:
            return RowRefused(resource=target.resource, table=target.name, reason=reason)
    return FrontUnfit(reason=f"{path}: {reason}")

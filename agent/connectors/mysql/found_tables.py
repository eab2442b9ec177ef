"""Tables as the server's catalogue describes them, as far as the log depends on it."""

import warnings
from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SAWarning

from agent.connectors.mysql.server import Server
from agent.connectors.mysql.server_findings import logs_cascades
from agent.connectors.table import TableName
from agent.messages import Phrase, phrase

# What the catalogue calls a table, one with its past, and the engine with transactions
TABLE: Final = "BASE TABLE"
VERSIONED: Final = "SYSTEM VERSIONED"
ENGINE: Final = "InnoDB"
_QUIET: Final = (None, "NO ACTION", "RESTRICT")  # a foreign key that changes no row by itself

_TABLES: Final = text("""
    SELECT table_schema, table_name, table_type, engine
      FROM information_schema.tables
     WHERE table_schema = COALESCE(NULLIF(:schema, ''), DATABASE()) AND table_name = :name
""")
_COLUMNS: Final = text("""
    SELECT column_name, column_type, character_set_name
      FROM information_schema.columns
     WHERE table_schema = :schema AND table_name = :name
""")


class LoggedColumn(NamedTuple):
    """A column as the catalogue describes it."""

    declared: str
    charset: str  # '' where it has no texts


class FoundTable(NamedTuple):
    """A table as the catalogue describes it."""

    place: TableName  # as the log writes it, too
    kind: str
    engine: str
    columns: Mapping[str, LoggedColumn]


def found_table(connection: Connection, place: TableName, own: str) -> FoundTable | None:
    """Returns how the catalogue describes a table, if it has it and shows it.

    Where it has several whose names differ in the case of letters, it is the one of this name.
    `own`: the session's schema. Raises the driver's errors.
    """
    schema, name = place
    rows = connection.execute(_TABLES, {"schema": schema, "name": name}).all()
    if not rows:
        return None
    exact = [row for row in rows if (row[0], row[1]) == (schema or own, name)]
    row = (exact or list(rows))[0]
    asked = {"schema": row[0], "name": row[1]}
    columns = {}
    for column, declared, charset in connection.execute(_COLUMNS, asked).all():
        columns[str(column)] = LoggedColumn(str(declared), str(charset or ""))
    return FoundTable((row[0], row[1]), str(row[2]), str(row[3] or ""), columns)


def changing_keys(connection: Connection, place: TableName) -> list[str]:
    """Returns the foreign keys of a table that change rows of it by themselves.

    Raises the driver's errors, one of a missing right among them.
    """
    schema, name = place
    with warnings.catch_warnings():
        # Of types that SQLAlchemy does not know
        warnings.simplefilter("ignore", SAWarning)
        keys = inspect(connection).get_foreign_keys(name, schema=schema or None)
    found = []
    for key in keys:
        options = key.get("options", {})
        if not {options.get("ondelete"), options.get("onupdate")} <= set(_QUIET):
            found.append(key["name"] or "?")
    return found


def unlogged(connection: Connection, server: Server, place: TableName, own: str) -> Phrase | None:
    """Returns why the log of a running agent does not show every change of a table, if so.

    Somebody may have changed the table since `init`. Raises the driver's errors.
    """
    found = found_table(connection, place, own)
    if found is None:
        return None
    if found.kind == VERSIONED:
        return phrase("it is versioned by the system (WITH SYSTEM VERSIONING)")
    if found.kind != TABLE:
        return phrase("it is no table any more but {kind}", kind=found.kind)
    if found.engine != ENGINE:
        return phrase("it is kept by {engine}, which knows no transactions", engine=found.engine)
    if not logs_cascades(server):
        for key in changing_keys(connection, place):
            return phrase("foreign key {key} changes rows by itself, beside the log", key=key)
    return None

"""Lists the tables and views of a database that is read through SQLAlchemy."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Inspector, inspect
from sqlalchemy.exc import SAWarning

from agent.config import ResourceSettings
from agent.config.names import OWN
from agent.connectors.database import catalogue
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.rows import RowReader
from agent.connectors.database.session import Database
from agent.connectors.dialects.base import Kind
from agent.connectors.discovery import Cursor, FoundColumn, FoundTable, Wanted
from agent.connectors.table import SourceTable, TableName
from agent.errors import AgentError, ReadRefused, TableChanged
from agent.findings import Finding, errors, failed

# Yields what stands against sharing a table as configured, in the way that its changes are found
Judge = Callable[[ResourceSettings, ReadTable], Iterator[Finding]]

# Tells by which kind of cursor a column could show which rows have changed
CursorOf = Callable[[Kind], Cursor]

# Schemas that hold no tables of a unit
_SYSTEM = ("information_schema", "mysql", "performance_schema", "pg_catalog", "sys")


def no_cursor(_kind: Kind) -> Cursor:
    """Tells that no column is a cursor, where changes are found in another way."""
    return ""


class DatabaseDiscovery:
    """See Discovery. `views`: they can be shared, too."""

    def __init__(
        self,
        database: Database,
        judge: Judge,
        cursor_of: CursorOf = no_cursor,
        *,
        views: bool = False,
    ) -> None:
        self._database = database
        self._judge = judge
        self._cursor_of = cursor_of
        self._views = views

    @property
    def address(self) -> str:
        """See Discovery.address."""
        return self._database.address

    def troubles(self) -> list[Finding]:
        """See Discovery.troubles."""
        try:
            self._database.connect().close()
        except AgentError as cause:
            return [failed(cause)]
        return []

    def tables(self, wanted: Wanted) -> list[FoundTable]:
        """See Discovery.tables."""
        connection = self._database.connect()
        try:
            with self._database.guarded(), warnings.catch_warnings():
                # Of types that SQLAlchemy does not know: their columns are not shared
                warnings.simplefilter("ignore", SAWarning)
                return self._tables(connection, wanted)
        finally:
            connection.close()

    def _tables(self, connection: Connection, wanted: Wanted) -> list[FoundTable]:
        inspector = inspect(connection)
        places = {}
        own = inspector.default_schema_name or ""
        for place, view in self._places(inspector):
            schema, name = place
            chosen = wanted(place) or wanted((schema or own, name))
            if chosen and not name.lower().startswith(OWN):
                places[place] = view

        found = []
        for place in sorted(places):
            table = self._one(connection, inspector, place, view=places[place])
            if table is not None:
                found.append(table)
        return found

    def _one(
        self, connection: Connection, inspector: Inspector, place: TableName, *, view: bool
    ) -> FoundTable | None:
        """Returns one table; None where it was dropped meanwhile.

        What may not be described, as a view without the right to see its statement, is named.
        """
        schema, name = place
        table = SourceTable(0, schema, name, (), (), "d")
        found = FoundTable(schema, name, (), table, view=view)
        try:
            with self._database.guarded(name, found.full_name):
                read = catalogue.tables(connection, self._database.dialect, {place: ()})
                if place not in read:
                    return None
                return self._found(connection, inspector, read[place], view=view)
        except (ReadRefused, TableChanged) as cause:
            return found._replace(obstacles=(failed(cause),))

    def _places(self, inspector: Inspector) -> Iterator[tuple[TableName, bool]]:
        """Yields every table by schema and name, and whether it is a view.

        Those of the session's own schema stand under '' alone.
        """
        own = inspector.default_schema_name
        schemas = [name for name in inspector.get_schema_names() if name not in (own, *_SYSTEM)]
        for schema in ("", *schemas):
            for name in inspector.get_table_names(schema=schema or None):
                yield (schema, name), False
            if self._views:
                for name in inspector.get_view_names(schema=schema or None):
                    yield (schema, name), True

    def _found(
        self, connection: Connection, inspector: Inspector, read: ReadTable, *, view: bool
    ) -> FoundTable:
        dialect = self._database.dialect
        schema, name = read.table.schema, read.table.table
        indexed = set() if view else _indexed(inspector, schema, name)
        columns = []
        for described in dialect.columns(inspector, schema, name):
            columns.append(self._column(described, read, indexed))

        resource = ResourceSettings.model_construct(
            name=name,
            table=read.name,
            columns=list(read.kinds),
        )
        return FoundTable(
            schema=schema,
            name=name,
            columns=tuple(columns),
            table=read.table,
            comment=_comment(inspector, schema, name),
            view=view,
            rows=None if view else dialect.estimate(connection, schema, name),
            bytes=None if view else dialect.size(connection, schema, name),
            obstacles=tuple(errors(self._judge(resource, read))),
        )

    def _column(
        self, described: Mapping[str, Any], read: ReadTable, indexed: set[str]
    ) -> FoundColumn:
        name = str(described["name"])
        readable = {column.name: column for column in read.table.columns}
        cursor: Cursor = ""
        if name in indexed and name in read.exact:
            cursor = self._cursor_of(read.exact[name])
        return FoundColumn(
            name,
            self._database.dialect.type_name(described["type"]),
            described.get("comment") or "",
            readable.get(name),
            cursor,
        )

    def rows(
        self, found: FoundTable, columns: Sequence[str], limit: int
    ) -> list[tuple[str | None, ...]]:
        """See Discovery.rows."""
        place = (found.schema, found.name)
        database = self._database
        connection = database.connect()
        try:
            with database.guarded():
                read = catalogue.tables(connection, database.dialect, {place: found.key})
            reader = RowReader(database.dialect, found.name, read[place], columns)
            with (
                database.guarded(found.name, found.full_name),
                database.dialect.snapshot(connection),
            ):
                return list(reader.rows(connection, reader.select().limit(limit)))
        finally:
            connection.close()


def _indexed(inspector: Inspector, schema: str, name: str) -> set[str]:
    """Returns the columns with which an index or the primary key begins."""
    listed: list[Any] = [
        index["column_names"] for index in inspector.get_indexes(name, schema=schema or None)
    ]
    primary = inspector.get_pk_constraint(name, schema=schema or None)
    listed.append(primary["constrained_columns"])
    return {columns[0] for columns in listed if columns and columns[0] is not None}


def _comment(inspector: Inspector, schema: str, name: str) -> str:
    try:
        return inspector.get_table_comment(name, schema=schema or None)["text"] or ""
    except NotImplementedError:
        # A database that keeps no comments
        return ""

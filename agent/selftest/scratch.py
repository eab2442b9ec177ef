"""Tables of a self-test: all names begin alike, and all of them are taken away in the end."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from agent.connectors.database import catalogue
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.rows import RowReader, Texts
from agent.connectors.database.session import Database
from agent.connectors.trigger.statements import run
from agent.messages import mark, translate
from agent.selftest.report import Failed

_ALL = 1000  # rows: more than a test has


class Scratch:
    """Makes tables and changes their rows, as the application of a unit would."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.prefix = f"sync_agent_st_{uuid4().hex[:6]}_"
        self._made: list[str] = []

    def table(self, name: str, columns: str) -> str:
        """Makes a table and returns its name."""
        made = f"{self.prefix}{name}"
        self.run(f"CREATE TABLE {made} ({columns})")
        self._made.append(made)
        return made

    def run(self, *statements: str) -> None:
        """Runs statements as one transaction. Raises the errors of the connection."""
        dialect = self.database.dialect
        connection = self.database.connect()
        try:
            with self.database.guarded(), dialect.writing(connection):
                for statement in statements:
                    run(connection, statement)
        finally:
            connection.close()

    def value(self, statement: str) -> Any:
        """Returns the first column of the first row."""
        connection = self.database.connect()
        try:
            with self.database.guarded():
                return connection.exec_driver_sql(statement).scalar()
        finally:
            connection.close()

    def described(self, table: str) -> ReadTable:
        """Returns a table as the catalogue has it."""
        place = ("", table)
        connection = self.database.connect()
        try:
            with self.database.guarded():
                found = catalogue.tables(connection, self.database.dialect, {place: ()})
        finally:
            connection.close()
        if place not in found:
            raise Failed(translate(mark("the catalogue does not show the table")))
        return found[place]

    def rows(self, table: str, columns: Sequence[str]) -> list[Texts]:
        """Reads a table in the order of its key."""
        dialect = self.database.dialect
        reader = RowReader(dialect, table, self.described(table), columns)
        connection = self.database.connect()
        try:
            with self.database.guarded(table, table), dialect.snapshot(connection):
                statement = reader.in_key_order(reader.select(), _ALL)
                return list(reader.rows(connection, statement))
        finally:
            connection.close()

    def drop(self) -> int:
        """Drops every table that was made, and returns how many. Raises the last error."""
        dropped = 0
        error: Exception | None = None
        while self._made:
            try:
                self.run(f"DROP TABLE {self._made.pop()}")
                dropped += 1
            except Exception as cause:  # noqa: BLE001 - the others are dropped all the same
                error = cause
        if error is not None:
            raise error
        return dropped

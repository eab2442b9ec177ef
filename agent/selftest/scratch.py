"""Tables of a self-test: all names begin alike, and all of them are taken away in the end."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, inspect

from agent.connectors.database import catalogue
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.rows import RowReader, Texts
from agent.connectors.database.session import Database
from agent.connectors.table import TableName
from agent.connectors.trigger.statements import run
from agent.errors import LoginRefused, SourceUnreachable
from agent.messages import mark, translate
from agent.selftest.report import Failed

NAMES = "sync_agent_st_"  # how the names of every self-test begin
ROWS = 5  # of a table that is filled
_ALL = 1000  # rows: more than a test has


class ScratchTable(NamedTuple):
    """A table of the test; as a text it is the name that statements have."""

    schema: str  # '' for the session's own
    table: str
    written: str

    def __str__(self) -> str:
        return self.written

    @property
    def place(self) -> TableName:
        """Schema and name, as the catalogue has them."""
        return self.schema, self.table

    @property
    def configured(self) -> str:
        """The name in a configuration."""
        return f"{self.schema}.{self.table}" if self.schema else self.table


class Scratch:
    """Makes tables and changes their rows, as the application of a unit would."""

    def __init__(self, database: Database, schema: str = "") -> None:
        """`schema`: where tables are made; '': in the session's own."""
        self.database = database
        self.schema = schema
        self.prefix = f"{NAMES}{uuid4().hex[:6]}_"
        self._made: list[ScratchTable] = []
        self._quoted = ""

    def check_schema(self) -> int:
        """Finds the schema. Raises Failed where it cannot take tables of a self-test."""
        connection = self.database.connect()
        try:
            with self.database.guarded():
                found = _schemas(connection)
                if found is None:
                    text = mark("{kind} has no schemas")
                    raise Failed(translate(text, kind=self.database.dialect.name))
                if connection.dialect.requires_name_normalize and self.schema.isupper():
                    # The catalogue has it in capitals, SQLAlchemy without
                    self.schema = self.schema.lower()
                if self.schema not in found:
                    raise Failed(translate(mark("there is no such schema")))
                self._quoted = connection.dialect.identifier_preparer.quote_schema(self.schema)
                left = self._names(connection)
        finally:
            connection.close()
        if left:
            text = mark(
                "the schema holds {number} tables of another self-test (their names begin with "
                "{names}): take them away first"
            )
            raise Failed(translate(text, number=len(left), names=NAMES))
        return 0

    def _names(self, connection: Connection) -> list[str]:
        """Returns the tables of any self-test that are there."""
        found = inspect(connection).get_table_names(schema=self.schema or None)
        return [name for name in found if name.lower().startswith(NAMES)]

    # ---- changes

    def table(self, name: str, columns: str) -> ScratchTable:
        """Makes a table."""
        name = f"{self.prefix}{name}"
        written = f"{self._quoted}.{name}" if self._quoted else name
        made = ScratchTable(self.schema, name, written)
        # The answer may be lost, and the table be there
        self._made.append(made)
        self.run(f"CREATE TABLE {made} ({columns})")
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

    def filled(self, name: str) -> ScratchTable:
        """Makes a table of ROWS rows, such as (1, 'row 1', a time, 1, a flag that is done)."""
        declared, literal = self.database.dialect.moment
        columns = f"note VARCHAR(40), changed {declared}, n INTEGER, flag INTEGER"
        table = self.table(name, f"id INTEGER NOT NULL PRIMARY KEY, {columns}")
        for number in range(1, ROWS + 1):
            moment = literal.format(f"2024-01-01 00:00:0{number}")
            self.run(
                f"INSERT INTO {table} (id, note, changed, n, flag) "
                f"VALUES ({number}, 'row {number}', {moment}, {number}, 1)"
            )
        return table

    # ---- reading

    def value(self, statement: str) -> Any:
        """Returns the first column of the first row."""
        connection = self.database.connect()
        try:
            with self.database.guarded():
                return connection.exec_driver_sql(statement).scalar()
        finally:
            connection.close()

    def described(self, table: ScratchTable, database: Database | None = None) -> ReadTable:
        """Returns a table as the catalogue has it, as `database` reads it."""
        chosen = database or self.database
        connection = chosen.connect()
        try:
            with chosen.guarded():
                found = catalogue.tables(connection, chosen.dialect, {table.place: ()})
        finally:
            connection.close()
        if table.place not in found:
            raise Failed(translate(mark("the catalogue does not show the table")))
        return found[table.place]

    def rows(
        self,
        table: ScratchTable,
        columns: Sequence[str],
        database: Database | None = None,
    ) -> list[Texts]:
        """Reads a table in the order of its key, as `database` reads it."""
        chosen = database or self.database
        reader = RowReader(chosen.dialect, table.table, self.described(table, chosen), columns)
        connection = chosen.connect()
        try:
            with chosen.guarded(table.table, table.table), chosen.dialect.snapshot(connection):
                statement = reader.in_key_order(reader.select(), _ALL)
                return list(reader.rows(connection, statement))
        finally:
            connection.close()

    # ---- removal

    def drop(self) -> int:
        """Drops every table that was made, and returns how many. Raises the last error.

        Where the server is away, the others are not tried.
        """
        dropped = 0
        error: Exception | None = None
        for made in reversed(self._made[:]):
            try:
                if self._exists(made):
                    self.run(f"DROP TABLE {made}")
                    dropped += 1
                self._made.remove(made)
            except (SourceUnreachable, LoginRefused):
                raise
            except Exception as cause:  # noqa: BLE001 - the others are dropped all the same
                error = cause
        if error is not None:
            raise error
        return dropped

    def _exists(self, made: ScratchTable) -> bool:
        connection = self.database.connect()
        try:
            with self.database.guarded():
                return inspect(connection).has_table(made.table, schema=made.schema or None)
        finally:
            connection.close()

    @property
    def left(self) -> list[str]:
        """What drops the tables that may still be there."""
        return [f"DROP TABLE {made}" for made in reversed(self._made)]


def _schemas(connection: Connection) -> list[str] | None:
    """Returns the schemas of a database; None where it has none."""
    try:
        return inspect(connection).get_schema_names()
    except NotImplementedError:
        return None

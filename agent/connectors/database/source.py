"""What sources that read a database through SQLAlchemy have in common.

That is the connection, the catalogue, and the page that is asked for and read with the stream.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import ClassVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from agent.config import ResourceSettings
from agent.config.loading import invalid
from agent.connectors.base import Ask, Origin, Page
from agent.connectors.database import catalogue, filters
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.pages import read_page
from agent.connectors.database.rows import RowReader
from agent.connectors.database.session import Database
from agent.connectors.plain_origin import PlainOrigin
from agent.connectors.table import Criterion, SourceTable, TableName
from agent.errors import SourceUnreachable
from agent.messages import phrase


class UpTo:
    """What every new snapshot sees: the transactions up to one."""

    def __init__(self, number: int) -> None:
        self._number = number

    def sees(self, transaction: int) -> bool:
        """See Visible.sees."""
        return transaction <= self._number


class DatabaseSource:
    """See Source: the part that does not depend on how changes are found."""

    connector: ClassVar[str]  # names the kind of source in events

    def __init__(
        self,
        database: Database,
        keys: Mapping[TableName, Sequence[str]],
        resources: Sequence[ResourceSettings],
        agent: str,
        prefix: str,
    ) -> None:
        """`keys` are the configured ones, see `catalogue.tables`; `prefix` is that of the topics.

        `resources` are all of the configuration, in its order.
        """
        self._database = database
        self._keys = keys
        self._resources = resources
        self._agent = agent
        self._prefix = prefix
        self._connection: Connection | None = None
        self._tables: dict[TableName, ReadTable] = {}  # as they were last asked for
        self._ask: Ask | None = None
        self._page: Page | None = None

    # ---- the connection

    def _connect(self) -> None:
        self._connection = self._database.connect()

    def _disconnect(self) -> None:
        """Ends the connection. Never raises."""
        self.withdraw()
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError, self._database.driver_error):
                connection.close()

    @property
    def _opened(self) -> Connection:
        if self._connection is None:
            reason = phrase("not connected")
            raise SourceUnreachable(address=self._database.address, reason=reason)
        return self._connection

    def outdated(self) -> bool:
        """See Source.outdated: columns that are new or gone show in the fingerprints."""
        return False

    # ---- the tables

    def _read_catalogue(self) -> dict[TableName, ReadTable]:
        with self._database.guarded():
            self._tables = catalogue.tables(self._opened, self._database.dialect, self._keys)
        return self._tables

    def tables(self) -> dict[TableName, SourceTable]:
        """See Source.tables."""
        return {place: read.table for place, read in self._read_catalogue().items()}

    def criteria(self, resource: ResourceSettings, table: SourceTable) -> tuple[Criterion, ...]:
        """See Source.criteria."""
        number = [one.name for one in self._resources].index(resource.name)
        made, problems = filters.criteria(number, resource, table)
        if problems:
            raise invalid(self._agent, problems)
        return made

    def origin(self, table: SourceTable) -> Origin:
        """See Source.origin."""
        name = self._database.name
        return PlainOrigin(self.connector, self._prefix, name, table.schema, table.table)

    def estimate(self, table: SourceTable) -> int:
        """See Source.estimate: the rows are counted where there are no statistics."""
        dialect = self._database.dialect
        read = self._tables[table.schema, table.table]
        with self._database.guarded():
            found = dialect.estimate(self._opened, table.schema, table.table)
            if found is not None:
                return found
            reader = RowReader(dialect, "", read, read.table.key)
            return reader.count(self._opened, ())

    def lag_bytes(self) -> int:
        """See Source.lag_bytes: there is no log of bytes."""
        return 0

    def log_large(self) -> bool:
        """See Source.log_large."""
        return False

    def gauges(self) -> Mapping[str, float]:
        """See Source.gauges."""
        return {}

    def counts(self) -> Mapping[tuple[str, ...], int]:
        """See Source.counts."""
        return {}

    def reader(self) -> str:
        """See Source.reader: no session of ours keeps another one out."""
        return ""

    def unattended(self) -> None:
        """See Source.unattended."""

    # ---- pages

    def barrier(self) -> str:
        """See Source.barrier: a page shows nothing that is not committed, and a look finds it."""
        return ""

    def ask(self, ask: Ask) -> None:
        """See Source.ask: the rows are read with the stream."""
        self._ask, self._page = ask, None

    def page(self) -> Page | None:
        """See Source.page."""
        return self._page

    def withdraw(self) -> None:
        """See Source.withdraw."""
        self._ask = self._page = None

    @property
    def _wanted(self) -> Ask | None:
        """The page that was asked for and is not read."""
        return self._ask if self._page is None else None

    def _read(self, connection: Connection, ask: Ask) -> Page:
        """Reads a page in the open snapshot."""
        read = self._tables[ask.table.schema, ask.table.table]
        names = [column.name for column in ask.columns]
        reader = RowReader(self._database.dialect, ask.resource, read, names)
        with self._database.guarded(ask.resource, read.name):
            return read_page(connection, reader, ask)

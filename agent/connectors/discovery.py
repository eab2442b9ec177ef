"""The contract of discovery: what a source has to share, before anything of it is configured."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from agent.connectors.table import SourceColumn, SourceTable, TableName
from agent.findings import Finding

# Chooses tables by schema, '' for the session's own, and name
Wanted = Callable[[TableName], bool]

# How a polled table's changed rows may be found by a column; '': not by this one
Cursor = Literal["", "timestamp", "sequence"]


class FoundColumn(NamedTuple):
    """A column of a table that was found."""

    name: str
    declared: str  # its type as the database writes it
    comment: str = ""
    column: SourceColumn | None = None  # how the agent reads it; None: it cannot
    cursor: Cursor = ""  # only where an index begins with the column


class FoundTable(NamedTuple):
    """A table or view that was found."""

    schema: str  # '': the session's own
    name: str
    columns: tuple[FoundColumn, ...]
    table: SourceTable  # the columns that the agent can read, and the key

    comment: str = ""
    view: bool = False

    # By the server's statistics, of the rows and of the files; None: it does not say
    rows: int | None = None
    bytes: int | None = None

    # What stands against sharing it, with all columns that can be read
    obstacles: tuple[Finding, ...] = ()

    @property
    def full_name(self) -> str:
        """The table as the configuration names it."""
        return f"{self.schema}.{self.name}" if self.schema else self.name

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that name a row; () where there is no usable key."""
        return self.table.key

    @property
    def readable(self) -> tuple[FoundColumn, ...]:
        """The columns that can be shared."""
        return tuple(column for column in self.columns if column.column is not None)


class Discovery(Protocol):
    """Looks at a source of which only the way to it is known. Changes nothing there."""

    @property
    def address(self) -> str:
        """The source as users know it."""

    def troubles(self) -> list[Finding]:
        """Tries to log in; returns what stands in the way, as `check` names it. [] where none."""

    def tables(self, wanted: Wanted) -> list[FoundTable]:
        """Returns the tables that are chosen, by schema and name; the agent's own never.

        Raises the errors of the source's connections.
        """

    def rows(
        self, found: FoundTable, columns: Sequence[str], limit: int
    ) -> list[tuple[str | None, ...]]:
        """Reads some rows, in canonical texts and in whatever order.

        Raises the errors of the source's connections, and ReadRefused where a right is missing.
        """

"""The definition of front-end tables: names, types, and the statements that make and alter them."""

import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import inspect

from agent.config import ResourceSettings
from agent.errors import FrontTableWrong
from agent.front.base import Written
from agent.front.catalogue import with_remedy
from agent.front.connection import FrontConnection
from agent.messages import phrase
from agent.resource import Target

_TECHNICAL_TYPES = {
    "operation": "CHAR(1)",
    "deleted": "SMALLINT",
    "sequence": "BIGINT",
    "batch": "BIGINT",
}


class TableDefinitions(FrontConnection):
    """Defines front-end tables in the standard's SQL; a subclass changes what its database changes.

    The statements are also shown to the table's owner, who may have to run them.
    """

    # ---- what a database does in its own way

    @abstractmethod
    def column_type(self, target: Target, index: int) -> str:
        """Returns the type (with collation) that holds the source column exactly."""

    @abstractmethod
    def most_columns(self) -> int:
        """Returns how many columns a table can have."""

    def name_fault(self, name: str, of_table: bool) -> str:
        """Returns what is wrong with the name of a table or column here; '' where nothing is."""
        return ""

    def check_room(self, target: Target) -> None:
        """Raises FrontTableWrong where the database has no room for the table to be created."""

    def quote(self, name: str) -> str:
        """Returns an identifier, always quoted."""
        return '"' + name.replace('"', '""') + '"'

    def technical_type(self, role: str) -> str:
        """Returns the type of a technical column."""
        return _TECHNICAL_TYPES.get(role, "TIMESTAMP")

    @staticmethod
    def timestamp(time_us: int) -> str:
        """Returns microseconds since 1970 as ISO 8601 in UTC."""
        moment = datetime.fromtimestamp(time_us / 1_000_000, UTC)
        return moment.strftime("%Y-%m-%d %H:%M:%S.%f+00")

    # ---- names

    def names(self, names: Iterable[str]) -> str:
        """Returns a comma-separated list of quoted identifiers."""
        return ", ".join(self.quote(name) for name in names)

    def table(self, target: Target) -> str:
        """Returns the quoted front-end table."""
        table = self.quote(target.table)
        if not target.schema:
            return table
        schema = self.quote(target.schema)
        return f"{schema}.{table}"

    def key_names(self, target: Target) -> list[str]:
        """Returns the quoted columns of the key."""
        return [self.quote(target.columns[i].name) for i in target.key]

    def all_names(self, target: Target) -> list[str]:
        """Returns the names of the shared and the technical columns, as rows have them."""
        names = [column.name for column in target.columns]
        names += target.technical.values()
        return names

    def shared_names(self, target: Target) -> str:
        """Returns the shared columns as a comma-separated list of quoted identifiers."""
        return self.names(column.name for column in target.columns)

    def check_names(self, target: Target) -> None:
        """Raises FrontTableWrong for a name that the database would cut, change or refuse.

        More columns than it holds are refused, too.
        """
        columns = self.all_names(target)
        self._check_names(target.resource, target.name, target.table, columns)

    def check_configured(self, settings: ResourceSettings) -> None:
        """Checks the names from the configuration alone, before the source is known.

        Raises FrontTableWrong.
        """
        columns = [name for _, name in settings.front_columns]
        target = settings.target_name
        _, _, table = target.rpartition(".")
        self._check_names(settings.name, target, table, columns)

    def _check_names(
        self,
        resource: str,
        shown: str,
        table: str,
        columns: Sequence[str],
    ) -> None:
        for name in (table, *columns):
            fault = self.name_fault(name, of_table=name == table)
            if fault:
                reason = phrase(
                    "the name {name} {fault}; set target or rename",
                    name=name,
                    fault=fault,
                )
                raise FrontTableWrong(resource=resource, table=shown, reason=reason)

        most = self.most_columns()
        if len(columns) > most:
            reason = phrase(
                "it would have {count} columns, and this database holds {most} in a table; share "
                "fewer",
                count=len(columns),
                most=most,
            )
            raise FrontTableWrong(resource=resource, table=shown, reason=reason)

    # ---- statements

    def create(self, target: Target) -> bool:
        """Creates the front-end table unless it exists. Commits.

        Returns True where it did. Runs with no transaction open.
        """
        self.check_names(target)
        with self.guarded(target), self.engine.begin() as connection:
            if inspect(connection).has_table(target.table, schema=target.schema):
                return False
            self.check_room(target)
            statement = self.create_statement(target)
            connection.execution_options(no_parameters=True).exec_driver_sql(statement)
            return True

    def create_statement(self, target: Target) -> str:
        """Returns the CREATE TABLE of a front-end table."""
        lines = []
        for i, column in enumerate(target.columns):
            kind = self.column_type(target, i)
            line = f"{self.quote(column.name)} {kind}"
            if column.not_null or i in target.key:
                line += " NOT NULL"
            lines.append(line)

        for role, name in target.technical.items():
            kind = self.technical_type(role)
            lines.append(f"{self.quote(name)} {kind}")

        key = ", ".join(self.key_names(target))
        lines.append(f"PRIMARY KEY ({key})")
        listed = ",\n    ".join(lines)
        return f"CREATE TABLE {self.table(target)} (\n    {listed}\n)"

    def alter(self, target: Target, change: str) -> str:
        """Returns the statement that changes a front-end table, for its owner."""
        return f"ALTER TABLE {self.table(target)} {change};"

    def add_column(self, target: Target, index: int) -> str:
        """Returns the statement that adds a shared column that the front-end table lacks.

        The column may be empty in the rows that are there.
        """
        column = target.columns[index]
        name = self.quote(column.name)
        kind = self.column_type(target, index)

        # SQLite's type of a float is empty
        change = f"ADD COLUMN {name} {kind}".rstrip()
        return self.alter(target, change)

    # ---- errors, with the statement that mends the table

    def wrong(
        self,
        target: Target,
        reason: str,
        remedy: str = "",
    ) -> FrontTableWrong:
        """Makes the error for a table that is unfit; `remedy` is the statement that mends it."""
        if remedy:
            reason = with_remedy(reason, remedy)
        return FrontTableWrong(resource=target.resource, table=target.name, reason=reason)

    def missing(self, target: Target, index: int) -> FrontTableWrong:
        """Makes the error for a shared column that the front-end table lacks.

        A part of the key cannot be empty, so no statement adds it.
        """
        name = target.columns[index].name
        if index in target.key:
            reason = phrase("key column {name} is missing", name=name)
            return self.wrong(target, reason)

        reason = phrase("column {name} is missing", name=name)
        return self.wrong(target, reason, self.add_column(target, index))

    def missing_technical(self, target: Target, role: str) -> FrontTableWrong:
        """Makes the error for a technical column that the front-end table lacks."""
        name = target.technical[role]
        reason = phrase("technical column {name} is missing", name=name)

        kind = self.technical_type(role)
        change = f"ADD COLUMN {self.quote(name)} {kind}"
        return self.wrong(target, reason, self.alter(target, change))

    # ---- values

    def technical_values(
        self,
        target: Target,
        written: Written,
        batch: int,
    ) -> tuple[object, ...]:
        """Returns the values of the technical columns in the target's order; times are UTC."""
        if not target.technical:
            return ()
        values: dict[str, object] = {
            "operation": written.operation,
            "deleted": 1 if written.operation == "D" else 0,
            "sequence": written.seq,
            "batch": batch,
            "source_time": self.timestamp(written.time_us),
            "sync_time": self.timestamp(time.time_ns() // 1000),
        }
        return tuple(values[role] for role in target.technical)

"""Rows of front-end tables: written as a set or, where the table refuses some, all but these.

A row that a trigger or rule changes is refused as well: rows are read back where a table has any.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine, func, select, sql
from sqlalchemy.sql.elements import quoted_name

from agent.errors import RowRefused
from agent.front.base import Written
from agent.front.bisection import isolate_refused
from agent.front.catalogue import ASTRAY, Catalogue, Hazard
from agent.front.table_definitions import TableDefinitions
from agent.messages import phrase
from agent.resource import FrontRow, Target
from agent.values.rows import Key

# Characters that are kept of the reason why a row was refused
_SHOWN = 200

SAVEPOINT = "sync_agent"
LOST = f"{ASTRAY}: the table took it without an error, and does not have it"


class TableRows(TableDefinitions):
    """Keeps the part of `FrontTables` that is the same in every database."""

    def __init__(self, engine: Engine, agent: str) -> None:
        super().__init__(engine, agent)

        # By resource, as `check` found them: triggers and rules that may leave other rows than
        # were written
        self._rewriting: dict[str, str] = {}

        # Within `saved`: a refusal goes back to its savepoint
        self.saving = False

    # ---- what a database does in its own way

    @abstractmethod
    def check_shape(self, target: Target) -> None:
        """Raises FrontTableWrong where columns and key could not hold every row exactly.

        That the table is missing counts as well.
        """

    @abstractmethod
    def read_catalogue(self, connection: Connection, target: Target) -> Catalogue:
        """Reads what the catalogue says of the table; empty parts where it is missing."""

    @abstractmethod
    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See FrontTables.fetch."""

    @abstractmethod
    def put(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """Makes the table hold these rows, deletes first.

        Raises RowRefused where the table refuses one for its content.
        """

    def add(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """Adds rows under keys that are certain to hold none. Raises RowRefused as `put` does."""
        self.put(target, rows, batch)

    @abstractmethod
    def spellings(self, target: Target) -> bool:
        """See FrontTables.spellings."""

    # ---- the table as others may have altered it

    def check(self, target: Target) -> None:
        """See FrontTables.check."""
        self.check_shape(target)
        found = self._catalogue_of(target)
        found.check(target)
        self._rewriting[target.resource] = found.rewriting

    def catalogue(self, target: Target) -> Mapping[str, str]:
        """See FrontTables.catalogue."""
        with self.looking(target) as connection:
            return self.read_catalogue(connection, target).parts

    def looking(self, target: Target) -> AbstractContextManager[Connection]:
        """Opens the connection for a look at the catalogue while the service runs."""
        return self.reading(target)

    def hazards(self, target: Target) -> Sequence[Hazard]:
        """Returns what can change or refuse rows of a table that is fit."""
        found = self._catalogue_of(target)
        return [hazard for hazard in found.hazards if not hazard.reason]

    def _catalogue_of(self, target: Target) -> Catalogue:
        with self.reading(target) as connection:
            return self.read_catalogue(connection, target)

    def count(self, target: Target) -> int:
        """See FrontTables.count."""
        schema = target.schema and quoted_name(target.schema, True)
        name = quoted_name(target.table, True)
        table = sql.table(name, schema=schema)
        question = select(func.count()).select_from(table)
        if target.soft_delete:
            deleted = quoted_name(target.technical["deleted"], True)
            question = question.where(sql.column(deleted) == 0)

        ((count,),) = self.query(question, target)
        return int(count)

    def live(self, target: Target, alias: str = "") -> str:
        """Returns the condition, with AND before it, that leaves soft-deleted rows out."""
        if not target.soft_delete:
            return ""
        deleted = self.quote(target.technical["deleted"])
        return f" AND {alias}{deleted} = 0"

    # ---- writing

    @staticmethod
    def deletes(rows: Mapping[Key, Written]) -> dict[Key, Written]:
        """Returns those of the rows that are deletes."""
        found = {}
        for key, written in rows.items():
            if written.row is None:
                found[key] = written
        return found

    def assignments(self, target: Target) -> str:
        """Returns the assignments with which ON CONFLICT writes over the row that is met.

        They write the key as well where a value has several spellings.
        """
        names = self.all_names(target)
        if not self.spellings(target):
            key = {target.columns[i].name for i in target.key}

            # SET cannot be empty: where there is nothing but the key, one column stays as it is
            names = [name for name in names if name not in key] or names[:1]

        changes = []
        for name in names:
            quoted = self.quote(name)
            changes.append(f"{quoted} = excluded.{quoted}")
        return ", ".join(changes)

    def write(
        self,
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
        most: int = 0,
    ) -> dict[Key, str]:
        """See FrontTables.write."""
        return self._written(self.put, target, rows, batch, most)

    def insert(
        self,
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
        most: int = 0,
    ) -> dict[Key, str]:
        """See FrontTables.insert."""
        return self._written(self.add, target, rows, batch, most)

    def _written(
        self,
        write: Callable[[Target, Mapping[Key, Written], int], None],
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
        most: int,
    ) -> dict[Key, str]:
        """Writes a set at once; a set that is refused is halved, its deletes first."""
        try:
            with self.saved(target, rows):
                write(target, rows, batch)
        except RowRefused:
            if most == 0:
                raise
        else:
            return {}

        def some(keys: Sequence[Key]) -> None:
            part = {key: rows[key] for key in keys}
            with self.saved(target, part):
                self.put(target, part, batch)

        deleted = []
        upserted = []
        for key, written in rows.items():
            if written.row is None:
                deleted.append(key)
            else:
                upserted.append(key)

        refused = isolate_refused(deleted, some, most)
        refused |= isolate_refused(upserted, some, most - len(refused))

        reasons = {}
        for key, error in refused.items():
            reason = str(error.values["reason"])
            reasons[key] = reason[:_SHOWN]
        return reasons

    @contextmanager
    def saved(self, target: Target, rows: Mapping[Key, Written]) -> Iterator[None]:
        """Takes back what this block has written when a row in it is refused.

        The open transaction is then as it was before the block. Any other error ends it.
        """
        with self.guarded():
            self.save(target, rows)
        self.saving = True
        try:
            yield
        except RowRefused:
            with self.guarded():
                self.undo()
            raise
        finally:
            self.saving = False

    def save(self, target: Target, rows: Mapping[Key, Written]) -> None:
        """Sets the savepoint to which `undo` goes back, in place of the one before."""
        self.connection.exec_driver_sql(f"SAVEPOINT {SAVEPOINT}")

    def undo(self) -> None:
        """Goes back to the savepoint."""
        self.connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")

    # ---- rows that were changed on their way

    def changed_rows(self, target: Target, rows: Mapping[Key, Written]) -> list[Key]:
        """Returns the keys of rows just written that the table holds otherwise.

        No statement failed: a trigger or rule has changed or removed them. Rows are read back, in
        the open transaction, only where the table has triggers or rules.
        """
        if not rows or not self._rewriting.get(target.resource):
            return []

        found = self.fetch(target, list(rows))
        changed = []
        for key, written in rows.items():
            if found.get(key) != written.row:
                changed.append(key)
        return changed

    def refuse_changed(self, target: Target, rows: Mapping[Key, Written]) -> None:
        """Raises RowRefused where the table holds rows just written otherwise."""
        changed = self.changed_rows(target, rows)
        if changed:
            reason = phrase(
                "{code}: {count} rows were changed or left out by a trigger or rule ({by})",
                code=ASTRAY,
                count=len(changed),
                by=self._rewriting[target.resource],
            )
            raise RowRefused(resource=target.resource, table=target.name, reason=reason)

    def lost(self, target: Target) -> RowRefused:
        """Makes the error for rows that a statement took without an error and that are missing."""
        reason = LOST
        by = self._rewriting.get(target.resource)
        if by:
            reason += f" ({by})"
        return RowRefused(resource=target.resource, table=target.name, reason=reason)

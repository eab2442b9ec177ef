"""Rows of front-end tables in PostgreSQL: COPY into a temporary stage, then one upsert for the set.

Statements run on the driver's own connection, with server-side parameters ($1), so that a % in a
name means nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from agent.connectors.postgres.copy_out import copy_out
from agent.errors import FrontUnfit
from agent.front.base import Written
from agent.front.postgres import columns
from agent.front.postgres.tables import PostgresTables
from agent.front.table_rows import SAVEPOINT
from agent.messages import mark, phrase
from agent.resource import FrontRow, Target
from agent.values.lines import line_of
from agent.values.rows import Key

_Cursor = psycopg.RawCursor[Any]


class PostgresRows(PostgresTables):
    """Reads and writes rows of front-end tables in PostgreSQL.

    In the statements `t` is the table, and `k` are the keys asked for.
    """

    def __init__(
        self, url: str, password: Callable[[], str] | None, lock_wait: float, agent: str
    ) -> None:
        super().__init__(url, password, lock_wait, agent)

        # Quoted names of the stages that the session is known to have
        self._staged: set[str] = set()

        # The open transaction has a savepoint
        self._saved = False

    @contextmanager
    def cursor(self, target: Target) -> Iterator[_Cursor]:
        """Opens a cursor of the open transaction; the driver's errors are turned into ours."""
        driver = self.connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        with self.guarded(target), psycopg.RawCursor(driver) as cursor:
            yield cursor

    # ---- pieces of statements

    def _value(self, target: Target, index: int) -> str:
        """Returns a column of `t` as the source would write it."""
        column = target.columns[index]
        name = f"t.{self.quote(column.name)}"
        return columns.value_of(column, self.declared(target, index), name)

    def _text(self, target: Target, index: int) -> str:
        """Returns the same as a value of type text."""
        return columns.text_of(self.declared(target, index), self._value(target, index))

    def _keys(
        self, target: Target, more: Sequence[str] = (), spelled: bool = True
    ) -> tuple[str, str]:
        """Returns SQL for a set of keys: the rows `k`, and the condition that joins them with `t`.

        The keys are given as one text array for each key column, `more` columns likewise.
        `spelled`: a row whose key is equal but has another text is none of them.
        """
        names = self.key_names(target)
        listed = [*names, *more]
        arrays = ", ".join(f"${n}::text[]" for n in range(1, len(listed) + 1))

        conditions = []
        for i, name in zip(target.key, names, strict=True):
            conditions.append(f"t.{name} = k.{name}::{self.declared(target, i)}")
        if spelled and self.spellings(target):
            for i, name in zip(target.key, names, strict=True):
                conditions.append(f"{self._text(target, i)} = k.{name}")
        return f"unnest({arrays}) AS k({', '.join(listed)})", " AND ".join(conditions)

    def _beyond(self, target: Target, operator: str, key: Key | None) -> str:
        """Returns the condition that compares a row's key with `key`; '' for None.

        The key is written as literals, for COPY takes no parameters.
        """
        if key is None:
            return ""
        names = ", ".join(f"t.{name}" for name in self.key_names(target))
        parts = []
        for i, part in zip(target.key, key, strict=True):
            parts.append(f"{sql.Literal(part).as_string()}::{self.declared(target, i)}")
        return f" AND ({names}) {operator} ({', '.join(parts)})"

    # ---- look-up

    def spellings(self, target: Target) -> bool:
        """See FrontTables.spellings."""
        return not all(columns.spelled_once(self.declared(target, i)) for i in target.key)

    def same_order(self, target: Target) -> bool:
        """See FrontTables.same_order."""
        found = self._declared.get(target.resource, {})
        for i in target.key:
            column = target.columns[i]
            if not column.type_name.startswith(columns.ORDERED):
                return False
            if not found.get(column.name, "").startswith(columns.ORDERED):
                return False
        return True

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See FrontTables.fetch."""
        if not keys:
            return {}
        source, join = self._keys(target, spelled=False)
        texts = ", ".join(self._text(target, i) for i in range(len(target.columns)))
        statement = (
            f"SELECT {texts} FROM {self.table(target)} t"
            f" JOIN {source} ON {join}{self.live(target, 't.')}"
        )
        with self.cursor(target) as cursor:
            cursor.execute(statement, _arrays(keys))
            return {tuple(row[i] for i in target.key): row for row in cursor.fetchall()}

    def keys_after(self, target: Target, after: Key | None, limit: int) -> list[Key]:
        """See FrontTables.keys_after."""
        texts = ", ".join(self._text(target, i) for i in target.key)
        order = ", ".join(f"t.{name}" for name in self.key_names(target))
        with self.cursor(target) as cursor:
            where = f"true{self._beyond(target, '>', after)}{self.live(target, 't.')}"
            cursor.execute(
                f"SELECT {texts} FROM {self.table(target)} t"
                f" WHERE {where} ORDER BY {order} LIMIT $1",
                [limit],
            )
            return cursor.fetchall()

    def lines(self, target: Target, after: Key | None, upto: Key | None) -> list[bytes]:
        """See FrontTables.lines."""
        values = [self._value(target, i) for i in range(len(target.columns))]
        past = self._beyond(target, ">", after)
        until = self._beyond(target, "<=", upto)
        where = f"true{past}{until}{self.live(target, 't.')}"
        query = f"SELECT {', '.join(values)} FROM {self.table(target)} t WHERE {where}"
        with self.cursor(target) as cursor:
            copied = copy_out(cursor.connection, f"COPY ({query}) TO STDOUT".encode())
            return list(copied)

    # ---- writing

    def put(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See TableRows.put."""
        deleted = [(key, written) for key, written in rows.items() if written.row is None]
        upserted = self._lines_of(target, rows, batch)
        with self.cursor(target) as cursor:
            if deleted:
                self._delete(cursor, target, deleted, batch)
            if upserted:
                self._upsert(cursor, target, upserted)
        self.refuse_changed(target, rows)

    def add(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See TableRows.add: no stage, no upsert."""
        added = self._lines_of(target, rows, batch)
        with self.cursor(target) as cursor:
            self._copy_in(cursor, target, self.table(target), added)
        self.refuse_changed(target, rows)

    def _lines_of(self, target: Target, rows: Mapping[Key, Written], batch: int) -> list[FrontRow]:
        """Returns the rows that are no deletes, each with its technical values."""
        return [
            written.row + self._technical(target, written, batch)
            for written in rows.values()
            if written.row is not None
        ]

    def _technical(self, target: Target, written: Written, batch: int) -> tuple[str, ...]:
        """Returns the technical values of a row as texts."""
        if not target.technical:
            return ()
        return tuple([str(value) for value in self.technical_values(target, written, batch)])

    def _delete(
        self,
        cursor: _Cursor,
        target: Target,
        deleted: Sequence[tuple[Key, Written]],
        batch: int,
    ) -> None:
        """Deletes rows, or marks them as deleted where the table keeps them."""
        keys = _arrays([key for key, _ in deleted])
        if not target.soft_delete:
            source, join = self._keys(target)
            cursor.execute(f"DELETE FROM {self.table(target)} t USING {source} WHERE {join}", keys)
            return

        marks = _arrays([self._technical(target, written, batch) for _, written in deleted])
        changes = []
        for role, name in target.technical.items():
            changes.append(f"{self.quote(name)} = k.mark_{role}::{self.technical_type(role)}")
        source, join = self._keys(target, [f"mark_{role}" for role in target.technical])
        cursor.execute(
            f"UPDATE {self.table(target)} t SET {', '.join(changes)} FROM {source} WHERE {join}",
            keys + marks,
        )

    def _upsert(self, cursor: _Cursor, target: Target, rows: Sequence[FrontRow]) -> None:
        """Brings rows into the stage, and from there into the table."""
        stage = f"pg_temp.{self.quote(_stage_name(target))}"
        names = self._copy_in(cursor, target, stage, rows)

        keys = [target.columns[i].name for i in target.key]
        listed = self.all_names(target)
        changed = listed
        if not self.spellings(target):
            changed = [name for name in listed if name not in keys] or listed[:1]
        action = ", ".join(f"{self.quote(n)} = excluded.{self.quote(n)}" for n in changed)
        cursor.execute(
            f"INSERT INTO {self.table(target)} ({names}) SELECT {names} FROM {stage} "
            f"ON CONFLICT ({self.names(keys)}) DO UPDATE SET {action}"
        )
        if cursor.rowcount < len(rows):
            raise self.lost(target)

    def _copy_in(
        self, cursor: _Cursor, target: Target, table: str, rows: Sequence[FrontRow]
    ) -> str:
        """Copies rows into a table that has the target's columns; returns their list."""
        names = self.names(self.all_names(target))
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            copy.write(b"".join([line_of(row) + b"\n" for row in rows]))
        if cursor.rowcount < len(rows):
            raise self.lost(target)
        return names

    # ---- the savepoint, and the stage

    def save(self, target: Target, rows: Mapping[Key, Written]) -> None:
        """See TableRows.save. One round trip, which empties the stage too.

        Outside of the savepoint the server empties it in place.
        """
        statements = [f"SAVEPOINT {SAVEPOINT}"]
        with self.cursor(target) as cursor:
            if any(written.row is not None for written in rows.values()):
                statements.insert(0, f"TRUNCATE pg_temp.{self._stage(cursor, target)}")
            if self._saved:
                statements.insert(0, f"RELEASE SAVEPOINT {SAVEPOINT}")
            cursor.execute("; ".join(statements), prepare=False)
        self._saved = True

    def _stage(self, cursor: _Cursor, target: Target) -> str:
        """Returns the temporary table with the target's columns, which lives with the session."""
        stage = self.quote(_stage_name(target))
        if stage in self._staged:
            return stage

        # CREATE … AS takes the types alone, no constraints. A rollback may or may not have taken
        # an earlier stage with it.
        names = self.names(self.all_names(target))
        statement = (
            f"CREATE TEMP TABLE IF NOT EXISTS {stage} AS"
            f" SELECT {names} FROM {self.table(target)} WITH NO DATA"
        )
        try:
            cursor.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            # The right was taken away after the opening; the next one says which it is.
            text = mark("the agent's role may not make a temporary table of {table}")
            raise FrontUnfit(reason=phrase(text, table=target.name)) from None
        self._staged.add(stage)
        return stage

    def begin(self) -> None:
        """See FrontTransaction.begin."""
        if not self.connection.in_transaction():
            self._saved = False
        super().begin()

    def rollback(self) -> None:
        """See FrontTransaction.rollback. A stage made in the transaction is gone with it."""
        self._staged.clear()
        super().rollback()


def _arrays(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Turns rows into one array for each column."""
    return [list(column) for column in zip(*rows, strict=True)]


def _stage_name(target: Target) -> str:
    return f"sync_agent_stage_{target.resource}"[:63]

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
        self,
        url: str,
        password: Callable[[], str] | None,
        lock_wait: float,
        agent: str,
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
        declared = self.declared(target, index)
        name = f"t.{self.quote(column.name)}"
        return columns.value_of(column, declared, name)

    def _text(self, target: Target, index: int) -> str:
        """Returns the same as a value of type text."""
        declared = self.declared(target, index)
        value = self._value(target, index)
        return columns.text_of(declared, value)

    def _keys(
        self,
        target: Target,
        more: Sequence[str] = (),
        spelled: bool = True,
    ) -> tuple[str, str]:
        """Returns SQL for a set of keys: the rows `k`, and the condition that joins them with `t`.

        The keys are given as one text array for each key column, `more` columns likewise.
        `spelled`: a row whose key is equal but has another text is none of them.
        """
        key_names = self.key_names(target)
        key_columns = list(zip(target.key, key_names, strict=True))

        names = [*key_names, *more]
        arrays = [f"${number}::text[]" for number, _ in enumerate(names, start=1)]
        rows = f"unnest({', '.join(arrays)}) AS k({', '.join(names)})"

        conditions = []
        for i, name in key_columns:
            declared = self.declared(target, i)
            conditions.append(f"t.{name} = k.{name}::{declared}")

        if spelled and self.spellings(target):
            for i, name in key_columns:
                text = self._text(target, i)
                conditions.append(f"{text} = k.{name}")

        return rows, " AND ".join(conditions)

    def _beyond(self, target: Target, operator: str, key: Key | None) -> str:
        """Returns the condition that compares a row's key with `key`; '' for None.

        The key is written as literals, for COPY takes no parameters.
        """
        if key is None:
            return ""

        names = [f"t.{name}" for name in self.key_names(target)]
        values = []
        for i, part in zip(target.key, key, strict=True):
            literal = sql.Literal(part).as_string()
            declared = self.declared(target, i)
            values.append(f"{literal}::{declared}")
        return f" AND ({', '.join(names)}) {operator} ({', '.join(values)})"

    # ---- look-up

    def spellings(self, target: Target) -> bool:
        """See FrontTables.spellings."""
        declared = [self.declared(target, i) for i in target.key]
        return not all(columns.spelled_once(kind) for kind in declared)

    def same_order(self, target: Target) -> bool:
        """See FrontTables.same_order."""
        found = self._declared.get(target.resource, {})
        for i in target.key:
            column = target.columns[i]
            if not column.type_name.startswith(columns.ORDERED):
                return False

            declared = found.get(column.name, "")
            if not declared.startswith(columns.ORDERED):
                return False
        return True

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See FrontTables.fetch."""
        if not keys:
            return {}

        source, join = self._keys(target, spelled=False)
        texts = [self._text(target, i) for i, _ in enumerate(target.columns)]
        live = self.live(target, "t.")
        statement = (
            f"SELECT {', '.join(texts)} FROM {self.table(target)} t JOIN {source} ON {join}{live}"
        )
        with self.cursor(target) as cursor:
            cursor.execute(statement, _arrays(keys))
            rows = cursor.fetchall()

        found: dict[Key, FrontRow] = {}
        for row in rows:
            key = tuple([row[i] for i in target.key])
            found[key] = row
        return found

    def keys_after(
        self,
        target: Target,
        after: Key | None,
        limit: int,
    ) -> list[Key]:
        """See FrontTables.keys_after."""
        texts = [self._text(target, i) for i in target.key]
        order = [f"t.{name}" for name in self.key_names(target)]
        past = self._beyond(target, ">", after)
        live = self.live(target, "t.")
        statement = (
            f"SELECT {', '.join(texts)}"
            f" FROM {self.table(target)} t"
            f" WHERE true{past}{live}"
            f" ORDER BY {', '.join(order)}"
            " LIMIT $1"
        )
        with self.cursor(target) as cursor:
            cursor.execute(statement, [limit])
            return cursor.fetchall()

    def lines(
        self,
        target: Target,
        after: Key | None,
        upto: Key | None,
    ) -> list[bytes]:
        """See FrontTables.lines."""
        values = [self._value(target, i) for i, _ in enumerate(target.columns)]
        past = self._beyond(target, ">", after)
        until = self._beyond(target, "<=", upto)
        live = self.live(target, "t.")
        statement = (
            f"COPY (SELECT {', '.join(values)}"
            f" FROM {self.table(target)} t"
            f" WHERE true{past}{until}{live})"
            " TO STDOUT"
        )
        lines: list[bytes] = []
        with self.cursor(target) as cursor:
            for received in copy_out(cursor.connection, statement.encode()):
                lines += received
        return lines

    # ---- writing

    def put(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See TableRows.put."""
        deleted = self.deletes(rows)
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

    def _lines_of(
        self,
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
    ) -> list[FrontRow]:
        """Returns the rows that are no deletes, each with its technical values."""
        found = []
        for written in rows.values():
            if written.row is not None:
                technical = self._technical(target, written, batch)
                found.append(written.row + technical)
        return found

    def _technical(
        self,
        target: Target,
        written: Written,
        batch: int,
    ) -> tuple[str, ...]:
        """Returns the technical values of a row as texts."""
        if not target.technical:
            return ()
        values = self.technical_values(target, written, batch)
        return tuple([str(value) for value in values])

    def _delete(
        self,
        cursor: _Cursor,
        target: Target,
        deleted: Mapping[Key, Written],
        batch: int,
    ) -> None:
        """Deletes rows, or marks them as deleted where the table keeps them."""
        table = self.table(target)
        keys = _arrays(list(deleted))
        if not target.soft_delete:
            source, join = self._keys(target)
            cursor.execute(f"DELETE FROM {table} t USING {source} WHERE {join}", keys)
            return

        marks = []
        changes = []
        for role, name in target.technical.items():
            mark_name = f"mark_{role}"
            kind = self.technical_type(role)
            marks.append(mark_name)
            changes.append(f"{self.quote(name)} = k.{mark_name}::{kind}")

        source, join = self._keys(target, marks)
        statement = f"UPDATE {table} t SET {', '.join(changes)} FROM {source} WHERE {join}"
        values = [self._technical(target, written, batch) for written in deleted.values()]
        cursor.execute(statement, keys + _arrays(values))

    def _upsert(
        self,
        cursor: _Cursor,
        target: Target,
        rows: Sequence[FrontRow],
    ) -> None:
        """Brings rows into the stage, and from there into the table."""
        stage = f"pg_temp.{self.quote(_stage_name(target))}"
        names = self._copy_in(cursor, target, stage, rows)

        table = self.table(target)
        key_names = ", ".join(self.key_names(target))
        statement = (
            f"INSERT INTO {table} ({names})"
            f" SELECT {names} FROM {stage}"
            f" ON CONFLICT ({key_names})"
            f" DO UPDATE SET {self.assignments(target)}"
        )
        cursor.execute(statement)
        if cursor.rowcount < len(rows):
            raise self.lost(target)

    def _copy_in(
        self,
        cursor: _Cursor,
        target: Target,
        table: str,
        rows: Sequence[FrontRow],
    ) -> str:
        """Copies rows into a table that has the target's columns; returns their list."""
        names = self.names(self.all_names(target))
        statement = f"COPY {table} ({names}) FROM STDIN"
        lines = [line_of(row) + b"\n" for row in rows]

        with cursor.copy(statement) as copy:
            copy.write(b"".join(lines))
        if cursor.rowcount < len(rows):
            raise self.lost(target)
        return names

    # ---- the savepoint, and the stage

    def save(self, target: Target, rows: Mapping[Key, Written]) -> None:
        """See TableRows.save. One round trip, which empties the stage too.

        Outside of the savepoint the server empties it in place.
        """
        upserts = any(written.row is not None for written in rows.values())
        statements = []
        if self._saved:
            statements.append(f"RELEASE SAVEPOINT {SAVEPOINT}")

        with self.cursor(target) as cursor:
            if upserts:
                stage = self._stage(cursor, target)
                statements.append(f"TRUNCATE pg_temp.{stage}")
            statements.append(f"SAVEPOINT {SAVEPOINT}")
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
    name = f"sync_agent_stage_{target.resource}"
    return name[:63]

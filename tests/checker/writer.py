"""Acts as an application session that changes only rows it has made itself.

So none of its transactions can fail.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from random import Random
from types import TracebackType
from typing import Self

from psycopg import sql

from tests.checker.inputs import Value
from tests.checker.plan import columns, match, relation
from tests.checker.session import session_of
from tests.checker.table import Database
from tests.checker.unit import TABLES, Key, UnitTable

HOT = 150  # rows a writer keeps in each table: few, so that they meet often


class Writer:
    """Runs random transactions over the tables in one session, reproducible by its seed.

    It changes only rows it has made itself.
    """

    def __init__(
        self,
        database: Database,
        seed: int,
        tables: Sequence[UnitTable] = TABLES,
        deletes: bool = True,
    ) -> None:
        """`deletes`: rows go and keys change, too."""
        self._random = Random(seed)
        self._session = session_of(database)
        self._tables = tables
        self._deletes = deletes
        # Rows of ours that exist
        self._keys: dict[str, list[Key]] = {table.name: [] for table in tables}
        self.transactions = 0
        self.changes = 0  # rows changed, undone ones included

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._session.close()

    def run(self, transactions: int) -> None:
        """Runs so many transactions."""
        for _ in range(transactions):
            self.transaction()

    def transaction(self) -> None:
        """Runs one transaction.

        It is a plain one, one with a savepoint that is rolled back, or one that is rolled back as a
        whole.
        """
        kind = self._random.choices(("plain", "savepoint", "rollback"), weights=(80, 12, 8))[0]
        with self._transaction(undo=kind == "rollback"):
            self._changes()
            if kind == "savepoint":
                with self._transaction(undo=True):
                    self._changes()
                self._changes()
        self.transactions += 1

    @contextmanager
    def _transaction(self, undo: bool) -> Iterator[None]:
        """Runs a transaction, or a savepoint within one."""
        before = deepcopy(self._keys)
        with self._session.transaction(undo):
            yield
        if undo:
            self._keys = before

    def _changes(self) -> None:
        for _ in range(self._random.choices((1, 3, 8), weights=(60, 30, 10))[0]):
            table = self._random.choice(self._tables)
            kinds: dict[Callable[[UnitTable], object], int] = {
                self._insert: 35,
                self._update: 35,
                self._update_many: 6,
                self._again: 3,
            }
            if self._deletes:
                kinds |= {self._delete: 8, self._move: 6, self._swap: 3}
            kind = self._random.choices(list(kinds), weights=list(kinds.values()))[0]
            kind(table) if len(self._keys[table.name]) > 3 else self._insert(table)

    # ---- kinds of changes

    def _insert(self, table: UnitTable) -> None:
        """Inserts new rows; a table with many loses as many."""
        keys = self._keys[table.name]
        for _ in range(self._random.choice((1, 1, 1, 5))):
            while self._deletes and len(keys) >= HOT:
                self._delete(table)
            self._insert_row(table, self._new_key(table))

    def _insert_row(self, table: UnitTable, key: Key) -> None:
        row = dict(zip(table.key, key, strict=True)) | {
            column: make(self._random) for column, make in table.values.items()
        }
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})")
        places = sql.SQL(", ").join([sql.Placeholder()] * len(row))
        self._execute(statement.format(relation(table), columns(row), places), list(row.values()))
        self._keys[table.name].append(key)

    def _update(self, table: UnitTable, key: Key | None = None) -> None:
        """Changes some columns of one row; large values seldom, so that the log leaves them out."""
        often = [
            column
            for column in table.values
            if column not in table.large or self._random.random() < 0.1
        ]
        columns = self._random.sample(often, self._random.randint(1, min(3, len(often))))
        self._set(
            table,
            key or self._any(table),
            {column: table.values[column](self._random) for column in columns},
        )

    def _set(self, table: UnitTable, key: Key, changed: Mapping[str, Value]) -> None:
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = %s").format(sql.Identifier(column)) for column in changed
        )
        self._execute(
            sql.SQL("UPDATE {} SET {} WHERE {}").format(relation(table), assignments, match(table)),
            [*changed.values(), *key],
        )

    def _delete(self, table: UnitTable) -> None:
        key = self._any(table)
        self._execute(
            sql.SQL("DELETE FROM {} WHERE {}").format(relation(table), match(table)), list(key)
        )
        self._keys[table.name].remove(key)

    def _move(self, table: UnitTable, old: Key | None = None, new: Key | None = None) -> Key:
        """Changes the key of a row, alone or with other columns, and returns the new one."""
        old, new = old or self._any(table), new or self._new_key(table)
        changed: dict[str, Value] = dict(zip(table.key, new, strict=True))
        if self._random.random() < 0.5:
            column = next(iter(table.values))
            changed |= {column: table.values[column](self._random)}
        self._set(table, old, changed)
        keys = self._keys[table.name]
        keys[keys.index(old)] = new
        return new

    def _swap(self, table: UnitTable) -> None:
        """Exchanges the keys of two rows, one by one.

        Where rows may share a key some pass theirs on, all at once.
        """
        if table.deferrable:
            keys = self._random.sample(
                self._keys[table.name], min(self._random.randint(2, 9), len(self._keys[table.name]))
            )
            pairs = sql.SQL(", ").join([sql.SQL("(%s::bigint, %s::bigint)")] * len(keys))
            statement = sql.SQL(
                "UPDATE {} t SET {column} = p.new FROM (VALUES {}) p (old, new) "
                "WHERE t.{column} = p.old"
            )
            moved = [
                part
                for old, new in zip(keys, [*keys[1:], keys[0]], strict=True)
                for part in (*old, *new)
            ]
            self._execute(
                statement.format(relation(table), pairs, column=sql.Identifier(*table.key)), moved
            )
            return
        one, other = self._random.sample(self._keys[table.name], 2)
        aside = self._move(table, one)
        self._move(table, other, one)
        self._move(table, aside, other)

    def _update_many(self, table: UnitTable) -> None:
        """Changes many rows with one statement."""
        column = self._random.choice(
            [column for column in table.values if column not in table.large]
        )
        keys = self._random.sample(self._keys[table.name], min(20, len(self._keys[table.name])))
        any_of_them = sql.SQL(" OR ").join([sql.SQL("({})").format(match(table))] * len(keys))
        statement = sql.SQL("UPDATE {} SET {} = %s WHERE {}").format(
            relation(table), sql.Identifier(column), any_of_them
        )
        self._execute(
            statement, [table.values[column](self._random), *(part for key in keys for part in key)]
        )

    def _again(self, table: UnitTable) -> None:
        """Changes and deletes a row, and makes it once more under the same key."""
        key = self._any(table)
        self._update(table, key)
        self._execute(
            sql.SQL("DELETE FROM {} WHERE {}").format(relation(table), match(table)), list(key)
        )
        self._keys[table.name].remove(key)
        self._insert_row(table, key)
        self._update(table, key)

    # ---- pieces

    def _any(self, table: UnitTable) -> Key:
        return self._random.choice(self._keys[table.name])

    def _new_key(self, table: UnitTable) -> Key:
        return tuple(make(self._random) or "" for make in table.key.values())

    def _execute(self, statement: sql.Composed, values: Sequence[Value]) -> None:
        self.changes += self._session.execute(statement, values)

"""Rows of front-end tables in SQLite: looked up by many keys at once, written by one upsert."""

from collections.abc import Mapping, Sequence

from agent.front.base import Written
from agent.front.sqlite import columns
from agent.front.sqlite.columns import Values
from agent.front.sqlite.tables import SqliteTables
from agent.resource import FrontRow, Target
from agent.values.lines import line_of
from agent.values.rows import Key

# Keys in one SELECT
_LOOKUP = 500

_Parameters = tuple[object, ...]


class SqliteRows(SqliteTables):
    """Reads and writes rows of front-end tables in SQLite."""

    # ---- pieces of statements

    def _key(self, target: Target, index: int) -> str:
        """Returns a key column, compared bytewise even where its declaration says otherwise."""
        column = target.columns[index]
        name = self.quote(column.name)
        return name if column.type_oid in columns.INTEGERS else f"{name} COLLATE BINARY"

    def _keys(self, target: Target) -> str:
        return ", ".join(self._key(target, i) for i in target.key)

    def _range(
        self, target: Target, after: Key | None, upto: Key | None
    ) -> tuple[str, _Parameters]:
        """Returns the condition for keys past `after` up to `upto`, and its parameters."""
        values, names = Values(target), self._keys(target)
        where, parameters = "1" + self.live(target), list[object]()
        for operator, key in ((">", after), ("<=", upto)):
            if key is not None:
                where += f" AND ({names}) {operator} ({_marks(len(key))})"
                parameters += values.key(key)
        return where, tuple(parameters)

    # ---- look-up

    def spellings(self, target: Target) -> bool:
        """See FrontTables.spellings: 0 and -0."""
        return any(target.columns[i].type_oid in columns.FLOATS for i in target.key)

    def same_order(self, target: Target) -> bool:
        """See FrontTables.same_order."""
        return all(target.columns[i].type_oid in columns.INTEGERS for i in target.key)

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See FrontTables.fetch."""
        values = Values(target)
        head = f"SELECT {self.shared_names(target)} FROM {self.table(target)}"
        where = f"({self._keys(target)}) IN"
        one = f"({_marks(len(target.key))})"

        found: dict[Key, FrontRow] = {}
        with self.guarded(target):
            for start in range(0, len(keys), _LOOKUP):
                some = keys[start : start + _LOOKUP]
                wanted = ", ".join([one] * len(some))
                parameters: list[object] = []
                for key in some:
                    parameters += values.key(key)

                statement = f"{head} WHERE {where} (VALUES {wanted}){self.live(target)}"
                for row in self.connection.exec_driver_sql(statement, tuple(parameters)):
                    texts = values.texts(row)
                    found[tuple([str(texts[i]) for i in target.key])] = texts
        return found

    def keys_after(self, target: Target, after: Key | None, limit: int) -> list[Key]:
        """See FrontTables.keys_after."""
        values = Values(target)
        names = ", ".join(self.key_names(target))
        where, parameters = self._range(target, after, None)
        statement = (
            f"SELECT {names} FROM {self.table(target)}"
            f" WHERE {where} ORDER BY {self._keys(target)} LIMIT {limit:d}"
        )
        with self.guarded(target):
            rows = self.connection.exec_driver_sql(statement, parameters).all()
        return [values.key_texts(row) for row in rows]

    def lines(self, target: Target, after: Key | None, upto: Key | None) -> list[bytes]:
        """See FrontTables.lines."""
        values = Values(target)
        where, parameters = self._range(target, after, upto)
        statement = f"SELECT {self.shared_names(target)} FROM {self.table(target)} WHERE {where}"
        with self.guarded(target):
            rows = self.connection.exec_driver_sql(statement, parameters)
            return [line_of(values.texts(row)) for row in rows]

    # ---- writing

    def put(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See TableRows.put."""
        deleted = {key: written for key, written in rows.items() if written.row is None}
        if deleted and self.spellings(target):
            # SQLite itself writes 0 and -0 alike: only rows of that very spelling are deleted
            found = self.fetch(target, list(deleted))
            deleted = {key: written for key, written in deleted.items() if key in found}

        with self.guarded(target):
            if deleted:
                self._delete(target, deleted, batch)
            self._upsert(target, rows, batch)
        self.refuse_changed(target, rows)

    def _delete(self, target: Target, deleted: Mapping[Key, Written], batch: int) -> None:
        """Deletes rows, or marks them as deleted where the table keeps them."""
        values, table = Values(target), self.table(target)
        match = " AND ".join(f"{self._key(target, i)} = ?" for i in target.key)
        if not target.soft_delete:
            keys = [values.key(key) for key in deleted]
            self.connection.exec_driver_sql(f"DELETE FROM {table} WHERE {match}", keys)
            return

        changed = ", ".join(f"{self.quote(name)} = ?" for name in target.technical.values())
        marked = []
        for key, written in deleted.items():
            marked.append(self.technical_values(target, written, batch) + values.key(key))
        self.connection.exec_driver_sql(
            f"UPDATE OR ABORT {table} SET {changed} WHERE {match}", marked
        )

    def _upsert(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """Writes the rows that are no deletes."""
        values = Values(target)
        stored = []
        for written in rows.values():
            if written.row is not None:
                technical = self.technical_values(target, written, batch)
                stored.append(values.row(written.row) + technical)
        if not stored:
            return

        names = self.all_names(target)
        keys = [target.columns[i].name for i in target.key]
        changed = names
        if not self.spellings(target):
            changed = [name for name in names if name not in keys] or names[:1]
        action = ", ".join(f"{self.quote(n)} = excluded.{self.quote(n)}" for n in changed)
        statement = (
            f"INSERT OR ABORT INTO {self.table(target)} ({self.names(names)})"
            f" VALUES ({_marks(len(names))})"
            f" ON CONFLICT ({self.names(keys)}) DO UPDATE SET {action}"
        )
        if self.connection.exec_driver_sql(statement, stored).rowcount < len(stored):
            raise self.lost(target)


def _marks(count: int) -> str:
    """Returns so many parameters of a statement."""
    return ", ".join("?" * count)

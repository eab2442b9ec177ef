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

        if column.type_oid in columns.INTEGERS:
            return name
        return f"{name} COLLATE BINARY"

    def _keys(self, target: Target) -> str:
        """Returns the list of the key columns."""
        names = [self._key(target, i) for i in target.key]
        return ", ".join(names)

    def _range(
        self,
        target: Target,
        after: Key | None,
        upto: Key | None,
    ) -> tuple[str, _Parameters]:
        """Returns the condition for keys past `after` up to `upto`, and its parameters."""
        values = Values(target)
        names = self._keys(target)
        where = "1" + self.live(target)
        parameters: list[object] = []

        if after is not None:
            where += f" AND ({names}) > ({_marks(len(after))})"
            parameters += values.key(after)
        if upto is not None:
            where += f" AND ({names}) <= ({_marks(len(upto))})"
            parameters += values.key(upto)

        return where, tuple(parameters)

    # ---- look-up

    def spellings(self, target: Target) -> bool:
        """See FrontTables.spellings: 0 and -0."""
        key_columns = [target.columns[i] for i in target.key]
        return any(column.type_oid in columns.FLOATS for column in key_columns)

    def same_order(self, target: Target) -> bool:
        """See FrontTables.same_order."""
        key_columns = [target.columns[i] for i in target.key]
        return all(column.type_oid in columns.INTEGERS for column in key_columns)

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See FrontTables.fetch."""
        values = Values(target)
        names = self.shared_names(target)
        key_names = self._keys(target)
        live = self.live(target)
        head = f"SELECT {names} FROM {self.table(target)} WHERE ({key_names}) IN"
        one_key = f"({_marks(len(target.key))})"

        found: dict[Key, FrontRow] = {}
        with self.guarded(target):
            for start in range(0, len(keys), _LOOKUP):
                end = start + _LOOKUP
                some = keys[start:end]
                wanted = ", ".join([one_key] * len(some))
                statement = f"{head} (VALUES {wanted}){live}"

                parameters: list[object] = []
                for key in some:
                    parameters += values.key(key)

                rows = self.connection.exec_driver_sql(statement, tuple(parameters))
                for row in rows:
                    texts = values.texts(row)
                    row_key = tuple([str(texts[i]) for i in target.key])
                    found[row_key] = texts

        return found

    def keys_after(
        self,
        target: Target,
        after: Key | None,
        limit: int,
    ) -> list[Key]:
        """See FrontTables.keys_after."""
        values = Values(target)
        names = ", ".join(self.key_names(target))
        order = self._keys(target)
        where, parameters = self._range(target, after, None)
        statement = (
            f"SELECT {names}"
            f" FROM {self.table(target)}"
            f" WHERE {where}"
            f" ORDER BY {order}"
            f" LIMIT {limit:d}"
        )

        with self.guarded(target):
            rows = self.connection.exec_driver_sql(statement, parameters).all()
        return [values.key_texts(row) for row in rows]

    def lines(
        self,
        target: Target,
        after: Key | None,
        upto: Key | None,
    ) -> list[bytes]:
        """See FrontTables.lines."""
        values = Values(target)
        names = self.shared_names(target)
        where, parameters = self._range(target, after, upto)
        statement = f"SELECT {names} FROM {self.table(target)} WHERE {where}"

        with self.guarded(target):
            rows = self.connection.exec_driver_sql(statement, parameters)
            return [line_of(values.texts(row)) for row in rows]

    # ---- writing

    def put(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See TableRows.put."""
        deleted = self.deletes(rows)
        if deleted and self.spellings(target):
            # SQLite itself writes 0 and -0 alike: only rows of that very spelling are deleted
            found = self.fetch(target, list(deleted))
            for key in deleted.keys() - found.keys():
                del deleted[key]

        with self.guarded(target):
            if deleted:
                self._delete(target, deleted, batch)
            self._upsert(target, rows, batch)

        self.refuse_changed(target, rows)

    def _delete(
        self,
        target: Target,
        deleted: Mapping[Key, Written],
        batch: int,
    ) -> None:
        """Deletes rows, or marks them as deleted where the table keeps them."""
        values = Values(target)
        table = self.table(target)
        conditions = [f"{self._key(target, i)} = ?" for i in target.key]
        match = " AND ".join(conditions)

        if not target.soft_delete:
            statement = f"DELETE FROM {table} WHERE {match}"
            keys = [values.key(key) for key in deleted]
            self.connection.exec_driver_sql(statement, keys)
            return

        changes = [f"{self.quote(name)} = ?" for name in target.technical.values()]
        statement = f"UPDATE OR ABORT {table} SET {', '.join(changes)} WHERE {match}"
        parameters = []
        for key, written in deleted.items():
            technical = self.technical_values(target, written, batch)
            parameters.append(technical + values.key(key))

        self.connection.exec_driver_sql(statement, parameters)

    def _upsert(
        self,
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
    ) -> None:
        """Writes the rows that are no deletes."""
        values = Values(target)
        stored = []
        for written in rows.values():
            if written.row is not None:
                technical = self.technical_values(target, written, batch)
                stored.append(values.row(written.row) + technical)
        if not stored:
            return

        table = self.table(target)
        names = self.all_names(target)
        key_names = ", ".join(self.key_names(target))
        statement = (
            f"INSERT OR ABORT INTO {table} ({self.names(names)})"
            f" VALUES ({_marks(len(names))})"
            f" ON CONFLICT ({key_names})"
            f" DO UPDATE SET {self.assignments(target)}"
        )

        result = self.connection.exec_driver_sql(statement, stored)
        if result.rowcount < len(stored):
            raise self.lost(target)


def _marks(count: int) -> str:
    """Returns so many parameters of a statement."""
    return ", ".join("?" * count)

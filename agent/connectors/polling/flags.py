"""Looks at a table by a flag: the application marks each row that it has changed.

A look reads the rows whose flag says that they were not taken yet, in the order of the key. With
write-back the agent marks a row as taken, once the front end has stored what was read:

    look          delivers the row, and remembers a digest of it
    acknowledge   locks the row and reads it: it is still the same ─▶ flag = done
                                              it has changed       ─▶ the next look reads it again

A crash in between loses what is remembered. The flag still stands, so the row is read again, and a
state that equals the front end's row makes no event.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Update, false, or_, select, update

from agent import failpoints
from agent.config import ResourceSettings
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.filters import text_of
from agent.connectors.database.rows import RowReader, Texts
from agent.connectors.database.session import Database
from agent.connectors.polling.cursors import Cursor
from agent.connectors.polling.looks import Looks, digest
from agent.errors import ReadRefused, SourceUnfit, WriteBackRefused
from agent.values.rows import Key

_LOCKED = 500  # rows at a time, so that the application never waits long


class Delivered(NamedTuple):
    """A row that was delivered and whose flag is not set yet."""

    position: int  # which the front end has stored once the row is
    digest: bytes


class FlagLooks(Looks):
    """See Looks."""

    def __init__(self, database: Database, resource: ResourceSettings, read: ReadTable) -> None:
        """The table has all columns that are needed, and a flag with values that fit it."""
        assert resource.poll is not None
        column = str(resource.poll.column)
        names = [*resource.needed_columns, column]
        reader = RowReader(database.dialect, resource.name, read, names)
        super().__init__(database.dialect, resource, read, reader)
        self._database = database
        self._flag = reader.column(column)
        conditions: list[ColumnElement[bool]] = []
        values = [self._value(value) for value in self._poll.pending]
        if values:
            conditions.append(self._flag.in_(values))
        if self._poll.pending_null:
            conditions.append(self._flag.is_(None))
        self._pending = or_(*conditions)

        # Of the part that was read last, by key: digests, and the rows before it
        self._part: dict[Key, bytes] = {}
        self._delivered: dict[Key, Delivered] = {}

    def _value(self, value: object) -> Any:
        """Returns a configured value as the database compares it with the flag."""
        declared = {column.name: column.type for column in self._read.table.columns}
        return self._reader.value(self._column, text_of(value, declared[self._column]))

    # ---- looks

    @property
    def statement(self) -> Select[Any]:
        """See Looks. The flag alone is read: so even in a small table an index is used."""
        return select(self._flag).select_from(self._reader.table).where(self._pending)

    def _end(self, connection: Connection) -> str | None:
        """See Looks: the flag alone tells which rows are read."""
        return None

    def _changed(self, connection: Connection, cursor: Cursor, most: int) -> Iterator[Texts]:
        """See Looks."""
        statement = self._reader.select().where(self._pending)
        if cursor.after is not None:
            _, *key = cursor.after
            statement = statement.where(self._reader.after(tuple(map(str, key))))
        yield from self._reader.rows(connection, self._reader.in_key_order(statement, most))

    def _is_new(self, key: Key, texts: Texts) -> bool:
        """See Looks: with write-back, each row that is read is delivered, to be marked then."""
        if not self._poll.write_back:
            return super()._is_new(key, texts)
        self._part[key] = digest(texts)
        return True

    # ---- write-back

    def delivered(self, position: int) -> None:
        """See Looks.

        What was delivered of a row before counts no more: its flag must not be set for a state that
        is followed by another one.
        """
        for key, found in self._part.items():
            self._delivered[key] = Delivered(position, found)
        self._part.clear()

    def superseded(self) -> None:
        """See Looks: the flags stay, so that a later look reads the rows again."""
        self._part.clear()
        self._delivered.clear()

    def stored(self, connection: Connection, position: int) -> None:
        """See Looks: marks the rows as taken, as far as they are what was delivered.

        A row that somebody else is changing is left for the next look.
        """
        stored = {}
        for key, row in self._delivered.items():
            if row.position <= position:
                stored[key] = row.digest
        keys = list(stored)
        for begin in range(0, len(keys), _LOCKED):
            with self._writing(connection):
                self._mark(connection, keys[begin : begin + _LOCKED], stored)
                failpoints.hit("before_mark_commit")
        for key in keys:
            del self._delivered[key]

    def _mark(
        self,
        connection: Connection,
        keys: Sequence[Key],
        stored: Mapping[Key, bytes],
    ) -> None:
        same = []
        for texts in self._reader.locked(connection, keys):
            key = tuple([str(texts[i]) for i in self._key])
            if stored.get(key) == digest(texts):
                same.append(key)
        for chosen in self._reader.among(same):
            connection.execute(self._marking.where(chosen))

    def try_write_back(self, connection: Connection) -> None:
        """Has the database check the rights to mark rows, and marks none.

        Raises WriteBackRefused.
        """
        with self._writing(connection):
            connection.execute(self._reader.locking(false())).close()
            connection.execute(self._marking.where(false()))

    @property
    def _marking(self) -> Update:
        done = self._value(self._poll.done)
        return update(self._reader.table).values({self._column: done})

    @contextmanager
    def _writing(self, connection: Connection) -> Iterator[None]:
        """Makes a transaction of writing. What the database refuses concerns this table alone."""
        table = self._read.name
        try:
            with self._database.guarded(self.resource, table), self._dialect.writing(connection):
                yield
        except (ReadRefused, SourceUnfit) as error:
            reason = str(error.values["reason"])
            raise WriteBackRefused(resource=self.resource, table=table, reason=reason) from None

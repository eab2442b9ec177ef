"""Looks at one table: finds the rows that may have changed since the last one.

A look by time or number reads, in the order of this column and the key, what lies between the
overlap before the last look's end and the largest value of now. Once that end has been the same for
longer than the overlap, it reads what lies behind it only: a table that was loaded at once and
rests is not read again and again. Rows that have no value there are read at each look. It is cut
after so many rows; the next part goes on behind the last row, whose value others may share.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, select

from agent.config import PollSettings, ResourceSettings
from agent.connectors.changes import Column, Relation
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.rows import RowReader, Texts
from agent.connectors.dialects.base import Dialect
from agent.connectors.polling.cursors import (
    Cursor,
    Standstill,
    earlier_moment,
    earlier_number,
    is_ahead,
    may_be_rounded,
)
from agent.errors import ValueUnreadable
from agent.messages import phrase
from agent.values import column_types as v
from agent.values.rows import Key

ROWS = 10_000  # of a part
_BYTES = 8 << 20  # of a part, about
_ROUNDED = 1.0  # seconds: what a time may be rounded to that is not on a whole minute
_REMEMBERED = 200_000  # rows of the last look


class Found(NamedTuple):
    """A row that may have changed."""

    key: Key
    row: Texts
    size: int


class Part(NamedTuple):
    """What one part of a look has found, and where the next one goes on."""

    rows: list[Found]  # to be delivered: the others are as the last look has delivered them
    cursor: Cursor
    complete: bool
    read: int = 0  # how many rows were read


class Looks(ABC):
    """The looks at one table, from one opening of the source to the next."""

    def __init__(
        self,
        dialect: Dialect,
        resource: ResourceSettings,
        read: ReadTable,
        reader: RowReader,
    ) -> None:
        """`reader` reads the columns that are needed, and behind them the column of the looks."""
        poll = resource.poll
        assert poll is not None
        assert poll.column is not None
        self.resource = resource.name
        self._dialect = dialect
        self._poll: PollSettings = poll
        self._column = poll.column
        self._read = read
        self._reader = reader
        names = resource.needed_columns
        self._key = [names.index(name) for name in read.table.key]
        self.relation = _relation(read, names)

        # Digests of the rows that the last look has read, and that this one has
        self._before: set[bytes] = set()
        self._now: set[bytes] = set()

    def forget(self) -> None:
        """Forgets what was read, so that the next look delivers all that it reads."""
        self._before.clear()
        self._now.clear()

    @abstractmethod
    def delivered(self, position: int) -> None:
        """Notes that the front end has stored the last part once it has stored `position`."""

    @abstractmethod
    def superseded(self) -> None:
        """Notes that the front end may come to hold other rows than those that were delivered."""

    @abstractmethod
    def stored(self, connection: Connection, position: int) -> None:
        """Does what is due at the source once the front end has stored `position`.

        Raises WriteBackRefused.
        """

    # ---- reading

    def look(self, connection: Connection, cursor: Cursor | None, most: int) -> Part:
        """Reads the next part in the present snapshot, of so many rows at the most.

        `cursor` is None before the first look: that reads nothing, since the rows of today are
        copied. Raises ValueUnreadable.
        """
        if cursor is None:
            return Part([], Cursor(self._end(connection)), complete=True)
        if cursor.after is None:
            cursor = cursor._replace(to=self._end(connection))

        rows: list[Found] = []
        taken = 0
        room = _BYTES
        for texts in self._changed(connection, cursor, most):
            taken += 1
            row, value = texts[:-1], texts[-1]
            key = tuple([str(row[i]) for i in self._key])
            size = sum(map(len, filter(None, row)))
            room -= size
            if self._is_new(key, texts):
                rows.append(Found(key, row, size))
            if taken == most or room < 0:
                return Part(rows, cursor._replace(after=(value, *key)), complete=False, read=taken)

        self._before, self._now = self._now, set()
        return Part(rows, Cursor(cursor.to), complete=True, read=taken)

    def _is_new(self, key: Key, texts: Texts) -> bool:
        """Returns whether the last look has not read the same row, which was delivered then."""
        found = digest(texts)
        if len(self._now) >= _REMEMBERED:
            self._now.clear()
        self._now.add(found)
        return found not in self._before

    @property
    @abstractmethod
    def statement(self) -> Select[Any]:
        """The statement of a look, to be explained: it should use an index."""

    @abstractmethod
    def _end(self, connection: Connection) -> str | None:
        """Returns up to which value the look reads that begins now; None: there is no such end."""

    @abstractmethod
    def _changed(self, connection: Connection, cursor: Cursor, most: int) -> Iterator[Texts]:
        """Reads the rows of the look, behind the last row read; not many more than `most`."""


def digest(texts: Texts) -> bytes:
    """Returns what stands for a row where rows are remembered."""
    return hashlib.blake2b(repr(texts).encode(), digest_size=16).digest()


class CursorLooks(Looks):
    """Looks by the time or the number of a row's last change."""

    def __init__(self, dialect: Dialect, resource: ResourceSettings, read: ReadTable) -> None:
        """The table has all columns that are needed, and a cursor column that can be compared."""
        assert resource.poll is not None
        column = str(resource.poll.column)
        names = resource.needed_columns
        reader = RowReader(dialect, resource.name, read, names, exact=(column,))
        super().__init__(dialect, resource, read, reader)
        self._kind = read.exact[column]
        self.standstill = Standstill()

    def delivered(self, position: int) -> None:
        """See Looks: nothing depends on it."""

    def superseded(self) -> None:
        """See Looks: nothing depends on it."""

    def stored(self, connection: Connection, position: int) -> None:
        """See Looks: nothing is written."""

    @property
    def statement(self) -> Select[Any]:
        """See Looks.statement."""
        column = self._reader.column(self._column)
        statement = self._reader.select().where(column > self._value(self._sample))
        return self._ordered(statement, ROWS)

    @property
    def _sample(self) -> str:
        """Any value of the column's type."""
        if self._poll.mode == "sequence":
            return "0"
        if self._kind.oid == v.DATE:
            return "2000-01-01"
        zone = "+00" if self._kind.oid == v.TIMESTAMPTZ else ""
        return f"2000-01-01 00:00:00{zone}"

    def _value(self, text: str) -> Any:
        return self._kind.bind(text)

    def _ordered(self, statement: Select[Any], limit: int) -> Select[Any]:
        column = self._reader.column(self._column)
        return statement.order_by(column, *self._reader.key).limit(limit)

    def _changed(self, connection: Connection, cursor: Cursor, most: int) -> Iterator[Texts]:
        """See Looks: reads the rows without a value, then those with one."""
        column = self._reader.column(self._column)
        after = cursor.after
        if after is None or after[0] is None:
            statement = self._reader.select().where(column.is_(None))
            if after is not None:
                statement = statement.where(self._reader.after(_key_of(after)))
            yield from self._reader.rows(connection, self._reader.in_key_order(statement, most))
            after = None
        if cursor.to is None:
            return

        statement = self._reader.select().where(column <= self._value(cursor.to))
        if after is not None:
            statement = statement.where(self._behind(after))
        elif cursor.at is not None:
            begin = self._begin(connection, cursor.at)
            if begin is not None:
                statement = statement.where(begin)
        yield from self._reader.rows(connection, self._ordered(statement, most))

    def _behind(self, after: Sequence[str | None]) -> ColumnElement[bool]:
        column = self._reader.column(self._column)
        values = self._reader.key_values(_key_of(after))
        parts = zip(self._reader.key, values, strict=True)
        return self._reader.behind([(column, self._value(str(after[0]))), *parts])

    def _begin(self, connection: Connection, at: str) -> ColumnElement[bool] | None:
        """Returns the condition from which value on a look reads; None: from the first one on."""
        column = self._reader.column(self._column)
        begin: ColumnElement[bool]
        if self._poll.mode == "sequence":
            begin = column >= self._value(earlier_number(at, self._poll.overlap))
            return begin

        now = self._dialect.clock(connection, utc=self._kind.oid == v.TIMESTAMPTZ)
        stands = self.standstill.seconds(at, is_ahead=is_ahead(at, now))
        if stands > self._poll.overlap + _ROUNDED and not may_be_rounded(at):
            begin = column > self._value(at)
            return begin

        lowest = earlier_moment(at, self._kind, self._poll.overlap, now)
        if lowest is None:
            return None
        begin = column >= self._value(lowest)
        return begin

    def _end(self, connection: Connection) -> str | None:
        """See Looks: the largest value of the column; None where no row has one."""
        largest = func.max(self._reader.column(self._column))
        statement = select(self._kind.select(largest))
        value = connection.execute(statement.select_from(self._reader.table)).scalar()
        try:
            return None if value is None else self._kind.write(value)
        except (ValueError, TypeError, ArithmeticError):
            reason = phrase(
                "column {name} holds a value that is no {type}",
                name=self._column,
                type=self._kind.name,
            )
            raise ValueUnreadable(
                resource=self.resource, table=self._read.name, reason=reason
            ) from None


def _key_of(after: Sequence[str | None]) -> Key:
    """Returns the key of the last row that was read."""
    return tuple([str(part) for part in after[1:]])


def _relation(read: ReadTable, names: Sequence[str]) -> Relation:
    """Describes the rows that looks deliver."""
    types = {column.name: column.type_oid for column in read.table.columns}
    columns = [Column(name, types[name], -1, name in read.table.key) for name in names]
    return read.relation._replace(columns=tuple(columns))

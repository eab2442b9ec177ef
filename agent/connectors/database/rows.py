"""Reads rows of one table through SQLAlchemy: pages by key, rows under keys, or any that are asked.

The key is compared by the database alone, in its own order: pages go on behind the last key, which
is handed back as it came. All rows that belong together are read within one `Dialect.snapshot`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    Connection,
    Select,
    and_,
    column,
    false,
    func,
    literal_column,
    or_,
    select,
    table,
    tuple_,
)

from agent.connectors.database.catalogue import ReadTable
from agent.connectors.dialects.base import Dialect
from agent.connectors.dialects.kinds import Absent
from agent.connectors.table import Criterion, passing
from agent.errors import ValueUnreadable
from agent.messages import mark, phrase
from agent.values.canonical import canonical
from agent.values.lines import line_of
from agent.values.rows import Key
from agent.values.writing import Writer

PAGE_BYTES = 8 << 20  # after which a page is cut
_KEYS = 500  # looked up by one statement
_FETCHED = 500  # rows that are in memory at a time, beside a page
# What a writer raises for a value that has no canonical text
_UNFIT = (ValueError, TypeError, ArithmeticError)

Texts = tuple[str | None, ...]


class Lines(NamedTuple):
    """Rows as lines of COPY text."""

    lines: list[bytes]
    cut: bool  # by their size, so that there may be more


class RowReader:
    """Reads one table in some of its columns.

    All reading is done within `Database.guarded` and `Dialect.snapshot`. Raises ValueUnreadable.
    """

    def __init__(
        self,
        dialect: Dialect,
        resource: str,
        read: ReadTable,
        columns: Sequence[str],
        exact: Sequence[str] = (),
    ) -> None:
        """`exact`: columns that are read behind the others, in texts that give the values back."""
        self._dialect = dialect
        self._resource = resource
        self._read = read
        self._names = list(columns)
        self._kinds = [read.kinds[name] for name in columns]
        self._kinds += [read.exact[name] for name in exact]
        self._names += exact
        self._writers: list[Writer] = [kind.write for kind in self._kinds]
        # A key in which a part is NULL names no row
        self._filled = [i for i, name in enumerate(columns) if name in read.table.key]

        schema = read.table.schema or None
        every: list[ColumnClause[Any]] = [column(name) for name in read.kinds]
        self.table = table(read.table.table, *every, schema=schema)
        self.key = [self.table.c[name] for name in read.table.key]
        types = {column.name: column.type for column in read.table.columns}
        self._key_types = [types[name] for name in read.table.key]

    # ---- statements

    def column(self, name: str) -> ColumnElement[Any]:
        """Returns a column, to be compared with what `value` makes of a text."""
        found: ColumnElement[Any] = self.table.c[name]
        return found

    def value(self, name: str, text: str) -> Any:
        """Returns the canonical text of a column as a value that the database compares with it."""
        return self._read.kinds[name].bind(text)

    def select(self) -> Select[Any]:
        """Returns the statement that reads the columns of every row, for `rows`."""
        listed = []
        for name, kind in zip(self._names, self._kinds, strict=True):
            listed.append(kind.select(self.column(name)))
        return select(*listed).select_from(self.table)

    def in_key_order(self, statement: Select[Any], limit: int) -> Select[Any]:
        """Returns the statement cut after so many rows, in the order of the key."""
        return statement.order_by(*self.key).limit(limit)

    def after(self, key: Key) -> ColumnElement[bool]:
        """Returns the condition that a row's key comes behind this one."""
        values = self.key_values(key)
        return self.behind(list(zip(self.key, values, strict=True)))

    def behind(self, parts: Sequence[tuple[ColumnElement[Any], Any]]) -> ColumnElement[bool]:
        """Returns the condition that a row comes behind these values, in the order of the columns.

        It is written so that the database uses an index for all of it, if it can.
        """
        if not self._dialect.seeks_rows or len(parts) == 1:
            return _behind(parts)
        columns, values = zip(*parts, strict=True)
        behind: ColumnElement[bool] = tuple_(*columns) > tuple_(*values)
        return behind

    def equal(self, key: Key) -> ColumnElement[bool]:
        """Returns the condition that a row has this key."""
        values = self.key_values(key)
        return and_(*[part == value for part, value in zip(self.key, values, strict=True)])

    def key_values(self, key: Key) -> list[Any]:
        """Returns a key as values."""
        pairs = zip(self._read.table.key, key, strict=True)
        return [self.value(name, text) for name, text in pairs]

    # ---- reading

    def rows(self, connection: Connection, statement: Select[Any]) -> Iterator[Texts]:
        """Reads what a statement of `select` gives, as canonical texts."""
        streamed = statement.execution_options(yield_per=_FETCHED)
        with connection.execute(streamed) as result:
            for row in result:
                yield self._texts(row)

    def page(self, connection: Connection, after: Key | None, limit: int) -> Lines:
        """Reads the rows behind `after` in the order of the key, at most `limit`."""
        statement = self.select()
        if after is not None:
            statement = statement.where(self.after(after))
        lines = []
        room = PAGE_BYTES
        for texts in self.rows(connection, self.in_key_order(statement, limit)):
            line = line_of(texts)
            lines.append(line)
            room -= len(line)
            if room < 0:
                return Lines(lines, cut=True)
        return Lines(lines, cut=False)

    def under(self, connection: Connection, keys: Sequence[Key]) -> Iterator[Texts]:
        """Reads the rows under these keys, as far as there are any.

        Where the database takes two spellings of a key for one, a row comes as it is spelled there.
        """
        for chosen in self.among(keys):
            yield from self.rows(connection, self.select().where(chosen))

    def locked(self, connection: Connection, keys: Sequence[Key]) -> Iterator[Texts]:
        """Reads rows as `under` does, and keeps others from changing them.

        It is done within `Dialect.writing`. Rows that somebody else is changing are left out: they
        are not waited for.
        """
        for chosen in self.among(keys):
            yield from self.rows(connection, self.locking(chosen))

    def locking(self, chosen: ColumnElement[bool]) -> Select[Any]:
        """Returns the statement that reads and locks the rows which meet a condition."""
        return self._dialect.locking(self.select().where(chosen))

    def among(self, keys: Sequence[Key]) -> Iterator[ColumnElement[bool]]:
        """Yields conditions that a row has one of these keys, each for some of the keys."""
        for begin in range(0, len(keys), _KEYS):
            possible = self._possible(keys[begin : begin + _KEYS])
            if possible:
                yield self._among(possible)

    def _possible(self, keys: Sequence[Key]) -> list[list[Any]]:
        """Returns the keys that a row can have, as values.

        What a hand has put into the front end may be no value of the column's type.
        """
        found = []
        for key in keys:
            pairs = zip(self._key_types, key, strict=True)
            if all(canonical(text, declared) for declared, text in pairs):
                found.append(self.key_values(key))
        return found

    def _among(self, keys: Sequence[Sequence[Any]]) -> ColumnElement[bool]:
        if len(self.key) == 1:
            return self.key[0].in_([values[0] for values in keys])
        # A text in an encoding of its own is an expression
        if self._dialect.row_values and not self._dialect.encoding:
            return tuple_(*self.key).in_([tuple(values) for values in keys])
        each = []
        for values in keys:
            pairs = zip(self.key, values, strict=True)
            each.append(and_(*[part == value for part, value in pairs]))
        return or_(false(), *each)

    def count(self, connection: Connection, criteria: Sequence[Criterion]) -> int:
        """Counts the rows that meet all conditions.

        The conditions are tested here, as for a row that is read: the database may take two texts
        for one.
        """
        if not criteria:
            statement = select(func.count(literal_column("1"))).select_from(self.table)
            return int(connection.execute(statement).scalar() or 0)

        names = [criterion.column for criterion in criteria]
        tested = RowReader(self._dialect, self._resource, self._read, names)
        tests: list[Callable[[str | None], bool]] = [passing(one) for one in criteria]
        total = 0
        for texts in tested.rows(connection, tested.select()):
            total += all(test(text) for test, text in zip(tests, texts, strict=True))
        return total

    # ---- values

    def _texts(self, row: Sequence[Any]) -> Texts:
        texts: list[str | None] = []
        try:
            for write, value in zip(self._writers, row, strict=True):
                texts.append(None if value is None else write(value))
        except _UNFIT:
            texts = self._with_absent(row)
        for i in self._filled:
            if row[i] is None:
                reason = phrase("key column {name} is empty in a row", name=self._names[i])
                raise self._error(reason)
        return tuple(texts)

    def _with_absent(self, row: Sequence[Any]) -> list[str | None]:
        """Writes a row in which values may stand for none.

        Raises ValueUnreadable for the first column whose value has no text of its type.
        """
        texts: list[str | None] = []
        for name, kind, value in zip(self._names, self._kinds, row, strict=True):
            try:
                texts.append(None if value is None else kind.write(value))
            except Absent:
                texts.append(None)
            except _UNFIT:
                text = mark("column {name} holds a value that is no {type}")
                raise self._error(phrase(text, name=name, type=kind.name)) from None
        return texts

    def _error(self, reason: str) -> ValueUnreadable:
        return ValueUnreadable(resource=self._resource, table=self._read.name, reason=reason)


def _behind(parts: Sequence[tuple[ColumnElement[Any], Any]]) -> ColumnElement[bool]:
    """Returns the same condition for a database whose indexes know nothing of rows of values.

    `a >= 1 AND (a > 1 OR (a = 1 AND b > 2))`: the first part lets an index be used everywhere.
    """
    (first, value), *rest = parts
    after: ColumnElement[bool] = first > value
    if not rest:
        return after
    tied = and_(first == value, _behind(rest))
    return and_(first >= value, or_(after, tied))

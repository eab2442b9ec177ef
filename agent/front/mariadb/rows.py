"""Rows of front-end tables in MariaDB and MySQL: bytewise keys, one upsert of many rows."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import CursorResult

from agent.errors import RowRefused
from agent.front.base import Written
from agent.front.mariadb.session import LEAST_PACKET
from agent.front.mariadb.tables import MariaDbTables
from agent.front.mariadb.values import Beyond, Unfit, Values, quoted
from agent.messages import mark, phrase
from agent.resource import FrontRow, Target
from agent.values.lines import line_of
from agent.values.rows import Key

# Keys or rows in one statement; past 1000 MariaDB plans a list of keys in another way
_AT_ONCE = 500

# Bytes after which a statement is sent
_STATEMENT = 1 << 20


class MariaDbRows(MariaDbTables):
    """Reads and writes rows of front-end tables in MariaDB and MySQL."""

    def __init__(
        self,
        url: str,
        password: Callable[[], str] | None,
        lock_wait: float,
        agent: str,
        types: str = "native",
    ) -> None:
        super().__init__(url, password, lock_wait, agent, types)

        # Bytes of the longest statement that the server takes
        self._packet = LEAST_PACKET

    # ---- statements

    def _run(self, statement: str) -> CursorResult[Any]:
        """Runs a statement in the open transaction; a % in it means nothing."""
        return self.connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    @contextmanager
    def _with_values(self, target: Target) -> Iterator[Values]:
        """Turns a value that its column cannot hold into RowRefused, and errors into ours."""
        with self.guarded(target):
            try:
                yield self._values_of(target)
            except Unfit as unfit:
                raise self._refused(target, unfit.args[0]) from None

    def _refused(self, target: Target, reason: str) -> RowRefused:
        return RowRefused(resource=target.resource, table=target.name, reason=reason)

    def _values_of(self, target: Target) -> Values:
        """Returns how values are written; as the table has the columns, once it was checked."""
        values = self._values.get(target.resource)
        if values is None:
            values = Values(target, {}, self._forms)
            self._values[target.resource] = values
        return values

    def _statements(
        self,
        target: Target,
        head: str,
        parts: Iterable[str],
        tail: str,
        joint: str = ", ",
    ) -> Iterator[str]:
        """Yields statements around some of the parts each, within bounds of number and bytes.

        Raises RowRefused for a part that no packet takes.
        """
        around = _size(head) + _size(tail) + 100
        some: list[str] = []
        total = around

        for part in parts:
            size = _size(part) + len(joint)
            alone = around + size
            if alone > self._packet:
                text = mark(
                    "a row takes {size} bytes, more than the server's max_allowed_packet of "
                    "{packet}"
                )
                reason = phrase(text, size=alone, packet=self._packet)
                raise self._refused(target, reason)

            full = len(some) == _AT_ONCE or total + size > _STATEMENT
            if some and full:
                yield head + joint.join(some) + tail
                some = []
                total = around

            some.append(part)
            total += size

        if some:
            yield head + joint.join(some) + tail

    # ---- look-up

    def spellings(self, target: Target) -> bool:
        """See FrontTables.spellings: keys are whole numbers, or texts compared bytewise."""
        return False

    def same_order(self, target: Target) -> bool:
        """See FrontTables.same_order."""
        return self._values_of(target).ordered

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See FrontTables.fetch."""
        names = self.shared_names(target)
        key_names = ", ".join(self.key_names(target))
        head = f"SELECT {names} FROM {self.table(target)} WHERE ({key_names}) IN ("
        tail = ")" + self.live(target)

        found: dict[Key, FrontRow] = {}
        with self._with_values(target) as values:
            wanted = map(_bracketed, values.keys(keys))
            for statement in self._statements(target, head, wanted, tail):
                for row in self._run(statement):
                    texts = values.texts(row)
                    key = tuple([str(texts[i]) for i in target.key])
                    found[key] = texts
        return found

    def keys_after(
        self,
        target: Target,
        after: Key | None,
        limit: int,
    ) -> list[Key]:
        """See FrontTables.keys_after."""
        names = ", ".join(self.key_names(target))
        with self._with_values(target) as values:
            where = self._range(target, values, after, None)
            statement = (
                f"SELECT {names} FROM {self.table(target)}"
                f" WHERE {where}"
                f" ORDER BY {names}"
                f" LIMIT {limit:d}"
            )
            rows = self._run(statement).all()
            return [values.key_texts(row) for row in rows]

    def lines(
        self,
        target: Target,
        after: Key | None,
        upto: Key | None,
    ) -> list[bytes]:
        """See FrontTables.lines."""
        names = self.shared_names(target)
        with self._with_values(target) as values:
            where = self._range(target, values, after, upto)
            statement = f"SELECT {names} FROM {self.table(target)} WHERE {where}"
            rows = self._run(statement)
            return [line_of(values.texts(row)) for row in rows]

    def _range(
        self,
        target: Target,
        values: Values,
        after: Key | None,
        upto: Key | None,
    ) -> str:
        """Returns the condition for keys past `after` up to `upto`."""
        names = self.key_names(target)
        where = "1 = 1"

        if after is not None:
            past = beyond(names, values.bound(after), ">")
            where += f" AND {past}"
        if upto is not None:
            until = beyond(names, values.bound(upto), "<=")
            where += f" AND {until}"

        return where + self.live(target)

    # ---- writing

    def put(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See TableRows.put."""
        deleted = self.deletes(rows)
        with self._with_values(target) as values:
            if target.soft_delete:
                statements = self._marks(target, values, deleted, batch)
            else:
                statements = self._deletes(target, values, deleted)
            for statement in statements:
                self._run(statement)

        keys = {target.columns[i].name for i in target.key}
        action = f" ON DUPLICATE KEY UPDATE {self._same_row(target)}"
        for name in self.all_names(target):
            if name not in keys:
                quoted_name = self.quote(name)
                action += f", {quoted_name} = VALUES({quoted_name})"

        self._insert(target, rows, batch, action)
        self.refuse_changed(target, rows)

    def add(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See TableRows.add."""
        self._insert(target, rows, batch, "")
        self.refuse_changed(target, rows)

    def _insert(
        self,
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
        tail: str,
    ) -> None:
        """Inserts the rows that are no deletes; `tail` says what happens where a key is taken."""
        names = self.names(self.all_names(target))
        head = f"INSERT INTO {self.table(target)} ({names}) VALUES "

        def parts(values: Values) -> Iterator[str]:
            for written in rows.values():
                if written.row is not None:
                    literals = values.row(written.row)
                    technical = self._technical(target, written, batch)
                    yield _bracketed(literals + technical)

        with self._with_values(target) as values:
            statements = self._statements(target, head, parts(values), tail)
            for statement in statements:
                self._run(statement)

    def _same_row(self, target: Target) -> str:
        """Returns the first assignment of an upsert: it fails where the row met has another key.

        A row is met where it has the same value in any unique index. A row of another key must not
        be overwritten.
        """
        names = self.key_names(target)
        first = names[0]
        conditions = [f"{name} <=> VALUES({name})" for name in names]
        same = " AND ".join(conditions)

        # A key column takes no NULL: error 1048. NULL leaves the column's own type to IF, where a
        # number would turn a large key into a DOUBLE and so into another one.
        return f"{first} = IF({same}, {first}, NULL)"

    def _technical(self, target: Target, written: Written, batch: int) -> list[str]:
        """Returns the technical values of a row as literals."""
        values = self.technical_values(target, written, batch)
        return [_literal(value) for value in values]

    def _deletes(
        self,
        target: Target,
        values: Values,
        deleted: Collection[Key],
    ) -> Iterator[str]:
        """Yields the statements that delete rows."""
        names = ", ".join(self.key_names(target))
        head = f"DELETE FROM {self.table(target)} WHERE ({names}) IN ("
        keys = map(_bracketed, values.keys(deleted))
        return self._statements(target, head, keys, ")")

    def _marks(
        self,
        target: Target,
        values: Values,
        deleted: Mapping[Key, Written],
        batch: int,
    ) -> Iterator[str]:
        """Yields the statements that mark rows as deleted.

        Each row gets its own technical values, joined by its key.
        """
        joins = []
        for i, name in enumerate(self.key_names(target)):
            joins.append(f"t.{name} = g.k{i}")
        changes = []
        for i, name in enumerate(target.technical.values()):
            changes.append(f"t.{self.quote(name)} = g.m{i}")

        def parts() -> Iterator[str]:
            for key, written in deleted.items():
                for literals in values.keys([key]):
                    technical = self._technical(target, written, batch)
                    named = _named("k", literals) + _named("m", technical)
                    yield f"SELECT {', '.join(named)}"

        head = f"UPDATE {self.table(target)} t JOIN ("
        tail = f") g ON {' AND '.join(joins)} SET {', '.join(changes)}"
        return self._statements(target, head, parts(), tail, " UNION ALL ")


def _size(part: str) -> int:
    """Returns the bytes of a text."""
    if part.isascii():
        return len(part)
    return len(part.encode())


def _literal(value: object) -> str:
    text = str(value)
    if isinstance(value, int):
        return text
    return quoted(text)


def _bracketed(literals: Sequence[str]) -> str:
    return f"({', '.join(literals)})"


def _named(letter: str, literals: Sequence[str]) -> list[str]:
    """Returns columns of a SELECT, named by a letter and their number."""
    named = []
    for i, literal in enumerate(literals):
        named.append(f"{literal} AS {letter}{i}")
    return named


def beyond(
    names: Sequence[str],
    literals: Sequence[str | Beyond],
    operator: str,
) -> str:
    """Compares keys: (a, b) > (x, y) becomes a >= x AND (a > x OR (a = x AND b > y)).

    This form uses the index. No row has an x that lies before or after all that the column holds:
    all rows, or none, are past it.
    """
    name = names[0]
    literal = literals[0]
    strict = operator[0]
    if isinstance(literal, Beyond):
        before = literal is Beyond.BEFORE
        wants_larger = strict == ">"
        return "1 = 1" if before == wants_larger else "1 = 0"
    if len(names) == 1:
        return f"{name} {operator} {literal}"

    rest = beyond(names[1:], literals[1:], operator)
    past = f"{name} {strict} {literal}"
    same = f"{name} = {literal}"
    return f"{name} {strict}= {literal} AND ({past} OR ({same} AND {rest}))"

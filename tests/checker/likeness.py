"""Compares rows of two sides by the source's own `=`, where their texts differ.

It finds which are missing, which stand under another spelling, and which are too many.

Filters are judged here, too: each value is cast by the source to the column's own type and compared
by that type's operator.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import psycopg
from psycopg import sql

from tests.checker.rows import SESSION, as_texts, front_rows
from tests.checker.table import Front, Key, SharedTable
from tests.checker.values import ValueType

TEXT = ValueType(25)  # of a column whose text is wanted as it is
# The type, its base where it is a domain, its collation, and the operator that its btree order
# takes for `=`.
COLUMN = """
    WITH RECURSIVE base (oid, typmod) AS (
        SELECT a.atttypid, a.atttypmod FROM pg_attribute a
        WHERE a.attrelid = %(table)s::regclass AND a.attname = %(column)s
        UNION ALL
        SELECT t.typbasetype, t.typtypmod FROM base JOIN pg_type t ON t.oid = base.oid
        WHERE t.typtype = 'd'
    )
    SELECT format_type(base.oid, base.typmod),
           (SELECT ' COLLATE ' || quote_ident(n.nspname) || '.' || quote_ident(c.collname)
            FROM pg_attribute a
                 JOIN pg_collation c ON c.oid = a.attcollation
                 JOIN pg_namespace n ON n.oid = c.collnamespace
            WHERE a.attrelid = %(table)s::regclass AND a.attname = %(column)s
                  AND c.collname <> 'default'),
            (SELECT 'OPERATOR(' || quote_ident(n.nspname) || '.' || p.oprname || ')'
            FROM pg_opclass k
                 JOIN pg_am m ON m.oid = k.opcmethod AND m.amname = 'btree'
                 JOIN pg_amop o ON o.amopfamily = k.opcfamily AND o.amopstrategy = 3
                      AND o.amoplefttype = k.opcintype AND o.amoprighttype = k.opcintype
            JOIN pg_operator p ON p.oid = o.amopopr JOIN pg_namespace n ON n.oid = p.oprnamespace
            WHERE k.opcdefault AND k.opcintype = base.oid)
    FROM base JOIN pg_type t ON t.oid = base.oid WHERE t.typtype <> 'd'"""


class Compared(NamedTuple):
    """A column as the source compares it."""

    name: str
    type: sql.Composable  # the base type, cast to
    collation: sql.Composable  # "" or a COLLATE clause
    equals: sql.Composable  # the operator with its schema

    def same(self, one: sql.Composable, other: sql.Composable) -> sql.Composed:
        """Returns the condition that two values, or texts of values, are equal."""
        return sql.SQL("({}::{}{} {} {}::{})").format(
            one, self.type, self.collation, self.equals, other, self.type
        )


class Condition(NamedTuple):
    """A condition of a filter."""

    column: str
    test: str  # is_in, not_in, is_null
    values: Sequence[str] = ()  # as PostgreSQL may be given them


class Likeness(NamedTuple):
    """How the keys of a front end stand to those of the source."""

    rows: int  # of the source, shared
    front: int  # rows of the front end that are not marked as deleted
    missing: int  # rows of the source with no equal key in the front end
    respelled: int  # such with an equal key in another text
    extra: int  # rows of the front end with no equal key at the source
    doubled: int  # rows of the front end whose key is equal to that of another one

    def __str__(self) -> str:
        words = {
            "missing": self.missing,
            "under another spelling": self.respelled,
            "that must not be there": self.extra,
            "twice": self.doubled,
        }
        told = ", ".join(f"{count} {word}" for word, count in words.items() if count)
        return (
            f"{self.rows} rows are shared, the front end has {self.front}: {told or 'equal keys'}"
        )


def likeness(
    source: Iterable[Key],
    front: Iterable[Key],
    equal: Callable[[Sequence[Key], Sequence[Key]], Iterable[tuple[Key, Key]]],
) -> Likeness:
    """Compares keys as texts.

    `equal` is asked only for keys that stand on one side; it returns (front end's, source's) keys
    that are the same row.
    """
    ours, theirs = set(source), Counter(front)
    without, unknown = (
        sorted(ours - theirs.keys(), key=repr),
        sorted(theirs.keys() - ours, key=repr),
    )
    pairs = list(equal(unknown, sorted(ours, key=repr))) if unknown else []
    home = dict(pairs)
    of_source = {key for _, key in pairs}
    respelled = sum(key in of_source for key in without)
    places = Counter({key: count for key, count in theirs.items() if key in ours})
    for key, target in home.items():
        places[target] += theirs[key]
    return Likeness(
        rows=len(ours),
        front=theirs.total(),
        missing=len(without) - respelled,
        respelled=respelled,
        extra=sum(theirs[key] for key in unknown if key not in home),
        doubled=sum(count - 1 for count in places.values() if count > 1),
    )


def compared(
    connection: psycopg.Connection, schema: str, table: str, columns: Sequence[str]
) -> list[Compared]:
    """Returns columns of a source table by the catalogue.

    It needs a session whose search_path holds pg_catalog only.
    """
    name = sql.Identifier(schema, table).as_string(connection)
    found = []
    for column in columns:
        row = connection.execute(COLUMN, {"table": name, "column": column}).fetchone()
        assert row is not None, f"{name} has no column {column}"
        kind, collation, operator = row
        found.append(
            Compared(
                column,
                sql.SQL(kind),
                sql.SQL(collation or ""),
                sql.SQL(operator or "OPERATOR(pg_catalog.=)"),
            )
        )
    return found


def condition(
    columns: Sequence[Compared], conditions: Sequence[Condition], row: str = ""
) -> sql.Composed:
    """Returns whether a row is shared: all conditions hold.

    `row` stands before each column, as NEW does in a trigger.
    """
    by_name = {column.name: column for column in columns}
    parts: list[sql.Composable] = [sql.SQL("true")]
    for one in conditions:
        column = by_name[one.column]
        place: sql.Composable = sql.Identifier(one.column)
        place = sql.SQL("{}.{}").format(sql.SQL(row), place) if row else place
        if one.test == "is_null":
            parts.append(sql.SQL("({} IS NULL)").format(place))
            continue
        among = sql.SQL(" OR ").join(
            [column.same(place, sql.Literal(value)) for value in one.values]
        )
        query = "({} IS NOT NULL AND ({}))" if one.test == "is_in" else "({} IS NULL OR NOT ({}))"
        parts.append(sql.SQL(query).format(place, among))
    return sql.SQL(" AND ").join(parts)


def connected(source: str) -> psycopg.Connection:
    """Returns a session at the source that does not depend on what somebody has set.

    Its texts and names are always the same.
    """
    connection = psycopg.connect(
        source, autocommit=True, options=f"{SESSION} -c search_path=pg_catalog"
    )
    as_texts(connection)
    return connection


def keys_of(source: str, front: Front, table: SharedTable, columns: Sequence[Compared]) -> Likeness:
    """Compares the keys of both sides; the key's columns are all of `columns`."""
    with connected(source) as connection:
        query = sql.SQL("SELECT {} FROM {} WHERE {}").format(
            sql.SQL(", ").join(sql.Identifier(column.name) for column in columns),
            sql.Identifier(table.schema, table.table),
            table.condition,
        )
        ours: list[Key] = connection.execute(query).fetchall()
        types = dict.fromkeys(table.names, TEXT)
        theirs = [_texts(connection, columns, key) for key, _ in front_rows(front, table, types)]

        def equal(unknown: Sequence[Key], known: Sequence[Key]) -> list[tuple[Key, Key]]:
            possible = [key for key in unknown if _castable(connection, columns, key)]
            return _pairs(connection, columns, possible, known) if possible else []

        return likeness(ours, theirs, equal)


def versions(source: str, table: sql.Identifier, seen: Mapping[str, int]) -> tuple[int, int]:
    """Counts the versions of rows that events have carried and should not have, by their marks.

    The first number is of those that must never have left, the second of those that were never
    there.
    """
    with connected(source) as connection:
        found: dict[str, str] = dict(
            connection.execute(sql.SQL("SELECT note, shared FROM {}").format(table)).fetchall()
        )
    leaked = sum(found.get(note) == "f" for note in seen)
    return leaked, sum(note not in found for note in seen)


def _texts(connection: psycopg.Connection, columns: Sequence[Compared], key: Key) -> Key:
    """Returns a key as texts of the source.

    What a database holds in a type of its own is written by the source, once more.
    """
    texts = []
    for column, value in zip(columns, key, strict=True):
        if value is None or isinstance(value, str):
            texts.append(value)
            continue
        given = f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)
        query = sql.SQL("SELECT {}::{}").format(sql.Literal(given), column.type)
        try:
            row = connection.execute(query).fetchone()
        except psycopg.DataError:
            row = (given,)
        texts.append(row[0] if row else given)
    return tuple(texts)


def _castable(connection: psycopg.Connection, columns: Sequence[Compared], key: Key) -> bool:
    parts = [
        sql.SQL("{}::{}").format(sql.Literal(part), column.type)
        for part, column in zip(key, columns, strict=True)
    ]
    try:
        connection.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(parts)))
    except psycopg.Error:
        return False
    return True


def _pairs(
    connection: psycopg.Connection,
    columns: Sequence[Compared],
    unknown: Sequence[Key],
    known: Sequence[Key],
) -> list[tuple[Key, Key]]:
    """Returns which keys are the same row, as the source has it."""
    names = [f"k{number}" for number in range(len(columns))]

    def texts(keys: Sequence[Key], alias: str) -> sql.Composed:
        arrays = [
            sql.SQL("{}::text[]").format(sql.Literal(list(column)))
            for column in zip(*keys, strict=True)
        ]
        listed = sql.SQL(", ").join(map(sql.Identifier, [*names, "place"]))
        return sql.SQL("unnest({}) WITH ORDINALITY {} ({})").format(
            sql.SQL(", ").join(arrays), sql.Identifier(alias), listed
        )

    match = [
        column.same(sql.Identifier("f", name), sql.Identifier("s", name))
        for column, name in zip(columns, names, strict=True)
    ]
    query = sql.SQL("SELECT f.place, s.place FROM {} JOIN {} ON {}").format(
        texts(unknown, "f"), texts(known, "s"), sql.SQL(" AND ").join(match)
    )
    found = connection.execute(query).fetchall()
    return [(unknown[int(one) - 1], known[int(other) - 1]) for one, other in found]

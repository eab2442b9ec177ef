"""Rows of the source and of any front end, in the forms events carry."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.types.string import TextLoader
from pymysql.cursors import SSCursor

from tests.checker.table import Front, Key, Row, SharedTable, in_mariadb
from tests.checker.values import TIMESTAMPTZ, ValueType, form, in_texts
from tests.services.mariadb import connected

SESSION = (
    "-c client_encoding=UTF8 -c TimeZone=UTC -c DateStyle=ISO,YMD "
    "-c IntervalStyle=iso_8601 -c extra_float_digits=3 -c bytea_output=hex"
)
READ_AT_ONCE = 10_000


# A type, what it is based on where it is a domain, what it holds where it is an array.
TYPE = """
    SELECT t.typdelim::text, nullif(t.typbasetype, 0)::int8, e.oid::int8
    FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
    WHERE t.oid = %s"""


def column_types(source: str, table: SharedTable) -> dict[str, ValueType]:
    """Returns the type of each shared column by its new name; of a domain it is the base type."""
    query = sql.SQL("SELECT {} FROM {} LIMIT 0").format(
        _names(table.columns), sql.Identifier(table.schema, table.table)
    )
    with psycopg.connect(source) as connection:
        description = connection.execute(query).description or []
        return dict(
            zip(
                table.names,
                [value_type(connection, column.type_code) for column in description],
                strict=True,
            )
        )


def value_type(connection: psycopg.Connection, oid: int) -> ValueType:
    """Returns a type of the source by its oid."""
    row = connection.execute(TYPE, [oid]).fetchone()
    assert row is not None
    delimiter, base, held = row
    if base is not None:
        return value_type(connection, base)
    return ValueType(oid, None if held is None else value_type(connection, held), delimiter)


def source_rows(
    source: str, table: SharedTable, types: Mapping[str, ValueType]
) -> Iterator[tuple[Key, Row]]:
    """Yields every shared row of the source."""
    query = sql.SQL("SELECT {} FROM {} WHERE {}")
    return _postgres_rows(
        source,
        table,
        types,
        query.format(
            _names(table.columns), sql.Identifier(table.schema, table.table), table.condition
        ),
    )


def front_rows(
    front: Front, table: SharedTable, types: Mapping[str, ValueType]
) -> Iterator[tuple[Key, Row]]:
    """Yields every row of the front end that is not marked as deleted."""
    if isinstance(front, Path):
        return _sqlite_rows(front, table, types)
    if in_mariadb(front):
        return _mariadb_rows(front, table, types)
    query = sql.SQL("SELECT {} FROM {} WHERE {}")
    live = (
        sql.SQL("{} = 0").format(sql.Identifier(table.deleted))
        if table.deleted
        else sql.SQL("true")
    )
    return _postgres_rows(
        front,
        table,
        types,
        query.format(_names(table.names), sql.Identifier(*table.front.split(".")), live),
    )


def _postgres_rows(
    conninfo: str, table: SharedTable, types: Mapping[str, ValueType], query: sql.Composed
) -> Iterator[tuple[Key, Row]]:
    with psycopg.connect(conninfo, options=SESSION) as connection:
        as_texts(connection)
        with connection.cursor("judge") as cursor:
            cursor.itersize = READ_AT_ONCE
            yield from _formed(table, types, cursor.execute(query))


def _sqlite_rows(
    path: Path, table: SharedTable, types: Mapping[str, ValueType]
) -> Iterator[tuple[Key, Row]]:
    condition = f"{_quoted(table.deleted)} = 0" if table.deleted else "true"
    columns = ", ".join(map(_quoted, table.names))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield from _formed(
            table,
            types,
            connection.execute(f"SELECT {columns} FROM {_quoted(table.front)} WHERE {condition}"),
        )


def _mariadb_rows(
    url: str, table: SharedTable, types: Mapping[str, ValueType]
) -> Iterator[tuple[Key, Row]]:
    condition = f"{_quoted(table.deleted, '`')} = 0" if table.deleted else "true"
    columns = ", ".join(_quoted(name, "`") for name in table.names)
    name = ".".join(_quoted(part, "`") for part in table.front.split("."))
    with connected(url) as connection, connection.cursor(SSCursor) as cursor:
        cursor.execute(f"SELECT {columns} FROM {name} WHERE {condition}")
        zoned = [types[name].oid == TIMESTAMPTZ for name in table.names]
        rows = (tuple(map(in_texts, row, zoned)) for row in cursor)
        yield from _formed(table, types, rows)


def _formed(
    table: SharedTable, types: Mapping[str, ValueType], rows: Iterable[Row]
) -> Iterator[tuple[Key, Row]]:
    kinds, places = [types[name] for name in table.names], table.key_places
    for values in rows:
        row = tuple(map(form, kinds, values))
        yield tuple([row[place] for place in places]), row


def as_texts(connection: psycopg.Connection) -> None:
    """Gives every value as PostgreSQL writes it.

    A cast to text would not: it takes the blanks from a char(n).
    """
    for known in connection.adapters.types:
        for oid in (known.oid, known.array_oid):
            connection.adapters.register_loader(oid, TextLoader)


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _quoted(name: str, mark: str = '"') -> str:
    return mark + name.replace(mark, mark * 2) + mark

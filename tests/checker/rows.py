"""Rows of a source and of a front end of any kind, in the forms events carry."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.types.string import TextLoader
from pymysql.cursors import SSCursor

from tests.checker.table import Database, Front, Key, Row, SharedTable, in_mariadb
from tests.checker.values import DECLARED, TIMESTAMPTZ, ValueType, form, in_texts
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


def column_types(source: Database, table: SharedTable) -> dict[str, ValueType]:
    """Returns the type of each shared column by its new name; of a domain it is the base type."""
    if isinstance(source, Path):
        return _declared_types(source, table)
    if in_mariadb(source):
        return _types(table, _described(source, table))
    places = [table.schema, table.table] if table.schema else [table.table]
    query = sql.SQL("SELECT {} FROM {} LIMIT 0").format(
        _names(table.columns), sql.Identifier(*places)
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


def _declared_types(file: Path, table: SharedTable) -> dict[str, ValueType]:
    """Returns the types that the columns of a SQLite table are declared with."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        listed = connection.execute("SELECT name, type FROM pragma_table_info(?)", [table.table])
        return _types(table, dict(listed.fetchall()))


def _described(url: str, table: SharedTable) -> dict[str, str]:
    """Returns the types of a table in MariaDB by its columns."""
    listed = (
        "SELECT column_name, upper(data_type) FROM information_schema.columns "
        "WHERE table_schema = database() AND table_name = %s"
    )
    with connected(url) as connection, connection.cursor() as cursor:
        cursor.execute(listed, [table.table])
        return dict(cursor.fetchall())


def _types(table: SharedTable, declared: Mapping[str, str]) -> dict[str, ValueType]:
    """Returns types by new names, from the words of the columns' types."""
    types = {}
    for column, name in table.columns.items():
        word = declared[column].partition("(")[0]
        types[name] = ValueType(DECLARED[word])
    return types


def value_type(connection: psycopg.Connection, oid: int) -> ValueType:
    """Returns a type of the source by its oid."""
    row = connection.execute(TYPE, [oid]).fetchone()
    assert row is not None
    delimiter, base, held = row
    if base is not None:
        return value_type(connection, base)
    return ValueType(oid, None if held is None else value_type(connection, held), delimiter)


def source_rows(
    source: Database, table: SharedTable, types: Mapping[str, ValueType]
) -> Iterator[tuple[Key, Row]]:
    """Yields every shared row of the source."""
    places = [table.schema, table.table] if table.schema else [table.table]
    return _rows(source, table, types, _query(table.columns, places, table.condition))


def front_rows(
    front: Front, table: SharedTable, types: Mapping[str, ValueType]
) -> Iterator[tuple[Key, Row]]:
    """Yields every row of the front end that is not marked as deleted."""
    places = [table.front] if isinstance(front, Path) else table.front.split(".")
    live: sql.Composable = sql.SQL("true")
    if table.deleted:
        live = sql.SQL("{} = 0").format(sql.Identifier(table.deleted))
    return _rows(front, table, types, _query(table.names, places, live))


def _query(
    columns: Iterable[str], places: Sequence[str], condition: sql.Composable
) -> sql.Composed:
    """Returns the statement that reads columns; every database understands it."""
    query = sql.SQL("SELECT {} FROM {} WHERE {}")
    return query.format(_names(columns), sql.Identifier(*places), condition)


def _rows(
    database: Database, table: SharedTable, types: Mapping[str, ValueType], query: sql.Composed
) -> Iterator[tuple[Key, Row]]:
    if isinstance(database, Path):
        return _sqlite_rows(database, table, types, query)
    if in_mariadb(database):
        return _mariadb_rows(database, table, types, query)
    return _postgres_rows(database, table, types, query)


def _postgres_rows(
    conninfo: str, table: SharedTable, types: Mapping[str, ValueType], query: sql.Composed
) -> Iterator[tuple[Key, Row]]:
    with psycopg.connect(conninfo, options=SESSION) as connection:
        as_texts(connection)
        with connection.cursor("judge") as cursor:
            cursor.itersize = READ_AT_ONCE
            yield from _formed(table, types, cursor.execute(query))


def _sqlite_rows(
    path: Path, table: SharedTable, types: Mapping[str, ValueType], query: sql.Composed
) -> Iterator[tuple[Key, Row]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield from _formed(table, types, connection.execute(query.as_string(None)))


def _mariadb_rows(
    url: str, table: SharedTable, types: Mapping[str, ValueType], query: sql.Composed
) -> Iterator[tuple[Key, Row]]:
    with connected(url) as connection, connection.cursor(SSCursor) as cursor:
        cursor.execute("SET sql_mode = 'ANSI', time_zone = '+00:00'")
        cursor.execute(query.as_string(None))
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

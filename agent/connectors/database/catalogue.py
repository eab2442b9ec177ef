"""Tables as the database's own catalogue has them, asked through SQLAlchemy's inspector."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Inspector, inspect
from sqlalchemy.exc import NoSuchTableError, SAWarning

from agent.connectors.base import Fingerprint
from agent.connectors.changes import Column, Relation
from agent.connectors.dialects.base import Dialect, Kind
from agent.connectors.table import SourceColumn, SourceTable, TableName

_IDENTITY = "d"  # a row is named by its key


class ReadTable(NamedTuple):
    """A table, and how each of its columns is read."""

    table: SourceTable
    kinds: Mapping[str, Kind]  # by column
    # The kinds of those columns whose values have one text each, as they would be in a key
    exact: Mapping[str, Kind]
    unreadable: Mapping[str, str]  # columns of types that the agent cannot read, with these types
    relation: Relation  # the table as the stream describes it: its rows have all these columns

    @property
    def name(self) -> str:
        """Names the table as users write it."""
        table = self.table
        return f"{table.schema}.{table.table}" if table.schema else table.table


def tables(
    connection: Connection,
    dialect: Dialect,
    keys: Mapping[TableName, Sequence[str]],
) -> dict[TableName, ReadTable]:
    """Returns the tables and views that exist, by schema ('': the session's own) and name.

    `keys` are the places asked for, each with the key that is configured for it; () for the one
    that the catalogue has. Raises the errors of the driver.
    """
    # It remembers what it was told, so it serves for one look only
    inspector = inspect(connection)
    found = {}
    for number, (place, key) in enumerate(keys.items(), 1):
        try:
            found[place] = _described(inspector, dialect, number, place, key)
        except NoSuchTableError:
            continue
    return found


def _described(
    inspector: Inspector,
    dialect: Dialect,
    number: int,
    place: TableName,
    key: Sequence[str],
) -> ReadTable:
    schema, name = place
    with warnings.catch_warnings():
        # Of types that SQLAlchemy does not know; the dialect says what becomes of them
        warnings.simplefilter("ignore", SAWarning)
        described = dialect.columns(inspector, schema, name)
    key = tuple(key) or _key(inspector, place, described)

    columns = []
    kinds = {}
    exact = {}
    unreadable = {}
    for column in described:
        column_name = str(column["name"])
        as_key = dialect.kind(column["type"], in_key=True)
        kind = as_key if column_name in key else dialect.kind(column["type"], in_key=False)
        if as_key is not None:
            exact[column_name] = as_key
        if kind is None:
            unreadable[column_name] = dialect.type_name(column["type"])
            continue
        kinds[column_name] = kind
        columns.append(_column(column_name, kind, nullable=column["nullable"]))

    if unreadable.keys() & set(key):
        key = ()
    table = SourceTable(number, schema, name, tuple(columns), key, _IDENTITY)
    return ReadTable(table, kinds, exact, unreadable, _relation(table))


def _key(
    inspector: Inspector,
    place: TableName,
    described: Iterable[Mapping[str, Any]],
) -> tuple[str, ...]:
    """Returns the primary key, else the first unique constraint over columns that are never NULL.

    () where there is neither.
    """
    schema, name = place
    primary = inspector.get_pk_constraint(name, schema=schema or None)
    if primary["constrained_columns"]:
        return tuple(primary["constrained_columns"])

    filled = {column["name"] for column in described if not column["nullable"]}
    unique = inspector.get_unique_constraints(name, schema=schema or None)
    usable = []
    for constraint in unique:
        columns = tuple(constraint["column_names"])
        if filled.issuperset(columns):
            usable.append(columns)
    return min(usable, default=())


def _column(name: str, kind: Kind, *, nullable: bool) -> SourceColumn:
    return SourceColumn(
        name,
        kind.oid,
        kind.oid,
        kind.name,
        builtin=True,
        not_null=not nullable,
        generated="",
        elements=kind.elements,
    )


def _relation(table: SourceTable) -> Relation:
    columns = []
    for column in table.columns:
        in_key = column.name in table.key
        columns.append(Column(column.name, column.type_oid, -1, in_key))
    return Relation(table.oid, table.schema, table.table, _IDENTITY, tuple(columns))


def fingerprint(read: ReadTable, columns: Iterable[str]) -> Fingerprint:
    """Returns what must not change unseen: the key, and the types of the columns that are read."""
    parts = {"key": ",".join(read.table.key)}
    for name in sorted(set(columns)):
        kind = read.kinds.get(name)
        parts[f"column {name}"] = "" if kind is None else kind.name
    return Fingerprint(copy=parts)

"""Front-end tables in SQLite: names, types, and whether an existing one is fit."""

import sqlite3
import string
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Literal, NamedTuple

from sqlalchemy import Connection, Engine, inspect

from agent.front.catalogue import Catalogue
from agent.front.sqlite import catalogue as sqlite_catalogue
from agent.front.sqlite import columns
from agent.front.store import SqlFront
from agent.front.table_owners import LISTS, Place
from agent.messages import phrase
from agent.resource import Target

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class _Column(NamedTuple):
    """A column as PRAGMA table_info has it."""

    declared: str
    not_null: bool
    default: object

    # From 1; 0: it is no part of the primary key
    place_in_key: int


class _Looked(NamedTuple):
    """What the catalogue said of a table, and the version of the schema that said it."""

    target: Target
    version: int
    parts: Mapping[str, str]


class SqliteTables(SqlFront):
    """Defines and checks front-end tables in SQLite."""

    def __init__(self, engine: Engine, agent: str) -> None:
        super().__init__(engine, agent)
        self._looked: dict[str, _Looked] = {}  # by resource

    # ---- names and types

    def name_fault(self, name: str, of_table: bool) -> str:
        """See TableDefinitions.name_fault."""
        if of_table and name.lower().startswith("sqlite_"):
            return phrase("begins with sqlite_, which SQLite keeps for itself")
        return ""

    def most_columns(self) -> int:
        """See TableDefinitions.most_columns: what the library was built with."""
        with closing(sqlite3.connect(":memory:")) as connection:
            return connection.getlimit(sqlite3.SQLITE_LIMIT_COLUMN)

    def column_type(self, target: Target, index: int) -> str:
        """See TableDefinitions.column_type."""
        return columns.column_type(target.columns[index])

    def technical_type(self, role: str) -> str:
        """See TableDefinitions.technical_type. Times are TEXT here."""
        declared = super().technical_type(role)
        return "TEXT" if declared == "TIMESTAMP" else declared

    # ---- place

    def place(self, connection: Connection, target: Target) -> Place:
        """See TableOwners.place."""
        return Place("main", target.table)

    def folded(self, connection: Connection, place: Place) -> Place:
        """See TableOwners.folded. SQLite folds ASCII letters only."""
        schema = place.schema.translate(_LOWER)
        table = place.table.translate(_LOWER)
        return Place(schema, table)

    def lists(self, connection: Connection) -> Sequence[tuple[str | None, str, bool]]:
        """See TableOwners.lists."""
        found = connection.exec_driver_sql(
            "SELECT name FROM sqlite_master"
            f" WHERE type = 'table' AND name LIKE '{LISTS}' ESCAPE '!'"
        )
        return [(None, name, True) for name in found.scalars()]

    # ---- an existing table

    def read_catalogue(self, connection: Connection, target: Target) -> Catalogue:
        """See TableRows.read_catalogue."""
        return sqlite_catalogue.read(connection, target)

    def catalogue(self, target: Target) -> Mapping[str, str]:
        """See FrontTables.catalogue. Nothing has changed as long as the schema has its version."""
        if self._connection is None:
            return super().catalogue(target)
        version = self.version_of("schema")
        looked = self._looked.get(target.resource)
        if looked is None or looked.target is not target or looked.version != version:
            parts = super().catalogue(target)
            looked = self._looked[target.resource] = _Looked(target, version, parts)
        return looked.parts

    def version_of(self, what: Literal["schema", "data"]) -> int:
        """Returns the number that any change of the schema raises, or of others' to the data."""
        with self.guarded():
            driver = self.connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            (version,) = driver.execute(f"PRAGMA {what}_version").fetchone()
        return int(version)

    def check_shape(self, target: Target) -> None:
        """See TableRows.check_shape."""
        with self.reading(target) as connection:
            if not inspect(connection).has_table(target.table):
                raise self.wrong(target, phrase("it does not exist"))
            found = self._columns_of(connection, target)
            collations = self._key_collations(connection, target)

        self._check_columns(target, found)
        self._check_key(target, found, collations)

    def _columns_of(self, connection: Connection, target: Target) -> dict[str, _Column]:
        """Reads the columns of a table."""
        table = self.quote(target.table)
        rows = connection.exec_driver_sql(f"PRAGMA table_info({table})").all()
        found = {}
        for _, name, declared, not_null, default, place_in_key in rows:
            found[name] = _Column(declared, bool(not_null), default, place_in_key)
        return found

    def _key_collations(self, connection: Connection, target: Target) -> set[str]:
        """Reads the collations of the primary key's index; an INTEGER PRIMARY KEY has none."""
        table = self.quote(target.table)
        indexes = connection.exec_driver_sql(f"PRAGMA index_list({table})").all()
        found: set[str] = set()
        for _, name, _, origin, *_ in indexes:
            if origin != "pk":
                continue

            index = self.quote(name)
            rows = connection.exec_driver_sql(f"PRAGMA index_xinfo({index})").all()
            for row in rows:
                collation, in_key = row[4:]
                if in_key:
                    found.add(collation.upper())
        return found

    def _check_columns(self, target: Target, found: Mapping[str, _Column]) -> None:
        """Raises FrontTableWrong where a column is missing, changes values, or refuses rows."""
        for i, column in enumerate(target.columns):
            there = found.get(column.name)
            if there is None:
                raise self.missing(target, i)

            if not columns.keeps(column, there.declared):
                reason = phrase(
                    "column {name} is {declared}, which changes values; it must be {wanted}",
                    name=column.name,
                    declared=there.declared,
                    wanted=self.column_type(target, i) or "no type",
                )
                raise self.wrong(target, reason)

            in_key = i in target.key
            if there.not_null and not column.not_null and not in_key:
                reason = phrase("column {name} is NOT NULL, the source's is not", name=column.name)
                raise self.wrong(target, reason)

        for role, name in target.technical.items():
            if name not in found:
                raise self.missing_technical(target, role)

        ours = self.all_names(target)
        for name, other in found.items():
            if name not in ours and other.not_null and other.default is None:
                reason = phrase(
                    "column {name} is NOT NULL without a default and not shared",
                    name=name,
                )
                raise self.wrong(target, reason)

    def _check_key(
        self,
        target: Target,
        found: Mapping[str, _Column],
        collations: set[str],
    ) -> None:
        """Raises FrontTableWrong where the primary key is another one, or not compared bytewise."""
        wanted = {target.columns[i].name for i in target.key}
        key = set()
        for name, column in found.items():
            if column.place_in_key:
                key.add(name)

        if key != wanted:
            names = ", ".join(sorted(wanted))
            raise self.wrong(target, phrase("its primary key must be ({names})", names=names))
        if collations - {"BINARY"}:
            names = ", ".join(sorted(collations))
            reason = phrase("its key has collation {names}; it must be BINARY", names=names)
            raise self.wrong(target, reason)

"""A shared table as the judge sees it."""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import sql

Row = tuple[Any, ...]  # shared columns in order, in the form an event carries
Key = tuple[Any, ...]
# A SQLite file, the conninfo of a PostgreSQL database, or a URL mariadb://user@host:port/database
Database = Path | str
Front = Database


def in_mariadb(database: Database) -> bool:
    """Tells whether a database is one of MariaDB or MySQL."""
    return str(database).startswith(("mariadb://", "mysql://"))


class SharedTable(NamedTuple):
    """What the judge must know of a shared table."""

    topic: str
    schema: str
    table: str
    columns: Mapping[str, str]  # source column -> its name in front end and events, in order
    key: tuple[str, ...]  # source columns
    front: str  # table in the front end
    condition: sql.Composable = sql.SQL("true")  # which source rows are shared
    deleted: str | None = None  # front-end column that marks a deleted row

    @property
    def names(self) -> list[str]:
        """The shared columns under their new names."""
        return list(self.columns.values())

    @property
    def key_names(self) -> list[str]:
        """The key's columns under their new names."""
        return [self.columns[column] for column in self.key]

    @property
    def key_places(self) -> list[int]:
        """Where the key's columns stand within a row."""
        return [list(self.columns).index(column) for column in self.key]


def digest(row: Row) -> bytes:
    """Returns a row in canonical form, in eight bytes."""
    return blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=8).digest()

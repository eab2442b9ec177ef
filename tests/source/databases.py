"""Databases of several kinds for the tests of what is read through SQLAlchemy."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Connection, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from agent.connectors.base import Source
from agent.connectors.database.session import Database
from agent.connectors.polling.source import PollingSource
from agent.connectors.position import position_text
from agent.connectors.resume import CommitMark, Resume
from tests.services.firebird import firebird
from tests.services.fixtures import fresh_database
from tests.source.polled import polling_settings

KINDS = ("sqlite", "mariadb", "postgresql")
MYSQL = ("mysql8", "mysql9")
# PostgreSQL through another driver, or through SQLAlchemy's dialects of its kin
DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "psycopg2": "postgresql+psycopg2",
    "kingbase": "kingbase",
    "opengauss": "opengauss",
}
if sys.version_info >= (3, 14):
    del DRIVERS["kingbase"]  # whose driver has no wheel for it


class Place:
    """A fresh database: its URL, and statements of the application."""

    def __init__(self, kind: str, url: URL, owner: URL | None = None) -> None:
        """`url` is the agent's, `owner` that of the application where it is another one."""
        self.kind = kind
        # Whose types it has
        self.family = "postgresql" if kind in DRIVERS else url.get_backend_name()
        self.url = url
        self.owner = owner or url
        self._engine = create_engine(self.owner, poolclass=NullPool)

    @property
    def database(self) -> Database:
        """The agent's way to it."""
        return Database(self.url.render_as_string(hide_password=False), None, 20.0)

    def execute(self, *statements: str) -> None:
        """Runs the statements in one transaction and commits; in Firebird each in its own."""
        with self._engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(self._spelled(statement))
                if self.kind == "firebird" and not statement.startswith(("INSERT", "DELETE")):
                    # A table that was made is there after the commit
                    connection.commit()
            connection.commit()

    def _spelled(self, statement: str) -> str:
        """Returns a statement as Firebird knows it: no IF EXISTS, and one row of VALUES."""
        if self.kind != "firebird":
            return statement
        insert, found, rows = statement.partition(" VALUES (")
        if found and "), (" in rows:
            listed = rows.removesuffix(")").split("), (")
            return insert + " UNION ALL".join(f" SELECT {row} FROM rdb$database" for row in listed)
        begin, found, name = statement.partition("DROP TABLE IF EXISTS ")
        if begin or not found:
            return statement
        there = f"SELECT 1 FROM rdb$relations WHERE rdb$relation_name = '{name.upper()}'"
        drop = f"EXECUTE STATEMENT 'DROP TABLE {name}'"
        return f"EXECUTE BLOCK AS BEGIN IF (EXISTS({there})) THEN {drop}; END"

    def insert(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Inserts rows, with parameters such as `:id`."""
        with self._engine.begin() as connection:
            connection.execute(text(statement), list(rows))

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """A connection of the application, in autocommit mode where the driver has one."""
        with self._engine.connect() as connection:
            if self.kind == "firebird":
                yield connection
                return
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection of the application, in a transaction that is rolled back in the end."""
        with self._engine.connect() as connection:
            yield connection


@contextmanager
def place_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    """Makes a database of this kind."""
    if kind == "sqlite":
        path = folder / "business.db"
        url = URL.create("sqlite", database=str(path))
        place = Place(kind, url)
        place.execute("PRAGMA journal_mode = WAL")
        yield place
    elif kind == "mariadb":
        server = request.getfixturevalue("mariadb_server")
        with server.fresh_database() as address:
            url = make_url(address).set(drivername="mariadb+pymysql")
            yield Place(kind, url, url.set(username=server.url.username))
    elif kind == "firebird":
        with firebird(folder) as url:
            yield Place(kind, url)
    elif kind in MYSQL:
        server = request.getfixturevalue(f"{kind}_server")
        with server.fresh_database() as address:
            url = make_url(address)
            yield Place(kind, url, url.set(username=server.url.username))
    else:
        server = request.getfixturevalue("postgres18")
        with fresh_database(server) as conninfo:
            given = conninfo_to_dict(conninfo)
            url = URL.create(
                DRIVERS[kind],
                str(given["user"]),
                str(given["password"]) if given.get("password") else None,
                str(given["host"]),
                int(given.get("port") or 5432),
                str(given["dbname"]),
            )
            yield Place(kind, url, url.set(drivername=DRIVERS["postgresql"]))


class PolledBusiness:
    """See PagedBusiness: a table that is compared alone, so that looks deliver nothing."""

    def __init__(self, place: Place) -> None:
        self._place = place
        place.execute("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, note VARCHAR(40))")
        resource = {
            "name": "orders",
            "table": "orders",
            "columns": ["id", "note"],
            "poll": {"mode": "compare", "compare": "02:00"},
        }
        url = place.url.render_as_string(hide_password=False)
        self._source = PollingSource(polling_settings(url, resource))

    def hold(self, *numbers: int) -> None:
        """See PagedBusiness.hold."""
        for number in numbers:
            self._place.execute(f"INSERT INTO orders VALUES ({number}, 'order {number}')")

    def source(self) -> Source:
        """See PagedBusiness.source."""
        return self._source

    def initial(self) -> Resume:
        """See PagedBusiness.initial."""
        return Resume(position_text(100), CommitMark("", 0, 0), {})

    def analyse(self) -> None:
        """See PagedBusiness.analyse: in Firebird the rows are counted."""
        if self._place.kind == "firebird":
            return
        plain = self._place.family in ("sqlite", "postgresql")
        self._place.execute("ANALYZE" if plain else "ANALYZE TABLE orders")

"""Business databases other than PostgreSQL: SQLite, MariaDB."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, ClassVar, Protocol

from psycopg import sql
from sqlalchemy import URL

from demo.plain import CHANGED, Row
from demo.unit import DATABASE
from tests.checker.plan import columns, relation
from tests.checker.table import Database
from tests.checker.unit import UnitTable
from tests.services.mariadb import MariaDbServer, connected
from tests.services.processes import Workspace

AGENT = "sync_agent"  # whom the agent logs in as


class Business(Protocol):
    """A database of one kind; it keeps itself when each row was last changed."""

    name: ClassVar[str]  # as its makers write it

    @property
    def database(self) -> Database:
        """Where its applications write; '' before `open`."""

    @property
    def url(self) -> str:
        """The agent's way to it."""

    def open(self, everything: ExitStack, tables: Sequence[UnitTable]) -> str:
        """Starts it, makes the tables, and lets the agent read them.

        Everything ends with the stack. Returns what the database is, in words.
        """

    def insert(self, table: UnitTable, rows: Iterable[Row]) -> None:
        """Inserts rows that have the same columns, in one transaction."""

    def execute(self, statement: str) -> int:
        """Runs a statement of an application, and returns how many rows it has changed."""

    def shell(self) -> str:
        """Returns how to look into the database."""


class SQLiteBusiness:
    """See Business: a file."""

    name: ClassVar[str] = "SQLite"
    _NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    _KEEPS_TIME = f"""
        CREATE TRIGGER "{{name}}_改" AFTER UPDATE ON "{{name}}"
        WHEN new."{CHANGED}" = old."{CHANGED}"
        BEGIN
            UPDATE "{{name}}" SET "{CHANGED}" = {_NOW} WHERE {{key}};
        END"""

    def __init__(self) -> None:
        self._file = Path("nowhere")

    @property
    def database(self) -> Path:
        """See Business.database."""
        return self._file

    @property
    def url(self) -> str:
        """See Business.url."""
        return f"sqlite:///{self._file}"

    def open(self, everything: ExitStack, tables: Sequence[UnitTable]) -> str:
        """See Business.open."""
        workspace = Workspace("unit")
        everything.callback(workspace.close)
        self._file = workspace.path / f"{DATABASE}.db"
        with closing(sqlite3.connect(self._file)) as connection, connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for table in tables:
                for statement in self._statements(table):
                    connection.execute(statement)
        return f"SQLite {sqlite3.sqlite_version}"

    def _statements(self, table: UnitTable) -> Iterable[str]:
        yield from made(table, f"DATETIME NOT NULL DEFAULT ({self._NOW})")
        same = [f'"{column}" = new."{column}"' for column in table.key]
        yield self._KEEPS_TIME.format(name=table.name, key=" AND ".join(same))

    def insert(self, table: UnitTable, rows: Iterable[Row]) -> None:
        """See Business.insert."""
        statement, values = inserted(table, rows)
        with closing(sqlite3.connect(self._file, timeout=60)) as connection, connection:
            connection.executemany(statement.replace("%s", "?"), values)

    def execute(self, statement: str) -> int:
        """See Business.execute."""
        with closing(sqlite3.connect(self._file, timeout=60)) as connection, connection:
            return connection.execute(statement).rowcount

    def shell(self) -> str:
        """See Business.shell."""
        return f"sqlite3 {self._file}"


class MariaDbBusiness:
    """See Business: a server, at which the agent has the rights of docs/sources and no others."""

    name: ClassVar[str] = "MariaDB"
    _CHANGED = "DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)"
    _OPTIONS: ClassVar[Sequence[str]] = ()  # of the server
    # Keys that differ by case or blanks alone are several, as everywhere
    _EXACT = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"

    def __init__(self) -> None:
        self._url = URL.create("mariadb")

    @property
    def database(self) -> str:
        """See Business.database."""
        return self._url.render_as_string()

    @property
    def url(self) -> str:
        """See Business.url."""
        return self._url.set(drivername="mariadb+pymysql", username=AGENT).render_as_string()

    def open(self, everything: ExitStack, tables: Sequence[UnitTable]) -> str:
        """See Business.open."""
        server = everything.enter_context(MariaDbServer.start(*self._OPTIONS))
        self._url = server.url.set(database=DATABASE)
        with connected(server.url) as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES'")
            cursor.execute(f"CREATE DATABASE {DATABASE} {self._EXACT}")
            cursor.execute(f"USE {DATABASE}")
            cursor.execute(f"CREATE USER {AGENT}@'%' IDENTIFIED BY ''")
            for table in tables:
                for statement in made(table, self._CHANGED):
                    cursor.execute(statement)
            for rights in self._rights(tables):
                cursor.execute(f"GRANT {rights} TO {AGENT}@'%'")
            cursor.execute("SELECT version()")
            ((version,),) = cursor.fetchall()
        return f"MariaDB {str(version).partition('-')[0]}"

    def _rights(self, tables: Sequence[UnitTable]) -> Iterable[str]:
        """Yields what the agent may do, and where."""
        for table in tables:
            yield f"SELECT, TRIGGER ON {relation(table).as_string()}"
        yield f"CREATE, SELECT, INSERT, DELETE ON {DATABASE}.sync_agent_log"

    def insert(self, table: UnitTable, rows: Iterable[Row]) -> None:
        """See Business.insert."""
        statement, values = inserted(table, rows)
        with connected(self._url) as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES'")
            connection.begin()
            cursor.executemany(statement, values)
            connection.commit()

    def execute(self, statement: str) -> int:
        """See Business.execute."""
        with connected(self._url) as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES'")
            return int(cursor.execute(statement))

    def shell(self) -> str:
        """See Business.shell."""
        return f"mariadb -h {self._url.host} -P {self._url.port} -u {self._url.username} {DATABASE}"


class LoggingBusiness(MariaDbBusiness):
    """See Business: a server whose binary log the agent reads."""

    _OPTIONS: ClassVar[Sequence[str]] = (
        "--log-bin=log",
        "--server-id=1",
        "--binlog-format=ROW",
        "--binlog-row-metadata=FULL",
    )

    def _rights(self, tables: Sequence[UnitTable]) -> Iterable[str]:
        """See MariaDbBusiness."""
        for table in tables:
            yield f"SELECT ON {relation(table).as_string()}"
        yield "REPLICATION SLAVE, BINLOG MONITOR ON *.*"


BUSINESSES: Mapping[str, type[SQLiteBusiness | MariaDbBusiness]] = {
    "sqlite": SQLiteBusiness,
    "mariadb": MariaDbBusiness,
}


def made(table: UnitTable, changed: str) -> Iterable[str]:
    """Yields what makes a table and the index by the time of the last change.

    `changed` declares the column of that time.
    """
    name = relation(table).as_string()
    yield f"CREATE TABLE {name}" + table.ddl.replace("{changed}", f'"{CHANGED}" {changed}')
    listed = columns([CHANGED, *table.key]).as_string()
    yield f'CREATE INDEX "{table.name}_按时间" ON {name} ({listed})'


def inserted(table: UnitTable, rows: Iterable[Row]) -> tuple[str, list[list[Any]]]:
    """Returns a statement that inserts rows of the same columns, and its values."""
    every = list(rows)
    if not every:
        return "SELECT 1", []
    places = sql.SQL(", ").join([sql.SQL("%s")] * len(every[0]))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        relation(table), columns(every[0]), places
    )
    return statement.as_string(), [list(row.values()) for row in every]

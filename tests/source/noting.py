"""Databases in which triggers note what an application does, for the tests of the trigger log."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.pool import NullPool

from agent.connectors.trigger.databases.base import KeyPart, LoggedTable, TriggerLog
from agent.connectors.trigger.databases.opening import trigger_log_of
from tests.services.firebird import firebird, firebird_url
from tests.services.fixtures import fresh_database

ORDERS = LoggedTable("", "orders", (KeyPart("id"),))
CREATE_ORDERS = "CREATE TABLE orders (id INT NOT NULL PRIMARY KEY, note VARCHAR(50), price INT)"
# As the application that has no right on the log
APPLICATION = "application"
RIGHTS = "SELECT, INSERT, UPDATE, DELETE"


class Noting:
    """A database, seen by its administrator and by an application."""

    def __init__(self, url: URL, log: TriggerLog, application: URL | None) -> None:
        self.url = url
        self.log = log
        self.backend = url.get_backend_name()
        self._application = application or url
        self.engine = engine_of(url)

    def connect(self) -> Connection:
        """Returns a connection of the application, for `step`."""
        return engine_of(self._application).connect()

    def run(self, *statements: str) -> None:
        """Runs statements of the application, each as a transaction of its own."""
        with self.connect() as connection:
            for statement in statements:
                step(connection, statement)

    def administer(self, *statements: str) -> None:
        """Runs statements of the administrator, each as a transaction of its own."""
        with self.engine.connect() as connection:
            for statement in statements:
                step(connection, statement)

    def together(self, *statements: str) -> None:
        """Runs statements of the application in one transaction."""
        with engine_of(self._application).begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def make(self, table: LoggedTable = ORDERS, create: str = CREATE_ORDERS) -> None:
        """Makes a table whose changes are noted; the application may write it."""
        self.administer(create)
        if self._application is not self.url:
            self.grant(table.name)
        self.administer(*self.log.create_triggers(table))

    def grant(self, table: str) -> None:
        """Lets the application write a table."""
        user = str(self._application.username)
        if self.backend in ("mariadb", "mysql"):
            user = f"{user}@'%'"
        self.administer(f"GRANT {RIGHTS} ON {table} TO {user}")
        if self.backend == "postgresql":
            self.administer(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {user}")

    def notes(self) -> list[tuple[str, str | None, str | None]]:
        """Returns operation, key now and key before of each note, and deletes the notes."""
        listed = "SELECT operation, key_now, key_before, id, noted_at FROM"
        with self.engine.begin() as connection:
            found = connection.exec_driver_sql(f"{listed} {self.log.log_name} ORDER BY 5, 4")
            rows = [(row[0], row[1], row[2]) for row in found.all()]
            connection.exec_driver_sql(f"DELETE FROM {self.log.log_name}")
        return rows

    def value(self, query: str) -> Any:
        """Returns the first value of a query of the administrator."""
        with self.engine.connect() as connection:
            return step(connection, query)


def engine_of(url: URL) -> Engine:
    """Returns an engine whose connections are never kept."""
    return create_engine(url, poolclass=NullPool)


def step(connection: Connection, statement: str) -> Any:
    """Runs a statement as a transaction; returns its first value, where it has any."""
    if connection.dialect.paramstyle in ("format", "pyformat"):
        statement = statement.replace("%", "%%")
    result = connection.exec_driver_sql(statement)
    value = result.scalar() if result.returns_rows else None
    connection.commit()
    return value


@contextmanager
def _postgres(request: pytest.FixtureRequest, _folder: Path, server: str) -> Iterator[Noting]:
    with fresh_database(request.getfixturevalue(server)) as conninfo:
        url = _url_of(conninfo)
        log = trigger_log_of("postgresql")
        assert log is not None
        user = f"app_{uuid.uuid4().hex[:8]}"
        made = Noting(url, log, url.set(username=user))
        made.administer(f"CREATE ROLE {user} LOGIN", *log.create_log())
        yield made
        made.administer(f"DROP OWNED BY {user}", f"DROP ROLE {user}")


def _url_of(conninfo: str) -> URL:
    from psycopg.conninfo import conninfo_to_dict

    given = conninfo_to_dict(conninfo)
    return URL.create(
        "postgresql+psycopg",
        str(given["user"]),
        host=str(given["host"]),
        port=int(given.get("port") or 5432),
        database=str(given["dbname"]),
        password=str(given.get("password") or ""),
    )


@contextmanager
def _mysql(request: pytest.FixtureRequest, _folder: Path, server: str) -> Iterator[Noting]:
    given = request.getfixturevalue(server)
    with given.fresh_database() as agent:
        url = make_url(agent)
        log = trigger_log_of(url.get_backend_name())
        assert log is not None
        driver = f"{url.get_backend_name()}+pymysql"
        administrator = given.url.set(drivername=driver, database=url.database)
        user = f"app_{uuid.uuid4().hex[:8]}"
        made = Noting(administrator, log, administrator.set(username=user))
        made.administer(f"CREATE USER {user}@'%' IDENTIFIED BY ''", *log.create_log())
        yield made
        made.administer(f"DROP USER {user}@'%'")


@contextmanager
def _sqlite(_request: pytest.FixtureRequest, folder: Path, _server: str) -> Iterator[Noting]:
    log = trigger_log_of("sqlite")
    assert log is not None
    made = Noting(URL.create("sqlite", database=str(folder / "business.db")), log, None)
    made.administer(*log.create_log())
    yield made


@contextmanager
def _firebird(_request: pytest.FixtureRequest, folder: Path, _server: str) -> Iterator[Noting]:
    with firebird(folder) as url:
        log = trigger_log_of("firebird")
        assert log is not None
        made = Noting(url, log, firebird_url(Path(str(url.database)), APPLICATION))
        made.administer(*log.create_log())
        yield made


Make = Callable[[pytest.FixtureRequest, Path, str], AbstractContextManager[Noting]]

KINDS: dict[str, tuple[Make, str]] = {
    "postgres14": (_postgres, "postgres14"),
    "postgres18": (_postgres, "postgres18"),
    "mariadb": (_mysql, "mariadb_server"),
    "mysql8": (_mysql, "mysql8_server"),
    "mysql9": (_mysql, "mysql9_server"),
    "sqlite": (_sqlite, ""),
    "firebird": (_firebird, ""),
}


def keys(*values: object) -> Sequence[str]:
    """Writes keys of one part as the notes have them."""
    return [f"{len(str(value))}:{value}" for value in values]

"""The business databases of the bench of the stream, each with the rows, the agent and Debezium."""

import uuid
from contextlib import ExitStack
from typing import Protocol

from sqlalchemy import URL

from bench import debezium
from bench.table import COLUMNS, NAMES, TABLE, fill
from tests.agent_process import Installation, Lines, in_this_process
from tests.checker.inputs import one_of
from tests.checker.unit import SCHEMA, UnitTable, create_tables
from tests.services.connect import ConnectWorker, Properties, binary_log_source, debezium_source
from tests.services.fixtures import fresh_database
from tests.services.mariadb import MariaDbAddress, connected, execute
from tests.services.postgres import PostgresAddress


class Business(Protocol):
    """A database with the table of the benches, of which a contestant has one for itself."""

    table: UnitTable
    columns: str  # what declares the table's copy in a PostgreSQL database
    installation: type[Installation]  # what puts an agent beside it

    @property
    def place(self) -> str:
        """Where it is: a conninfo or a URL."""

    def create(self) -> None:
        """Makes the table."""

    def fill(self, first: int, count: int, size: int) -> None:
        """Inserts rows of numbers from `first` on, in transactions of `size` rows."""

    def connector(self, prefix: str, topic: str, folder: str) -> Properties:
        """Returns Debezium's source: changes only, of the table, into the topic.

        `folder` is kept from one start of Debezium to the next.
        """

    def streams(self, connect: ConnectWorker, prefix: str) -> bool:
        """Tells whether Debezium reads the log."""


class Businesses(Protocol):
    """A server that gives each contestant a business database of its own."""

    def fresh(self, stack: ExitStack) -> Business:
        """Returns an empty one, which goes with the stack."""


class PostgresBusiness:
    """See Business: a database of PostgreSQL, whose WAL is read by logical decoding."""

    table = TABLE
    columns = COLUMNS
    installation = Installation

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo

    @property
    def place(self) -> str:
        """See Business.place."""
        return self._conninfo

    def create(self) -> None:
        """See Business.create."""
        create_tables(self._conninfo, [self.table])

    def fill(self, first: int, count: int, size: int) -> None:
        """See Business.fill."""
        fill(self._conninfo, first, count, size)

    def connector(self, prefix: str, topic: str, folder: str) -> Properties:
        """See Business.connector."""
        return debezium_source("source", self._conninfo, SCHEMA, topic, **debezium.SOURCE)

    def streams(self, connect: ConnectWorker, prefix: str) -> bool:
        """See Business.streams."""
        return debezium.streams(connect, self._conninfo, prefix)


class PostgresBusinesses:
    """See Businesses: databases of one PostgreSQL server."""

    def __init__(self, server: PostgresAddress) -> None:
        self._server = server

    def fresh(self, stack: ExitStack) -> PostgresBusiness:
        """See Businesses.fresh."""
        return PostgresBusiness(stack.enter_context(fresh_database(self._server)))


# The same ten columns, as MariaDB and MySQL declare them. Times are TIMESTAMP: of DATETIME,
# Debezium makes numbers, and its sink puts them as they are into multi-row inserts: refused.
_DDL = """ (id BIGINT PRIMARY KEY, name VARCHAR(100), number VARCHAR(18), district VARCHAR(6),
    address TEXT, balance DECIMAL(16,2), valid TINYINT, born TIMESTAMP(6), changed TIMESTAMP(6),
    version INT) CHARACTER SET utf8mb4"""
_ROW = """n, CONCAT('张三', n), LPAD(n, 18, '3101'), '310105', CONCAT('长宁区', REPEAT(MD5(n), 5)),
    n / 7, n MOD 2, TIMESTAMP '1971-01-01 00:00:00' + INTERVAL n HOUR,
    TIMESTAMP '2026-01-01 00:00:00' + INTERVAL n SECOND, n MOD 100"""
# Statements are committed one by one. The rows of a transaction come from a table of offsets.
_FILL = f"""CREATE PROCEDURE fill(first BIGINT, past BIGINT, size INT) BEGIN
    WHILE first < past DO
        INSERT INTO bench SELECT {_ROW} FROM
            (SELECT first + i AS n FROM offsets WHERE i < LEAST(size, past - first)) AS numbers;
        SET first = first + size;
    END WHILE; END"""
_MOST = 1000  # rows in a transaction
_DEBEZIUM = "debezium"  # whom it logs in as; the agent reads the same log


class LoggedInstallation(Installation):
    """The agent beside MariaDB or MySQL, as the server's administrator."""

    def source_settings(self) -> Lines:
        """See Installation."""
        return {"type": "mysql", "url": self.source}

    def init_here(self) -> None:
        """See Installation."""
        done = in_this_process(self.config, "init", "--apply")
        assert done.returncode == 0, f"init ended with {done.returncode}:\n{done.stderr}"


class MySqlBusiness:
    """See Business: a database of MariaDB or MySQL, whose binary log is read."""

    table = UnitTable(
        "bench", "bench", _DDL, {"id": one_of("1")}, {name: one_of("") for name in NAMES}, schema=""
    )
    columns = COLUMNS.replace("boolean", "smallint")
    installation: type[Installation] = LoggedInstallation

    def __init__(self, url: URL, is_mariadb: bool) -> None:
        """`url`: of an administrator, with the database."""
        self._url = url
        self._is_mariadb = is_mariadb

    @property
    def place(self) -> str:
        """See Business.place."""
        driver = "mariadb+pymysql" if self._is_mariadb else "mysql+pymysql"
        return self._url.set(drivername=driver).render_as_string(hide_password=False)

    def create(self) -> None:
        """See Business.create."""
        with connected(self._url) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE bench{_DDL}")
            cursor.execute("CREATE TABLE offsets (i INT PRIMARY KEY)")
            cursor.executemany("INSERT INTO offsets VALUES (%s)", [(i,) for i in range(_MOST)])
            cursor.execute(_FILL)

    def fill(self, first: int, count: int, size: int) -> None:
        """See Business.fill."""
        execute(self._url, f"CALL fill({first}, {first + count}, {size})")

    def connector(self, prefix: str, topic: str, folder: str) -> Properties:
        """See Business.connector."""
        source = debezium.SOURCE
        url = self._url.set(username=_DEBEZIUM)
        return binary_log_source("source", url, topic, folder, self._is_mariadb, **source)

    def streams(self, connect: ConnectWorker, prefix: str) -> bool:
        """See Business.streams."""
        connect.check()
        dumps = (
            "SELECT 1 FROM information_schema.processlist "
            f"WHERE user = '{_DEBEZIUM}' AND command LIKE 'Binlog Dump%'"
        )
        return bool(execute(self._url, dumps))


class MySqlBusinesses:
    """See Businesses: databases of one MariaDB or MySQL server with a binary log."""

    def __init__(self, server: MariaDbAddress) -> None:
        self._server = server
        self._is_mariadb = server.DRIVER == MariaDbAddress.DRIVER
        execute(server.url, f"CREATE USER {_DEBEZIUM}@'%' IDENTIFIED BY ''")
        execute(server.url, f"GRANT ALL ON *.* TO {_DEBEZIUM}@'%'")

    def fresh(self, stack: ExitStack) -> MySqlBusiness:
        """See Businesses.fresh."""
        name = f"b{uuid.uuid4().hex[:8]}"
        execute(self._server.url, f"CREATE DATABASE {name}")
        stack.callback(execute, self._server.url, f"DROP DATABASE {name}")
        return MySqlBusiness(self._server.url.set(database=name), self._is_mariadb)

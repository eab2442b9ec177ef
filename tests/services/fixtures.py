"""Defines the fixtures of services: started once and only when a test asks.

A missing service fails the test, never skips it.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL

from tests.services.firebird import firebird
from tests.services.kafka import KafkaAddress, KafkaBroker
from tests.services.kafka import kafka as start_kafka
from tests.services.mariadb import MariaDbAddress, mariadb
from tests.services.mysql import MySqlAddress, mysql
from tests.services.postgres import PostgresAddress, postgres
from tests.services.systemd import Systemd
from tests.waiting import eventually


@pytest.fixture(scope="session")
def postgres14() -> Iterator[PostgresAddress]:
    """A PostgreSQL 14, the oldest that is supported, for what depends on the server."""
    with postgres(14) as server:
        yield server


@pytest.fixture(scope="session")
def postgres16() -> Iterator[PostgresAddress]:
    """A PostgreSQL 16 for what depends on the server."""
    with postgres(16) as server:
        yield server


@pytest.fixture(scope="session")
def postgres17() -> Iterator[PostgresAddress]:
    """A PostgreSQL 17 for what depends on the server."""
    with postgres(17) as server:
        yield server


@pytest.fixture(scope="session")
def postgres15() -> Iterator[PostgresAddress]:
    """A PostgreSQL 15 for tests that only need a database."""
    with postgres(15) as server:
        yield server


@pytest.fixture(scope="session")
def postgres18() -> Iterator[PostgresAddress]:
    """A PostgreSQL 18 for tests that only need a database."""
    with postgres(18) as server:
        yield server


@pytest.fixture(params=[15, 18], ids=["postgres15", "postgres18"])
def any_postgres(request: pytest.FixtureRequest) -> PostgresAddress:
    """Each PostgreSQL in turn."""
    server = request.getfixturevalue(f"postgres{request.param}")
    assert isinstance(server, PostgresAddress)
    return server


@pytest.fixture
def database(postgres18: PostgresAddress) -> Iterator[str]:
    """The conninfo of a fresh database in PostgreSQL 18."""
    with fresh_database(postgres18) as conninfo:
        yield conninfo


@pytest.fixture
def any_database(any_postgres: PostgresAddress) -> Iterator[str]:
    """The conninfo of a fresh database in each PostgreSQL in turn."""
    with fresh_database(any_postgres) as conninfo:
        yield conninfo


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDbAddress]:
    """A MariaDB for tests that need databases."""
    with mariadb() as server:
        yield server


@pytest.fixture
def mariadb_database(mariadb_server: MariaDbAddress) -> Iterator[str]:
    """The URL of a fresh database in MariaDB, of a role with the agent's rights in it."""
    with mariadb_server.fresh_database() as url:
        yield url


@pytest.fixture(scope="session")
def mysql8_server() -> Iterator[MySqlAddress]:
    """A MySQL 8.0, as old as units have it, for tests that need databases."""
    with mysql(8) as server:
        yield server


@pytest.fixture(scope="session")
def mysql9_server() -> Iterator[MySqlAddress]:
    """A MySQL 9.7 for tests that need databases."""
    with mysql(9) as server:
        yield server


@pytest.fixture
def mysql8_database(mysql8_server: MySqlAddress) -> Iterator[str]:
    """The URL of a fresh database in MySQL 8.0, of a role with the agent's rights in it."""
    with mysql8_server.fresh_database() as url:
        yield url


@pytest.fixture
def mysql9_database(mysql9_server: MySqlAddress) -> Iterator[str]:
    """The URL of a fresh database in MySQL 9.7, of a role with the agent's rights in it."""
    with mysql9_server.fresh_database() as url:
        yield url


@pytest.fixture
def firebird_database(tmp_path: Path) -> Iterator[URL]:
    """The URL of a fresh database in Firebird 5, of its administrator."""
    with firebird(tmp_path) as url:
        yield url


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    """What the services that the test starts tell how they are; they do so each second."""
    with Systemd.listening() as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", str(listening.path))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        yield listening


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaAddress]:
    """A Kafka for tests that only need topics."""
    with start_kafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_broker(kafka: KafkaAddress) -> Iterator[KafkaBroker]:
    """Yields a broker of our own: users, ACLs, a proxy.

    A test that stops or pauses it leaves it running.
    """
    if isinstance(kafka, KafkaBroker):
        yield kafka
        return
    with KafkaBroker.start() as broker:
        yield broker


@contextmanager
def fresh_database(server: PostgresAddress, encoding: str = "UTF8") -> Iterator[str]:
    """Creates a database, and drops it with its slots afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    create = "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL(create).format(sql.Identifier(name), sql.Literal(encoding)))
    yield server.dsn(name)
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        eventually(lambda: slots_dropped(connection, name), what=f"the slots of {name} are dropped")
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )


def slots_dropped(connection: psycopg.Connection, database: str) -> bool:
    """Drops a database's slots, ending whoever reads them; true when none is left."""
    left = connection.execute(
        "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s", [database]
    )
    slots = left.fetchall()
    for slot, pid in slots:
        if pid is not None:
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        else:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [slot])
    return not slots

"""Tests sessions of PostgreSQL, at source and front end.

They are behind poolers, and under the settings of databases and roles.
"""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import URL, text

from agent.connectors.postgres.session import connect, session
from agent.errors import FrontUnfit, SourceUnfit
from agent.front.postgres.session import postgres_engine
from agent.front.sqlite.session import sqlite_engine
from agent.preflight.checks import check
from agent.values.canonical import SESSION
from tests.preflight.conftest import NOWHERE, PERSON, TABLE, Unit
from tests.services.fixtures import fresh_database
from tests.services.pooler import Pooler
from tests.services.postgres import PostgresAddress

MOMENT = (
    "select '2026-04-03 05:07:07+00'::timestamptz::text, "
    "'\\x00ff'::bytea::text, '1 day'::interval::text"
)
WRITTEN = ("2026-04-03 05:07:07+00", "\\x00ff", "P1D")
ODD = {
    "timezone": "Asia/Shanghai",
    "datestyle": "SQL",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-5",
    "client_encoding": "LATIN1",
    "search_path": "elsewhere",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "row_security": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "statement_timeout": "30s",
    "lock_timeout": "30s",
    "idle_session_timeout": "1h",
    "idle_in_transaction_session_timeout": "1h",
    "synchronous_commit": "off",
    "escape_string_warning": "on",
}


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_AGENT_LANG", "en")


@pytest.fixture
def odd(any_postgres: PostgresAddress) -> Iterator[str]:
    """A database with settings of its own for everything that a session of ours relies on."""
    with fresh_database(any_postgres) as conninfo:
        name = sql.Identifier(str(conninfo_to_dict(conninfo)["dbname"]))
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("create table held (n int)")
            for setting, value in ODD.items():
                statement = sql.SQL("alter database {} set {} = {}")
                connection.execute(
                    statement.format(name, sql.Identifier(setting), sql.Literal(value))
                )
        yield conninfo


@contextmanager
def encoded(server: PostgresAddress, encoding: str) -> Iterator[str]:
    """Yields a fresh database in another encoding."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    create = "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL(create).format(sql.Identifier(name), sql.Literal(encoding)))
        yield server.dsn(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def url_of(conninfo: str, **replaced: Any) -> URL:
    """Returns the front end's URL of a database."""
    given = conninfo_to_dict(conninfo) | replaced
    return URL.create(
        "postgresql+psycopg",
        given["user"],
        given.get("password"),
        given["host"],
        int(given["port"]),
        given["dbname"],
    )


def settings_of(connection: Any, names: list[str]) -> dict[str, str]:
    """Returns settings of a psycopg connection as they are now."""
    return {
        name: connection.execute("select current_setting(%s)", (name,)).fetchone()[0]
        for name in names
    }


@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_the_front_end_writes_as_ever_whatever_its_database_says(odd: str, way: str) -> None:
    """A session pooler that drops what the start-up asks for serves, too."""
    with Pooler(odd, "session") as pooler:
        port = {"direct": {}, "pooled": {"host": pooler.host, "port": pooler.port}}[way]
        engine = postgres_engine(url_of(odd, **port), None, 20.0)
        with engine.connect() as connection:
            assert connection.execute(text(MOMENT)).one() == WRITTEN
            driver: Any = connection.connection.dbapi_connection
            expected = SESSION | {
                "lock_timeout": "20s", "statement_timeout": "0", "synchronous_commit": "on",
                "default_transaction_read_only": "off", "transaction_isolation": "read committed",
                "idle_in_transaction_session_timeout": "0", "array_nulls": "on",
                "search_path": "elsewhere",
            }  # fmt: skip
            assert settings_of(driver, list(expected)) == expected
            connection.execute(text("insert into public.held values (1)"))
        engine.dispose()


@pytest.mark.parametrize("replication", [False, True])
def test_the_source_is_read_as_ever_whatever_its_database_says(
    odd: str, tmp_path: Path, replication: bool
) -> None:
    """Values have the one text, and unqualified names are PostgreSQL's own.

    Nothing of ours depends on a default.
    """
    unit = Unit(odd, tmp_path, NOWHERE, "odd")
    with connect(unit.settings.postgres, replication) as connection:
        assert connection.execute(MOMENT).fetchone() == WRITTEN
        for name, value in session(bounds=not replication).items():
            shown = connection.execute(f"select current_setting('{name}')".encode()).fetchone()
            assert shown == (value,), name
        assert connection.info.encoding == "utf-8"
        assert connection.execute("select 'public.held'::regclass::text").fetchone() == (
            "public.held",
        )


def test_the_source_behind_a_session_pooler(odd: str, tmp_path: Path) -> None:
    """The sessions of such a pooler serve.

    Replication, which it does not carry, is refused with what to do.
    """
    with Pooler(odd, "session") as pooler:
        unit = Unit(odd, tmp_path, NOWHERE, "odd").change(source={"port": pooler.port})
        with connect(unit.settings.postgres) as connection:
            assert connection.execute(MOMENT).fetchone() == WRITTEN
        with pytest.raises(SourceUnfit, match="pooler stands before it: give host and port"):
            connect(unit.settings.postgres, replication=True)


def test_transaction_pooling_is_refused_and_leaves_no_setting_behind(
    odd: str, tmp_path: Path
) -> None:
    """It is refused at both ends, at a first connection and at later ones, and by check.

    Whoever shares the server processes keeps his settings.
    """
    with Pooler(odd, "transaction") as pooler:
        port = {"host": pooler.host, "port": pooler.port}
        unit = Unit(odd, tmp_path, NOWHERE, "odd")
        unit.change(source={"port": pooler.port})
        engine = postgres_engine(url_of(odd, **port), None, 20.0)
        for _ in range(2):
            with pytest.raises(FrontUnfit, match="pool_mode = session"):
                engine.connect()
            with pytest.raises(SourceUnfit, match="pool_mode = session"):
                connect(unit.settings.postgres)
        other = make_conninfo(odd, host=pooler.host, port=pooler.port)
        with closing(psycopg.connect(other, autocommit=True)) as neighbour:
            now = settings_of(neighbour, ["search_path", "bytea_output", "row_security"])
        assert now == {"search_path": "elsewhere", "bytea_output": "escape", "row_security": "on"}
        unit.change(front={"url": url_of(odd, **port).render_as_string()})
        found = {finding.code: finding for finding in check(unit.settings)}
    assert found["SOURCE_UNFIT"].level == found["FRONT_UNFIT"].level == "error"
    assert "pool_mode = session" in found["SOURCE_UNFIT"].message + found["SOURCE_UNFIT"].fix


def test_an_administrator_whose_database_has_no_encoding(
    postgres18: PostgresAddress, tmp_path: Path
) -> None:
    """The plan is made over SQL_ASCII.

    The administrator writes though the database says that nobody does.
    """
    with encoded(postgres18, "SQL_ASCII") as conninfo:
        unit = Unit(conninfo, tmp_path, NOWHERE, "ascii")
        unit.execute(TABLE.replace('"人员"', "person").replace('"姓名"', "name"))
        unit.share(PERSON | {"table": "public.person", "columns": ["id", "name"]})
        admin = str(url_of(conninfo).render_as_string())
        told = unit.initialise(admin, apply=False)
        unasked = [line for line in told if "cannot be asked" in line]
        assert len(unasked) == 1
        assert "Connection refused" in unasked[0]  # Kafka: nothing listens there
        assert "b'" not in "\n".join(told)


def test_a_front_end_that_is_not_utf8(postgres18: PostgresAddress, tmp_path: Path) -> None:
    """It is refused when it is opened, by init, by its plan and by check."""
    with encoded(postgres18, "LATIN1") as conninfo, fresh_database(postgres18) as business:
        unit = Unit(business, tmp_path, NOWHERE, "latin")
        unit.execute(TABLE)
        unit.change(front={"url": url_of(conninfo).render_as_string()})
        with pytest.raises(FrontUnfit, match="encoding of its database is LATIN1"):
            unit.initialise()
        assert "encoding of its database is LATIN1" in "\n".join(unit.initialise(apply=False))
        assert "FRONT_UNFIT" in {finding.code for finding in check(unit.settings)}


def test_a_sqlite_file_in_another_encoding(tmp_path: Path) -> None:
    """Keys have another order there."""
    path = tmp_path / "front.db"
    engine = sqlite_engine(f"sqlite:///{path}", 1.0)
    with engine.connect() as connection:
        connection.exec_driver_sql("select 1")
    engine.dispose()
    other = tmp_path / "utf16.db"
    with closing(sqlite3.connect(other)) as made:
        made.execute("PRAGMA encoding = 'UTF-16'")
        made.execute("create table t (a)")
    with pytest.raises(FrontUnfit, match="PRAGMA encoding of its file is UTF-16"):
        sqlite_engine(f"sqlite:///{other}", 1.0).connect()

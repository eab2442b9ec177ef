"""Runs statements at a front end of any kind, from outside the agent.

Names stand in double quotes everywhere. The agent's own tables are called sync_agent_state and so
on: its name is put in here, as the front end has it (`named`).
"""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from tests.checker.table import Front, in_mariadb
from tests.services.mariadb import connected

# Of a front end that is locked or away
ERRORS: tuple[type[Exception], ...] = (
    sqlite3.Error,
    psycopg.Error,
    pymysql.MySQLError,
)
Rows = list[tuple[Any, ...]]

_OWN = re.compile(r"\bsync_agent_([a-z]+)\b")
# As LIKE takes it, with ! before what stands for itself
_STATE = "sync!_agent!_%!_state"
_IN_SQLITE = f"SELECT name FROM sqlite_master WHERE name LIKE '{_STATE}' ESCAPE '!' ORDER BY name"
_IN_POSTGRES = f"""
    SELECT relname::text FROM pg_class
    WHERE relkind = 'r' AND relname LIKE '{_STATE}' ESCAPE '!' AND pg_table_is_visible(oid)
    ORDER BY 1"""
_IN_MARIADB = f"""
    SELECT table_name FROM information_schema.tables
    WHERE table_schema = database() AND table_name LIKE '{_STATE}' ESCAPE '!' ORDER BY 1"""


def named(statement: str, ask: Callable[[str], Rows], catalogue: str) -> str:
    """Returns the statement with the agent's name in the names of its tables.

    It stays as it is where no agent has its own tables.
    """
    if not _OWN.search(statement):
        return statement
    found = ask(catalogue)
    if not found:
        return statement
    stem = str(found[0][0]).removesuffix("_state")
    return _OWN.sub(rf"{stem}_\1", statement)


def own(front: Front, statement: str) -> str:
    """Returns the statement with the names that the agent's tables have at this front end.

    Raises ERRORS.
    """
    if isinstance(front, Path):
        catalogue = _IN_SQLITE
    elif in_mariadb(front):
        catalogue = _IN_MARIADB
    else:
        catalogue = _IN_POSTGRES.replace("%", "%%")  # `at_front` takes a % for a placeholder there
    return named(statement, lambda sql: at_front(front, sql), catalogue)


def at_front(front: Front, statement: str, *values: object) -> Rows:
    """Runs and commits one statement, in which `%s` stands for a value.

    Returns its rows, or [(rows changed,)]. Raises ERRORS.
    """
    if isinstance(front, Path):
        with closing(
            sqlite3.connect(f"file:{front}?mode=rw", uri=True, timeout=30, isolation_level=None)
        ) as file:
            statement = named(statement, lambda sql: file.execute(sql).fetchall(), _IN_SQLITE)
            found = file.execute(statement.replace("%s", "?"), values)
            return found.fetchall() if found.description else [(found.rowcount,)]
    if in_mariadb(front):
        with connected(front) as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = 'ANSI,STRICT_ALL_TABLES'")
            statement = named(statement, lambda sql: _fetched(cursor, sql), _IN_MARIADB)
            cursor.execute(statement, values or None)
            return list(cursor.fetchall()) if cursor.description else [(cursor.rowcount,)]
    with psycopg.connect(front, autocommit=True) as connection:
        statement = named(
            statement, lambda sql: connection.execute(sql.encode()).fetchall(), _IN_POSTGRES
        )
        told = connection.execute(statement.encode(), values)
        return told.fetchall() if told.description else [(told.rowcount,)]


def _fetched(cursor: Any, statement: str) -> Rows:
    cursor.execute(statement)
    return list(cursor.fetchall())


def in_snapshot(front: Front, *statements: str) -> list[Rows]:
    """Returns the rows of several queries in one read-only snapshot.

    Raises ERRORS.
    """
    if isinstance(front, Path):
        with closing(
            sqlite3.connect(f"file:{front}?mode=ro", uri=True, isolation_level=None)
        ) as file:
            file.execute("BEGIN")
            return [
                file.execute(
                    named(statement, lambda sql: file.execute(sql).fetchall(), _IN_SQLITE)
                ).fetchall()
                for statement in statements
            ]
    if in_mariadb(front):
        with connected(front) as connection, connection.cursor() as cursor:
            found = []
            for statement in (
                "SET sql_mode = 'ANSI'",
                "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
                *(
                    named(statement, lambda sql: _fetched(cursor, sql), _IN_MARIADB)
                    for statement in statements
                ),
            ):
                cursor.execute(statement)
                found.append(list(cursor.fetchall()))
            return found[2:]
    with psycopg.connect(front, connect_timeout=5) as connection:
        connection.isolation_level, connection.read_only = (
            psycopg.IsolationLevel.REPEATABLE_READ,
            True,
        )
        return [
            connection.execute(
                named(
                    statement,
                    lambda sql: connection.execute(sql.encode()).fetchall(),
                    _IN_POSTGRES,
                ).encode()
            ).fetchall()
            for statement in statements
        ]

"""Statements at a front end of any kind, by a hand that is not the agent's; names stand in double quotes everywhere."""

import sqlite3
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


def at_front(front: Front, statement: str, *values: object) -> Rows:
    """Runs and commits one statement; `%s` stands for a value. Returns its rows, or [(rows changed,)]. Raises ERRORS."""
    if isinstance(front, Path):
        with closing(
            sqlite3.connect(f"file:{front}?mode=rw", uri=True, timeout=30, isolation_level=None)
        ) as file:
            found = file.execute(statement.replace("%s", "?"), values)
            return found.fetchall() if found.description else [(found.rowcount,)]
    if in_mariadb(front):
        with connected(front) as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = 'ANSI,STRICT_ALL_TABLES'")
            cursor.execute(statement, values or None)
            return list(cursor.fetchall()) if cursor.description else [(cursor.rowcount,)]
    with psycopg.connect(front, autocommit=True) as connection:
        told = connection.execute(statement.encode(), values)
        return told.fetchall() if told.description else [(told.rowcount,)]


def in_snapshot(front: Front, *statements: str) -> list[Rows]:
    """The rows of several queries in one read-only snapshot. Raises ERRORS."""
    if isinstance(front, Path):
        with closing(
            sqlite3.connect(f"file:{front}?mode=ro", uri=True, isolation_level=None)
        ) as file:
            file.execute("BEGIN")
            return [file.execute(statement).fetchall() for statement in statements]
    if in_mariadb(front):
        with connected(front) as connection, connection.cursor() as cursor:
            found = []
            for statement in (
                "SET sql_mode = 'ANSI'",
                "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
                *statements,
            ):
                cursor.execute(statement)
                found.append(list(cursor.fetchall()))
            return found[2:]
    with psycopg.connect(front, connect_timeout=5) as connection:
        connection.isolation_level, connection.read_only = (
            psycopg.IsolationLevel.REPEATABLE_READ,
            True,
        )
        return [connection.execute(statement.encode()).fetchall() for statement in statements]

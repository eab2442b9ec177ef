"""Makes what is to be copied at the beginning.

These are rows at the source before the agent has ever run, wrong rows in the front end, and tables
that somebody wants compared.
"""

import sqlite3
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import psycopg
from psycopg import sql

from tests.checker.front import at_front
from tests.checker.plan import columns, hot_keys, relation
from tests.checker.table import Front
from tests.checker.unit import TABLES, Key, UnitTable, insert_many

# Front-end tables, and the columns that rows put there by hand have: key, and a text.
STALE = {
    "residents": ("编号", "姓名"),
    "documents": ("文书号", "标题", "版次"),
    "enterprises": ("统一社会信用代码", "名称"),
}
# Rows of each of these tables; as many more than the source has pass the guard against deletions
OUTDATED, EXTRA = (
    60,
    30,
)


def fill(source: str, seed: int, rows: int) -> None:
    """Writes rows under the keys on which the workload's writers will meet.

    Beside them it writes `rows` residents under keys that nobody touches.
    """
    random = Random(f"{seed}/rows")
    with psycopg.connect(source) as connection, connection.cursor() as cursor:
        for table in TABLES:
            places = sql.SQL(", ").join([sql.Placeholder()] * (len(table.key) + len(table.values)))
            statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                relation(table), columns([*table.key, *table.values]), places
            )
            found = [
                [*key, *(make(random) for make in table.values.values())]
                for key in hot_keys(table)[:rows]
            ]
            cursor.executemany(statement, found)
    insert_many(source, rows)


def spoil(front: Front, seed: int, tables: Sequence[UnitTable] = TABLES) -> None:
    """Writes wrong rows into the new front-end tables.

    Some stand under keys of the source with other values, some under keys the source does not have.
    """
    random = Random(f"{seed}/stale")
    for table in tables:
        if table.resource in STALE:
            extra = [tuple(make(random) or "" for make in table.key.values()) for _ in range(EXTRA)]
            _insert(front, table, [*hot_keys(table)[:OUTDATED], *extra])


def ask(front: Front, kind: str, resource: str) -> None:
    """Asks the running service for what a command asks, without waiting for the answer."""
    insert = (
        "INSERT INTO sync_agent_request "
        "(id, kind, resource, allow_deletes, state, report, asked_us) "
        "VALUES (%s, %s, %s, 0, 'asked', '{}', %s)"
    )
    at_front(front, insert, str(uuid.uuid4()), kind, resource, time.time_ns() // 1000)


def _insert(front: Front, table: UnitTable, keys: list[Key]) -> None:
    names = STALE[table.resource]
    rows = [(*key, "过时", 1)[: len(names)] for key in dict.fromkeys(keys)]
    if isinstance(front, Path):
        with closing(sqlite3.connect(front, timeout=30)) as file, file:
            listed = ", ".join(f'"{name}"' for name in names)
            file.executemany(
                f'INSERT INTO "{table.name}" ({listed}) VALUES ({", ".join("?" * len(names))})',
                rows,
            )
        return
    with psycopg.connect(front) as connection, connection.cursor() as cursor:
        places = sql.SQL(", ").join([sql.Placeholder()] * len(names))
        cursor.executemany(
            sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(table.name), columns(names), places
            ),
            rows,
        )

"""Sends dozens of tables with hostile names through a whole agent.

That is init, copy, stream, verify, and the judge at the end.
"""

import random
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.agent_process import Installation
from tests.checker.inputs import Make, big_number, name, sometimes
from tests.checker.unit import SCHEMA, UnitTable
from tests.hostile import names
from tests.services.kafka import KafkaAddress

TABLES = 24
COLUMNS = 5


def hostile_tables(mariadb: bool) -> list[UnitTable]:
    """Returns tables with hostile names of tables, columns and renamed columns.

    A point would part schema and table.
    """
    chance = random.Random(5)
    drawn = chance.sample(
        names(2000, 11, forbidden=".\x7f", mariadb=mariadb), TABLES * (COLUMNS + 2)
    )
    return [_table(number, drawn[number::TABLES]) for number in range(TABLES)]


def _table(number: int, drawn: list[str]) -> UnitTable:
    named, renamed, key, *columns = drawn
    declared = [
        sql.SQL("{} bigint PRIMARY KEY").format(sql.Identifier(key)),
        *(sql.SQL("{} text").format(sql.Identifier(column)) for column in columns),
    ]
    ddl = "(" + sql.SQL(", ").join(declared).as_string() + ")"
    values: Mapping[str, Make] = dict.fromkeys(columns, sometimes(name))
    return UnitTable(
        f"t{number}",
        named if not named.startswith("sqlite_") else f"x{named[:50]}",
        ddl,
        {key: big_number},
        values,
        rename={columns[0]: renamed},
    )


def write(database: str, tables: list[UnitTable], first: int) -> None:
    """Writes two new rows into each table, changes one, and deletes an older one.

    Values are literals, for a driver would take a % in a name for a parameter.
    """
    with psycopg.connect(database, autocommit=True) as connection:
        for table in tables:
            (key,), (column, *_) = table.key, table.values
            names = {
                "table": sql.Identifier(SCHEMA, table.name),
                "key": sql.Identifier(key),
                "column": sql.Identifier(column),
                "first": sql.Literal(first),
            }
            for statement in (
                (
                    "INSERT INTO {table} ({key}, {column}) "
                    "VALUES ({first}, 'new'), ({first} + 1, '%s {{}} \\')"
                ),
                "UPDATE {table} SET {column} = 'changed' WHERE {key} = {first}",
                "DELETE FROM {table} WHERE {key} = {first} - 1",
            ):
                connection.execute(sql.SQL(statement).format(**names).as_bytes(connection))


@pytest.mark.parametrize("front", ["sqlite", "mariadb"])
def test_names_mean_nothing(
    front: str,
    database: str,
    request: pytest.FixtureRequest,
    kafka: KafkaAddress,
    topic_prefix: str,
    tmp_path: Path,
) -> None:
    target = None if front == "sqlite" else request.getfixturevalue("mariadb_database")
    tables = hostile_tables(front == "mariadb")
    place = Installation(
        tmp_path,
        database,
        kafka.bootstrap,
        topic_prefix,
        tables=tables,
        front=target,
        sections={"kafka": {"partitions": 1}},
    )
    place.install()
    write(database, tables, 1)
    with place.start() as agent:
        agent.wait_ready()
        write(database, tables, 3)
        verdict = place.verdict()
        place.command("verify")
    assert verdict.equal, verdict
    assert "halted" not in agent.log

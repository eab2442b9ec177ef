"""Sends 10,000 hostile names through every statement the product builds.

On each server they come back as they were, and nothing else happens.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from agent.config import Settings
from agent.connectors.base import Ask
from agent.connectors.postgres import catalogue, page_statements
from agent.connectors.postgres.copy_out import copy_out
from agent.connectors.postgres.setup import statements
from agent.connectors.postgres.setup.subscription import subscription_of
from agent.errors import FrontTableWrong
from agent.front.base import Written
from agent.front.mariadb.front import MariaDbFront
from agent.front.postgres.front import PostgresFront
from agent.front.sqlite.front import SqliteFront
from agent.front.store import SqlFront
from agent.resource import FrontColumn, Target
from agent.values.column_types import INT8
from tests.front.conftest import IDENTITY, sqlalchemy_url
from tests.hostile import names

COUNT = 10_000
WIDTH = 250  # columns in one table
SEED = 7


def tables(forbidden: str = "", mariadb: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Every name as a column, some as tables."""
    made = names(COUNT, SEED, forbidden, mariadb)
    assert len(made) == COUNT
    for start in range(0, COUNT, WIDTH):
        columns = made[start : start + WIDTH]
        yield columns[-1 - start % 7], columns


def test_in_the_business_database(database: str) -> None:
    """Names go through init's statements, through the catalogue, and through pages.

    They name schemas, tables, columns, roles and publications; pages go by position and by key.
    """
    with psycopg.connect(database, autocommit=True) as owner:
        for number, (name, columns) in enumerate(tables(forbidden=".")):
            schema, role = f"{name[:20]}{number}", f"r{number}{name[:18]}"
            data = settings(database, role, schema, name, columns, number)
            subscription = subscription_of(data)
            owner.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            listed = sql.SQL(", ").join(
                sql.SQL("{} bigint DEFAULT 5").format(sql.Identifier(column)) for column in columns
            )
            key = sql.SQL("PRIMARY KEY ({}, {})").format(
                sql.Identifier(columns[0]), sql.Identifier(columns[-1])
            )
            owner.execute(
                sql.SQL("CREATE TABLE {} ({}, {})").format(
                    sql.Identifier(schema, name), listed, key
                )
            )
            for statement in (
                statements.role(role),
                *statements.grants(subscription),
                statements.create_publication(subscription, generated=False),
                statements.set_tables(subscription),
            ):
                owner.execute(statement.encode())
            published = catalogue.publication(owner, subscription.publication)
            assert published is not None
            assert set(published.tables) == {(schema, name)}
            check_reading(owner, role, schema, name, columns)
        assert owner.execute(
            "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace >= 16384"
        ).fetchone() == (number + 1,)
        drop_roles(owner)


def settings(
    conninfo: str, role: str, schema: str, name: str, columns: Sequence[str], number: int
) -> Settings:
    """An agent's for one such table."""
    given = conninfo_to_dict(conninfo)
    source = {
        "host": given["host"],
        "port": int(str(given["port"])),
        "database": given["dbname"],
        "user": role,
    }
    resource = {"name": f"t{number}", "table": f"{schema}.{name}", "columns": columns}
    return Settings.model_validate(
        {
            "name": f"a{number}",
            "source": source,
            "kafka": {"bootstrap_servers": ["h:1"], "prefix": "p"},
            "resource": [resource],
        }
    )


def check_reading(
    owner: psycopg.Connection[Any], role: str, schema: str, name: str, columns: Sequence[str]
) -> None:
    """The role reads what it was granted, by the statements of the page reader."""
    table = catalogue.tables(owner, [(schema, name)])[schema, name].table
    assert [column.name for column in table.columns] == list(columns)
    assert set(table.key) == {columns[0], columns[-1]}
    owner.execute(sql.SQL("INSERT INTO {} DEFAULT VALUES").format(sql.Identifier(schema, name)))
    owner.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    for ask in (
        Ask("t", "r", table, table.columns, (), "", limit=10),
        Ask("t", "r", table, table.columns, (), "", after=("4", "9"), limit=10),
        Ask("t", "r", table, table.columns, (), "", keys=[("5", "5")]),
    ):
        statement = (
            page_statements.page(ask, 10)
            if ask.keys is None
            else page_statements.rows(ask, ask.keys)
        )
        (lines,) = copy_out(owner, statement.as_bytes(owner))
        assert lines == [b"\t".join([b"5"] * len(columns))]
    owner.execute("RESET ROLE")


def drop_roles(owner: psycopg.Connection[Any]) -> None:
    """Roles outlive their database."""
    for (role,) in owner.execute(
        "SELECT rolname FROM pg_roles WHERE rolname ~ '^r[0-9]'"
    ).fetchall():
        owner.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(role)))


def test_in_a_sqlite_front_end(tmp_path: Path) -> None:
    through(SqliteFront(f"sqlite:///{tmp_path}/front.db", 5.0, "unit"), tables(), ("sqlite_",))


def test_in_a_postgres_front_end(database: str) -> None:
    through(PostgresFront(sqlalchemy_url(database), None, 5.0, "unit"), tables(forbidden="."))


def test_in_a_mariadb_front_end(mariadb_database: str) -> None:
    """Names MariaDB can hold: no sign beyond the basic plane, no blank at the end."""
    through(
        MariaDbFront(
            mariadb_database.replace("mariadb://", "mariadb+pymysql://", 1), None, 5.0, "unit"
        ),
        tables(mariadb=True),
    )


def through(
    front: SqlFront, listed: Iterator[tuple[str, list[str]]], kept: tuple[str, ...] = ()
) -> None:
    """Each table is made and used by the front end's own statements.

    It is checked, written, read, changed and emptied.
    """
    front.initialise(IDENTITY, {})
    front.open("nonce")
    wanted = set()
    for number, (raw, columns) in enumerate(listed):
        name = f"x{raw[:50]}" if raw.startswith(kept) else raw
        wanted.add(name)
        table = Target(
            f"t{number}",
            None,
            name,
            tuple(
                FrontColumn(c, INT8, "bigint", builtin=True, not_null=i < 2)
                for i, c in enumerate(columns)
            ),
            (0, 1),
            False,
            {},
        )
        assert front.create(table)
        front.check(table)
        row = tuple(str(i) for i in range(len(columns)))
        changed = ("0", "1", *("7" for _ in columns[2:]))
        for written in (row, changed):
            front.begin()
            front.write(table, {("0", "1"): Written(written, "I", 1, 0)}, 1)
            assert front.fetch(table, [("0", "1")]) == {("0", "1"): written}
            assert front.keys_after(table, None, 10) == [("0", "1")]
            front.connection.commit()
        front.begin()
        assert front.count(table) == 1
        front.write(table, {("0", "1"): Written(None, "D", 2, 0)}, 1)
        assert front.count(table) == 0
        front.connection.commit()
    front.close()
    front.engine.dispose()
    assert len(wanted) == COUNT // WIDTH


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("mariadb", "🧾"),
        ("mariadb", "blank "),
        ("mariadb", "line\n"),
        ("mariadb", "\U00020bb7"),
        ("mariadb", "长" * 65),
        ("postgres", "长" * 22),
    ],
)
def test_a_name_the_front_end_cannot_hold_is_refused(
    request: pytest.FixtureRequest, kind: str, name: str
) -> None:
    """Never taken under another name, and said to be the name's fault."""
    if kind == "mariadb":
        front: SqlFront = MariaDbFront(
            request.getfixturevalue("mariadb_database").replace(
                "mariadb://", "mariadb+pymysql://", 1
            ),
            None,
            5.0,
            "unit",
        )
    else:
        front = PostgresFront(
            sqlalchemy_url(request.getfixturevalue("database")), None, 5.0, "unit"
        )
    for table, column in ((name, "plain"), ("plain", name)):
        refused(front, table, column)
    front.engine.dispose()


def test_a_table_sqlite_keeps_for_itself_is_refused(tmp_path: Path) -> None:
    front = SqliteFront(f"sqlite:///{tmp_path}/front.db", 5.0, "unit")
    refused(front, "SQLite_x", "plain")
    front.engine.dispose()


def refused(front: SqlFront, table: str, column: str) -> None:
    with pytest.raises(FrontTableWrong):
        front.create(
            Target(
                "t",
                None,
                table,
                (FrontColumn(column, INT8, "bigint", builtin=True, not_null=True),),
                (0,),
                False,
                {},
            )
        )

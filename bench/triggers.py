"""Measures what a trigger log costs the application: the same writes with and without triggers.

    python -m bench.triggers [--rounds 60]

Tables are equal but for the triggers. One writer with durable commits changes a few rows of one,
then of the other, and so on: what else the machine does meanwhile falls on all. Told is the median
of the rounds' ratios. The notes are deleted between the rounds, as the agent does it. In PostgreSQL
a third table has triggers that are called for each row, as partitions have.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from sqlalchemy import URL, Connection, create_engine, make_url
from sqlalchemy.pool import NullPool

from agent.connectors.trigger.databases.base import KeyPart, LoggedTable, TriggerLog
from agent.connectors.trigger.databases.opening import trigger_log_of
from bench.table import say
from tests.services.fixtures import fresh_database
from tests.services.mariadb import MariaDbServer
from tests.services.postgres import postgres

ROWS = 20_000  # of a table
COLUMNS = "id integer NOT NULL PRIMARY KEY, name varchar(60), amount integer"
DURABLE = ("--innodb-flush-log-at-trx-commit=1", "--debug-no-sync=0")  # unlike in the tests
PLAIN, NOTED, BY_ROW = "plain_rows", "noted_rows", "noted_by_row"


class Kind(NamedTuple):
    """A kind of transaction, and how many of them make a round."""

    name: str
    transactions: int
    rows: int  # changed by one statement


KINDS = (
    Kind("one row", 20, 1),
    Kind("ten rows, a statement", 10, 10),
    Kind("1,000 rows, a statement", 2, 1000),
)


class Found(NamedTuple):
    """What one kind of transaction takes, in seconds each, and the ratio of both."""

    database: str
    kind: str
    plain: float
    noted: float
    ratio: float


def main() -> None:
    """Runs all of it and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    rounds: int = parser.parse_args().rounds
    found = []
    for name, url in places():
        found += measured(name, url, rounds)
    for line in table(found):
        say(line)


def places() -> Iterator[tuple[str, URL]]:
    """Yields an empty database of each kind, whose commits are durable."""
    with tempfile.TemporaryDirectory() as folder:
        yield "SQLite (WAL)", URL.create("sqlite", database=str(Path(folder) / "business.db"))
    with MariaDbServer.start(*DURABLE) as mariadb, mariadb.fresh_database() as address:
        name = make_url(address).database
        yield "MariaDB 10.11", mariadb.url.set(drivername="mariadb+pymysql", database=name)
    with (
        postgres(18) as server,
        fresh_database(server) as conninfo,
        psycopg.connect(conninfo, autocommit=True) as connection,
    ):
        connection.execute("ALTER SYSTEM SET fsync = on")
        connection.execute("SELECT pg_reload_conf()")
        given = connection.info
        url = URL.create(
            "postgresql+psycopg", given.user, given.password or None, given.host, given.port
        )
        yield "PostgreSQL 18", url.set(database=given.dbname)


def measured(name: str, url: URL, rounds: int) -> list[Found]:
    """Measures every kind of transaction on one database."""
    log = trigger_log_of(url.get_backend_name())
    assert log is not None
    with opened(url) as connection:
        noted = [NOTED, BY_ROW] if url.get_backend_name() == "postgresql" else [NOTED]
        make(connection, log, noted)
        found = []
        for kind in KINDS:
            found += compared(connection, log, name, kind, rounds, noted)
        return found


@contextmanager
def opened(url: URL) -> Iterator[Connection]:
    """Yields a connection of the application."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        if url.get_backend_name() == "sqlite":
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("PRAGMA synchronous = FULL")
        yield connection


def make(connection: Connection, log: TriggerLog, noted: Sequence[str]) -> None:
    """Makes the tables, their rows, and the triggers of those whose changes are noted."""
    statements = log.create_log()
    for name in (PLAIN, *noted):
        statements.append(f"CREATE TABLE {name} ({COLUMNS})")
        for first in range(0, ROWS, 1000):
            numbers = range(first, first + 1000)
            rows = ", ".join(f"({number}, 'name of {number}', 0)" for number in numbers)
            statements.append(f"INSERT INTO {name} VALUES {rows}")
    for name in noted:
        logged = LoggedTable("", name, (KeyPart("id", "number"),), by_row=name == BY_ROW)
        statements += log.create_triggers(logged)
    for statement in statements:
        connection.exec_driver_sql(statement)
        connection.commit()


def compared(
    connection: Connection,
    log: TriggerLog,
    database: str,
    kind: Kind,
    rounds: int,
    noted: Sequence[str],
) -> list[Found]:
    """Measures one kind of transaction on all tables in turn."""
    names = [PLAIN, *noted]
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        # Whoever comes first in a round comes last in the next one
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(written(connection, name, kind, number))
        connection.exec_driver_sql(f"DELETE FROM {log.log_name}")
        connection.commit()
    plain = taken[PLAIN][1:]  # the first round warms up
    found = []
    for name in noted:
        ratios = [after / before for before, after in zip(plain, taken[name][1:], strict=True)]
        found.append(
            Found(
                f"{database}, by row" if name == BY_ROW else database,
                kind.name,
                statistics.median(plain),
                statistics.median(taken[name][1:]),
                statistics.median(ratios),
            )
        )
    return found


def written(connection: Connection, name: str, kind: Kind, number: int) -> float:
    """Runs the transactions of a round; returns how long one has taken."""
    statements = []
    for step in range(kind.transactions):
        first = (number * kind.transactions + step) * kind.rows % ROWS
        where = f"id >= {first} AND id < {first + kind.rows}"
        statements.append(f"UPDATE {name} SET amount = amount + 1 WHERE {where}")
    begun = time.perf_counter()
    for statement in statements:
        connection.exec_driver_sql(statement)
        connection.commit()
    return (time.perf_counter() - begun) / kind.transactions


def table(found: Sequence[Found]) -> list[str]:
    """Returns the table of docs/sources/trigger.md."""
    lines = ["| Database | Transaction | with triggers, times |", "|---|---|---|"]
    for one in found:
        lines.append(f"| {one.database} | {one.kind} | {one.ratio:.2f} |")
        say(f"{one.database}, {one.kind}: {one.plain * 1e6:.0f} -> {one.noted * 1e6:.0f} µs")
    return lines


if __name__ == "__main__":
    main()

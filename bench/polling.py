"""Measures what polling costs the business database while nothing changes.

    python -m bench.polling [--rows 2000000] [--every 5] [--seconds 60]

A table that was loaded at once, with an index on the column of the last change, is looked at again
and again, first until the overlap has passed. Counted is the
processor time of the server's process, or of the backend of PostgreSQL that serves the agent: a
machine that is busy with other things takes longer, and hardly more.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL, Connection

from agent.connectors.polling.source import PollingSource
from agent.connectors.position import position_text
from agent.connectors.resume import CommitMark, Resume
from agent.service.metrics import POLL_ROWS
from bench.processes import cpu
from bench.table import say
from bench.triggers import opened, places
from tests.source.polled import polling_settings

TABLE = "permit"
# Rows whose numbers a database counts up by itself, by its name
NUMBERS = {
    "mariadb": "SELECT seq AS n FROM seq_1_to_{rows}",
    "postgresql": "SELECT n FROM generate_series(1, {rows}) AS n",
}
MOMENTS = {"mariadb": "DATETIME(3)", "postgresql": "timestamp(3)"}
OVERLAP = 10  # seconds
RESUME = Resume(position_text(100), CommitMark("", 0, 0), {})


class Found(NamedTuple):
    """What looks at one table cost, in percent of a core."""

    database: str
    server: float
    agent: float
    looks: int


def main() -> None:
    """Runs it and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()

    say(f"| {given.rows:,} rows, every {given.every} s | of a core, server | agent | looks |")
    say("|---|---|---|---|")
    for name, url in places():
        if url.get_backend_name() not in NUMBERS:
            continue
        found = measured(name, url, given.rows, given.every, given.seconds)
        shares = f"{found.server:.2f} % | {found.agent:.2f} %"
        say(f"| {found.database} | {shares} | {found.looks} |")


def measured(name: str, url: URL, rows: int, every: int, seconds: float) -> Found:
    """Measures one database."""
    with opened(url) as connection:
        fill(connection, url.get_backend_name(), rows)
    resource = {
        "name": TABLE,
        "table": TABLE,
        "columns": ["id", "holder"],
        "poll": {"mode": "timestamp", "column": "changed", "overlap": OVERLAP},
    }
    address = url.render_as_string(hide_password=False)
    source = PollingSource(polling_settings(address, resource, every=f"{every}s"))
    source.open(RESUME, lambda: None)
    try:
        look(source, every + 1.0)
        # The looks within the overlap read every row
        while source.counts().get((POLL_ROWS, TABLE), 0):
            look(source, every + 1.0)
        with opened(url) as connection:
            used = server_of(connection)
            before, own = used(), time.process_time()
            look(source, seconds)
            server, agent = used() - before, time.process_time() - own
    finally:
        source.close()
    return Found(name, 100 * server / seconds, 100 * agent / seconds, round(seconds / every))


def fill(connection: Connection, kind: str, rows: int) -> None:
    """Makes the table, its index and its rows, all of one moment."""
    numbers = NUMBERS[kind].format(rows=rows)
    columns = f"id bigint NOT NULL PRIMARY KEY, holder varchar(60), changed {MOMENTS[kind]}"
    row = "n, concat('holder of permit ', n), '2024-01-01 00:00:07'"
    for statement in (
        f"CREATE TABLE {TABLE} ({columns})",
        f"INSERT INTO {TABLE} SELECT {row} FROM ({numbers}) s",
        f"CREATE INDEX permit_changed ON {TABLE} (changed, id)",
        f"ANALYZE TABLE {TABLE}" if kind == "mariadb" else f"ANALYZE {TABLE}",
    ):
        connection.exec_driver_sql(statement)
        connection.commit()


def look(source: PollingSource, seconds: float) -> None:
    """Does what capture does with a source to which nothing happens."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in source.read(min(1.0, max(0.0, until - time.monotonic()))):
            pass
        source.housekeeping()


def server_of(connection: Connection) -> Callable[[], float]:
    """Returns what tells the processor time that the server has used for the agent."""
    if connection.dialect.name == "postgresql":
        asked = "SELECT pid FROM pg_stat_activity WHERE application_name = 'unit-sync-agent'"
        pids = [int(pid) for pid in connection.exec_driver_sql(asked).scalars()]
    else:
        file = str(connection.exec_driver_sql("SELECT @@pid_file").scalar())
        pids = [int(Path(file).read_text())]
    return lambda: sum(map(cpu, pids))


if __name__ == "__main__":
    main()

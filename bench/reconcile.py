"""Measures how fast a table is copied and verified beside the stream, against plain COPY.

    python -m bench.reconcile [--rows 1000000] [--changes 200] [--kills 3]

Both are measured in the same run.

Copy: 1 / (seconds from the begin of the copy to `live`), against COPY of the table to a file and
back into a table of the same form.

Verify: seconds of `verify` on equal tables, against reading both sides once with COPY.
"""

import argparse
import functools
import os
import re
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg

from tests.agent_process import Agent, Installation
from tests.checker.inputs import one_of
from tests.checker.unit import UnitTable
from tests.services.fixtures import fresh_database
from tests.services.kafka import kafka
from tests.services.postgres import postgres
from tests.waiting import eventually

COLUMNS = """ ("id" bigint PRIMARY KEY, "name" text, "number" varchar(18), "district" varchar(6),
    "address" text, "balance" numeric(16,2), "valid" boolean, "born" date, "changed" timestamptz,
    "version" integer)"""
FILL = """
    insert into "业务"."bench"
    select
        n, '张三' || n, lpad(n::text, 18, '3101'), '310105', '长宁区' || md5(n::text),
        n / 7.0, n %% 2 = 0, date '1970-01-01' + (n %% 20000)::int,
        timestamptz '2026-01-01' + n * interval '1 second', n %% 100
    from generate_series(1, %s::bigint) n
"""
NAMES = (
    "id",
    "name",
    "number",
    "district",
    "address",
    "balance",
    "valid",
    "born",
    "changed",
    "version",
)
TABLE = UnitTable(
    "bench", "bench", COLUMNS, {"id": one_of("1")}, {name: one_of("") for name in NAMES[1:]}
)
LIVE = 1800.0  # seconds a copy may take


def main() -> None:
    """Runs all of it and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--changes",
        type=int,
        default=0,
        help="changes a second that arrive while the table is copied",
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=0,
        help="kill -9 of the capture process while the table is copied",
    )
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    with (
        postgres(18) as server,
        kafka() as broker,
        fresh_database(server) as source,
        fresh_database(server) as front,
    ):
        place = Installation(
            directory,
            source,
            broker.bootstrap,
            f"b{uuid.uuid4().hex[:8]}",
            tables=(TABLE,),
            front=front,
        )
        place.install()
        say(f"filling {arguments.rows:,} rows")
        with psycopg.connect(source, autocommit=True) as connection:
            connection.execute(FILL, [arguments.rows])
            connection.execute("vacuum analyze")
        plain = to_file_and_back(source)
        say(f"COPY to a file and back: {plain:.2f} s, {arguments.rows / plain:,.0f} rows/s")
        copied = copy(place, arguments.changes, arguments.kills)
        say(
            f"copy beside the stream: {copied:.2f} s, {arguments.rows / copied:,.0f} rows/s, "
            f"{plain / copied:.2f} of COPY to a file and back"
        )
        verify(place, source, front)
    shutil.rmtree(directory)


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def to_file_and_back(source: str) -> float:
    """Seconds of COPY to a file of the server and back into an empty table with the same key."""
    path = f"{tempfile.gettempdir()}/bench-{uuid.uuid4().hex}.copy"
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute('create table "业务"."again" (like "业务"."bench" including all)')
        began = time.monotonic()
        connection.execute(f'copy "业务"."bench" to \'{path}\'')
        connection.execute(f'copy "业务"."again" from \'{path}\'')
        seconds = time.monotonic() - began
        connection.execute('drop table "业务"."again"')
        connection.execute(f"copy (select 1 where false) to program 'rm {path}'")
    return seconds


def copy(place: Installation, changes: int, kills: int) -> float:
    """Seconds from the begin of the copy until the table is live."""
    with place.start(covered=False) as agent, changing(place.source, changes):
        for number in range(kills):
            wanted = (number + 1) / (kills + 1)
            eventually(functools.partial(copied_past, place, wanted), LIVE, "the copy goes on", 0.2)
            os.kill(agent.child("capture"), signal.SIGKILL)
            say(f"killed at {wanted:.0%}")
        eventually(lambda: "reconcile_ends" in agent.log, LIVE, "the table is live", 0.2)
        stamps = re.findall(r"^(\S+) INFO reconcile_(?:begins|ends)", agent.log, re.MULTILINE)
        seconds = (
            datetime.fromisoformat(stamps[-1]) - datetime.fromisoformat(stamps[0])
        ).total_seconds()
        say(f"memory of capture at its end: {resident(agent):,.0f} MB")
    return seconds


def copied_past(place: Installation, share: float) -> bool:
    """Whether more than this share of the table is copied."""
    found = place.status()["tables"][0]["copy"]
    return bool(found and found["rows"] > share * found["estimate"])


def resident(agent: Agent) -> float:
    """Most memory the capture process has had, in MB."""
    status = Path(f"/proc/{agent.child('capture')}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


@contextmanager
def changing(source: str, rate: int) -> Iterator[None]:
    """So many updates a second, each a transaction of its own."""
    ended = threading.Event()

    def change() -> None:
        with psycopg.connect(source, autocommit=True) as connection:
            number = 0
            while not ended.wait(1 / rate):
                number += 7919
                connection.execute(
                    'update "业务"."bench" set "version" = "version" + 1 '
                    'where "id" = 1 + %s %% 1000000',
                    [number],
                )

    thread = threading.Thread(target=change)
    if rate:
        thread.start()
    yield
    ended.set()
    if rate:
        thread.join()


def verify(place: Installation, source: str, front: str) -> None:
    """Verify equal tables, against reading both sides once."""
    with place.start(covered=False) as agent:
        agent.wait_ready()
        eventually(place.caught_up, LIVE, "all events are published", 1.0)
        began = time.monotonic()
        for conninfo, table in ((source, '"业务"."bench"'), (front, '"bench"')):
            with (
                psycopg.connect(conninfo) as connection,
                connection.cursor() as cursor,
                cursor.copy(f"copy {table} to stdout") as copied,
            ):
                rows = sum(1 for _ in copied)
        once = time.monotonic() - began
        say(f"reading both sides once with COPY: {once:.2f} s")
        place.command("verify")
        stamps = re.findall(
            r"^(\S+) INFO reconcile_(?:begins|ends) resource=bench repair=False",
            agent.log,
            re.MULTILINE,
        )
        seconds = (
            datetime.fromisoformat(stamps[-1]) - datetime.fromisoformat(stamps[-2])
        ).total_seconds()
        say(
            f"verify of {rows:,} equal rows: {seconds:.2f} s, "
            f"{seconds / once:.2f} times reading both sides once"
        )


if __name__ == "__main__":
    main()

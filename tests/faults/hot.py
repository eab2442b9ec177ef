"""Has many writers change the same few rows of a database with triggers, while the agent is killed.

    python -m tests.faults.hot [--minutes 10] [--database postgresql|mariadb] [--seed 1] [--record]

The business database is a real server, and so is the broker. Eight writers insert, change, rename
and delete rows under a few keys, and now and then hundreds at once. Every few seconds the service,
its capture or its publisher is killed by SIGKILL. When the writers have ended, the independent
checker compares source, front end and topic; no note may be left, and no statement may have failed
for another reason than the writers' own conflicts.
"""

import argparse
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import TracebackType
from typing import NamedTuple, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import DBAPIError

from tests import waiting
from tests.agent_process import OUTBOX, Agent, Stage
from tests.checker import Places, SharedTable, Verdict, compare
from tests.checker.front import at_front
from tests.faults.outcome import fresh_evidence
from tests.faults.planting import ROOT
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress, KafkaBroker
from tests.services.mariadb import MariaDbServer
from tests.services.postgres import PostgresServer
from tests.source.databases import DRIVERS, Place
from tests.source.unit_without_log import Unit
from tests.waiting import eventually

PAGE = ROOT / "docs" / "RELIABILITY.md"
KINDS = ("postgresql", "mariadb")
WRITERS = 8
HOT = 20  # keys
BULK = range(1000, 1300)  # keys that are written by one statement
SOURCE = 'type = "trigger"\nlook_seconds = 0.2'
LULL = (0.5, 6.0)  # seconds between two kills
CATCH_UP = 120.0  # seconds that a quiet machine may need in the end
# What a writer meets because of the others: deadlocks, time-outs of locks, keys that are taken
CONFLICTS = ("40P01", "23505", 1020, 1062, 1205, 1213)


class Told(NamedTuple):
    """What was done, and how it ended."""

    database: str
    seconds: float
    commits: int
    conflicts: int
    kills: Counter[str]
    caught_up: float  # seconds after the last commit
    failures: Sequence[str]  # statements that failed for a reason of their own
    verdict: Verdict

    @property
    def green(self) -> bool:
        """Whether nothing speaks against the agent."""
        return self.verdict.equal and not self.failures

    def __str__(self) -> str:
        kills = ", ".join(f"{stage} {count}" for stage, count in sorted(self.kills.items()))
        return (
            f"{self.database}: {WRITERS} writers, {HOT} keys, {self.seconds / 60:.1f} minutes: "
            f"{self.commits:,} transactions committed, {self.conflicts:,} ended by conflicts of "
            f"the writers, {len(self.failures)} by anything else; kill -9: {kills}; "
            f"all was there {self.caught_up:.0f} s after the last commit. {self.verdict}"
        )


class Writers:
    """Writers of the table `permit`, from entering the context to leaving it."""

    def __init__(self, place: Place, seed: int) -> None:
        self._place = place
        self._seed = seed
        self._ended = threading.Event()
        self._counting = threading.Lock()
        self.commits = 0
        self.conflicts = 0
        self.failures: list[str] = []
        self._threads: list[threading.Thread] = []
        for number in range(WRITERS):
            self._threads.append(threading.Thread(target=self._work, args=(number,)))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        random = Random(f"{self._seed} {number}")
        with self._place.transaction() as connection:
            if self._place.kind == "postgresql":
                # Deadlocks are many, and each would last a second
                connection.exec_driver_sql("SET deadlock_timeout = '20ms'")
                connection.commit()
            while not self._ended.is_set():
                self._transact(connection, random)

    def _transact(self, connection: Connection, random: Random) -> None:
        try:
            for statement in drawn(random, self._place.kind):
                connection.exec_driver_sql(statement)
            if random.random() < 0.05:
                connection.rollback()
                return
            connection.commit()
        except DBAPIError as error:
            connection.rollback()
            with self._counting:
                self.conflicts += 1
                if _code(error) not in CONFLICTS:
                    self.failures.append(str(error.orig))
            return
        with self._counting:
            self.commits += 1


def _code(error: DBAPIError) -> object:
    """Returns what PostgreSQL calls the error, or MariaDB its number."""
    if isinstance(error.orig, psycopg.Error):
        return error.orig.sqlstate
    return error.orig.args[0] if error.orig else None


def drawn(random: Random, kind: str) -> Iterator[str]:
    """Yields the statements of a transaction."""
    if random.random() < 0.02:
        yield bulk(random, kind)
    for _ in range(random.choice((1, 1, 2, 3))):
        key = random.randrange(HOT)
        amount = random.randrange(1000)
        deed = random.random()
        if deed < 0.35:
            yield upsert(kind, key, amount)
        elif deed < 0.6:
            yield f"UPDATE permit SET amount = amount + 1 WHERE id = {key}"
        elif deed < 0.75:
            yield f"UPDATE permit SET amount = {amount} WHERE id BETWEEN {key} AND {key + 5}"
        elif deed < 0.9:
            yield f"DELETE FROM permit WHERE id = {key}"
        else:
            yield f"UPDATE permit SET id = {random.randrange(HOT)} WHERE id = {key}"


def upsert(kind: str, key: int, amount: int) -> str:
    """Returns a statement that inserts a row, or changes the one that is there."""
    insert = f"INSERT INTO permit (id, holder, amount) VALUES ({key}, '持证人 {amount}', {amount})"
    if kind == "postgresql":
        changes = "holder = excluded.holder, amount = excluded.amount"
        return f"{insert} ON CONFLICT (id) DO UPDATE SET {changes}"
    return f"{insert} ON DUPLICATE KEY UPDATE holder = VALUES(holder), amount = VALUES(amount)"


def bulk(random: Random, kind: str) -> str:
    """Returns a statement that inserts, changes or deletes hundreds of rows."""
    deed = random.randrange(3)
    if deed == 0:
        return f"DELETE FROM permit WHERE id >= {BULK.start}"
    if deed == 1:
        return f"UPDATE permit SET amount = amount + 1 WHERE id >= {BULK.start}"
    rows = ", ".join(f"({key}, '批量', 0)" for key in BULK)
    ignored = "IGNORE " if kind != "postgresql" else ""
    passed = " ON CONFLICT DO NOTHING" if kind == "postgresql" else ""
    return f"INSERT {ignored}INTO permit (id, holder, amount) VALUES {rows}{passed}"


class Killed:
    """The service of a unit, which is killed and started again."""

    def __init__(self, unit: Unit, seed: int) -> None:
        self._unit = unit
        self._random = Random(f"kills {seed}")
        self._agent = unit.start()
        self.kills: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._agent.kill9()

    @property
    def agent(self) -> Agent:
        """The service that runs now."""
        return self._agent

    def until(self, end: float) -> None:
        """Kills processes until `end`, by time.monotonic()."""
        while time.monotonic() < end:
            time.sleep(min(self._random.uniform(*LULL), max(0.0, end - time.monotonic())))
            self._kill()
        self._agent.wait_ready()

    def _kill(self) -> None:
        stages: tuple[Stage | None, ...] = ("capture", "capture", "publish", None)
        stage = self._random.choice(stages)
        if stage is None:
            self._agent.kill9()
            self._agent = self._unit.start()
        else:
            self._agent.kill9_child(stage)
        self.kills[stage or "service"] += 1


def storm(place: Place, kafka: KafkaAddress, prefix: str, folder: Path, given: "Given") -> Told:
    """Runs writers and kills, and judges how they have ended."""
    unit = Unit(place, kafka, prefix, folder, SOURCE)
    unit.write(30)
    unit.command("init", "--apply")
    with Killed(unit, given.seed) as service:
        service.agent.wait_ready()
        began = time.monotonic()
        with Writers(place, given.seed) as writers:
            service.until(began + given.seconds)
        ended = time.monotonic()
        eventually(lambda: quiet(unit, place), CATCH_UP, "all has arrived", 0.5)
        caught_up = time.monotonic() - ended
        service.agent.stop()
    return Told(
        place.kind,
        ended - began,
        writers.commits,
        writers.conflicts,
        service.kills,
        caught_up,
        writers.failures,
        judged(unit, place, kafka, prefix),
    )


def quiet(unit: Unit, place: Place) -> bool:
    """Tells whether both sides are equal, all is published, and no note is left."""
    with place.open() as connection:
        notes = connection.exec_driver_sql("SELECT count(*) FROM sync_agent_log").scalar()
    if notes or unit.front != unit.business:
        return False
    return at_front(unit.front_file, OUTBOX) == [(1,)]


def judged(unit: Unit, place: Place, kafka: KafkaAddress, prefix: str) -> Verdict:
    """Has the checker compare source, front end and topic; it shares no code with the agent."""
    names = {name: name for name in ("id", "holder", "amount")}
    table = SharedTable(f"{prefix}.permit", "", "permit", names, ("id",), "permit")
    source = place.owner.set(drivername=place.kind).render_as_string(hide_password=False)
    return compare(Places(source, unit.front_file, kafka.bootstrap), [table])


class Given(NamedTuple):
    """How long, and which changes and kills."""

    seconds: float
    seed: int = 1


@contextmanager
def business(kind: str) -> Iterator[Place]:
    """Yields an empty database on a server of its own."""
    with ExitStack() as stack:
        if kind == "mariadb":
            mariadb = stack.enter_context(MariaDbServer.start())
            address = make_url(stack.enter_context(mariadb.fresh_database()))
            url = address.set(drivername="mariadb+pymysql")
            yield Place(kind, url, url.set(username=mariadb.url.username))
            return
        postgres = stack.enter_context(PostgresServer.start(18))
        given = conninfo_to_dict(stack.enter_context(fresh_database(postgres)))
        yield Place(
            kind,
            URL.create(
                DRIVERS[kind],
                str(given["user"]),
                host=str(given["host"]),
                port=int(given.get("port") or 5432),
                database=str(given["dbname"]),
            ),
        )


def main() -> int:
    """Runs it; 0 only when nothing speaks against the agent."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.hot",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of each database (default 10)")
    parser.add_argument("--database", choices=KINDS, action="append", help="default: each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--record", action="store_true", help="put the result into docs/RELIABILITY.md"
    )
    given = parser.parse_args()
    waiting.on_a_busy_machine()
    green = True
    with KafkaBroker.start() as kafka:
        for kind in given.database or KINDS:
            folder = ROOT / "build" / "faults" / f"hot-{kind}"
            fresh_evidence(folder)
            with business(kind) as place:
                told = storm(place, kafka, kind, folder, Given(given.minutes * 60, given.seed))
            print(told, *told.failures[:5], sep="\n", flush=True)
            green = green and told.green
            if given.record:
                record(told)
    return 0 if green else 1


def record(told: Told) -> None:
    """Puts the result of one database into the page."""
    today = datetime.now(UTC).date().isoformat()
    line = f"- {today}, {told}".replace("\n", " ")
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- hot {told.database} -->\n", "<!-- end of hot -->"
    section = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    PAGE.write_text(section.sub(lambda _: f"{begin}{line}\n{end}", page), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

"""Runs schedules on sources that tell what rows are, over business databases in SQLite.

The real capture loop reads a polled database, or a trigger log, into the front end in memory. It
is killed, or meets an error, at drawn failpoints, and the application writes there, too. An
exception that nobody catches stands for the kill: all that is not durable is thrown away. A polled
database has quiet hours and a pace, by a clock of the run. One schedule is a batch of SEEDS seeds:
`python -m tests.faults.states BATCH`.
"""

import json
import logging
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Literal
from unittest.mock import patch

import orjson
from sqlalchemy import Connection

from agent import failpoints
from agent.capture import loop
from agent.capture.loop import Capture
from agent.config import Settings
from agent.connectors.base import Source
from agent.connectors.changes import Message
from agent.connectors.database import rows as row_pages
from agent.connectors.database.rows import RowReader, Texts
from agent.connectors.opening import open_source, setup_of
from agent.connectors.polling import source as polled_looks
from agent.connectors.position import position_text
from agent.connectors.resume import Resume
from agent.connectors.trigger import source as trigger_looks
from agent.errors import FrontUnreachable, Halt
from agent.front.base import Copy, Stored
from agent.front.durable import empty_store
from agent.front.memory import MemoryFront
from agent.outbox.frames import OutboxEvent, frames
from agent.service.control import Control
from tests.source.polled import WatchedSource

Kind = Literal["trigger", "timestamp", "flag"]
Rows = dict[str, str]  # note by key

KINDS: tuple[Kind, ...] = ("trigger", "timestamp", "flag")

SEEDS = 40  # in one batch
ROUNDS = 5  # of changes in one run
TURNS = 5000  # of the loop, after which it counts as stuck
MEANWHILE = 0.15  # how probable it is that the application writes while capture is at a place
OVERLAP = 5  # seconds; no transaction is committed later than that
PART = 3  # rows of a part of a look
PAGE_BYTES = 12  # of a page
POLLS = {
    "timestamp": {"mode": "timestamp", "column": "changed", "overlap": OVERLAP},
    "flag": {
        "mode": "flag",
        "column": "pending",
        "pending": [1],
        "done": 0,
        "write_back": True,
    },
}
RATE = 4  # rows per second
TURN = 0.25  # seconds that pass with each reading
RESTS = 5.0  # ... with each one in quiet hours
NAME = "orders"
KEYS = range(16)
# Where capture may die, and where the application may write meanwhile
PLACES = (
    "after_read_begin",
    "mid_rows",
    "after_read_commit",
    "before_apply",
    "after_rows",
    "before_ack_send",
    "after_ack_send",
    "after_page_read",
    "before_page_merge",
    "after_page_merge",
    "after_look_read",
    "before_mark_commit",
)
# There the agent has the database for itself: SQLite lets nobody else write meanwhile
HELD = ("before_mark_commit",)


class Business:
    """The business database, as the application writes it."""

    def __init__(self, kind: Kind, folder: Path, random: Random) -> None:
        self._random = random
        self._tick = 0
        path = folder / "business.db"
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        columns = "id INTEGER NOT NULL PRIMARY KEY, note TEXT, changed DATETIME, pending INT"
        self._connection.execute(f"CREATE TABLE {NAME} ({columns})")
        resource: dict[str, Any] = {"name": NAME, "table": NAME, "columns": ["id", "note"]}
        source: dict[str, Any] = {"type": "polling", "url": f"sqlite:///{path}"}
        if kind == "trigger":
            source = {**source, "type": kind, "look_seconds": 0.001}
        else:
            resource["poll"] = POLLS[kind]
            source |= {"rows_per_second": RATE, "quiet": list(Hours.QUIET)}
        self.settings = Settings.model_validate(
            {
                "name": "unit",
                "source": source,
                "kafka": {"bootstrap_servers": ["nowhere:1"], "prefix": "p"},
                "reconcile": {"max_delete_share": 1},
                "resource": [resource],
            }
        )

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    @property
    def rows(self) -> Rows:
        """The rows that are there."""
        found = self._connection.execute(f"SELECT id, note FROM {NAME}")
        return {str(key): note for key, note in found}

    @property
    def noted(self) -> bool:
        """Whether notes of triggers wait."""
        found = self._connection.execute("SELECT 1 FROM sync_agent_log").fetchone()
        return found is not None

    def write(self) -> None:
        """Commits a transaction: it inserts, changes, deletes or renames some rows.

        Its times are those of now, of a while ago, or none: whatever an application does within
        the overlap.
        """
        self._tick += self._random.choice((0, 0, 1, 2, 4))
        late = self._random.choice((0, 0, 0, OVERLAP - 1))
        changed = self._time(max(self._tick - late, 0))
        if self._random.random() < 0.05:
            changed = None
        self._connection.execute("BEGIN")
        for _ in range(self._random.choice((1, 1, 2, 6))):
            self._change(changed)
        self._connection.execute("COMMIT")

    @staticmethod
    def _time(tick: int) -> str | None:
        return f"2024-01-01 {tick // 3600:02d}:{tick // 60 % 60:02d}:{tick % 60:02d}"

    def _change(self, changed: str | None) -> None:
        key, other = self._random.sample(KEYS, 2)
        drawn = self._random.random()
        if drawn < 0.15:
            self._connection.execute(f"DELETE FROM {NAME} WHERE id = ?", (key,))
        elif drawn < 0.25:
            statement = f"UPDATE OR IGNORE {NAME} SET id = ?, changed = ?, pending = 1 WHERE id = ?"
            self._connection.execute(statement, (other, changed, key))
        else:
            changes = "note = excluded.note, changed = excluded.changed, pending = 1"
            note = f"note {self._random.randrange(1000)}"
            insert = f"INSERT INTO {NAME} VALUES (?, ?, ?, 1) ON CONFLICT (id) DO UPDATE"
            self._connection.execute(f"{insert} SET {changes}", (key, note, changed))


class Killed(BaseException):
    """The process is gone: the next one begins from what is durable."""


class Stuck(Exception):
    """Capture does not come to rest."""


class Surviving(MemoryFront):
    """The front end of a process: the one before may have been killed."""

    def open(self, nonce: str) -> Stored:
        """See Front.open."""
        self.durable.holder = None
        return super().open(nonce)


class Hours:
    """The time of a run, every second minute of which is quiet, and who reads too much in it."""

    QUIET = tuple([f"00:{minute:02d}-00:{minute + 1:02d}" for minute in range(1, 59, 2)])

    def __init__(self, seconds: float) -> None:
        """`seconds` have passed when the run begins: the first quiet minute is near."""
        self._seconds = seconds
        self._read = 0  # rows
        self._owed = 0.0  # rows for which no time has passed since they were read
        self.found: set[str] = set()

    def clock(self) -> datetime:
        """Returns what the wall clock shows: in the first hour of a day."""
        return datetime(2024, 1, 1) + timedelta(seconds=self._seconds % 3600)  # noqa: DTZ001

    def monotonic(self) -> float:
        """Returns the seconds that have passed."""
        return self._seconds

    @property
    def _quiet(self) -> bool:
        return self.clock().minute % 2 == 1 and self.clock().minute < 59

    def begin(self) -> None:
        """Is called when a process begins to read: it knows nothing of the one before."""
        self._owed = 0.0

    def count(self, rows: Iterator[Texts]) -> Iterator[Texts]:
        """Counts rows that are read from the business database."""
        for row in rows:
            self._read += 1
            yield row

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Lets time pass, and judges what is read within: at once a look and a page, no more."""
        passed = RESTS if self._quiet else TURN
        self._seconds += passed
        self._owed = max(0.0, self._owed - passed * RATE)
        before = self._read
        try:
            yield
        finally:
            read = self._read - before
            self._owed += read
            if self._owed > 2 * RATE:
                self.found.add("pace")
            if read and self._quiet:
                self.found.add("quiet")


class Polled(WatchedSource):
    """A polled source that looks all the time, and knows how often it has seen all."""

    def __init__(self, settings: Settings, hours: Hours) -> None:
        super().__init__(settings)
        self._hours = hours
        self._clock = hours.clock
        self._pace._monotonic = hours.monotonic
        self._every = 0.0
        self._whole = 0  # looks that came to their end since the opening

    def open(self, resume: Resume, front_silent_since: Callable[[], float | None]) -> None:
        """See Source.open."""
        super().open(resume, front_silent_since)
        self._hours.begin()
        self._whole = 0

    def read(self, timeout: float) -> Iterator[Message]:
        """See Source.read."""
        with self._hours.reading():
            messages = list(super().read(timeout))
        yield from messages

    def _look(self, connection: Connection) -> list[Message]:
        messages = super()._look(connection)
        self._whole += not self._cut
        return messages

    @property
    def _cut(self) -> bool:
        """Whether the last look has left rows to the next one."""
        return self._cursors[NAME].after is not None

    @property
    def rests(self) -> bool:
        """Whether the front end has what a look has found that was begun since the opening.

        The first one may have been begun by the process before.
        """
        return self._whole > 1 and self.idle and not self._cut


class Run:
    """One seed: an application, a capture that dies, and what a subscriber is told."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._random = Random(seed)
        self._kind: Kind = KINDS[seed % len(KINDS)]
        self._business = Business(self._kind, folder, self._random)
        settings = self._business.settings
        with setup_of(settings).prepare(lambda _: None, None, None) as source:
            source.finish()
            identity = dict(source.identity)
        self._durable = empty_store({NAME: f"p.{NAME}"}, [NAME], position_text(100), identity)
        self._dies_in = 0  # passages of a place; 0: it does not
        self._writes = 0  # of the application, at places of this life
        self._hours = Hours(self._random.uniform(30, 60))

    def run(self) -> str:
        """Lives through everything; returns the oracles that speak against the agent."""
        for _ in range(self._random.randrange(12)):
            self._business.write()
        self._copy_again()
        for _ in range(ROUNDS):
            for _ in range(self._random.choice((0, 1, 3, 8))):
                self._business.write()
            self._dies_in = self._random.choice((0, *range(1, 25)))
            self._writes = self._random.choice((0, 6))
            self._capture()

        self._dies_in = 0
        self._writes = 0
        self._capture()
        found = self._judge()
        self._business.close()
        return " ".join(sorted(found))

    # ---- the capture's life

    def _copy_again(self) -> None:
        self._durable.move(NAME, "copying", Copy())

    def _capture(self) -> None:
        """Lets capture work until it has nothing to do; who is killed is started again."""
        for _ in range(2):
            try:
                self._live()
            except Killed:
                continue
            return

    def _live(self) -> None:
        """Lives as one process. Raises Killed, Stuck, and the halts of the agent."""
        source = self._source()
        control = Control.alone()
        turns = iter(range(TURNS))

        def stopping() -> bool:
            if next(turns, None) is None:
                raise Stuck
            return self._idle(source)

        control.retry = lambda error: None  # type: ignore[method-assign]
        control.stopping = stopping  # type: ignore[method-assign]
        front = Surviving(self._durable)
        # As databases that order keys alike: a page is compared with the rows of the same range
        front.ordered = True
        try:
            with (
                patch.object(failpoints, "hit", self._passed),
                patch.object(RowReader, "rows", self._rows),
            ):
                Capture(self._business.settings, source, front, control).run()
        finally:
            source.close()
            control.close()

    def _source(self) -> Source:
        settings = self._business.settings
        if self._kind == "trigger":
            return open_source(settings)
        return Polled(settings, self._hours)

    @property
    def _rows(self) -> Callable[..., Iterator[Texts]]:
        """Reads rows as the product does, and counts them."""
        product = RowReader.rows

        def rows(reader: RowReader, connection: Connection, statement: Any) -> Iterator[Texts]:
            return self._hours.count(product(reader, connection, statement))

        return rows

    def _idle(self, source: Source) -> bool:
        """Returns whether the front end has all that there is to look at."""
        states = [state.state for state in self._durable.stored.resources.values()]
        if "copying" in states:
            return False
        return source.rests if isinstance(source, Polled) else not self._business.noted

    def _passed(self, place: str) -> None:
        """Is where the capture passes a place: the application writes, or the process ends."""
        if place not in PLACES:
            return
        free = place not in HELD
        if free and self._writes and self._random.random() < MEANWHILE:
            self._writes -= 1
            self._business.write()
        self._dies_in -= 1
        if self._dies_in == 0:
            if self._random.random() < 0.5:
                raise Killed
            raise FrontUnreachable(reason=place)

    # ---- the judge

    def _judge(self) -> set[str]:
        """Compares both sides, has every row compared, and compares again."""
        suspended = self._durable.suspended.values()
        if suspended:
            return {f"halt {code}" for code in suspended}

        found = set(self._hours.found)
        source, front = self._business.rows, self._front_rows
        # What polling cannot see is found by the comparison: rows that are gone
        if source.items() - front.items() or (self._kind == "trigger" and source != front):
            found.add("O1")

        seen = len(self._events())
        self._copy_again()
        self._capture()
        for key, _, after in self._events()[seen:]:
            if key in source or after is not None:
                # It tells of a row that both sides had
                found.add("O4")
        if self._front_rows != source:
            found.add("O1")
        return found | self._subscriber_finds(source)

    def _subscriber_finds(self, source: Rows) -> set[str]:
        """Replays the topic: what it gives, and whether each event tells something new."""
        found = set()
        held: Rows = {}
        for key, operation, after in self._events():
            before = held.pop(key, None)
            if after is not None:
                held[key] = after
            if before == after or (operation == "d") != (after is None):
                found.add("O4")
        if held != source:
            found.add("O3")
        return found

    @property
    def _front_rows(self) -> Rows:
        rows = self._durable.tables[NAME]
        return {str(key): str(note) for key, note in rows.values()}

    def _events(self) -> list[tuple[str, str, str | None]]:
        """Returns key, operation and note of each event so far."""
        found = []
        for batch in self._durable.outbox:
            for frame in frames(batch):
                if not isinstance(frame, OutboxEvent):
                    continue
                value = orjson.loads(frame.value)
                after = value["after"]
                note = None if after is None else str(after["note"])
                found.append((str(orjson.loads(frame.key)["id"]), str(value["op"]), note))
        return found


@contextmanager
def small() -> Iterator[None]:
    """Has looks and pages end after a few rows, and nothing wait."""
    with (
        patch.object(loop, "_IDLE", 0.0),
        patch.object(loop, "_ASK", 0.0),
        patch.object(polled_looks, "ROWS", PART),
        patch.object(trigger_looks, "MOST_NOTES", PART),
        patch.object(row_pages, "PAGE_BYTES", PAGE_BYTES),
    ):
        yield


def speaks(seed: int) -> tuple[str, str]:
    """Runs one seed, and returns what speaks against the agent, as `found` does."""
    where = f"states seed {seed}"
    with TemporaryDirectory() as folder, small():
        try:
            return Run(seed, Path(folder)).run(), where
        except Stuck:
            return "stuck", where
        except Halt as halt:
            return f"halt {halt.code}", where
        except Exception as error:  # noqa: BLE001 - whatever it is, the product does not raise it here
            return f"crash {type(error).__name__}", f"{where}: {error}"


def found(seed: int) -> tuple[str, str]:
    """Runs the batch in this process, and returns what speaks against the agent first.

    That is an oracle and its words; both are empty if nothing does.
    """
    logging.disable()  # what the agent logs of what happens to it
    first = (seed - 1) * SEEDS
    for number in range(first, first + SEEDS):
        spoken = speaks(number)
        if spoken[0]:
            return spoken
    return "", ""


if __name__ == "__main__":
    print(json.dumps(found(int(sys.argv[1]))))

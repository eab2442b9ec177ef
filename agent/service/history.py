"""Keeps the past for the status page: minutes of the last day, and what was exchanged by days.

Both lie in a small SQLite file in the agent's folder. The supervisor counts in memory, one thread
writes the file once a minute (`agent.service.recorder`), and the page's threads read it.
"""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import datetime
from operator import add
from pathlib import Path
from typing import NamedTuple, TypeVar

from agent.messages import system_reason

MINUTES = 24 * 60  # kept for the charts
DAYS = 92  # kept of each table, counting only days on which there was something
_NAME = "history.db"
_VERSION = 1  # of the tables below; a file of another version is set aside
_PATIENCE = 2.0  # seconds for another program that holds the file
_ALL_DAYS = ("", "9999-12-31")
_TABLES = """
CREATE TABLE IF NOT EXISTS minute (
    minute INTEGER PRIMARY KEY, lag REAL, events INTEGER NOT NULL, backlog INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS exchange (
    day TEXT, name TEXT,
    inserted INTEGER NOT NULL, updated INTEGER NOT NULL, deleted INTEGER NOT NULL,
    copied INTEGER NOT NULL, published INTEGER NOT NULL, bytes INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    PRIMARY KEY (day, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS last_event (name TEXT PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID;
"""
_ADD_EXCHANGE = """
INSERT INTO exchange VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, name) DO UPDATE SET
    inserted = inserted + excluded.inserted, updated = updated + excluded.updated,
    deleted = deleted + excluded.deleted, copied = copied + excluded.copied,
    published = published + excluded.published, bytes = bytes + excluded.bytes,
    failed = failed + excluded.failed
"""
_BY_DAY = """
SELECT day, sum(inserted), sum(updated), sum(deleted), sum(copied), sum(published), sum(bytes),
    sum(failed)
FROM exchange GROUP BY day
"""
_FORGET_DAYS = """
DELETE FROM exchange
WHERE day NOT IN (SELECT DISTINCT day FROM exchange ORDER BY day DESC LIMIT ?)
"""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_OPERATIONS = {"c": "inserted", "u": "updated", "d": "deleted", "r": "copied"}
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Minute(NamedTuple):
    """How the agent was in one minute in which it ran."""

    minute: int  # Unix time / 60
    lag: float | None  # seconds behind the business database; None: not known
    events: int  # written to the front end since the minute before
    backlog: int  # events that wait for Kafka


class Exchange(NamedTuple):
    """What was exchanged of a table, or of several."""

    inserted: int = 0  # events written to the front end, as the next two
    updated: int = 0
    deleted: int = 0
    copied: int = 0  # rows that a copy or a repair has written there
    published: int = 0  # events that Kafka has made visible
    bytes: int = 0  # of the keys and values of these
    failed: int = 0  # rows that the front-end table has refused, or that were too large for Kafka

    @property
    def applied(self) -> int:
        """All that was written to the front end."""
        return self.inserted + self.updated + self.deleted + self.copied

    def plus(self, other: "Exchange") -> "Exchange":
        """Returns the sum of both."""
        return Exchange(*map(add, self, other))


Key = tuple[str, str]  # the day (ISO 8601, of this host's time zone) and the table's name
Exchanges = dict[Key, Exchange]


class History:
    """The past of one agent.

    It is bounded: 1,440 minutes, and of each table 92 days. What a restart finds in the file goes
    on. A file that cannot be used stops nobody: what could not be written is kept in memory and
    tried again, and a damaged file is set aside.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Reads what an earlier service has left in `folder`; None: nothing is kept in a file."""
        self._path = None if folder is None else folder / _NAME
        # Of what is in memory; never held while the disk is waited for
        self._lock = threading.Lock()
        # Of the file, and of what is on its way there
        self._file_lock = threading.Lock()
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._unwritten_minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._events = 0  # since the last minute was noted
        self._unwritten: Exchanges = {}
        self._recent: dict[str, dict[str, Exchange]] = {}  # of the newest two days, by table
        self._days: dict[str, Exchange] = {}  # all tables together, by day
        self._last: dict[str, float] = {}  # table -> Unix time of its last event
        self._trouble = ""  # why the file cannot be used, as it was logged last
        self._with_file(self._read, None)

    # ---- counting, in the supervisor's thread ----

    def applied(self, table: str, operation: str, number: int, now: float) -> None:
        """Counts events that were written to the front end just now."""
        kind = _OPERATIONS.get(operation)
        if kind is None:
            return
        self.add(table, now, **{kind: number})
        with self._lock:
            self._events += number
            self._last[table] = now

    def add(self, table: str, now: float, **counts: int) -> None:
        """Counts what was exchanged just now, by the names of `Exchange`."""
        key = (day_of(now), table)
        more = Exchange(**counts)
        with self._lock:
            self._add_recent(*key, more)
            self._days[key[0]] = self._days.get(key[0], Exchange()).plus(more)
            self._unwritten[key] = self._unwritten.get(key, Exchange()).plus(more)

    def _add_recent(self, day: str, table: str, more: Exchange) -> None:
        if day not in self._recent:
            # A clock that is put back past midnight finds the day before, too
            for old in sorted(self._recent)[:-1]:
                del self._recent[old]
            for old in sorted(self._days)[: -DAYS + 1]:
                del self._days[old]
        tables = self._recent.setdefault(day, {})
        tables[table] = tables.get(table, Exchange()).plus(more)

    # ---- once a minute, in the recorder's thread ----

    def note(self, now: float, lag: float | None, backlog: int) -> None:
        """Notes how the agent is in this minute."""
        number = int(now // 60)
        with self._lock:
            events, self._events = self._events, 0
            if self._minutes and self._minutes[-1].minute == number:
                events += self._minutes.pop().events
            minute = Minute(number, lag, events, backlog)
            self._minutes.append(minute)
            self._unwritten_minutes.append(minute)

    def write(self) -> None:
        """Writes to the file what is not there yet."""
        with self._file_lock:
            with self._lock:
                minutes, exchanges = list(self._unwritten_minutes), self._unwritten
                last = dict(self._last)
                self._unwritten_minutes.clear()
                self._unwritten = {}
            done = self._with_file(lambda file: _write(file, minutes, exchanges, last), False)
            if done or self._path is None:
                return
            with self._lock:
                self._unwritten_minutes.extendleft(reversed(minutes))
                self._unwritten = _sum(exchanges, self._unwritten)
                _forget_days(self._unwritten)

    # ---- reading, in the threads of the page ----

    def today(self, table: str, now: float) -> Exchange:
        """Returns what was exchanged of a table on the day that `now` lies in."""
        with self._lock:
            return self._recent.get(day_of(now), {}).get(table, Exchange())

    def last_event(self, table: str) -> float | None:
        """Returns when the last event of a table was written to the front end."""
        with self._lock:
            return self._last.get(table)

    def minutes(self, now: float) -> list[Minute]:
        """Returns the minutes of the 24 hours before `now`, the oldest first."""
        newest = int(now // 60)
        with self._lock:
            kept = list(self._minutes)

        # A clock that was put back has gone through some of them twice
        found = {}
        for each in kept:
            if newest - MINUTES < each.minute <= newest:
                found[each.minute] = each
        return [found[number] for number in sorted(found)]

    def days(self) -> dict[str, Exchange]:
        """Returns what was exchanged of all tables together, by day."""
        with self._lock:
            return dict(self._days)

    def exchanges(self, first: str = _ALL_DAYS[0], last: str = _ALL_DAYS[1]) -> Exchanges:
        """Returns what was exchanged on the days from `first` to `last`, by day and table."""
        with self._file_lock:
            nothing: Exchanges = {}
            found = self._with_file(lambda file: _exchanges(file, first, last), nothing)
            with self._lock:
                unwritten = dict(self._unwritten)
        inside = {key: value for key, value in unwritten.items() if first <= key[0] <= last}
        return _sum(found, inside)

    # ---- the file ----

    def _read(self, file: sqlite3.Connection) -> None:
        for row in file.execute("SELECT minute, lag, events, backlog FROM minute ORDER BY minute"):
            self._minutes.append(Minute(*row))
        self._last = dict(file.execute("SELECT name, time FROM last_event"))
        for day, *counts in file.execute(_BY_DAY):
            self._days[day] = Exchange(*counts)
        newest = "SELECT DISTINCT day FROM exchange ORDER BY day DESC LIMIT 2"
        for (day,) in file.execute(newest).fetchall():
            for (_, table), exchange in _exchanges(file, day, day).items():
                self._recent.setdefault(day, {})[table] = exchange

    def _with_file(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Does something with the file; returns `otherwise` where that cannot be done."""
        if self._path is None:
            return otherwise
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=_PATIENCE)) as file:
                _prepare(file)
                result = work(file)
        except (OSError, sqlite3.Error) as error:
            self._report(error)
            if getattr(error, "sqlite_errorcode", None) in _DAMAGED:
                self._set_aside(self._path)
            return otherwise
        self._trouble = ""
        return result

    def _set_aside(self, path: Path) -> None:
        try:
            path.replace(path.with_suffix(".damaged"))
            path.with_name(f"{_NAME}-journal").unlink(missing_ok=True)
        except OSError as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        """Logs why the file cannot be used, once until it can be."""
        reason = system_reason(error) if isinstance(error, OSError) else str(error)
        if reason != self._trouble:
            self._trouble = reason
            _log.warning("history_unusable path=%s error=%s", self._path, reason)


def _prepare(file: sqlite3.Connection) -> None:
    """Makes the tables in a new file. Raises sqlite3.DatabaseError for one of another version."""
    (version,) = file.execute("PRAGMA user_version").fetchone()
    if version == _VERSION:
        return
    if file.execute("SELECT 1 FROM sqlite_master").fetchone():
        error = sqlite3.DatabaseError(f"version {version} of the file is not known")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error
    file.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")


def _write(
    file: sqlite3.Connection,
    minutes: Iterable[Minute],
    exchanges: Exchanges,
    last: Mapping[str, float],
) -> bool:
    """Writes all in one transaction, and takes away what is too old."""
    with file:
        for minute in minutes:
            file.execute("INSERT OR REPLACE INTO minute VALUES (?, ?, ?, ?)", minute)
            # Those to come are of a clock that was wrong
            old = "DELETE FROM minute WHERE minute NOT BETWEEN ? AND ?"
            file.execute(old, (minute.minute - MINUTES + 1, minute.minute))
        if not exchanges:
            return True

        rows = [(*key, *exchange) for key, exchange in exchanges.items()]
        file.executemany(_ADD_EXCHANGE, rows)
        file.execute(_FORGET_DAYS, (DAYS,))
        file.executemany("INSERT OR REPLACE INTO last_event VALUES (?, ?)", last.items())
    return True


def _exchanges(file: sqlite3.Connection, first: str, last: str) -> Exchanges:
    found = {}
    for day, name, *counts in file.execute(
        "SELECT * FROM exchange WHERE day BETWEEN ? AND ?", (first, last)
    ):
        found[day, name] = Exchange(*counts)
    return found


def _sum(some: Exchanges, more: Exchanges) -> Exchanges:
    both = dict(some)
    for key, exchange in more.items():
        both[key] = both.get(key, Exchange()).plus(exchange)
    return both


def _forget_days(exchanges: Exchanges) -> None:
    """Takes away all but the newest days."""
    newest = sorted({day for day, _ in exchanges})[-DAYS:]
    for key in list(exchanges):
        if key[0] not in newest:
            del exchanges[key]


def day_of(moment: float) -> str:
    """Returns the day, ISO 8601, of a Unix time in the time zone of this host."""
    return datetime.fromtimestamp(moment).astimezone().date().isoformat()

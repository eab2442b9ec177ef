"""O8: what the slot has been told is stored was stored. Sampled while the agent works."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import pymysql

from tests.checker.table import Front, in_mariadb
from tests.checker.verdict import SHOWN, Verdict
from tests.services.mariadb import execute

INTERVAL = 0.02  # seconds between samples
STOPPED_WITHIN = 15.0  # seconds; a frozen server may hold it longer, and then it stays behind
CONFIRMED = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s"
STORED = "SELECT position FROM sync_agent_state"


class Sample(Exception):
    """There is none: a side cannot be asked just now."""


class AckSampler:
    """Reads the slot's confirmed position, THEN the one the front end has stored, again and again: the first must never be past the second.

    A side that is down or locked costs the sample, not the sampler. Use it as a context, or `start` and `stop`; then `report`.
    """

    def __init__(self, source: str, slot: str, front: Front, interval: float = INTERVAL) -> None:
        self._source, self._slot, self._front, self._interval = source, slot, front, interval
        self._connections: dict[str, psycopg.Connection] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ack sampler", daemon=True)
        self.samples = 0
        self.skipped = 0
        self.violations: list[str] = []  # the first few
        self.violated = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Samples from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Takes no further sample."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(STOPPED_WITHIN)
        if not self._thread.is_alive():
            for connection in self._connections.values():
                connection.close()

    def report(self, verdict: Verdict) -> None:
        """Puts what was found into the verdict; to have seen nothing is a finding too."""
        place = f"slot {self._slot}"
        if self.samples == 0:
            verdict.differs(place, None, "confirmed_flush_lsn", f"was never sampled ({self.skipped} attempts)", "O8")
        for violation in self.violations:
            verdict.differs(place, None, "confirmed_flush_lsn", violation, "O8")
        verdict.more("O8", self.violated - len(self.violations))

    def __str__(self) -> str:
        return f"O8: {self.samples} samples, {self.skipped} skipped, {self.violated} violations"

    def sample(self) -> None:
        """One look at both, in this order: the agent moves on between the two, and stores before it confirms."""
        try:
            confirmed = self._ask(self._source, CONFIRMED, [self._slot])
            stored = self._stored()
        except (psycopg.Error, pymysql.Error, sqlite3.Error, Sample):
            self.skipped += 1
            return
        self.samples += 1
        if lsn(confirmed) > lsn(stored):
            self.violated += 1
            if len(self.violations) < SHOWN:
                self.violations.append(f"{confirmed} is past the stored position {stored}")

    def _run(self) -> None:
        while not self._ended.is_set():
            self.sample()
            self._ended.wait(self._interval)

    def _stored(self) -> str:
        if not isinstance(self._front, Path):
            return _only(next(iter(execute(self._front, STORED)), None)) if in_mariadb(self._front) else self._ask(self._front, STORED)
        if not self._front.exists():
            raise Sample
        with closing(sqlite3.connect(f"file:{self._front}?mode=ro", uri=True, timeout=0)) as connection:
            return _only(connection.execute(STORED).fetchone())

    def _ask(self, conninfo: str, query: str, values: list[str] | None = None) -> str:
        connection = self._connections.get(conninfo)
        if connection is None or connection.closed:
            connection = self._connections[conninfo] = psycopg.connect(conninfo, autocommit=True, connect_timeout=5)
        return _only(connection.execute(query.encode(), values).fetchone())


def _only(row: tuple[object, ...] | None) -> str:
    if row is None or not row[0]:
        raise Sample
    return str(row[0])


def lsn(text: str) -> int:
    """A position of the log as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)

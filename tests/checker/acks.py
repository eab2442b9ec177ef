"""O8: what the slot has been told is stored was stored. Sampled while the agent works."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pymysql

from tests.checker.front import own
from tests.checker.sampler import Sampler
from tests.checker.table import Front, in_mariadb
from tests.services.mariadb import execute

INTERVAL = 0.02  # seconds between samples
CONFIRMED = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s"
STORED = "SELECT position FROM sync_agent_state"


class Sample(Exception):
    """There is none: a side cannot be asked just now."""


class AckSampler(Sampler):
    """Samples the slot's confirmed position, THEN the one that the front end has stored.

    The first must never be past the second.
    """

    oracle = "O8"

    def __init__(self, source: str, slot: str, front: Front, interval: float = INTERVAL) -> None:
        super().__init__(interval)
        self.place = f"slot {slot}"
        self._source, self._slot, self._front = source, slot, front
        self._connections: dict[str, psycopg.Connection] = {}
        self._position = STORED  # with the name of the agent's table once it is known

    def stop(self) -> None:
        """See Sampler.stop."""
        super().stop()
        if not self._thread.is_alive():
            for connection in self._connections.values():
                connection.close()

    def sample(self) -> None:
        """Reads both once, in this order.

        The agent moves on between the two, and stores before it confirms.
        """
        try:
            confirmed = self._ask(self._source, CONFIRMED, [self._slot])
            stored = self._stored()
        except (psycopg.Error, pymysql.Error, sqlite3.Error, Sample):
            self.skipped += 1
            return
        self.samples += 1
        if lsn(confirmed) > lsn(stored):
            self.violation(f"confirmed_flush_lsn {confirmed} is past the stored position {stored}")

    def _stored(self) -> str:
        if isinstance(self._front, Path) and not self._front.exists():
            raise Sample
        if self._position == STORED:
            self._position = own(self._front, STORED)
        if not isinstance(self._front, Path):
            return (
                _only(next(iter(execute(self._front, self._position)), None))
                if in_mariadb(self._front)
                else self._ask(self._front, self._position)
            )
        with closing(
            sqlite3.connect(f"file:{self._front}?mode=ro", uri=True, timeout=0)
        ) as connection:
            return _only(connection.execute(self._position).fetchone())

    def _ask(self, conninfo: str, query: str, values: list[str] | None = None) -> str:
        connection = self._connections.get(conninfo)
        if connection is None or connection.closed:
            connection = self._connections[conninfo] = psycopg.connect(
                conninfo, autocommit=True, connect_timeout=5
            )
        return _only(connection.execute(query.encode(), values).fetchone())


def _only(row: tuple[object, ...] | None) -> str:
    if row is None or not row[0]:
        raise Sample
    return str(row[0])


def lsn(text: str) -> int:
    """Returns a position of the log as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)

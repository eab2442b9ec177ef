"""Disturbs an agent that reads a binary log: what differs from PostgreSQL as the source."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pymysql
from psycopg import sql

from tests.agent_process import Installation
from tests.checker.plan import relation
from tests.faults.binary_log.ground import LoggedGround
from tests.faults.binary_log.unit import (
    RESIDENTS,
    SWAPPED,
    administer,
    define,
    run,
    session,
)
from tests.faults.nemesis import Nemesis
from tests.faults.service import ArmedAgent
from tests.services.mariadb import OwnServer

ROTATIONS = 5
SESSIONS = "SELECT id FROM information_schema.processlist WHERE user = %s AND command LIKE %s"


class LoggedNemesis(Nemesis):
    """See Nemesis."""

    def __init__(self, ground: LoggedGround, place: Installation, agent: ArmedAgent) -> None:
        super().__init__(ground, place, agent)
        self._business: OwnServer = ground.business

    @contextmanager
    def source_restarts(self) -> Iterator[None]:
        """kill -9 of the source's server; it is started later on."""
        self._business.kill9()
        try:
            yield
        finally:
            self._business.start_again()

    @contextmanager
    def source_stops(self) -> Iterator[None]:
        """The source's server is stopped in good order, which ends its log; started later on."""
        self._business.shut_down()
        try:
            yield
        finally:
            self._business.start_again()

    @contextmanager
    def source_sessions_end(self) -> Iterator[None]:
        """An administrator ends every session of the agent."""
        self._end_sessions("%")
        yield

    @contextmanager
    def source_dump_ends(self) -> Iterator[None]:
        """An administrator ends the session that sends the log, and no other one."""
        self._end_sessions("Binlog Dump%")
        yield

    def _end_sessions(self, command: str) -> None:
        with closing(session(self._place.source)) as connection:
            for (number,) in run(connection, SESSIONS, [self._place.name, command]):
                with suppress(pymysql.Error):  # it has ended by itself
                    run(connection, f"KILL {int(number)}")

    def _change_password(self, changed: str) -> None:
        """See Nemesis."""
        name = self._place.name
        administer(self._place.source, f"ALTER USER '{name}'@'%' IDENTIFIED BY '{changed}'")

    @contextmanager
    def column_added(self) -> Iterator[None]:
        """DDL that moves the shared columns of a table, and changes none of them."""
        define(self._place.source, f'ALTER TABLE "{RESIDENTS.name}" ADD COLUMN "附加" TEXT FIRST')
        yield

    @contextmanager
    def log_rotates(self) -> Iterator[None]:
        """The log goes on in another file, several times."""
        administer(self._place.source, *["FLUSH BINARY LOGS"] * ROTATIONS)
        yield

    @contextmanager
    def log_compresses(self) -> Iterator[None]:
        """The server ceases to compress rows of its log, and later on begins to do so again."""
        administer(self._place.source, "SET GLOBAL log_bin_compress = OFF")
        try:
            yield
        finally:
            with suppress(pymysql.Error):  # the server is away, and begins with its options
                administer(self._place.source, "SET GLOBAL log_bin_compress = ON")

    @contextmanager
    def table_swapped(self) -> Iterator[None]:
        """Another table takes the name of a shared one, as tools do that change tables online.

        What was written in between is lost at the source: no row of the log says what is there.
        """
        old, new, name = (
            sql.Identifier(f"{SWAPPED.name}_旧"),
            sql.Identifier(f"{SWAPPED.name}_新"),
            relation(SWAPPED),
        )
        define(
            self._place.source,
            sql.SQL("DROP TABLE IF EXISTS {}, {}").format(old, new),
            sql.SQL("CREATE TABLE {} LIKE {}").format(new, name),
            sql.SQL("INSERT INTO {} SELECT * FROM {}").format(new, name),
            sql.SQL("RENAME TABLE {0} TO {1}, {2} TO {0}").format(name, old, new),
        )
        yield

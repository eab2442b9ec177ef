"""Servers of the MySQL family with a binary log, and what they log of some statements."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pymysql

from agent.connectors.mysql import columns, event_types, events, rows
from agent.connectors.mysql.compression import inner_events, payload
from agent.connectors.mysql.dump import Dump
from agent.connectors.mysql.events import Event, gtid, mariadb_gtid
from agent.connectors.mysql.gtids import DomainPositions, GtidSet
from agent.connectors.mysql.table_map import LoggedTable, table_map
from tests.services.mariadb import MariaDbServer, OwnServer, connected
from tests.services.mysql import MySqlServer, NewerMariaDbServer
from tests.waiting import eventually

LOGGING = ("--log-bin=bin", "--server-id=7", "--binlog-format=ROW", "--binlog-row-metadata=FULL")
GTIDS = ("--gtid-mode=ON", "--enforce-gtid-consistency=ON")
MARIADB = ("mariadb", "mariadb11")
MYSQL = ("mysql8", "mysql9")
KINDS = (*MARIADB, *MYSQL)
# For tests that take long and of which a second MariaDB says nothing new
FEW_KINDS = ("mariadb", "mysql8", "mysql9")
HEARTBEAT = 0.2  # seconds


class Row(NamedTuple):
    """A row of the log."""

    table: LoggedTable
    op: str
    before: rows.Values | None
    after: rows.Values | None


class Logging:
    """A server, and a database on it that is emptied for each test."""

    def __init__(self, kind: str, server: OwnServer) -> None:
        self.kind = kind
        self.is_mariadb = kind in MARIADB
        self.has_signs_of_years = kind != "mysql8"
        self.server = server
        with self.session() as run:
            collations = (
                "collation_character_set_applicability" if self.is_mariadb else "collations"
            )
            listed = run(f"SELECT id, character_set_name FROM information_schema.{collations}")
            self.charsets = {int(str(number)): str(name) for number, name in listed if number}
            run("CREATE DATABASE unit")

    @contextmanager
    def session(self) -> Iterator["Run"]:
        """A session in the database, with careless settings; each statement is committed."""
        with connected(self.server.url) as connection:
            run = Run(connection)
            run("SET SESSION sql_mode = '', time_zone = '+00:00'")
            run("SET NAMES utf8mb4")
            yield run

    @contextmanager
    def compressing(self) -> Iterator[str | None]:
        """Yields the statement by which a session has compressed what it logs.

        In MariaDB it is one for the whole server, and is taken back. None: there is none, as in
        MySQL before 8.0.20.
        """
        if self.kind == "mysql8":
            with self.session() as run:
                assert not run("SHOW VARIABLES LIKE 'binlog_transaction_compression'")
            yield None
            return
        if not self.is_mariadb:
            yield "SET SESSION binlog_transaction_compression = ON"
            return
        try:
            yield "SET GLOBAL log_bin_compress = ON, log_bin_compress_min_len = 10"
        finally:
            with self.session() as run:
                run("SET GLOBAL log_bin_compress = OFF")

    def logged(self, statements: Sequence[str], setup: Sequence[str] = ()) -> list[Event]:
        """Runs statements in one session and returns what the log has of them.

        What `setup` does is not returned.
        """
        with self.session() as run:
            run("DROP DATABASE unit")
            run("CREATE DATABASE unit CHARACTER SET utf8mb4")
            run("USE unit")
            for statement in setup:
                run(statement)
            before = self.position(run)
            for statement in statements:
                run(statement)
            after = self.position(run)
        return list(self._events_between(before, after))

    def rows(self, statements: Sequence[str], setup: Sequence[str] = ()) -> list[Row]:
        """Runs statements and returns the rows that the log has of them."""
        found = []
        tables: dict[int, LoggedTable] = {}
        for event in self.logged(statements, setup):
            if event.type == event_types.TABLE_MAP:
                table = table_map(event.body, with_years=self.has_signs_of_years)
                tables[table.id] = table
            elif event.type in event_types.ROWS:
                head = rows.head_of(event.type, event.body)
                table = tables[head.table_id]
                readers = [columns.column_reader(one, self.charsets) for one in table.columns]
                for before, after in rows.rows_of(head, event.body, readers):
                    found.append(Row(table, head.op, before, after))
        return found

    def position(self, run: "Run") -> str:
        """Returns the transactions that are in the log by now."""
        variable = "gtid_binlog_pos" if self.is_mariadb else "gtid_executed"
        return str(run(f"SELECT @@global.{variable}")[0][0])

    def _events_between(self, before: str, after: str) -> Iterator[Event]:
        """Yields the events behind a position, up to another one."""
        url = self.server.url
        connection = pymysql.connect(host=url.host, port=url.port, user=url.username, password="")
        with connection:
            with connection.cursor() as cursor:
                cursor.execute("SELECT @@global.binlog_checksum")
                (algorithm,) = cursor.fetchone()
            dump = Dump(connection, 4711)
            dump.prepare(HEARTBEAT, is_mariadb=self.is_mariadb)
            dump.register("tests")
            if self.is_mariadb:
                dump.after_domains(DomainPositions.parse(before))
            else:
                dump.after_gtids(GtidSet.parse(before))
            yield from self._until(dump, algorithm != "NONE", before, after)

    def _until(self, dump: Dump, checked: bool, before: str, after: str) -> Iterator[Event]:
        found: list[Event] = []
        domains, executed = DomainPositions(), GtidSet()
        if self.is_mariadb:
            domains = DomainPositions.parse(before)
        else:
            executed = GtidSet.parse(before)

        def complete() -> bool:
            for raw in dump.events(HEARTBEAT):
                for event in events_of(raw, checked):
                    found.append(event)
                    if event.type == event_types.GTID:
                        executed.add(*gtid(event.body)[:2])
                    if event.type == event_types.MARIADB_GTID:
                        domains.add(*mariadb_gtid(event)[:2])
            # A heartbeat comes between transactions only
            beats = (event_types.HEARTBEAT, event_types.HEARTBEAT_V2)
            if not found or found[-1].type not in beats:
                return False
            if self.is_mariadb:
                return domains.reaches(DomainPositions.parse(after))
            return executed.contains(GtidSet.parse(after))

        eventually(complete, what="the log comes to its end")
        yield from found


def events_of(raw: bytes, checked: bool) -> Iterator[Event]:
    """Yields an event, or those that a compressed transaction holds. None may be unknown."""
    event = events.event_of(raw, checked)
    known = event.type in event_types.READ or event.type in event_types.PASSED_OVER
    assert known or event.type == event_types.PARTIAL_UPDATE_ROWS, event.type
    yield event
    if event.type == event_types.TRANSACTION_PAYLOAD:
        for inner in inner_events(payload(event.body)):
            yield from events_of(inner, False)


class Run:
    """Runs a statement of a session, as an application does."""

    def __init__(self, connection: pymysql.Connection) -> None:
        self._connection = connection

    def __call__(self, statement: str) -> Sequence[tuple[object, ...]]:
        """Returns the rows of the answer."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())


def server_with_log(kind: str, *options: str) -> OwnServer:
    """Starts a server, with further options, whose log has names and signs of columns."""
    if kind == "mariadb":
        return MariaDbServer.start(*LOGGING, *options)
    if kind == "mariadb11":
        return NewerMariaDbServer.start(11, *LOGGING, *options)
    return MySqlServer.start(8 if kind == "mysql8" else 9, *LOGGING, *GTIDS, *options)


@contextmanager
def logging_server(kind: str) -> Iterator[Logging]:
    """Runs a server whose log has names and signs of columns."""
    with server_with_log(kind) as server:
        yield Logging(kind, server)

"""MariaDB or MySQL as a business database, read by its binary log.

One connection sends the log, another one reads the catalogue and pages. Pages and log are brought
together by what a snapshot sees (agent.connectors.mysql.snapshots).
"""

import logging
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection

from agent import failpoints
from agent.config import ResourceSettings
from agent.connectors.base import Fingerprint
from agent.connectors.changes import Begin, Commit, Heartbeat, HighPosition, Message, Relation
from agent.connectors.database.catalogue import fingerprint
from agent.connectors.database.session import Database
from agent.connectors.database.source import DatabaseSource, UpTo
from agent.connectors.mysql import history, rights, server
from agent.connectors.mysql.dump import Dump, Refused
from agent.connectors.mysql.found_tables import unlogged
from agent.connectors.mysql.gtids import GtidSet
from agent.connectors.mysql.log_place import LogPlace
from agent.connectors.mysql.origin import MySqlOrigin
from agent.connectors.mysql.packing import Damaged
from agent.connectors.mysql.server import LogEnd, Server
from agent.connectors.mysql.snapshots import Snapshot, open_snapshot
from agent.connectors.mysql.transactions import (
    STEP,
    Broken,
    Incomplete,
    NoValue,
    Transactions,
)
from agent.connectors.position import position_number, position_text
from agent.connectors.resume import Resume
from agent.connectors.table import SourceTable, TableName
from agent.errors import (
    LogLost,
    ProtocolViolated,
    SourceUnreachable,
    TableUnlogged,
    ValueUnreadable,
)
from agent.messages import phrase
from agent.service import metrics

_IDLE_BEAT = 1.0  # seconds after which a server without changes sends a sign of life
_SILENT = 30.0  # seconds without one after which the line counts as dead
_DOUBT = 600.0  # seconds between two comparisons of the tables that are in doubt
_log = logging.getLogger(__name__)


class MySqlSource(DatabaseSource):
    """See Source. Its positions count transactions that have rows of shared tables."""

    connector = "mysql"

    def __init__(
        self,
        database: Database,
        places: Mapping[TableName, ResourceSettings],
        prefix: str,
        *,
        agent: str,
        server_id: int,
        heartbeat: float = 10.0,
    ) -> None:
        """`places`: the shared tables. `prefix`: of the topics. `heartbeat`: in seconds.

        `server_id`: what the server knows the agent by.
        """
        super().__init__(
            database,
            dict.fromkeys(places, ()),
            list(places.values()),
            agent,
            prefix,
        )
        self._places = places
        self._server_id = server_id
        self._heartbeat = heartbeat
        self._line: Connection | None = None  # sends the log
        self._dump: Dump | None = None
        self._transactions: Transactions | None = None
        self._server: Server | None = None
        self._waiting: list[Message] = []
        self._snapshot: Snapshot | None = None  # of the page that is read and not delivered
        self._look_at = 0.0  # when a page that had to wait is tried again
        self._beat_at = 0.0
        self._visible_at = 0.0
        self._lag = 0  # bytes of log
        self._compare_at = 0.0
        self._visible = 0  # the last position whose transaction is known to be seen

    # ---- from one opening to the next

    def open(self, resume: Resume, front_silent_since: Callable[[], float | None]) -> None:
        """See Source.open."""
        self.close()
        self._connect()
        with self._database.guarded():
            found = server.server_of(self._opened)
            place = history.place_of(resume, found)
            history.check(self._opened, found, place, resume.position)
            charsets = server.charsets(self._opened, found)

        self._server = found
        position = position_number(resume.position)
        self._transactions = Transactions(
            self._followed(resume.suspended),
            charsets,
            place,
            position,
            checked=found.checksums,
            zero_is_null=self._database.dialect.zero_dates == "null",
        )
        self._visible = position
        self._begin(found, place)
        now = time.monotonic()
        self._beat_at = now + self._heartbeat
        self._visible_at = self._look_at = now

    def _followed(self, suspended: Collection[str]) -> dict[TableName, Relation]:
        """Returns the columns that are read of each table: no others are decoded."""
        found = {}
        read_tables = self._read_catalogue()
        for place, resource in self._places.items():
            read = read_tables.get(place)
            if read is None or resource.name in suspended:
                continue
            columns = []
            for column in read.relation.columns:
                if column.name in resource.needed_columns or column.name in read.table.key:
                    columns.append(column)
            found[self._in_log(place)] = read.relation._replace(columns=tuple(columns))
        return found

    def _in_log(self, place: TableName) -> TableName:
        """Returns a table as the log names it, which knows no session's own schema."""
        schema, name = place
        return schema or self._database.name, name

    def _begin(self, found: Server, place: LogPlace) -> None:
        """Asks for the log behind a place."""
        self._line = self._database.connect()
        driver: Any = self._line.connection.driver_connection
        with self._reading():
            dump = Dump(driver, self._server_id)
            dump.prepare(_IDLE_BEAT, is_mariadb=found.is_mariadb)
            dump.register(socket.gethostname())
            if isinstance(place.gtids, GtidSet):
                dump.after_gtids(place.gtids)
            else:
                dump.after_domains(place.gtids)
        self._dump = dump
        failpoints.hit("after_log_asked")

    def close(self) -> None:
        """See Source.close."""
        self._waiting.clear()
        self._snapshot = None
        self._dump = self._transactions = None
        line, self._line = self._line, None
        if line is not None:
            # The server goes on sending, so nobody can say good-bye on this connection
            with suppress(Exception):
                line.invalidate()
                line.close()
        self._disconnect()

    def outdated(self) -> bool:
        """See Source.outdated: a statement may have changed what a table is."""
        return self._stream.is_outdated

    @property
    def _stream(self) -> Transactions:
        if self._transactions is None:
            reason = phrase("not connected")
            raise SourceUnreachable(address=self._database.address, reason=reason)
        return self._transactions

    @property
    def _known_server(self) -> Server:
        assert self._server is not None, "the source is open"
        return self._server

    # ---- the tables

    def origin(self, table: SourceTable) -> MySqlOrigin:
        """See Source.origin."""
        kind = "mariadb" if self._known_server.is_mariadb else "mysql"
        schema, name = self._in_log((table.schema, table.table))
        return MySqlOrigin(kind, self._prefix, schema, name, self._stream.begun_at)

    def check_captured(self, resource: ResourceSettings) -> None:
        """See Source.check_captured: somebody may have changed the table since `init`."""
        for place, shared in self._places.items():
            if shared.name != resource.name:
                continue
            own = self._database.name
            with self._database.guarded():
                reason = unlogged(self._opened, self._known_server, place, own)
            if reason is not None:
                name = ".".join(filter(None, place))
                raise TableUnlogged(resource=resource.name, table=name, reason=reason)

    def fingerprints(self) -> dict[TableName, Fingerprint]:
        """See Source.fingerprints: the log has told which tables were defined anew."""
        found = {}
        read_tables = self._read_catalogue()
        for place, resource in self._places.items():
            read = read_tables.get(place)
            if read is None:
                continue
            made = fingerprint(read, resource.needed_columns)
            defined = self._stream.place.last_definition(*self._in_log(place))
            found[place] = made._replace(copy={**made.copy, "definition": defined})
        return found

    # ---- the stream

    def read(self, timeout: float) -> Iterator[Message]:
        """See Source.read."""
        self._read_page()
        if self._waiting:
            timeout = 0.0
        waiting, self._waiting = self._waiting, []
        yield from waiting
        if self.outdated():
            return

        assert self._dump is not None, "the source is open"
        with self._reading():
            for raw in self._dump.events(timeout):
                failpoints.hit("mid_event")
                yield from self._stream.read(raw)
                if self._stream.is_between:
                    yield from self._page_delivered()
                    if self.outdated():
                        return
        if self._dump.silent_seconds > _SILENT:
            reason = phrase("it has been silent for {seconds} s", seconds=int(_SILENT))
            raise SourceUnreachable(address=self._database.address, reason=reason)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turns what goes wrong with the log into our errors."""
        try:
            with self._database.guarded():
                yield
        except OSError as error:
            reason = type(error).__name__
            raise SourceUnreachable(address=self._database.address, reason=reason) from None
        except Refused as error:
            raise history.refused(error, self._at, self._database.address) from None
        except Incomplete as error:
            resource, name = self._names(error.place)
            raise TableUnlogged(resource=resource, table=name, reason=error.reason) from None
        except NoValue as error:
            resource, name = self._names(error.place)
            text = phrase("column {name} holds a value that has no text", name=error.column)
            raise ValueUnreadable(resource=resource, table=name, reason=text) from None
        except Broken as error:
            raise LogLost(position=self._at, reason=error.reason) from None
        except Damaged as error:
            raise ProtocolViolated(position=self._at, what=str(error)) from None

    @property
    def _at(self) -> str:
        """The last position that was delivered, as users see it."""
        position = 0 if self._transactions is None else self._transactions.position
        return position_text(position)

    def _names(self, place: TableName) -> tuple[str, str]:
        """Returns the resource of a table, and the table as users write it."""
        for shared, resource in self._places.items():
            if self._in_log(shared) == place:
                return resource.name, ".".join(place)
        raise AssertionError("only shared tables are read")

    def acknowledge(self, position: int) -> None:
        """See Source.acknowledge: the server keeps its log for a time of its own."""
        self._stream.forget(position)

    def housekeeping(self) -> UpTo | None:
        """See Source.housekeeping."""
        stream = self._stream
        now = time.monotonic()
        if now >= self._beat_at and stream.is_between:
            self._beat_at = now + self._heartbeat
            stream.position += STEP
            self._measure_lag(stream.place)
            time_us = time.time_ns() // 1000
            self._waiting.append(Heartbeat(stream.position, time_us, stream.place.token))
        if now < self._visible_at or self._visible == stream.position:
            return None
        self._visible_at = now + 1.0
        return self._seen(stream)

    def _seen(self, stream: Transactions) -> UpTo | None:
        """Returns what every new snapshot sees, where it sees all that was delivered."""
        if not stream.is_between:
            return None
        with self._database.guarded():
            snapshot = open_snapshot(self._opened, self._known_server)
            snapshot.end()
        if not snapshot.shows(stream.place.gtids):
            return None
        self._visible = stream.position
        return UpTo(stream.position // STEP)

    def _measure_lag(self, place: LogPlace) -> None:
        """Asks how much of the server's log is behind the place."""
        with self._database.guarded():
            files = rights.log_files(self._opened) or ()
        reached = LogEnd(place.file, place.offset)
        behind = 0
        for name, size, *_ in files:
            end = LogEnd(str(name), int(size))
            if end.order > reached.order:
                behind += end.offset - (reached.offset if end.file == reached.file else 0)
        self._lag = behind

    def lag_bytes(self) -> int:
        """See Source.lag_bytes."""
        return self._lag

    def comparisons(self, copying: Collection[str]) -> Sequence[str]:
        """See Source.comparisons: each change is in the log, unless a session logs statements.

        The doubt is a part of the stored place. A place without it is stored only once the table is
        known to be compared, so whatever dies in between, every row is compared.
        """
        now = time.monotonic()
        if now < self._compare_at:
            return ()
        place = self._stream.place
        names = []
        for table, resource in self._places.items():
            logged = self._in_log(table)
            if place.is_doubted(*logged) and resource.name not in copying:
                place.trust(*logged)
                names.append(resource.name)
        if names:
            self._compare_at = now + _DOUBT
            _log.warning("statements_logged tables=%d", len(names))
        return names

    def gauges(self) -> Mapping[str, float]:
        """See Source.gauges: of how many tables the log does not prove what rows they have."""
        if self._transactions is None:
            return {}
        place = self._transactions.place
        doubted = [table for table in self._places if place.is_doubted(*self._in_log(table))]
        return {metrics.DOUBTED: len(doubted)}

    def counts(self) -> Mapping[tuple[str, ...], int]:
        """See Source.counts: statements in place of rows."""
        found: dict[tuple[str, ...], int] = {}
        if self._transactions is not None and self._transactions.statements:
            found[metrics.STATEMENTS,] = self._transactions.statements
            self._transactions.statements = 0
        return found

    # ---- pages

    def withdraw(self) -> None:
        """See Source.withdraw."""
        super().withdraw()
        self._snapshot = None

    def _read_page(self) -> None:
        """Reads the page that was asked for, in a snapshot that sees all that was delivered."""
        ask = self._wanted
        stream = self._stream
        if ask is None or not stream.is_between or time.monotonic() < self._look_at:
            return
        failpoints.hit("before_page_snapshot")
        with self._database.guarded():
            snapshot = open_snapshot(self._opened, self._known_server)
        try:
            if not snapshot.shows(stream.place.gtids):
                # The log is ahead of what others see: in a moment it is not
                self._look_at = time.monotonic() + 0.05
                return
            failpoints.hit("after_page_snapshot")
            self._page = self._read(self._opened, ask)
        finally:
            with self._database.guarded():
                snapshot.end()
        failpoints.hit("after_page_read")
        self._snapshot = snapshot
        self._waiting += self._page_delivered()

    def _page_delivered(self) -> Iterator[Message]:
        """Yields the high position of a page once the stream has delivered all that it shows."""
        stream, snapshot, page = self._stream, self._snapshot, self._page
        if snapshot is None or page is None or not snapshot.is_reached(stream.place):
            return
        failpoints.hit("before_high_position")
        self._snapshot = None
        begin = stream.position + 1
        stream.position += STEP
        number = stream.position // STEP
        time_us = time.time_ns() // 1000
        yield Begin(number, begin, time_us)
        yield HighPosition(page.token)
        yield Commit(number, stream.position, time_us, stream.place.token)

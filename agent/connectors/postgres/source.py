"""PostgreSQL as a source: joins connection, decoder and checks into the contract of `Source`."""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from agent.config import ResourceSettings, Settings
from agent.config.loading import invalid
from agent.connectors.base import Ask, Fingerprint, Page
from agent.connectors.changes import Heartbeat, HighPosition, Message
from agent.connectors.position import position_number, position_text
from agent.connectors.postgres import catalogue, filters, fingerprints, server_state
from agent.connectors.postgres.acknowledgement import Acknowledgement
from agent.connectors.postgres.fingerprints import LEAVES
from agent.connectors.postgres.history import (
    Identity,
    Resumption,
    Server,
    check_server,
    other_publication,
)
from agent.connectors.postgres.log_guard import LogGuard
from agent.connectors.postgres.origin import PostgresOrigin
from agent.connectors.postgres.pages import PageReader
from agent.connectors.postgres.partitions import FOLLOWS_SINCE, Partitions
from agent.connectors.postgres.pgoutput import HEARTBEAT_PREFIX, Decoder
from agent.connectors.postgres.session import address, connect, guarded
from agent.connectors.postgres.snapshot import OldestTransaction, Snapshot
from agent.connectors.postgres.unreadable import OPTION, ServerForm
from agent.connectors.postgres.wire import Shutdown, WalData, Wire
from agent.connectors.resume import Resume
from agent.connectors.table import Criterion, SourceTable, TableName
from agent.errors import (
    DuplicateAgent,
    PublicationWrong,
    SlotBusy,
    SlotMissing,
    SourceUnreachable,
    StreamUnreadable,
    TableUnpublished,
)
from agent.messages import phrase
from agent.service import metrics

log = logging.getLogger(__name__)

# Seconds between looks at what a new snapshot sees; the same while nothing was received
_LOOK_EVERY, _LOOK_IDLE = 1.0, 5.0
_PAGE_SECONDS = 5.0  # from the high position in the stream until the page reader has its answer
# Seconds beyond two wal_sender_timeouts in which a dead agent's connection may still hold the slot
_ZOMBIE = 10.0


class PostgresSource:
    """See Source.

    One connection streams, another asks the catalogue and writes heartbeats, a third reads pages
    while there are any.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._side: psycopg.Connection[Any] | None = None
        self._replication: psycopg.Connection[Any] | None = None  # the wire's, once there is one
        self._publication: catalogue.Publication | None = None
        self._partitions: Partitions | None = None  # of a server whose stream does not follow them

        self._wire: Wire | None = None
        self._decoder = Decoder()
        self._resumption: Resumption | None = None
        self._acknowledged = 0

        # While the stream is read in the server's own form
        self._form: ServerForm | None = None
        # Up to here the server could not send all in the usual form; 0: it could
        self._unreadable = 0
        self._stuck = False

        self._pages = PageReader(settings.postgres)
        self._asked = ""  # token of the last page asked for
        self._delivered = ""  # token of the last high position

        self._lag = 0
        self._guard = LogGuard(settings)
        self._unreachable = False  # the last opening has come to no connection
        self._transactions = OldestTransaction()
        self._looked_at = -math.inf
        self._received_any = True  # since the last look
        self._beat_at = -math.inf
        self._busy_since: float | None = None

    # ---- from one opening to the next

    def open(self, resume: Resume, front_silent_since: Callable[[], float | None]) -> None:
        """See Source.open."""
        self.close()
        self._unreachable = True
        settings = self._settings.postgres
        slot = Identity(**resume.identity).slot
        position = position_number(resume.position)
        around = self._unreadable > 0 and self._unreadable >= position

        self._side = connect(settings)
        self._unreachable = False
        encoding = "SQL_ASCII" if around else "UTF8"
        self._replication = connect(settings, replication=True, encoding=encoding)
        with guarded(settings):
            sender_timeout = server_state.sender_timeout(self._side)
            server_state.end_reader(self._side, slot, resume.left_by)
            server = server_state.server(self._replication, self._side, slot)
            self._check(server, resume, sender_timeout)
            self._publication = self._published(resume)

        # One heartbeat at each opening: when it comes back through the front end, all works
        self._beat_at = -math.inf
        self._partitions = None
        if self._side.info.server_version < FOLLOWS_SINCE:
            self._partitions = Partitions(self._stored_partitions(resume))

        if around:
            self._form = ServerForm(settings, self._needed(resume))
        self._decoder = Decoder(self._form)
        self._resumption = Resumption(resume, server.confirmed)
        self._acknowledged = position
        interval = sender_timeout / 3
        acknowledgement = Acknowledgement(position, interval, time.monotonic())
        self._wire = Wire(
            self._replication,
            acknowledgement,
            front_silent_since,
            address(settings),
        )
        option = OPTION if around else ""
        self._wire.start(slot, settings.publication, option)
        self._guard.opened(resume.identity, position)

    def _stored_partitions(self, resume: Resume) -> dict[TableName, str]:
        """Returns what is stored of each table's partitions, as far as anything is."""
        stored = {}
        for resource in self._settings.resource:
            parts = resume.fingerprints.get(resource.name, {})
            if LEAVES in parts:
                place = self._place(resource)
                stored[place] = parts[LEAVES]
        return stored

    def _needed(self, resume: Resume) -> dict[TableName, tuple[str, Collection[str]]]:
        """Returns resource and columns that are read of each table that is not suspended."""
        needed: dict[TableName, tuple[str, Collection[str]]] = {}
        for resource in self._settings.resource:
            if resource.name not in resume.suspended:
                place = self._place(resource)
                needed[place] = resource.name, resource.needed_columns
        return needed

    def _place(self, resource: ResourceSettings) -> TableName:
        """Returns schema and name of a resource's table."""
        return self._settings.postgres.place(resource.table)

    @property
    def _connection(self) -> psycopg.Connection[Any]:
        if self._side is None:
            raise SourceUnreachable(
                address=address(self._settings.postgres),
                reason=phrase("not connected"),
            )
        return self._side

    def reader(self) -> str:
        """See Source.reader: the id of the server's process."""
        return "" if self._replication is None else str(self._replication.info.backend_pid)

    def outdated(self) -> bool:
        """See Source.outdated."""
        past = self._form is not None and self._acknowledged > self._unreadable
        return self._stuck or past

    def close(self) -> None:
        """See Source.close."""
        self._guard.reached(self._acknowledged)
        self._pages.close()
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self._form is not None:
            self._form.close()
            self._form = None
        self._stuck = False
        for connection in (self._replication, self._side):
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.close()
        self._replication = None
        self._side = None

    def _check(
        self,
        server: Server,
        resume: Resume,
        sender_timeout: float,
    ) -> None:
        """Makes the checks A and B.

        A slot that stays in use for longer than a dead agent's connection lives is another agent's.
        """
        try:
            check_server(server, resume, address(self._settings.postgres))
        except SlotMissing as error:
            raise self._guard.explained() or error from None
        except SlotBusy as error:
            now = time.monotonic()
            self._busy_since = self._busy_since or now
            longest = 2 * sender_timeout + _ZOMBIE
            if now - self._busy_since > longest:
                raise DuplicateAgent(reason=error.text("en")) from None
            raise
        self._busy_since = None

    def _published(self, resume: Resume) -> catalogue.Publication:
        name = self._settings.postgres.publication
        publication = catalogue.publication(self._connection, name)
        if publication is None:
            identity = Identity(**resume.identity)
            other = other_publication(identity.publication, name)
            if other:
                raise other
            reason = phrase("it does not exist")
            raise PublicationWrong(publication=name, reason=reason)

        if publication.operations != "iudt":
            reason = phrase("it must publish insert, update, delete and truncate")
            raise PublicationWrong(publication=name, reason=reason)
        return publication

    # ---- the tables

    def tables(self) -> dict[TableName, SourceTable]:
        """See Source.tables."""
        names = [self._place(resource) for resource in self._settings.resource]
        with guarded(self._settings.postgres):
            found = catalogue.tables(self._connection, names)
        return {name: entry.table for name, entry in found.items()}

    def origin(self, table: SourceTable) -> PostgresOrigin:
        """See Source.origin."""
        settings = self._settings
        return PostgresOrigin(
            settings.kafka.prefix,
            settings.postgres.database,
            table.schema,
            table.table,
        )

    def check_captured(self, resource: ResourceSettings) -> None:
        """See Source.check_captured."""
        schema, table = self._place(resource)
        reason = self.unpublished(schema, table)
        if reason:
            raise TableUnpublished(
                resource=resource.name,
                publication=self._settings.postgres.publication,
                table=resource.table,
                reason=reason,
            )

    def unpublished(self, schema: str, table: str) -> str:
        """Tells why the publication does not carry every change of a table whole; '' if it does."""
        if self._publication is None or self._publication.all_tables:
            return ""
        if (schema, table) not in self._publication.tables:
            return phrase("it is not in the publication")
        filtered, listed = self._publication.tables[schema, table]
        if filtered:
            return phrase("it has a row filter there")
        if listed:
            return phrase("it has a column list there")
        return ""

    def criteria(self, resource: ResourceSettings, table: SourceTable) -> tuple[Criterion, ...]:
        """See Source.criteria."""
        number = self._settings.resource.index(resource)
        with guarded(self._settings.postgres):
            made, problems = filters.criteria(self._connection, number, resource, table)
        if problems:
            raise invalid(self._settings.agent, problems)
        return made

    def estimate(self, table: SourceTable) -> int:
        """See Source.estimate."""
        with guarded(self._settings.postgres):
            return catalogue.estimate(self._connection, table.oid)

    def fingerprints(self) -> dict[TableName, Fingerprint]:
        """See Source.fingerprints."""
        settings = self._settings.postgres
        listed = {}
        for resource in self._settings.resource:
            place = self._place(resource)
            listed[place] = resource.needed_columns

        with guarded(settings):
            found = fingerprints.fingerprints(self._connection, settings.publication, listed)
            if self._partitions is None:
                return found
            written = self._acknowledged + self._written_bytes()

        for name, now in found.items():
            found[name] = self._partitions.mark(name, now, written, self._acknowledged)
        if any(now.unsettled for now in found.values()):
            # What is acknowledged passes `written` with the next heartbeat
            self._beat_at = -math.inf
        return found

    def _written_bytes(self) -> int:
        """Asks for the bytes of log past the acknowledged position."""
        position = position_text(self._acknowledged)
        return server_state.written_bytes_past(self._connection, position)

    # ---- the stream

    def read(self, timeout: float) -> Iterator[Message]:
        """See Source.read."""
        wire = self._wire
        resumption = self._resumption
        if wire is None or resumption is None:
            raise SourceUnreachable(
                address=address(self._settings.postgres),
                reason=phrase("not connected"),
            )
        decode = self._decoder.decode
        accept = resumption.accept
        for received in self._received(wire, timeout):
            message: Message | None
            if isinstance(received, Shutdown):
                message = self._last_heartbeat(received)
            else:
                position, data = received
                message = decode(data, position)
            if message is not None and accept(message):
                self._received_any = True
                if isinstance(message, HighPosition):
                    self._delivered = message.token
                yield message

    def _last_heartbeat(self, shutdown: Shutdown) -> Heartbeat | None:
        """Returns the end of the log as a heartbeat: once stored, it lets the server shut down."""
        if self._decoder.inside or shutdown.position <= self._acknowledged:
            return None
        return Heartbeat(shutdown.position, time.time_ns() // 1000)

    def _received(self, wire: Wire, timeout: float) -> Iterator[WalData | Shutdown]:
        """Receives, until the server cannot send a value in the usual form.

        Then the stream is outdated.
        """
        if self._stuck:
            return
        try:
            yield from wire.receive(timeout)
        except StreamUnreadable as error:
            if self._form is not None:
                raise
            begun = self._decoder.commit_lsn if self._decoder.inside else 0
            # What was applied before may be sent again, and be what cannot be sent
            self._unreadable = max(begun, self._acknowledged)
            self._stuck = True
            log.warning(
                "stream_unreadable position=%s error=%s",
                position_text(self._unreadable),
                error.text("en"),
            )

    def acknowledge(self, position: int) -> None:
        """See Source.acknowledge."""
        if self._wire is not None and position > self._acknowledged:
            self._acknowledged = position
            if not self._stuck:
                self._wire.acknowledge(position)

    def housekeeping(self) -> Snapshot | None:
        """See Source.housekeeping."""
        now = time.monotonic()
        beats = now >= self._beat_at
        look_every = _LOOK_EVERY if self._received_any else _LOOK_IDLE
        if not beats and now - self._looked_at < look_every:
            return None

        self._looked_at = now
        self._received_any = False
        with guarded(self._settings.postgres):
            if beats:
                self._beat_at = now + self._settings.postgres.heartbeat_seconds
                time_us = time.time_ns() // 1000
                server_state.heartbeat(self._connection, HEARTBEAT_PREFIX, str(time_us))
            position = position_text(self._acknowledged)
            self._lag, seen = server_state.bytes_and_snapshot(self._connection, position)
            self._transactions.seen(seen, time.time())
            if beats:
                self._guard.look(self._connection, now)
                self._guard.reached(self._acknowledged)
            return seen

    def comparisons(self, copying: Collection[str]) -> Sequence[str]:
        """See Source.comparisons: the log shows everything."""
        return ()

    def lag_bytes(self) -> int:
        """See Source.lag_bytes."""
        return self._lag

    def log_large(self) -> bool:
        """See Source.log_large."""
        return self._guard.large

    def gauges(self) -> Mapping[str, float]:
        """See Source.gauges: what the slot keeps."""
        return {**self._guard.gauges, metrics.OLDEST_TRANSACTION: self._transactions.since}

    def counts(self) -> Mapping[tuple[str, ...], int]:
        """See Source.counts."""
        return {}

    def unattended(self) -> None:
        """See Source.unattended: looks at the log, and gives the slot up by its owner's policy."""
        if not self._unreachable:
            self._guard.alone()
        self._unreachable = False

    # ---- pages

    def barrier(self) -> str:
        """See Source.barrier: the id of a transaction that begins now."""
        with guarded(self._settings.postgres):
            return str(server_state.new_xid(self._connection))

    def ask(self, ask: Ask) -> None:
        """See Source.ask."""
        self._asked = ask.token
        self._pages.ask(ask)

    def page(self) -> Page | None:
        """See Source.page."""
        patience = 0.0
        if self._asked == self._delivered:
            patience = _PAGE_SECONDS
        return self._pages.page(patience)

    def withdraw(self) -> None:
        """See Source.withdraw."""
        self._pages.withdraw()

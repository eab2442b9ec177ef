"""A database that is polled, as a source of states: joins looks, pages and catalogue into `Source`.

A look is one transaction: the rows of all tables that may have changed since the last one, as they
are in one snapshot. The cursors behind it are its token, so they become durable with the rows. Each
page is read in a snapshot of its own, behind a look at its table in the same one: what was
delivered before the page's high position is never newer than the page.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from agent import failpoints, stop_watch
from agent.config import ResourceSettings, Settings
from agent.config.times import seconds
from agent.connectors.base import Ask, Fingerprint, Page
from agent.connectors.changes import Begin, Commit, Heartbeat, HighPosition, Message, RowState
from agent.connectors.database.session import database_of
from agent.connectors.database.source import DatabaseSource
from agent.connectors.polling import tables as polled
from agent.connectors.polling.cursors import Cursor, Token, read_token, token_text
from agent.connectors.polling.looks import ROWS, Found, Looks
from agent.connectors.polling.measures import Measures
from agent.connectors.polling.modes import looks_of
from agent.connectors.polling.pace import Pace
from agent.connectors.polling.schedule import Comparisons, LookTimes, quiet_seconds, wall_clock
from agent.connectors.position import position_number
from agent.connectors.resume import Resume
from agent.connectors.table import SourceTable, TableName
from agent.errors import TableChanged

HEARTBEAT_SECONDS = 10.0
_SEEN_SECONDS = 1.0  # between two reports of what a new snapshot sees


class Everything:
    """A snapshot is always later than what was delivered: it sees every transaction."""

    def sees(self, transaction: int) -> bool:
        """See Visible.sees."""
        return True


class PollingSource(DatabaseSource):
    """See Source. One connection reads, in one thread."""

    connector = "polling"

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        """`clock` is what the times of the settings are compared with."""
        super().__init__(
            database_of(settings.polling),
            polled.keys_of(settings),
            settings.resource,
            settings.agent,
            settings.kafka.prefix,
        )
        self._settings = settings
        self._source = settings.polling
        self._clock = clock
        self._every = seconds(self._source.every)
        self._look_times: LookTimes | None = None
        self._pace = Pace(self._source.rows_per_second)
        self._measures = Measures()

        self._looks: dict[str, Looks] = {}
        self._cursors: dict[str, Cursor] = {}
        times = {}
        for resource in settings.resource:
            if resource.poll is not None and resource.poll.compare is not None:
                times[resource.name] = resource.poll.compare
        self._comparisons = Comparisons(times)
        self._suspended: frozenset[str] = frozenset()

        self._position = 0
        self._waiting: list[Message] = []

        # When each is due again, in time.monotonic()
        self._look_at = 0.0
        self._beat_at = 0.0
        self._seen_at = 0.0

    # ---- from one opening to the next

    def open(self, resume: Resume, front_silent_since: Callable[[], float | None]) -> None:
        """See Source.open: what was delivered and is not stored is found again by the next look."""
        self.close()
        token = read_token(resume.token)
        self._position = position_number(resume.position)
        self._suspended = frozenset(resume.suspended)
        self._connect()
        self._comparisons.open(token.compared, self._clock())

        self._read_catalogue()
        self._cursors = {}
        self._looks = {}
        for resource in self._settings.resource:
            self._open_table(resource, token)
        if self._source.cron is not None:
            self._look_times = LookTimes(self._source.cron, self._clock())
        for name in self._looks:
            self._measures.watch(name, time.time(), looks=name not in self._suspended)
        now = time.monotonic()
        self._look_at = now
        self._beat_at = now + HEARTBEAT_SECONDS

    def _open_table(self, resource: ResourceSettings, token: Token) -> None:
        """Makes the looks at a table, unless they cannot be made: then the table is suspended."""
        read = self._tables.get(self._place(resource))
        if read is None or polled.missing(resource, read) or polled.unfit(resource, read):
            # Its cursor stays, for the time when it is mended
            if resource.name in token.cursors:
                self._cursors[resource.name] = token.cursors[resource.name]
            return
        if not polled.has_looks(resource):
            return
        self._looks[resource.name] = looks_of(self._database, resource, read)
        if resource.name in token.cursors:
            self._cursors[resource.name] = token.cursors[resource.name]

    def close(self) -> None:
        """See Source.close."""
        self._waiting.clear()
        self._disconnect()

    # ---- the tables

    def _place(self, resource: ResourceSettings) -> TableName:
        return self._source.place(resource.table)

    def tables(self) -> dict[TableName, SourceTable]:
        """See Source.tables."""
        return {place: read.table for place, read in self._tables.items()}

    def check_captured(self, resource: ResourceSettings) -> None:
        """See Source.check_captured."""
        reason = polled.unfit(resource, self._tables[self._place(resource)])
        if reason:
            raise TableChanged(resource=resource.name, table=resource.table, change=reason)

    def fingerprints(self) -> dict[TableName, Fingerprint]:
        """See Source.fingerprints: what is read of a table, and how it is polled."""
        tables = self._read_catalogue()
        found = {}
        for resource in self._settings.resource:
            place = self._place(resource)
            if place in tables:
                found[place] = polled.fingerprint(resource, tables[place])
        return found

    def comparisons(self, copying: Collection[str]) -> Sequence[str]:
        """See Source.comparisons: what comes due in quiet hours is due when they are over."""
        now = self._clock()
        if quiet_seconds(self._source.quiet, now):
            return []
        due = self._comparisons.due(now)
        return [name for name in due if name not in self._suspended]

    # ---- the stream

    def read(self, timeout: float) -> Iterator[Message]:
        """See Source.read."""
        connection = self._opened
        ask = self._wanted
        messages = []
        wait = self._rest()
        if not wait and ask is not None:
            messages = self._read_page(connection, ask)
        elif not wait and self._look_due():
            messages = self._look(connection)
        elif not self._waiting:
            stop_watch.wait(min(timeout, wait or self._seconds_to_look()))
        messages += self._waiting
        self._waiting = []
        yield from messages

    def _rest(self) -> float:
        """Returns for how many seconds no table is to be read."""
        quiet = quiet_seconds(self._source.quiet, self._clock())
        self._measures.quiet(time.time() + quiet if quiet else None)
        return max(quiet, self._pace.rest())

    def _look_due(self) -> bool:
        if time.monotonic() >= self._look_at:
            return True
        return self._look_times is not None and self._look_times.due(self._clock())

    def _seconds_to_look(self) -> float:
        if self._look_times is not None:
            return self._look_times.seconds(self._clock())
        return max(0.0, self._look_at - time.monotonic())

    def _seconds_between(self) -> float:
        """Returns the seconds from a look to the next one, which quiet hours put off."""
        wait = self._every
        if self._look_times is not None:
            wait = self._look_times.seconds(self._clock())
        now = self._clock()
        for _ in self._source.quiet:  # one may follow another
            wait += quiet_seconds(self._source.quiet, now + timedelta(seconds=wait))
        return wait

    def _look(self, connection: Connection) -> list[Message]:
        """Looks at every table in one snapshot. One that is not read whole is looked at again."""
        looks = [one for name, one in self._looks.items() if name not in self._suspended]
        every = self._every if self._look_times is None else math.inf
        self._look_at = time.monotonic() + every
        if not looks:
            return []
        begun = time.monotonic()
        with self._database.guarded(), self._database.dialect.snapshot(connection):
            messages, complete = self._parts(connection, looks)
        self._measures.look(time.monotonic() - begun, complete=complete)
        failpoints.hit("after_look_read")
        if not complete:
            self._look_at = time.monotonic()
        return messages

    def _parts(
        self,
        connection: Connection,
        looks: Sequence[Looks],
    ) -> tuple[list[Message], bool]:
        """Reads the next part of each table: the transaction of all, and whether it is all."""
        states: list[Message] = []
        moved = False
        complete = True
        for one in looks:
            before = self._cursors.get(one.resource)
            now = time.time()
            with self._database.guarded(one.resource, one.relation.table):
                part = one.look(connection, before, self._pace.limit(ROWS))
            self._pace.read(part.read)
            self._measures.part(one.resource, part.read, now, complete=part.complete)
            if part.complete:
                self._measures.due(one.resource, now + self._seconds_between())
            self._cursors[one.resource] = part.cursor
            moved = moved or before is None or not part.complete
            complete = complete and part.complete
            states += [self._state(one, found) for found in part.rows]
        if not states and not moved:
            return [], complete
        messages = self._transaction(states)
        for one in looks:
            one.delivered(self._position)
        return messages, complete

    def _state(self, one: Looks, found: Found) -> RowState:
        return RowState(one.relation, found.key, found.row, self._position + 1, found.size)

    def _transaction(self, messages: Sequence[Message]) -> list[Message]:
        """Makes a transaction of its own, and moves the position behind it."""
        time_us = time.time_ns() // 1000
        begin = self._position + 1
        self._position += 2
        number = begin & 0xFFFFFFFF
        return [
            Begin(number, begin, time_us),
            *messages,
            Commit(number, self._position, time_us, self._token),
        ]

    @property
    def _token(self) -> str:
        return token_text(Token(self._cursors, self._comparisons.compared))

    def acknowledge(self, position: int) -> None:
        """See Source.acknowledge: rows may be marked as taken."""
        for one in self._looks.values():
            one.stored(self._opened, position)

    def housekeeping(self) -> Everything | None:
        """See Source.housekeeping."""
        now = time.monotonic()
        if now < self._seen_at:
            return None
        self._seen_at = now + _SEEN_SECONDS
        if now >= self._beat_at:
            self._beat_at = now + HEARTBEAT_SECONDS
            self._position += 1
            beat = Heartbeat(self._position, time.time_ns() // 1000, self._token)
            self._waiting.append(beat)
        return Everything()

    def gauges(self) -> Mapping[str, float]:
        """See Source.gauges."""
        return self._measures.gauges

    def counts(self) -> Mapping[tuple[str, ...], int]:
        """See Source.counts."""
        return self._measures.counts()

    # ---- pages

    def _read_page(self, connection: Connection, ask: Ask) -> list[Message]:
        """Looks at the table, and reads the page in the same snapshot."""
        looks = self._looks.get(ask.resource)
        messages: list[Message] = []
        with self._database.guarded(), self._database.dialect.snapshot(connection):
            if looks is not None:
                # And what it showed before is no longer what the front end will hold
                looks.superseded()
                messages, _ = self._parts(connection, [looks])
                # What the page shows may be written over what was delivered
                looks.forget()
            if ask.counted is not None and ask.settled:
                # Rows that were deleted since their page are still in the front end
                page = Page(ask.token, [], ask.limit, more=False)
            else:
                page = self._read(connection, ask._replace(limit=self._pace.limit(ask.limit)))
            self._page = page
        rows = len(page.lines)
        if ask.counted:
            # Conditions are tested here, so that rows are read
            rows += page.total or 0
        self._pace.read(rows)
        failpoints.hit("after_page_read")
        return [*messages, *self._transaction([HighPosition(ask.token)])]

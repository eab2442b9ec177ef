"""A business database in which triggers note what changes.

Changes are found by looking: once a second, or at once while there are more. A look delivers what
each noted row is by then, as one transaction. When the front end has stored it, its notes are
deleted; until then they are passed over by the next looks.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from agent import failpoints, stop_watch
from agent.config import ResourceSettings
from agent.connectors.base import Fingerprint
from agent.connectors.changes import Begin, Commit, Heartbeat, HighPosition, Message
from agent.connectors.database.catalogue import ReadTable, fingerprint
from agent.connectors.database.session import Database
from agent.connectors.database.source import DatabaseSource, UpTo
from agent.connectors.position import position_number
from agent.connectors.resume import Resume
from agent.connectors.table import TableName
from agent.connectors.trigger.databases.base import LoggedTable, TriggerLog, digest
from agent.connectors.trigger.guard import KEPT, Bounds, Guard
from agent.connectors.trigger.keys import logged
from agent.connectors.trigger.looks import Followed, Looker, followed
from agent.connectors.trigger.notes import NotesTable, first_notes
from agent.errors import TriggerLogMissing, TriggersMissing
from agent.messages import phrase

MOST_NOTES = 5000  # of one look
MOST_TEXT = 200_000  # characters of their keys, about
_MOST_DELIVERED = 4 * MOST_NOTES  # that are not stored: then the front end is waited for
_STEP = 8  # between positions: a transaction has one for its commit and one behind it


class Place(NamedTuple):
    """A shared table as the settings name it."""

    name: TableName
    resource: ResourceSettings


class Look(NamedTuple):
    """What was delivered and is not stored yet."""

    position: int
    notes: Sequence[Any]  # their ids


class TriggerSource(DatabaseSource):
    """See Source."""

    connector = "trigger"

    def __init__(
        self,
        database: Database,
        log: TriggerLog,
        places: Sequence[Place],
        prefix: str,
        interval: float = 1.0,
        heartbeat: float = 10.0,
        agent: str = "agent",
        bounds: Bounds = KEPT,
    ) -> None:
        """`interval`: seconds between looks; `prefix` is the one of the topics."""
        super().__init__(
            database,
            {place.name: () for place in places},
            [place.resource for place in places],
            agent,
            prefix,
        )
        self._log = log
        self._notes = NotesTable(log)
        self._places = places
        named = [LoggedTable(*place.name, ()) for place in places]
        self._guard = Guard(database, log, named, bounds)
        self._complete = True  # the last look has seen every note
        self._interval = interval
        self._heartbeat = heartbeat
        self._looker = Looker({})
        self._position = 0
        self._waiting: list[Message] = []
        self._looks: list[Look] = []
        self._delivered: set[Any] = set()  # the notes of these looks
        self._look_at = 0.0
        self._beat_at = 0.0
        # Notes of TRUNCATE that are stored and not deleted
        self._truncated: frozenset[str] = frozenset()

    # ---- from one opening to the next

    def open(self, resume: Resume, front_silent_since: Callable[[], float | None]) -> None:
        """See Source.open. What was delivered and not stored is noted still."""
        self.close()
        self._position = position_number(resume.position)
        self._truncated = frozenset(orjson.loads(resume.token)) if resume.token else frozenset()
        self._connect()
        self._check_log()
        self._looker = Looker(self._followed(resume.suspended))
        self._look_at = 0.0
        self._beat_at = time.monotonic() + self._heartbeat

    def _check_log(self) -> None:
        """Raises TriggerLogMissing where the table of the notes is not there."""
        with self._database.guarded():
            if not self._log.exists(self._opened):
                raise TriggerLogMissing(log=self._log.log)

    def _followed(self, suspended: Collection[str]) -> dict[str, Followed]:
        """Returns the tables whose notes are read: those of others are deleted unread."""
        found = {}
        read_tables = self._read_catalogue()
        for place in self._places:
            read = read_tables.get(place.name)
            if read is None or place.resource.name in suspended:
                continue
            table = logged(read)
            made = followed(self._database.dialect, place.resource, read)
            if table is not None and made is not None:
                found[table.noted] = made
        return found

    def close(self) -> None:
        """See Source.close."""
        self._waiting.clear()
        self._looks.clear()
        self._delivered.clear()
        self._disconnect()

    # ---- the tables

    def check_captured(self, resource: ResourceSettings) -> None:
        """See Source.check_captured: every trigger has to be there."""
        for place in self._places:
            if place.resource.name == resource.name:
                self._check_triggers(place)

    def _check_triggers(self, place: Place) -> None:
        read = self._tables.get(place.name)
        if read is None:
            return
        table = logged(read)
        missing = phrase("its triggers are missing or switched off")
        if table is None:
            missing = phrase("its key has a type that no trigger can note")
        else:
            with self._database.guarded():
                there = self._log.installed(self._opened, table)
            if self._log.complete(table, there):
                return
        raise TriggersMissing(resource=place.resource.name, table=read.name, reason=missing)

    def fingerprints(self) -> dict[TableName, Fingerprint]:
        """See Source.fingerprints: what other triggers noted may lack a change."""
        found = {}
        read_tables = self._read_catalogue()
        for place in self._places:
            read = read_tables.get(place.name)
            if read is None:
                continue
            made = fingerprint(read, place.resource.needed_columns)
            copy = {**made.copy, "triggers": self._described(read)}
            found[place.name] = made._replace(copy=copy)
        return found

    def _described(self, read: ReadTable) -> str:
        table = logged(read)
        if table is None:
            return ""
        with self._database.guarded():
            there = self._log.installed(self._opened, table)
        return digest(there)

    # ---- the stream

    def read(self, timeout: float) -> Iterator[Message]:
        """See Source.read."""
        wait = self._look_at - time.monotonic()
        if len(self._delivered) >= _MOST_DELIVERED:
            wait = timeout
        elif wait <= 0 or self._wanted is not None:
            self._take_look()
        if not self._waiting:
            stop_watch.wait(max(0.0, min(timeout, wait)))
        waiting, self._waiting = self._waiting, []
        yield from waiting

    def _take_look(self) -> None:
        """Reads notes, their rows, and the page that was asked for, in one snapshot."""
        connection = self._opened
        position = self._position + 1
        page = None
        with self._database.guarded(), self._database.dialect.snapshot(connection):
            limit = MOST_NOTES + len(self._delivered)
            found = self._notes.read(connection, limit)
            left = [note for note in found.notes if note.id not in self._delivered]
            notes = first_notes(left, MOST_TEXT)
            complete = found.complete and len(notes) == len(left)
            states = self._looker.messages(connection, notes, self._truncated, position)
            messages = list(states)
            # A page may show only what was delivered: while notes are left it has to wait
            ask = self._wanted
            if ask is not None and complete:
                page = self._read(connection, ask)
        failpoints.hit("after_look_read")

        self._complete = complete
        if complete:
            self._guard.all_seen(found.notes)
        if notes:
            truncates = [str(note.id) for note in notes if note.operation == "T"]
            self._truncated = self._truncated.union(truncates)
            self._deliver(messages)
            ids = [note.id for note in notes]
            self._looks.append(Look(self._position, ids))
            self._delivered.update(ids)
        if page is not None:
            failpoints.hit("after_page_read")
            self._page = page
            self._deliver([HighPosition(page.token)])
        pause = self._interval if complete else 0.0
        self._look_at = time.monotonic() + pause

    def _deliver(self, messages: Sequence[Message]) -> None:
        """Makes a transaction of messages."""
        begin = self._position + 1
        self._position += _STEP
        number = self._position // _STEP
        time_us = time.time_ns() // 1000
        self._waiting += [
            Begin(number, begin, time_us),
            *messages,
            Commit(number, self._position, time_us, self._token),
        ]

    @property
    def _token(self) -> str:
        return orjson.dumps(sorted(self._truncated)).decode() if self._truncated else ""

    def acknowledge(self, position: int) -> None:
        """See Source.acknowledge: deletes the notes of the looks, and no others."""
        stored = [look for look in self._looks if look.position <= position]
        if not stored:
            return
        notes = [note for look in stored for note in look.notes]
        connection = self._opened
        with self._database.guarded(), self._database.dialect.writing(connection):
            self._notes.delete(connection, notes)
            failpoints.hit("before_mark_commit")
        self._looks = self._looks[len(stored) :]
        self._delivered.difference_update(notes)
        self._truncated = self._truncated.difference([str(note) for note in notes])

    def housekeeping(self) -> UpTo | None:
        """See Source.housekeeping."""
        if not self._complete:
            self._guard.count(self._opened)
        if time.monotonic() < self._beat_at:
            return None
        self._beat_at = time.monotonic() + self._heartbeat
        self._position += _STEP
        beat = Heartbeat(self._position, time.time_ns() // 1000, self._token)
        self._waiting.append(beat)
        return UpTo(self._position // _STEP)

    def gauges(self) -> Mapping[str, float]:
        """See Source.gauges."""
        return self._guard.gauges

    def unattended(self) -> None:
        """See Source.unattended: notes gather as long as the front end cannot be written."""
        self._guard.count_alone()

    def comparisons(self, copying: Collection[str]) -> Sequence[str]:
        """See Source.comparisons: each change is noted."""
        return ()

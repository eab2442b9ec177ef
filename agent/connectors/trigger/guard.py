"""Watches how many notes wait, and takes triggers and notes away where there are too many.

Only where the configuration has a bound for it: then the business database comes first. The changes
that were noted are lost with the notes, so that every table has to be copied afterwards.
"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from agent.connectors.database.session import Database
from agent.connectors.trigger.databases.base import LoggedTable, TriggerLog
from agent.connectors.trigger.notes import Backlog, Note, NotesTable
from agent.connectors.trigger.statements import run
from agent.errors import AgentError, TriggerLogMissing
from agent.service.metrics import LOG_NOTES, LOG_OLDEST

_log = logging.getLogger(__name__)
_COUNT_SECONDS = 30.0  # between two counts of notes that no look has read


class Bounds(NamedTuple):
    """How far notes are counted, and how many there may be."""

    counted: int = 1_000_000  # more are not told apart
    most: int | None = None  # above it they are taken away; None: they are kept


KEPT = Bounds()


class Guard:
    """The notes that wait, and the bound of their number."""

    def __init__(
        self,
        database: Database,
        log: TriggerLog,
        tables: Sequence[LoggedTable],
        bounds: Bounds,
    ) -> None:
        """`tables` are those of the configuration."""
        self._database = database
        self._log = log
        self._notes = NotesTable(log)
        self._tables = tables
        self._counted = max(bounds.counted, bounds.most or 0)
        self._most = bounds.most
        self._backlog = Backlog(0, None)
        self._count_at = 0.0  # in time.monotonic()

    @property
    def gauges(self) -> Mapping[str, float]:
        """The metrics of the log."""
        return {LOG_NOTES: self._backlog.notes, LOG_OLDEST: self._backlog.oldest_time}

    def all_seen(self, notes: Collection[Note]) -> None:
        """Takes over what a look has read, where there were no other notes."""
        oldest = min([note.noted_at for note in notes], default=None)
        self._backlog = Backlog(len(notes), oldest)

    def count(self, connection: Connection) -> None:
        """Counts the notes from time to time, in a session without a transaction.

        Raises TriggerLogMissing when there were too many and they are gone now, with the triggers;
        the errors of the connection.
        """
        if time.monotonic() < self._count_at:
            return
        self._count_at = time.monotonic() + _COUNT_SECONDS
        with self._database.guarded():
            self._backlog = self._notes.backlog(connection, self._counted)
        if self._most is not None and self._backlog.notes > self._most:
            self._give_up(connection)

    def count_alone(self) -> None:
        """Does the same over a connection of its own, while nobody reads. Never raises."""
        if self._most is None or time.monotonic() < self._count_at:
            return
        try:
            with self._database.connect() as connection:
                self.count(connection)
        except AgentError as error:
            # Whoever opens the source next is told
            _log.info("trigger_log_not_counted error=%s", error.text("en"))

    def _give_up(self, connection: Connection) -> None:
        try:
            with self._database.guarded():
                statements = self._log.removal(connection, self._tables)
            for statement in statements:
                with self._database.guarded(), self._database.dialect.writing(connection):
                    run(connection, statement)
        except AgentError as error:
            _log.error(
                "trigger_log_kept notes=%s max_rows=%s error=%s",
                self._backlog.number,
                self._most,
                error.text("en"),
            )
            return
        _log.error(
            "trigger_log_given_up notes=%s max_rows=%s",
            self._backlog.number,
            self._most,
        )
        raise TriggerLogMissing(log=self._log.log)

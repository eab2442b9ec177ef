"""Reads and deletes the notes that triggers have written."""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnClause, Connection, Select, column, delete, func, select, table

from agent.connectors.trigger.databases.base import TriggerLog

_DELETED = 500  # notes by one statement


class Note(NamedTuple):
    """What a trigger has noted of a row, of several ones of a statement, or of a TRUNCATE."""

    id: Any  # as the driver gives it, to be handed back
    table: str
    operation: str
    key_now: str | None
    key_before: str | None
    noted_at: Any  # by the server's clock, as the driver gives it

    @property
    def keys(self) -> Iterator[str]:
        """The texts with the keys of which the rows may have changed."""
        for key in (self.key_now, self.key_before):
            if key is not None:
                yield key


def first_notes(notes: Sequence[Note], most: int) -> list[Note]:
    """Returns the first of these notes, whose keys have about so many characters in all."""
    taken = []
    room = most
    for note in notes:
        if room <= 0:
            break
        taken.append(note)
        room -= sum(map(len, note.keys))
    return taken


class Notes(NamedTuple):
    """Some of the notes that a snapshot has seen."""

    notes: Sequence[Note]
    complete: bool  # there are no others


class Backlog(NamedTuple):
    """How much waits in the log."""

    notes: int
    oldest: Any  # when the first of them was written, by the server's clock; None: there is none
    more: bool = False  # than were counted

    @property
    def number(self) -> str:
        """Tells the number of notes."""
        return f"> {self.notes - 1}" if self.more else str(self.notes)

    @property
    def since(self) -> str:
        """Tells the time of the oldest note; '-' where there is none."""
        return "-" if self.oldest is None else str(self.oldest)

    @property
    def oldest_time(self) -> float:
        """The time of the oldest note in seconds since 1970; 0 where there is none."""
        moment = self.oldest
        if moment is None:
            return 0.0
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        if moment.tzinfo is None:
            # Sessions of the agent are in UTC
            moment = moment.replace(tzinfo=UTC)
        seconds: float = moment.timestamp()
        return seconds


class NotesTable:
    """The table of the notes. Within `Database.guarded`."""

    def __init__(self, log: TriggerLog) -> None:
        self._log = log
        names = ("id", "source_table", "operation", "key_now", "key_before", "noted_at")
        columns: list[ColumnClause[Any]] = [column(name) for name in names]
        self._table = table(log.log, *columns, schema=log.schema or None)

    def read(self, connection: Connection, limit: int) -> Notes:
        """Reads notes in a snapshot: each TRUNCATE, and at most `limit` of rows.

        The order is that of the database. It means nothing, but for a TRUNCATE: what was noted of a
        table at the same time came after it, or tells of rows that are gone.
        """
        found = []
        if self._log.notes_truncate:
            found = self._found(connection, self._all().where(self._table.c.operation == "T"))
        rows = self._all().where(self._table.c.operation != "T").limit(limit)
        noted = self._found(connection, rows)
        return Notes([*found, *noted], len(noted) < limit)

    def _all(self) -> Select[Any]:
        return select(*self._table.c)

    def _found(self, connection: Connection, statement: Select[Any]) -> list[Note]:
        return [Note(*row) for row in connection.execute(statement)]

    def delete(self, connection: Connection, ids: Collection[Any]) -> None:
        """Deletes exactly these notes, in the transaction of the caller."""
        listed = list(ids)
        for begin in range(0, len(listed), _DELETED):
            some = listed[begin : begin + _DELETED]
            connection.execute(delete(self._table).where(self._table.c.id.in_(some)))

    def backlog(self, connection: Connection, counted: int) -> Backlog:
        """Counts the notes, one more than `counted` at the most."""
        some = select(self._table.c.noted_at).limit(counted + 1).subquery()
        asked = select(func.count(some.c.noted_at), func.min(some.c.noted_at))
        count, oldest = connection.execute(asked).one()
        return Backlog(int(count), oldest, count > counted)

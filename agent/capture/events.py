"""The events of one set of messages, and the rows they leave in the front end."""

from collections.abc import Collection, Mapping
from typing import Protocol

from agent.capture.rows import Rows, RowsOfTable
from agent.capture.table_state import TableState, TableStates
from agent.capture.window import Count, Window
from agent.connectors.changes import Change
from agent.front.base import Written
from agent.outbox.writer import NULL, Framing, TopicFraming
from agent.resource import Binding, FrontRow, Resource
from agent.values.rows import Key


class EventsOfTable:
    """Frames events of one table and gives each row its new state, in the order of the changes.

    It serves one set. `window` is the one that is open for the table meanwhile, `respelled` are the
    keys of rows that stand under another spelling of a key.
    """

    __slots__ = (
        "_counting",
        "_framing",
        "_topic",
        "resource",
        "respelled",
        "rows",
        "table",
        "window",
    )

    def __init__(
        self,
        resource: Resource,
        rows: RowsOfTable,
        table: TableState,
        topic: TopicFraming,
        window: Window | None,
        respelled: Collection[Key],
    ) -> None:
        self.resource = resource
        self.rows = rows
        self.table = table
        self.window = window
        self.respelled = respelled
        self._topic = topic
        self._framing = topic.framing
        self._counting = window if isinstance(window, Count) else None

    # ---- holes

    def note_hole(self, key: Key) -> None:
        """Notes that the row of this key lacks values: it is read again, its event comes then."""
        if self._counting is not None:
            self._counting.broken = True  # the front end does without the row for a while
        self.table.note_hole(key)

    # ---- events

    def source(self, position: int) -> bytes:
        """Returns the `source` block of a change at `position`."""
        framing = self._framing
        return self.resource.origin.source(framing.begun, framing.previous_end, position)

    def before(self, key: Key | None) -> bytes:
        """Returns the row before a change as JSON, where the log has not sent it.

        That is what the front end holds, if the configuration asks for it; else null.
        """
        if not self.resource.complete or key is None:
            return NULL
        row = self.rows.current(key)
        return NULL if row is None else self.resource.row_json(row)

    def delete(
        self,
        key: Key,
        *,
        before: bytes,
        source: bytes,
        new_key: bytes = b"",
    ) -> None:
        """Publishes that there is no row under the key any more (`new_key`: it moved there)."""
        if before == NULL:
            before = self.resource.key_json(key)
        seq = self._topic.event(b"d", key, before, NULL, source, new_key=new_key)
        if self._counting is not None:
            self._count(self._counting, key, after=False)
        self.rows.given[key] = Written(None, "D", seq, self._framing.begun.time_us)

    def put(
        self,
        op: bytes,
        key: Key,
        row: FrontRow,
        *,
        before: bytes,
        source: bytes,
        old_key: bytes = b"",
    ) -> None:
        """Publishes the row that is under the key now: `op` is c or u.

        `old_key`: it moved here from there.
        """
        after = self.resource.row_json(row)
        seq = self._topic.event(op, key, before, after, source, old_key=old_key)
        if self._counting is not None:
            self._count(self._counting, key, after=True)
        operation = "U" if op == b"u" else "I"
        self.rows.given[key] = Written(row, operation, seq, self._framing.begun.time_us)

    def write_silently(self, key: Key, row: FrontRow | None) -> None:
        """Gives the row under the key its new state without an event."""
        operation = "D" if row is None else "U"
        time_us = self._framing.begun.time_us
        self.rows.given[key] = Written(row, operation, self._topic.seq, time_us)

    def delete_respelled(self, source: bytes) -> None:
        """Deletes rows that a copying table has under another spelling of a key.

        The source has none there any more.
        """
        respelled = self.respelled
        self.respelled = ()
        for key in respelled:
            before = self.before(key)
            self.delete(key, before=before, source=source)

    def _count(self, counting: Count, key: Key, *, after: bool) -> None:
        """Notes whether there is a row more or less, where rows are counted.

        The row under the key was looked up then.
        """
        before = self.rows.current(key) is not None
        if before != after:
            transaction = self._framing.begun.transaction
            counting.changed(transaction, 1 if after else -1)


class Events:
    """The events of one set, table by table.

    `rows` are its front-end rows, `windows` those that are open while it is worked off.
    """

    def __init__(
        self,
        rows: Rows,
        framing: Framing,
        tables: TableStates,
        windows: Mapping[str, Window],
        respelled: Mapping[str, Collection[Key]],
    ) -> None:
        """`windows` and `respelled` are by resource.

        Respelled are keys of rows that stand under another spelling of a key.
        """
        self.rows = rows
        self._framing = framing
        self._states = tables
        self._windows = windows
        self._respelled = respelled
        self._tables: dict[str, EventsOfTable] = {}

    def of(self, resource: Resource) -> EventsOfTable:
        """Returns what takes the events of one table."""
        name = resource.name
        events = self._tables.get(name)
        if events is None:
            events = EventsOfTable(
                resource,
                self.rows.of(resource),
                self._states[name],
                self._framing.topic(resource),
                self._windows.get(name),
                self._respelled.get(name, ()),
            )
            self._tables[name] = events
        return events


class ChangeRule(Protocol):
    """How the changes of one kind of table become events."""

    def needed(
        self,
        binding: Binding,
        change: Change,
        *,
        counting: bool,
    ) -> list[Key]:
        """Returns the keys whose front-end rows must be known before the change is applied.

        `counting`: the rows of the table are being counted.
        """

    def apply(self, events: EventsOfTable, binding: Binding, change: Change) -> None:
        """Writes the events of one change, and the rows that it leaves."""

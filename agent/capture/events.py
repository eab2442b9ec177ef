"""The events of one set of messages, and the rows they leave in the front end."""

from collections.abc import Collection, Mapping
from typing import Protocol

from agent.capture.rows import Rows
from agent.capture.table_state import TableStates
from agent.capture.window import Count, Window
from agent.connectors.changes import Change
from agent.front.base import Written
from agent.outbox.writer import NULL, Framing
from agent.resource import Binding, FrontRow, Resource
from agent.values.rows import Key


class Events:
    """Frames events and gives each row its new state, in the order of the changes.

    `rows` are the front-end rows of the set, `window` is the one that is open while it is worked
    off, if there is one.
    """

    def __init__(
        self,
        rows: Rows,
        framing: Framing,
        tables: TableStates,
        window: Window | None,
        respelled: Mapping[str, Collection[Key]],
    ) -> None:
        """`respelled`, by resource: keys of rows that stand under another spelling of a key."""
        self.rows = rows
        self._framing = framing
        self._tables = tables
        self._window = window
        self._respelled = dict(respelled)

    # ---- windows

    def window(self, resource: Resource) -> Window | None:
        """Returns the window of this table, if it is open."""
        window = self._window
        if window is None or window.resource != resource.name:
            return None
        return window

    def counting(self, resource: Resource) -> Count | None:
        """Returns the window in which the rows of this table are counted, if it is open."""
        window = self.window(resource)
        return window if isinstance(window, Count) else None

    # ---- holes

    def note_hole(self, resource: Resource, key: Key) -> None:
        """Notes that the row of this key lacks values: it is read again, its event comes then."""
        counting = self.counting(resource)
        if counting is not None:
            counting.broken = True  # the front end does without the row for a while
        self._tables[resource.name].note_hole(key)

    # ---- events

    def source(self, resource: Resource, position: int) -> bytes:
        """Returns the `source` block of a change at `position`."""
        framing = self._framing
        return resource.origin.source(framing.begun, framing.previous_end, position)

    def before(self, resource: Resource, key: Key | None) -> bytes:
        """Returns the row before a change as JSON, where the log has not sent it.

        That is what the front end holds, if the configuration asks for it; else null.
        """
        if not resource.complete or key is None:
            return NULL
        row = self.rows.current(resource, key)
        return NULL if row is None else resource.row_json(row)

    def delete(
        self,
        resource: Resource,
        key: Key,
        *,
        before: bytes,
        source: bytes,
        new_key: bytes = b"",
    ) -> None:
        """Publishes that there is no row under the key any more (`new_key`: it moved there)."""
        if before == NULL:
            before = resource.key_json(key)
        seq = self._framing.event(
            resource,
            b"d",
            key,
            before=before,
            after=NULL,
            source=source,
            new_key=new_key,
        )
        self._count(resource, key, after=False)
        written = Written(None, "D", seq, self._framing.begun.time_us)
        self.rows.put(resource, key, written)

    def put(
        self,
        resource: Resource,
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
        after = resource.row_json(row)
        seq = self._framing.event(
            resource,
            op,
            key,
            before=before,
            after=after,
            source=source,
            old_key=old_key,
        )
        self._count(resource, key, after=True)
        operation = "U" if op == b"u" else "I"
        written = Written(row, operation, seq, self._framing.begun.time_us)
        self.rows.put(resource, key, written)

    def write_silently(
        self,
        resource: Resource,
        key: Key,
        row: FrontRow | None,
    ) -> None:
        """Gives the row under the key its new state without an event."""
        seq = self._framing.seq(resource.name)
        operation = "D" if row is None else "U"
        written = Written(row, operation, seq, self._framing.begun.time_us)
        self.rows.put(resource, key, written)

    def delete_respelled(self, resource: Resource, source: bytes) -> None:
        """Deletes rows that a copying table has under another spelling of a key.

        The source has none there any more.
        """
        if self._respelled:
            for key in self._respelled.pop(resource.name, ()):
                before = self.before(resource, key)
                self.delete(resource, key, before=before, source=source)

    def forget_respelled(self, resource: Resource) -> None:
        """Forgets those rows: the table is emptied."""
        self._respelled.pop(resource.name, None)

    def _count(self, resource: Resource, key: Key, *, after: bool) -> None:
        """Notes whether there is a row more or less, where rows are counted.

        The row under the key was looked up then.
        """
        if self._window is None:
            return
        counting = self.counting(resource)
        if counting is not None:
            before = self.rows.current(resource, key) is not None
            if before != after:
                transaction = self._framing.begun.transaction
                counting.changed(transaction, 1 if after else -1)


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

    def apply(self, events: Events, binding: Binding, change: Change) -> None:
        """Writes the events of one change, and the rows that it leaves."""

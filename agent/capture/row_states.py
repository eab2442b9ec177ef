"""How a state of a row becomes an event: by comparison with the front-end row.

    front-end row    state       event
    -------------    -----       -----
    none             row         create
    row              other row   update
    row              none        delete
    alike                        nothing

A source without a log delivers states. One that is delivered again finds the front end as it left
it: neither a repeated look nor a crash repeats an event.
"""

from agent.capture.events import EventsOfTable
from agent.capture.refusals import digest
from agent.capture.shared_keys import shared
from agent.connectors.changes import RowState
from agent.outbox.writer import NULL
from agent.resource import Binding, FrontRow
from agent.values.rows import Key


class RowStates:
    """Applies states of rows. Their front-end rows were looked up."""

    def apply(self, events: EventsOfTable, binding: Binding, state: RowState) -> None:
        """Writes the event of a state, if it tells anything new, and the row that it leaves."""
        resource = events.resource
        key = state.key
        row = None if state.row is None else binding.read(state.row)
        if events.window is not None:
            new_key = None if row is None else key
            events.window.remember(key, new_key, row, state.size)

        events.table.fill_hole(key)
        source = events.source(state.position)
        if events.respelled:
            events.delete_respelled(source)
        after = None if row is None else shared(resource, row)
        self._compare(events, key, after, source)

    def _compare(
        self,
        events: EventsOfTable,
        key: Key,
        row: FrontRow | None,
        source: bytes,
    ) -> None:
        published = events.rows.published(key)
        if self._refused_alike(events, key, row):
            # Subscribers know it; perhaps the front end takes it by now
            events.write_silently(key, row)
        elif row is None:
            if published:
                before = events.before(key)
                events.delete(key, before=before, source=source)
        elif row != events.rows.current(key):
            before = events.before(key)
            if events.resource.complete and before == NULL:
                published = False  # no update without its whole old row
            op = b"u" if published else b"c"
            events.put(op, key, row, before=before, source=source)

    def _refused_alike(
        self,
        events: EventsOfTable,
        key: Key,
        row: FrontRow | None,
    ) -> bool:
        """Returns whether the front end refuses the row, and subscribers have this very state."""
        refused = events.table.refused.get(key)
        if refused is None or key in events.rows.given:
            return False
        published = "" if row is None else digest(row)
        return refused.published == published

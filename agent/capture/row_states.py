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

from agent.capture.events import Events
from agent.capture.refusals import digest
from agent.capture.shared_keys import shared
from agent.capture.table_state import TableStates
from agent.connectors.changes import RowState
from agent.outbox.writer import NULL
from agent.resource import Binding, FrontRow, Resource
from agent.values.rows import Key


class RowStates:
    """Applies states of rows. Their front-end rows were looked up."""

    def __init__(self, tables: TableStates) -> None:
        self._tables = tables

    def apply(self, events: Events, binding: Binding, state: RowState) -> None:
        """Writes the event of a state, if it tells anything new, and the row that it leaves."""
        resource = binding.resource
        key = state.key
        row = None if state.row is None else binding.read(state.row)
        window = events.window(resource)
        if window is not None:
            new_key = None if row is None else key
            window.remember(key, new_key, row, state.size)

        self._tables[resource.name].fill_hole(key)
        source = events.source(resource, state.position)
        events.delete_respelled(resource, source)
        after = None if row is None else shared(resource, row)
        self._compare(events, resource, key, after, source)

    def _compare(
        self,
        events: Events,
        resource: Resource,
        key: Key,
        row: FrontRow | None,
        source: bytes,
    ) -> None:
        rows = events.rows
        published = rows.published(resource, key)
        if self._refused_alike(events, resource, key, row):
            # Subscribers know it; perhaps the front end takes it by now
            events.write_silently(resource, key, row)
        elif row is None:
            if published:
                before = events.before(resource, key)
                events.delete(resource, key, before=before, source=source)
        elif row != rows.current(resource, key):
            before = events.before(resource, key)
            if resource.complete and before == NULL:
                published = False  # no update without its whole old row
            op = b"u" if published else b"c"
            events.put(
                resource,
                op,
                key,
                row,
                before=before,
                source=source,
            )

    def _refused_alike(
        self,
        events: Events,
        resource: Resource,
        key: Key,
        row: FrontRow | None,
    ) -> bool:
        """Returns whether the front end refuses the row, and subscribers have this very state."""
        refused = self._tables[resource.name].refused.get(key)
        if refused is None or events.rows.is_given(resource, key):
            return False
        told = "" if row is None else digest(row)
        return refused.told == told

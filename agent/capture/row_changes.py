"""How a change of a row becomes events, where a key stands for one row.

    before        after              events
    ------        -----              ------
    not shared    row                create
    row           row, same key      update
    row           row, other key     delete of the old key, create of the new one
    row           not shared         delete
    any           lacks values       a hole is noted; delete of the old key, if the key has changed

Not shared: there is no row, or the filter keeps it back. In a copying table the events are the
same: what the front end does not hold yet, a subscriber may.
"""

from agent.capture.events import EventsOfTable
from agent.capture.table_state import TableStates
from agent.capture.window import filled
from agent.connectors.changes import Change
from agent.front.base import PAGES, Front
from agent.outbox.writer import NULL
from agent.resource import Binding, FrontRow, Resource
from agent.values.rows import UNCHANGED, Key, Row


class RowChanges:
    """Applies changes of tables in which a key stands for one row at any time."""

    def __init__(self, front: Front, tables: TableStates) -> None:
        self._front = front
        self._tables = tables

    def needed(
        self,
        binding: Binding,
        change: Change,
        *,
        counting: bool,
    ) -> list[Key]:
        """Returns the keys whose front-end rows must be known before the change is applied."""
        resource = binding.resource
        copying = self._tables[resource.name].copying
        respelled = copying and self._front.spellings(resource.target)
        every_row = counting or respelled
        needs_new_row = every_row or (copying and resource.filtered)

        keys = []
        if change.op != "I" and (every_row or _needs_old_row(resource, change)):
            keys.append(_old_key(binding, change))
        if needs_new_row and change.new is not None:
            new = binding.read(known_values(change.new, change))
            keys.append(resource.key_of(new))
        return keys

    def apply(self, events: EventsOfTable, binding: Binding, change: Change) -> None:
        """Writes the events of one change, and the row that it leaves."""
        resource = events.resource
        new = None
        new_key = None
        if change.new is not None:
            new = binding.read(known_values(change.new, change))
            new_key = resource.key_of(new)
        old_key = None
        if change.op != "I":
            old_key = new_key if change.old is None else binding.key_of(change.old)
        if events.window is not None:
            events.window.remember(old_key, new_key, new, change.size)

        # Before the change, a row was shared under the old key; `after` is what is to be shared now
        shared = old_key is not None and (not resource.filtered or events.rows.published(old_key))
        after = new
        hole = False
        if new is not None and (resource.filtered or UNCHANGED in new):
            base = _base(events, old_key, new_key)
            after = _after(resource, new, base, shared)
            hole = after is not None and UNCHANGED in after
        if events.table.holes:
            _fill_holes(events, old_key, new_key)
        if hole and new_key is not None:
            events.note_hole(new_key)

        source = events.source(change.position)
        if events.respelled:
            events.delete_respelled(source)
        before = _before(events, binding, change, old_key)
        if resource.complete and before == NULL and new_key == old_key:
            shared = False  # no update without its whole old row

        row = None if hole or after is None else whole(after)
        stays = old_key is None or (shared and new_key == old_key)
        if stays and row is not None and new_key is not None:
            op = b"c" if old_key is None else b"u"
            events.put(op, new_key, row, before=before, source=source)
        else:
            _move(events, old_key, new_key, after, row, shared, before, source)


def _move(
    events: EventsOfTable,
    old_key: Key | None,
    new_key: Key | None,
    after: Row | None,
    row: FrontRow | None,
    shared: bool,
    before: bytes,
    source: bytes,
) -> None:
    """Writes the events of a row that leaves its key, comes to one, or is not known whole."""
    resource = events.resource
    left = None
    if old_key is not None and shared and (after is None or new_key != old_key):
        left = old_key
        moved_to = _kafka_key(resource, None if row is None else new_key)
        events.delete(old_key, before=before, source=source, new_key=moved_to)
    if row is not None and new_key is not None:
        moved_from = _kafka_key(resource, left)
        events.put(b"c", new_key, row, before=NULL, source=source, old_key=moved_from)
    elif after is None and new_key is not None and new_key != old_key:
        _delete_outdated(events, new_key, source)


def _fill_holes(events: EventsOfTable, *keys: Key | None) -> None:
    """Forgets that the rows of these keys lack values: the change decides about them."""
    for key in keys:
        if key is not None:
            events.table.fill_hole(key)


def _base(
    events: EventsOfTable,
    old_key: Key | None,
    new_key: Key | None,
) -> FrontRow | None:
    """Returns the front-end row from which missing values are taken.

    None if there is none to trust.
    """
    table = events.table
    if old_key is None or old_key in table.holes:
        return None
    copy = table.copy
    if copy is not None and copy.phase == PAGES and old_key != new_key:
        return None  # the row at the old key may be another one, or outdated
    return events.rows.current(old_key)


def _old_key(binding: Binding, change: Change) -> Key:
    """Returns the key a row had before a change."""
    return binding.key_of(change.old or change.new or ())


def known_values(new: Row, change: Change) -> Row:
    """Returns the new row, its unchanged values taken from the old one as far as the log has it."""
    old = change.old
    if old is None or UNCHANGED not in new:
        return new
    row = list(new)
    for i, column in enumerate(change.relation.columns):
        if row[i] is UNCHANGED and (change.old_complete or column.identity):
            row[i] = old[i]
    return tuple(row)


def whole(row: Row) -> FrontRow:
    """Returns a row known to lack nothing."""
    return row  # type: ignore[return-value]


def _kafka_key(resource: Resource, key: Key | None) -> bytes:
    return b"" if key is None else resource.kafka_key(key)


def _before(
    events: EventsOfTable,
    binding: Binding,
    change: Change,
    old_key: Key | None,
) -> bytes:
    """Returns the row before the change as JSON, null if neither log nor front end has it."""
    if change.old is not None and change.old_complete:
        resource = events.resource
        row = binding.read(change.old)
        return resource.row_json(whole(resource.shared(row)))
    return events.before(old_key)


def _delete_outdated(events: EventsOfTable, key: Key, source: bytes) -> None:
    """Deletes a row that was under the new key already: a copy has not come to it yet."""
    if events.rows.published(key):
        before = events.before(key)
        events.delete(key, before=before, source=source)


def _needs_old_row(resource: Resource, change: Change) -> bool:
    """Returns whether the front-end row is needed: for the filter, the event or missing values."""
    if resource.filtered or (resource.complete and not change.old_complete):
        return True
    return change.new is not None and UNCHANGED in change.new


def _after(
    resource: Resource,
    new: Row,
    base: FrontRow | None,
    shared_before: bool,
) -> Row | None:
    """Returns the row to share after a change, its missing values taken from `base`.

    None if the filter keeps it back; one with UNCHANGED in it is a hole.
    """
    passes = resource.passes(new, shared_before and base is not None)
    if passes is False:
        return None
    after = resource.shared(new)
    if passes is None:
        return (UNCHANGED, *after)
    if base is None or UNCHANGED not in after:
        return after
    return filled(after, base)

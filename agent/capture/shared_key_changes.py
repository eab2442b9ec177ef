"""How a change becomes events, where rows may share a key until their transaction is complete.

The last event of each key tells which row is there at the commit: a row put over another is an
update of the key, one that leaves its key to another gives no delete.
"""

from agent.capture.events import EventsOfTable
from agent.capture.row_changes import known_values
from agent.capture.shared_keys import KeyedRow, KeyOutcome, SharedKeys, shared
from agent.connectors.changes import Change
from agent.front.base import Front
from agent.resource import Binding, FrontRow
from agent.values.rows import Key


class SharedKeyChanges:
    """Applies changes of tables with a deferrable key, of which the log has whole rows."""

    def __init__(self, front: Front) -> None:
        self.keys = SharedKeys(front)

    def needed(
        self,
        binding: Binding,
        change: Change,
        *,
        counting: bool,
    ) -> list[Key]:
        """Returns the keys whose front-end rows must be known before the change is applied."""
        keyed_rows = _keyed_rows(binding, change)
        return [keyed[0] for keyed in keyed_rows if keyed is not None]

    def apply(self, events: EventsOfTable, binding: Binding, change: Change) -> None:
        """Writes the events of one change, and the rows that it leaves under its keys."""
        resource = events.resource
        table = events.table
        old, new = _keyed_rows(binding, change)
        if events.window is not None:
            events.window.remember_whole(old, new, change.size)

        source = events.source(change.position)
        if events.respelled:
            events.delete_respelled(source)
        old_row = None if old is None else shared(resource, old[1])
        new_row = None if new is None else shared(resource, new[1])
        moved = old_row is not None and new_row is not None

        outcomes = self.keys.outcomes(events.rows, old, new, table.holes)
        for outcome in outcomes:
            key = outcome.key
            table.fill_hole(key)
            if outcome.lost:
                events.note_hole(key)
                continue
            other = _other_key(key, old, new) if moved else None
            other_key = b"" if other is None else resource.kafka_key(other)
            before = _before(events, outcome, old_row)
            if outcome.row is None:
                events.delete(key, before=before, source=source, new_key=other_key)
            elif _left(key, old, new):
                # Another row remains under the key
                events.put(b"u", key, outcome.row, before=before, source=source)
            else:
                op = b"u" if outcome.published else b"c"
                events.put(
                    op,
                    key,
                    outcome.row,
                    before=before,
                    source=source,
                    old_key=other_key,
                )


def _before(
    events: EventsOfTable,
    outcome: KeyOutcome,
    old_row: FrontRow | None,
) -> bytes:
    """Returns the row before as JSON: the change's own old row, or what the front end holds."""
    if outcome.same and outcome.published and old_row is not None:
        return events.resource.row_json(old_row)
    return events.before(outcome.key)


def _other_key(
    key: Key,
    old: KeyedRow | None,
    new: KeyedRow | None,
) -> Key | None:
    """Returns the other key of a row that goes from one key to another."""
    if old is None or new is None:
        return None
    old_key = old[0]
    new_key = new[0]
    if old_key == new_key:
        return None
    return new_key if key == old_key else old_key


def _left(key: Key, old: KeyedRow | None, new: KeyedRow | None) -> bool:
    """Returns whether the change takes its row away from this key."""
    if old is None or key != old[0]:
        return False
    return new is None or key != new[0]


def _keyed_rows(binding: Binding, change: Change) -> tuple[KeyedRow | None, KeyedRow | None]:
    """Returns the row that a change takes away and the one that it puts, each with its key."""
    old = new = None
    key_of = binding.resource.key_of
    if change.old is not None:
        row = binding.read(change.old)
        old = key_of(row), row
    if change.new is not None:
        row = binding.read(known_values(change.new, change))
        new = key_of(row), row
    return old, new

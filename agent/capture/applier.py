"""Turns source messages into front-end rows and events, inside the front end's one transaction.

Messages are queued and worked off in sets:

1. One look-up finds the front-end rows that are needed: values the log did not send, and whether a
   filtered row was shared before.
2. The messages become events, in the source's order. A rule for each kind of table says how a
   change does: `agent/capture/row_changes.py`, `agent/capture/shared_key_changes.py`; another one
   how a state does: `agent/capture/row_states.py`.
3. One write per table gives each row its last state.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from agent import failpoints
from agent.capture.differences import Differences
from agent.capture.events import ChangeRule, Events, EventsOfTable
from agent.capture.refusals import Refusals
from agent.capture.row_changes import RowChanges
from agent.capture.row_states import RowStates
from agent.capture.rows import Given, Outcome, Rows
from agent.capture.shared_key_changes import SharedKeyChanges
from agent.capture.table_state import TableStates
from agent.capture.window import Count, Window
from agent.config import KafkaSettings
from agent.connectors.changes import (
    ROW_MESSAGES,
    Begin,
    Change,
    Commit,
    Heartbeat,
    Message,
    Relation,
    RowState,
    Truncate,
)
from agent.connectors.position import position_number, position_text
from agent.connectors.resume import CommitMark
from agent.errors import TableWork
from agent.front.base import Front, Progress, Stored
from agent.outbox.writer import Framing
from agent.resource import Binding, FrontRow, Resource
from agent.values.rows import Key

FLUSH_MESSAGES = 4_000
FLUSH_BYTES = 1 << 20


class Applier:
    """Takes the source's messages; `progress` ends a front-end transaction. Commits nothing.

    A suspended table is passed over. `windows`, by resource, are given every change of their
    tables. Raises TableChanged and what the front raises. After an error the open transaction holds
    half of a source transaction: the caller rolls back whole and starts with a new Applier.
    """

    def __init__(
        self,
        front: Front,
        resources: Sequence[Resource],
        stored: Stored,
        settings: KafkaSettings,
        max_refused: int = 0,
    ) -> None:
        self._front = front
        self._resources: dict[tuple[str, str], Resource] = {}
        for resource in resources:
            place = resource.table.schema, resource.table.table
            self._resources[place] = resource
        self.tables = TableStates(front, stored)
        # By the oid of a table
        self._bindings: dict[int, tuple[Relation, Binding | None]] = {}
        self._queue: list[Message] = []
        self._queued_bytes = 0
        self._framing = Framing(front, stored, settings, self.tables)
        self._transactions: list[int] = []
        self._position = position_number(stored.position)
        self._token = stored.token
        self._time_us = stored.position_time_us
        self._commit = stored.commit
        self.counts = self._framing.counts  # (resource, op) -> events; the caller clears it
        self.windows: dict[str, Window] = {}
        self._row_changes = RowChanges(front, self.tables)
        self._row_states = RowStates()
        self._shared_key_changes = SharedKeyChanges(front)
        self._shared_keys = self._shared_key_changes.keys
        self._refusals = Refusals(front, self.tables, max_refused)
        self._inside = False  # a source transaction is not complete yet
        # Rows of the source transaction under way that the front end could not take yet
        self._pending: list[Given] = []

    def take(self, message: Message) -> None:
        """Takes one message of the source, in its order."""
        self._queue.append(message)
        if isinstance(message, ROW_MESSAGES):
            self._queued_bytes += message.size
            failpoints.hit("mid_rows")
        elif isinstance(message, Begin):
            failpoints.hit("after_read_begin")
        elif isinstance(message, Commit):
            failpoints.hit("after_read_commit")
        many = len(self._queue) >= FLUSH_MESSAGES
        if many or self._queued_bytes >= FLUSH_BYTES:
            self.flush()

    def progress(self) -> Progress:
        """Works off everything, stores the last batch and returns what the transaction moves.

        Only between source transactions.
        """
        self.flush()
        number, batch, moved = self._framing.end()
        self.tables.save()
        done = Progress(
            position_text(self._position),
            self._time_us,
            self._commit,
            number,
            batch,
            moved,
            tuple(self._transactions),
            self._token,
        )
        self._transactions.clear()
        return done

    # ---- sets

    def flush(self) -> None:
        """Works off what is queued: the front end's transaction holds it afterwards."""
        failpoints.hit("before_apply")
        self._front.begin()
        with TableWork() as work:
            self._work_off(work)
        failpoints.hit("after_rows")
        self._queue.clear()
        self._queued_bytes = 0

    def _work_off(self, work: TableWork) -> None:
        events = self._look_up(work)
        rows = events.rows
        for resource, given in self._pending:
            rows.of(resource).given.update(given)

        relation = None
        binding = None
        for message in self._queue:
            if isinstance(message, ROW_MESSAGES):
                # Most rows are of the same table as the one before
                if message.relation is not relation:
                    relation = message.relation
                    work.resource = ""
                    binding = self._binding(relation)
                    if binding is not None:
                        work.resource = binding.resource.name
                        of_table = events.of(binding.resource)
                        rule = self._rule(binding.resource)
                if binding is None:
                    continue
                if isinstance(message, Change):
                    rule.apply(of_table, binding, message)
                else:
                    self._row_states.apply(of_table, binding, message)
                failpoints.hit("mid_apply")
            else:
                relation = None
                work.resource = ""
                self._take_other(events, message)

        work.resource = ""
        self._write(rows)
        self._pending = rows.given()
        self._shared_keys.save(self.tables.copying)

    def _take_other(self, events: Events, message: Message) -> None:
        """Works off a message that is no row."""
        if isinstance(message, Begin):
            self._framing.begin(message)
            self._inside = True
        elif isinstance(message, Commit):
            self._committed(message)
        elif isinstance(message, Heartbeat):
            self._framing.heartbeat(message)
            self._position = message.position
            self._time_us = message.time_us
            self._token = message.token
        elif isinstance(message, Truncate):
            self._truncate(events, message)

    def _rule(self, resource: Resource) -> ChangeRule:
        """Returns the rule by which changes of a table become events."""
        if resource.table.deferrable:
            return self._shared_key_changes
        return self._row_changes

    def _events(
        self,
        current: dict[str, dict[Key, FrontRow]],
        respelled: Mapping[str, Collection[Key]] = {},
    ) -> Events:
        """Returns what takes the events of a set. `current`: its front-end rows."""
        self._framing.begin_set()
        rows = Rows(self._front, current, self._framing.next_batch, self.tables)
        return Events(rows, self._framing, self.tables, self.windows, respelled)

    def _look_up(self, work: TableWork) -> Events:
        """Finds the front-end rows that the queued changes need."""
        needed: dict[str, dict[Key, None]] = defaultdict(dict)
        resources: dict[str, Resource] = {}
        for message in self._queue:
            if not isinstance(message, ROW_MESSAGES):
                continue
            binding = self._binding(message.relation)
            if binding is None:
                continue
            resource = binding.resource
            work.resource = resource.name
            keys = self._needed(binding, message)
            if keys:
                needed[resource.name].update(dict.fromkeys(keys))
                resources[resource.name] = resource

        for name, resource in resources.items():
            work.resource = name
            self._shared_keys.load(resource, needed[name])

        current = {}
        respelled = {}
        for name, keys_of_table in needed.items():
            work.resource = name
            target = resources[name].target
            found = self._front.fetch(target, list(keys_of_table))
            current[name] = found
            if self.tables[name].copying:
                respelled[name] = found.keys() - keys_of_table.keys()
        return self._events(current, respelled)

    def _needed(self, binding: Binding, message: Change | RowState) -> list[Key]:
        """Returns the keys whose front-end rows must be known before a message is applied."""
        if isinstance(message, RowState):
            return [message.key]
        counting = self._counts(binding.resource)
        rule = self._rule(binding.resource)
        return rule.needed(binding, message, counting=counting)

    def _counts(self, resource: Resource) -> bool:
        """Whether the rows of this table are being counted."""
        window = self.windows.get(resource.name)
        return isinstance(window, Count)

    def _write(self, rows: Rows) -> None:
        """Writes the rows that were given.

        Within a source transaction rows that the front end cannot hold yet stay given.
        """
        if self._inside:
            for resource, key, written in self._refusals.write_some(rows):
                rows.of(resource).given[key] = written
        else:
            outcomes = rows.write(self._refusals.most)
            self._refuse(outcomes)

    def _refuse(self, outcomes: Sequence[Outcome]) -> None:
        """Notes the rows that a table refuses, and those that it refuses no longer."""
        for outcome in outcomes:
            self._refusals.settle(outcome)

    def _binding(self, relation: Relation) -> Binding | None:
        """Returns the binding of a table that is shared and not suspended."""
        known = self._bindings.get(relation.oid)
        if known is not None and known[0] is relation:
            return known[1]

        binding = None
        place = relation.schema, relation.table
        resource = self._resources.get(place)
        if resource is not None and not self.tables[resource.name].suspended:
            with TableWork(resource.name):
                binding = resource.bind(relation)
        self._bindings[relation.oid] = relation, binding
        return binding

    # ---- messages

    def _committed(self, commit: Commit) -> None:
        """Ends a source transaction: every row of it can be in the front end now."""
        self._framing.commit(commit)
        self._inside = False
        self._shared_keys.over()
        for window in self.windows.values():
            window.settle()

        self._position = commit.position
        self._time_us = commit.time_us
        self._token = commit.token
        self._commit = CommitMark(
            position_text(commit.position),
            commit.transaction,
            commit.time_us,
        )
        self._transactions.append(commit.transaction)

    def _truncate(self, events: Events, message: Truncate) -> None:
        """Empties tables: each of their rows is deleted by an event of its own."""
        for relation in message.relations:
            binding = self._binding(relation)
            if binding is None:
                continue
            with TableWork(binding.resource.name):
                self._empty(events, binding.resource, message)

    def _empty(
        self,
        events: Events,
        resource: Resource,
        message: Truncate,
    ) -> None:
        rows = events.rows
        of_table = events.of(resource)
        if of_table.window is not None:
            of_table.window.broken = True
        for key in list(of_table.table.holes):
            of_table.table.fill_hole(key)
        of_table.respelled = ()

        self._write(rows)
        rows.note_written()
        rows.forget(resource)
        self._shared_keys.emptied(resource)

        source = of_table.source(message.position)
        mark = None
        target = resource.target
        while keys := self._front.keys_after(target, mark, FLUSH_MESSAGES):
            if resource.complete:
                rows.look_up(resource, keys)
            for key in keys:
                self._delete_emptied(of_table, key, source)
            self._write(rows)
            rows.note_written()
            mark = keys[-1]

        # What the front end could not take is deleted for subscribers, too
        for key in of_table.rows.untaken():
            self._delete_emptied(of_table, key, source)

    def _delete_emptied(
        self,
        events: EventsOfTable,
        key: Key,
        source: bytes,
    ) -> None:
        """Deletes a row of a table that was emptied.

        A key whose delete was published and refused before has no event.
        """
        untaken = key in events.rows.untaken()
        if untaken and not events.rows.published(key):
            events.write_silently(key, None)
        else:
            before = events.before(key)
            events.delete(key, before=before, source=source)

    # ---- copies

    @property
    def under_way(self) -> list[int]:
        """The source transactions of which the open front-end transaction holds something.

        The one being read is among them.
        """
        return [*self._transactions, self._framing.begun.transaction]

    def repair(
        self,
        resource: Resource,
        found: Differences,
        seen: Collection[Key],
        free: bool,
    ) -> None:
        """Takes differences away, with one event for each. To be called after `flush`.

        This is inside a source transaction that has no other events: these become its own.
        `seen`: every key that was looked at.
        `free`: nothing is hidden under the missing rows' keys: they can be added without a look.
        """
        table = self.tables[resource.name]
        events = self._events({})
        of_table = events.of(resource)
        filled = table.holes.intersection(seen)
        for key in filled:
            table.fill_hole(key)
        for key in found.holes:
            of_table.note_hole(key)

        framing = self._framing
        framing.detach()
        source = resource.origin.read(framing.begun, framing.previous_end)
        self._repair_rows(events, resource, found, source)

        free = free and not resource.target.soft_delete
        self._write_read_rows(resource, found.missing, source, free)
        self._write_read_rows(resource, found.republished, source, free=False)

    def _repair_rows(
        self,
        events: Events,
        resource: Resource,
        found: Differences,
        source: bytes,
    ) -> None:
        """Deletes and changes the rows of the front end that are not the source's."""
        known = [*found.extra, *found.different]
        if resource.complete and known:
            events.rows.look_up(resource, known)

        of_table = events.of(resource)
        for key in (*found.extra, *found.only_in_topic):
            before = of_table.before(key)
            of_table.delete(key, before=before, source=source)
        for key, row in found.different.items():
            before = of_table.before(key)
            of_table.put(b"u", key, row, before=before, source=source)
        for key, silent in found.silent.items():
            of_table.write_silently(key, silent)
        outcomes = events.rows.write(self._refusals.most)
        self._refuse(outcomes)

    def _write_read_rows(
        self,
        resource: Resource,
        rows: Mapping[Key, FrontRow],
        source: bytes,
        free: bool,
    ) -> None:
        """Publishes and writes rows that were read. `free`: nothing is under their keys."""
        if not rows:
            return
        read = self._framing.topic(resource).reads(rows, source)
        write = self._front.insert if free else self._front.write
        refused = write(
            resource.target,
            read,
            self._framing.next_batch,
            self._refusals.most,
        )
        outcome = Outcome(resource, read, refused)
        self._refusals.settle(outcome)

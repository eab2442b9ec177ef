"""Turns source messages into front-end rows and events, inside the front end's one transaction.

Messages are queued and worked off in sets: one look-up for the rows that are needed (values the log did not send, and whether a
filtered row was shared before), then the events in source order, then one write per table with the last state of each row.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from agent import failpoints
from agent.capture.differences import Differences
from agent.capture.occupancy import Occupancy, Place, shared
from agent.capture.refusals import Refusals
from agent.capture.rows import Outcome, Rows
from agent.capture.table_state import TableStates
from agent.capture.window import Count, Window, filled
from agent.config import KafkaSettings
from agent.connectors.changes import (
    Begin,
    Change,
    Commit,
    Heartbeat,
    Message,
    Relation,
    Truncate,
)
from agent.connectors.position import position_number, position_text
from agent.connectors.resume import CommitMark
from agent.errors import TableWork
from agent.front.base import (
    PAGES,
    Front,
    Progress,
    Stored,
    Written,
)
from agent.outbox.writer import Framing
from agent.resource import Binding, FrontRow, Resource
from agent.values.rows import UNCHANGED, Key, Row

FLUSH_MESSAGES = 4_000
FLUSH_BYTES = 1 << 20


class Applier:
    """Takes the source's messages; `progress` ends a front-end transaction. Commits nothing.

    Raises TableChanged and what the front raises. After an error the open transaction holds half of a source
    transaction: the caller rolls back whole and starts with a new Applier. A suspended table is passed over. `window`, when there
    is one, is told every change of its table.
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
        self._resources = {(r.table.schema, r.table.table): r for r in resources}
        self.tables = TableStates(front, stored)
        self._bindings: dict[int, tuple[Relation, Binding | None]] = {}
        self._queue: list[Message] = []
        self._queued_bytes = 0
        self._framing = Framing(front, stored, settings, self.tables)
        self._transactions: list[int] = []
        self._position = position_number(stored.position)
        self._token = stored.token
        self._time_us = stored.position_time_us
        self._commit = stored.commit
        # A stream that begins anew goes on where it begins
        self._previous_end = position_number(stored.commit.position or stored.position)
        self.counts = self._framing.counts  # (resource, op) -> events; the caller clears it
        self.window: Window | None = None
        self._occupancy = Occupancy(front)
        self._refusals = Refusals(front, self.tables, max_refused)
        self._inside = False  # a source transaction is not complete yet
        # Rows of the source transaction under way that the front end could not take yet
        self._pending: list[tuple[Resource, dict[Key, Written]]] = []
        # Rows of copying tables that stand under another spelling of a key that changes now
        self._stale: dict[str, dict[Key, FrontRow]] = {}

    def take(self, message: Message) -> None:
        """One message of the source, in its order."""
        self._queue.append(message)
        if isinstance(message, Change):
            self._queued_bytes += message.size
            failpoints.hit("mid_rows")
        elif isinstance(message, Begin):
            failpoints.hit("after_read_begin")
        elif isinstance(message, Commit):
            failpoints.hit("after_read_commit")
        if len(self._queue) >= FLUSH_MESSAGES or self._queued_bytes >= FLUSH_BYTES:
            self.flush()

    def progress(self) -> Progress:
        """Works off everything, stores the last batch and says what the transaction moves. Only between source transactions."""
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
        rows = self._rows(self._look_up(work))
        for resource, given in self._pending:
            for key, written in given.items():
                rows.put(resource, key, written)

        for message in self._queue:
            work.resource = ""
            if isinstance(message, Change):
                binding = self._binding(message.relation)
                if binding is not None:
                    work.resource = binding.resource.name
                    (self._whole_change if binding.resource.table.deferrable else self._change)(
                        rows, binding, message
                    )
                    failpoints.hit("mid_apply")
            elif isinstance(message, Begin):
                self._framing.begin(message)
                self._inside = True
            elif isinstance(message, Commit):
                self._committed(message)
            elif isinstance(message, Heartbeat):
                self._framing.heartbeat(message)
                self._position, self._time_us = message.position, message.time_us
                self._token = message.token
            elif isinstance(message, Truncate):
                self._truncate(rows, message)
        work.resource = ""
        self._write(rows)
        self._pending = rows.given()
        self._occupancy.save(self.tables.copying)

    def _rows(self, stood: dict[str, dict[Key, FrontRow]]) -> Rows:
        return Rows(self._front, stood, self._framing.next_batch, self.tables)

    def _write(self, rows: Rows) -> None:
        """Writes what was given. Within a source transaction rows that cannot stand yet stay given."""
        if self._inside:
            for resource, key, written in self._refusals.write_some(rows):
                rows.put(resource, key, written)
        else:
            self._refuse(rows.write(self._refusals.most))

    def _refuse(self, outcomes: Sequence[Outcome]) -> None:
        """Notes the rows that a table refuses, and those that it refuses no longer."""
        for outcome in outcomes:
            self._refusals.settle(outcome)

    def _binding(self, relation: Relation) -> Binding | None:
        known = self._bindings.get(relation.oid)
        if known is None or known[0] is not relation:
            resource = self._resources.get((relation.schema, relation.table))
            binding = None
            if resource is not None and not self.tables[resource.name].suspended:
                with TableWork(resource.name):
                    binding = resource.bind(relation)
            known = self._bindings[relation.oid] = (relation, binding)
        return known[1]

    def _look_up(self, work: TableWork) -> dict[str, dict[Key, FrontRow]]:
        """The front-end rows that the queued changes need, by resource and key."""
        wanted: dict[str, dict[Key, None]] = defaultdict(dict)
        looked_up: dict[str, Resource] = {}
        for message in self._queue:
            if not isinstance(message, Change):
                continue
            binding = self._binding(message.relation)
            if binding is None:
                continue
            resource = binding.resource
            work.resource = resource.name
            keys = []
            counting = self._counting(resource) is not None
            wanting = resource.filtered or (resource.complete and not message.old_complete)
            if resource.table.deferrable:
                keys = [place[0] for place in _places(binding, message) if place is not None]
            elif message.op != "I" and (
                wanting or counting or (message.new is not None and UNCHANGED in message.new)
            ):
                keys.append(_old_key(binding, message))
            spelled = self.tables[resource.name].copying and self._front.spellings(resource.target)
            if spelled and message.op != "I":
                keys.append(_old_key(binding, message))
            if (
                message.new is not None
                and (
                    counting
                    or ((resource.filtered or spelled) and self.tables[resource.name].copying)
                )
                and not resource.table.deferrable
            ):
                keys.append(resource.key_of(binding.read(_filled(message.new, message))))
            if keys:
                wanted[resource.name].update(dict.fromkeys(keys))
                looked_up[resource.name] = resource
        for name, resource in looked_up.items():
            work.resource = name
            self._occupancy.load(resource, wanted[name])
        found = {}
        for name, asked in wanted.items():
            work.resource = name
            stood = found[name] = self._front.fetch(looked_up[name].target, list(asked))
            others = stood.keys() - asked.keys()
            if others and self.tables[name].copying:
                self._stale[name] = {key: stood[key] for key in others}
        return found

    # ---- messages

    def _committed(self, commit: Commit) -> None:
        self._framing.commit(commit)
        self._inside = False
        self._occupancy.over()
        if self.window is not None:
            self.window.settle()
        self._position, self._time_us = commit.position, commit.time_us
        self._token = commit.token
        self._commit, self._previous_end = (
            CommitMark(position_text(commit.position), commit.transaction, commit.time_us),
            commit.position,
        )
        self._transactions.append(commit.transaction)

    def _change(self, rows: Rows, binding: Binding, change: Change) -> None:
        """The events of one change, and the row it leaves. An update that crosses the filter is a create or a delete; one of the key is both.

        Of a copying table they are the same: what the front end does not hold yet, a subscriber may.
        """
        resource = binding.resource
        old_key = None if change.op == "I" else _old_key(binding, change)
        new = None if change.new is None else binding.read(_filled(change.new, change))
        new_key = None if new is None else resource.key_of(new)
        if self.window is not None and self.window.resource == resource.name:
            self.window.remember(old_key, new_key, new, change.size)
        stood = old_key is not None and (not resource.filtered or rows.told(resource, old_key))
        after = (
            None
            if new is None
            else self._after(resource, new, self._base(rows, resource, old_key, new_key), stood)
        )
        hole = after is not None and UNCHANGED in after
        for key in (old_key, new_key):
            self._fill(resource, key)
        if hole and new_key is not None:
            self._hole(resource, new_key)
        source = resource.origin.source(self._framing.begun, self._previous_end, change.position)
        self._forget_stale(rows, resource, source)
        if change.old is not None and change.old_complete:
            before = resource.row_json(_complete(resource.shared(binding.read(change.old))))
        else:
            before = self._before(rows, resource, old_key)
            # No update without its whole old row
            stood = stood and not (resource.complete and before == b"null" and new_key == old_key)
        put_key = new_key if after is not None and not hole else None
        if old_key is not None and stood and (after is None or new_key != old_key):
            self._delete(
                rows,
                resource,
                old_key,
                before=before,
                source=source,
                new_key=b"" if put_key is None else resource.kafka_key(put_key),
            )
        if put_key is None or after is None:
            if (
                new_key is not None
                and new_key != old_key
                and after is None
                and rows.told(resource, new_key)
            ):
                # A copy has not come to this stale row yet
                self._delete(
                    rows,
                    resource,
                    new_key,
                    before=self._before(rows, resource, new_key),
                    source=source,
                )
            return
        if stood and old_key == put_key:
            self._put(rows, resource, b"u", put_key, _complete(after), before=before, source=source)
        else:
            other = resource.kafka_key(old_key) if old_key is not None and stood else b""
            self._put(
                rows,
                resource,
                b"c",
                put_key,
                _complete(after),
                before=b"null",
                source=source,
                old_key=other,
            )

    def _whole_change(self, rows: Rows, binding: Binding, change: Change) -> None:
        """The same where rows may share a key until their transaction ends, so that the last event of each key tells what stands there at the commit.

        A row put over another is an update of the key; one that leaves its key to another gives no delete.
        """
        resource = binding.resource
        old, new = _places(binding, change)
        if self.window is not None and self.window.resource == resource.name:
            self.window.remember_whole(old, new, change.size)
        gone, come = (None if place is None else shared(resource, place[1]) for place in (old, new))
        moved = (
            old is not None
            and new is not None
            and old[0] != new[0]
            and gone is not None
            and come is not None
        )
        source = resource.origin.source(self._framing.begun, self._previous_end, change.position)
        self._forget_stale(rows, resource, source)
        for turn in self._occupancy.turns(
            rows, resource, old, new, self.tables[resource.name].holes
        ):
            self._fill(resource, turn.key)
            if turn.lost:
                self._hole(resource, turn.key)
                continue
            before = (
                resource.row_json(gone)
                if turn.same and turn.stood and gone is not None
                else self._before(rows, resource, turn.key)
            )
            other = (
                None
                if not moved or old is None or new is None
                else new[0]
                if turn.key == old[0]
                else old[0]
            )
            other_key = b"" if other is None else resource.kafka_key(other)
            if turn.row is None:
                self._delete(
                    rows, resource, turn.key, before=before, source=source, new_key=other_key
                )
            elif (
                old is not None
                and turn.key == old[0]
                and turn.key != (new[0] if new is not None else None)
            ):
                # Another row is left there
                self._put(rows, resource, b"u", turn.key, turn.row, before=before, source=source)
            else:
                self._put(
                    rows,
                    resource,
                    b"u" if turn.stood else b"c",
                    turn.key,
                    turn.row,
                    before=before,
                    source=source,
                    old_key=other_key,
                )

    def _forget_stale(self, rows: Rows, resource: Resource, source: bytes) -> None:
        """Deletes rows that a copying table has under another spelling of a key: the source has none there any more."""
        for key in self._stale.pop(resource.name, ()):
            before = self._before(rows, resource, key)
            self._delete(rows, resource, key, before=before, source=source)

    def _base(
        self, rows: Rows, resource: Resource, old_key: Key | None, new_key: Key | None
    ) -> FrontRow | None:
        """The front-end row from which values the log did not send may be taken; None if there is none to trust."""
        if old_key is None or old_key in self.tables[resource.name].holes:
            return None
        copy = self.tables[resource.name].copy
        if copy is not None and copy.phase == PAGES and old_key != new_key:
            return None  # what stands at the old key may be another row, or stale
        return rows.standing(resource, old_key)

    def _after(
        self, resource: Resource, new: Row, base: FrontRow | None, shared_before: bool
    ) -> Row | None:
        """The row to share after a change, its missing values taken from `base`; None if the filter keeps it back; one with UNCHANGED is a hole."""
        passes = resource.passes(new, shared_before and base is not None)
        if passes is False:
            return None
        after = resource.shared(new)
        if passes is None:
            return (UNCHANGED, *after)
        return after if base is None or UNCHANGED not in after else filled(after, base)

    def _truncate(self, rows: Rows, message: Truncate) -> None:
        for relation in message.relations:
            binding = self._binding(relation)
            if binding is None:
                continue
            with TableWork(binding.resource.name):
                self._emptied(rows, binding.resource, message)

    def _emptied(self, rows: Rows, resource: Resource, message: Truncate) -> None:
        source = resource.origin.source(self._framing.begun, self._previous_end, message.position)
        self._break(resource)
        for key in list(self.tables[resource.name].holes):
            self._fill(resource, key)
        self._stale.pop(resource.name, None)
        self._write(rows)
        rows.forget(resource)
        self._occupancy.emptied(resource)
        mark = None
        while keys := self._front.keys_after(resource.target, mark, FLUSH_MESSAGES):
            self._know(rows, resource, keys)
            for key in keys:
                self._empty(rows, resource, key, source)
            self._write(rows)
            mark = keys[-1]
        # What the front end could not take is deleted for subscribers, too
        for key in rows.untaken(resource):
            self._empty(rows, resource, key, source)

    def _empty(self, rows: Rows, resource: Resource, key: Key, source: bytes) -> None:
        """Deletes a row of a table that was truncated; a key whose delete was told and refused before has no event."""
        if key in rows.untaken(resource) and not rows.told(resource, key):
            rows.put(resource, key, self._silent(resource, None))
            return
        before = self._before(rows, resource, key)
        self._delete(rows, resource, key, before=before, source=source)

    def _silent(self, resource: Resource, row: FrontRow | None) -> Written:
        """A row to be written without an event."""
        seq = self._framing.seq(resource.name)
        return Written(row, "D" if row is None else "U", seq, self._framing.begun.time_us)

    # ---- copies

    def _hole(self, resource: Resource, key: Key) -> None:
        """A row of this key lacks values: it is read again, and its event comes then. A live table is no longer live."""
        if self._counting(resource) is not None:
            self._break(resource)  # the front end does without the row for a while
        self.tables[resource.name].note_hole(key)

    def _break(self, resource: Resource) -> None:
        if self.window is not None and self.window.resource == resource.name:
            self.window.broken = True

    def _counting(self, resource: Resource) -> Count | None:
        """The window in which the rows of this table are counted, if there is one."""
        window = self.window
        return window if isinstance(window, Count) and window.resource == resource.name else None

    def _stands(self, rows: Rows, resource: Resource, key: Key, after: bool) -> None:
        """Notes whether there is a row more or less, where rows are counted: what stood under the key was looked up then."""
        counting = self._counting(resource)
        if counting is not None:
            before = rows.standing(resource, key) is not None
            if before != after:
                counting.changed(self._framing.begun.transaction, int(after) - int(before))

    def _fill(self, resource: Resource, key: Key | None) -> None:
        if key is not None:
            self.tables[resource.name].fill_hole(key)

    @property
    def under_way(self) -> list[int]:
        """The source transactions of which the open front-end transaction holds something, the one being read among them."""
        return [*self._transactions, self._framing.begun.transaction]

    def repair(
        self, resource: Resource, found: Differences, seen: Collection[Key], free: bool
    ) -> None:
        """Takes differences away, with one event for each; `seen`: every key that was looked at.

        `free`: under the missing rows' keys nothing is hidden, so that they can be added without looking. To be called inside a
        source transaction that has no other events, after `flush`: the events become that transaction's.
        """
        for key in self.tables[resource.name].holes.intersection(seen):
            self._fill(resource, key)
        for key in found.holes:
            self._hole(resource, key)
        self._framing.apart()
        rows = self._rows({})
        self._know(rows, resource, [*found.extra, *found.different])
        source = resource.origin.read(self._framing.begun, self._previous_end)
        for key in (*found.extra, *found.only_in_topic):
            self._delete(
                rows, resource, key, before=self._before(rows, resource, key), source=source
            )
        for key, row in found.different.items():
            self._put(
                rows,
                resource,
                b"u",
                key,
                row,
                before=self._before(rows, resource, key),
                source=source,
            )
        for key, silent in found.silent.items():
            rows.put(resource, key, self._silent(resource, silent))
        most = self._refusals.most
        self._refuse(rows.write(most))

        free = free and not resource.target.soft_delete
        for added, write in (
            (found.missing, self._front.insert if free else self._front.write),
            (found.republished, self._front.write),
        ):
            if added:
                read = self._framing.reads(resource, added, source)
                refused = write(resource.target, read, self._framing.next_batch, most)
                self._refuse([Outcome(resource, read, refused)])

    # ---- events

    def _before(self, rows: Rows, resource: Resource, key: Key | None) -> bytes:
        """The row before a change as JSON, where the log has not sent it: what the front end holds, if that was asked for; else null."""
        if not resource.complete or key is None:
            return b"null"
        row = rows.standing(resource, key)
        return b"null" if row is None else resource.row_json(row)

    def _know(self, rows: Rows, resource: Resource, keys: Sequence[Key]) -> None:
        if resource.complete and keys:
            rows.look_up(resource, keys)

    def _delete(
        self,
        rows: Rows,
        resource: Resource,
        key: Key,
        *,
        before: bytes,
        source: bytes,
        new_key: bytes = b"",
    ) -> None:
        before = resource.key_json(key) if before == b"null" else before
        seq = self._framing.event(
            resource, b"d", key, before=before, after=b"null", source=source, new_key=new_key
        )
        self._stands(rows, resource, key, after=False)
        rows.put(resource, key, Written(None, "D", seq, self._framing.begun.time_us))

    def _put(
        self,
        rows: Rows,
        resource: Resource,
        op: bytes,
        key: Key,
        row: FrontRow,
        *,
        before: bytes,
        source: bytes,
        old_key: bytes = b"",
    ) -> None:
        seq = self._framing.event(
            resource,
            op,
            key,
            before=before,
            after=resource.row_json(row),
            source=source,
            old_key=old_key,
        )
        self._stands(rows, resource, key, after=True)
        rows.put(
            resource,
            key,
            Written(row, "U" if op == b"u" else "I", seq, self._framing.begun.time_us),
        )


def _old_key(binding: Binding, change: Change) -> Key:
    """The key a row had before the change (of an insert: has)."""
    row = change.old if change.old is not None else change.new
    return tuple([str(value) for value in binding.key_of(row or ())])


def _places(binding: Binding, change: Change) -> tuple[Place | None, Place | None]:
    """The row a change takes away and the one it puts, with their keys, of a table whose log has whole rows (REPLICA IDENTITY FULL)."""
    old = None if change.old is None else binding.read(change.old)
    new = None if change.new is None else binding.read(_filled(change.new, change))
    return (None if old is None else (binding.resource.key_of(old), old)), (
        None if new is None else (binding.resource.key_of(new), new)
    )


def _filled(new: Row, change: Change) -> Row:
    """The new row with unchanged values taken from the old one, as far as the log has them."""
    old = change.old
    if old is None or UNCHANGED not in new:
        return new
    columns = change.relation.columns
    return tuple(
        [
            o if n is UNCHANGED and (change.old_complete or c.identity) else n
            for n, o, c in zip(new, old, columns, strict=True)
        ]
    )


def _complete(row: Row) -> FrontRow:
    """A row known to lack nothing."""
    return row  # type: ignore[return-value]

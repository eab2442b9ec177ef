"""Turns source messages into front-end rows and outbox events, inside the front end's one transaction.

Messages are queued and worked off in sets: one look-up for the rows that are needed (values the log did not send, and whether a
filtered row was shared before), then the events in source order, then one write per table with the last state of each row.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from agent.errors import EventTooLarge, RowIncomplete
from agent.events.changes import UNCHANGED, Begin, Change, Commit, Heartbeat, Message, Relation, Row, Truncate, lsn_number, lsn_text
from agent.events.envelope import envelope
from agent.front.base import CommitMark, Front, Progress, Stored, Written
from agent.front.outbox import BatchWriter
from agent.resource import Binding, FrontRow, Key, Resource

FLUSH_MESSAGES = 4_000
FLUSH_BYTES = 1 << 20
_HEADERS = 512  # bytes of an event's headers at the most, beside the other key of a key change


class Applier:
    """Takes the source's messages; `progress` ends a front-end transaction. Commits nothing.

    Raises RowIncomplete, EventTooLarge, TableChanged and what the front raises. After an error the open transaction holds half
    of a source transaction: the caller rolls back whole and starts with a new Applier. A suspended table is passed over.
    """

    def __init__(self, front: Front, resources: Sequence[Resource], stored: Stored, max_event_bytes: int) -> None:
        self._front = front
        self._resources = {(r.table.schema, r.table.table): r for r in resources}
        self._states = stored.resources
        self._limit = max_event_bytes
        self._bindings: dict[int, tuple[Relation, Binding | None]] = {}
        self._queue: list[Message] = []
        self._queued_bytes = 0
        self._seqs = {name: state.seq for name, state in stored.resources.items()}
        self._moved: dict[str, tuple[int, int]] = {}
        self._writer = BatchWriter(stored.number, stored.batch)
        self._batch_time = 0  # commit time of the first transaction in the batch being framed; 0: none yet
        self._begin = Begin(0, 0, 0)
        self._xids: list[int] = []
        self._position = lsn_number(stored.position)
        self._time_us = stored.position_time_us
        self._commit = stored.commit
        self._commit_lsn = lsn_number(stored.commit.position or "0/0")
        self.counts: Counter[tuple[str, str]] = Counter()  # (resource, op) -> events; the caller clears it

    def take(self, message: Message) -> None:
        """One message of the source, in its order."""
        self._queue.append(message)
        if isinstance(message, Change):
            self._queued_bytes += message.size
        if len(self._queue) >= FLUSH_MESSAGES or self._queued_bytes >= FLUSH_BYTES:
            self._flush()

    def progress(self) -> Progress:
        """Works off everything, stores the last batch and says what the transaction moves. Only between source transactions."""
        self._flush()
        self._store()
        self._batch_time = 0
        done = Progress(lsn_text(self._position), self._time_us, self._commit, self._writer.number, self._writer.batch, dict(self._moved), tuple(self._xids))
        self._moved.clear()
        self._xids.clear()
        return done

    # ---- sets

    def _flush(self) -> None:
        self._front.begin()
        rows = _Rows(self._front, self._look_up(), self._writer.batch + 1)
        for message in self._queue:
            if isinstance(message, Change):
                binding = self._binding(message.relation)
                if binding is not None:
                    self._change(rows, binding, message)
            elif isinstance(message, Begin):
                self._begin = message
                self._open_batch(message.time_us)
                self._writer.begin(*message)
            elif isinstance(message, Commit):
                self._committed(message)
            elif isinstance(message, Heartbeat):
                self._open_batch(message.time_us)
                self._writer.heartbeat(*message)
                self._position, self._time_us = message
            else:
                self._truncate(rows, message)
        rows.write()
        self._queue.clear()
        self._queued_bytes = 0

    def _binding(self, relation: Relation) -> Binding | None:
        known = self._bindings.get(relation.oid)
        if known is None or known[0] is not relation:
            resource = self._resources.get((relation.schema, relation.table))
            live = resource is not None and self._states[resource.name].state == "live"
            known = self._bindings[relation.oid] = (relation, resource.bind(relation) if resource is not None and live else None)
        return known[1]

    def _look_up(self) -> dict[str, dict[Key, FrontRow]]:
        """The front-end rows that the queued changes need, by resource and key."""
        wanted: dict[str, dict[Key, None]] = defaultdict(dict)
        targets = {}
        for message in self._queue:
            if not isinstance(message, Change) or message.op == "I":
                continue
            binding = self._binding(message.relation)
            if binding is not None and (binding.filtered or (message.new is not None and UNCHANGED in message.new)):
                wanted[binding.resource.name][_old_key(binding, message)] = None
                targets[binding.resource.name] = binding.resource.target
        return {name: self._front.fetch(targets[name], list(keys)) for name, keys in wanted.items()}

    # ---- messages

    def _open_batch(self, time_us: int) -> None:
        self._batch_time = self._batch_time or time_us

    def _committed(self, commit: Commit) -> None:
        self._writer.commit(commit.position)
        self._position, self._time_us = commit.position, commit.time_us
        self._commit, self._commit_lsn = CommitMark(lsn_text(commit.position), commit.xid, commit.time_us), commit.position
        self._xids.append(commit.xid)

    def _change(self, rows: "_Rows", binding: Binding, change: Change) -> None:
        """The events of one change, and the row it leaves. An update that crosses the filter is a create or a delete; one of the key is both."""
        resource, old_key = binding.resource, _old_key(binding, change)
        new = None if change.new is None else _filled(change.new, change)
        standing = rows.standing(resource, old_key) if change.op != "I" else None
        shared_before = change.op != "I" and (not binding.filtered or standing is not None)
        after = self._after(binding, new, standing, shared_before) if new is not None else None
        source = resource.origin.source(self._begin, self._commit_lsn, change.lsn)
        before = resource.row_json(_complete(binding.project(change.old))) if change.old is not None and change.old_complete else b"null"
        if after is None:
            if shared_before:
                self._delete(rows, resource, old_key, before=before, source=source)
            return
        new_key: Key = tuple([str(part) for part in binding.front_key(after)])
        if shared_before and new_key != old_key:
            self._delete(rows, resource, old_key, before=before, source=source, new_key=resource.key_json(new_key))
            self._put(rows, resource, b"c", new_key, after, before=b"null", source=source, old_key=resource.key_json(old_key))
        elif shared_before:
            self._put(rows, resource, b"u", new_key, after, before=before, source=source)
        else:
            self._put(rows, resource, b"c", new_key, after, before=b"null", source=source)

    def _after(self, binding: Binding, new: Row, standing: FrontRow | None, shared_before: bool) -> FrontRow | None:
        """The row to share after a change, its missing values taken from the standing row; None if the filter keeps it back."""
        passes = binding.passes(new, shared_before)
        if passes is False:
            return None
        after = binding.project(new)
        if passes and UNCHANGED not in after:
            return _complete(after)
        if standing is None or passes is None:
            names = [column.name for column, value in zip(binding.resource.columns, after, strict=True) if value is UNCHANGED]
            column = ", ".join(names or [column.name for column in binding.resource.tested])
            raise RowIncomplete(resource=binding.resource.name, position=lsn_text(self._begin.commit_lsn), column=column)
        return tuple([kept if value is UNCHANGED else value for value, kept in zip(after, standing, strict=True)])

    def _truncate(self, rows: "_Rows", message: Truncate) -> None:
        for relation in message.relations:
            binding = self._binding(relation)
            if binding is None:
                continue
            resource = binding.resource
            source = resource.origin.source(self._begin, self._commit_lsn, message.lsn)
            rows.write()
            rows.forget(resource)
            while keys := self._front.first_keys(resource.target, FLUSH_MESSAGES):
                for key in keys:
                    self._delete(rows, resource, key, before=b"null", source=source)
                rows.write()

    # ---- events

    def _delete(self, rows: "_Rows", resource: Resource, key: Key, *, before: bytes, source: bytes, new_key: bytes = b"") -> None:
        key_json = resource.key_json(key)
        value = envelope(b"d", key_json if before == b"null" else before, b"null", source, rows.now_ns)
        seq = self._event(resource, "d", key_json, value, tombstone=True, new_key=new_key)
        rows.put(resource, key, Written(None, "D", seq, self._begin.time_us))

    def _put(self, rows: "_Rows", resource: Resource, op: bytes, key: Key, row: FrontRow, *, before: bytes, source: bytes, old_key: bytes = b"") -> None:
        value = envelope(op, before, resource.row_json(row), source, rows.now_ns)
        seq = self._event(resource, op.decode(), resource.key_json(key), value, old_key=old_key)
        rows.put(resource, key, Written(row, "U" if op == b"u" else "I", seq, self._begin.time_us))

    def _event(self, resource: Resource, op: str, key: bytes, value: bytes, *, tombstone: bool = False, old_key: bytes = b"", new_key: bytes = b"") -> int:
        """Frames one event and returns its seq; a batch that is full goes to the outbox."""
        size = len(key) + len(value) + len(old_key) + len(new_key) + _HEADERS
        if size > self._limit:
            raise EventTooLarge(resource=resource.name, position=lsn_text(self._begin.commit_lsn), size=size, limit=self._limit)
        seq = self._seqs[resource.name] = self._seqs[resource.name] + 1
        self._moved[resource.name] = (seq, self._begin.time_us)
        self._writer.event(resource.topic, self._states[resource.name].generation, seq, key, value, tombstone=tombstone, old_key=old_key, new_key=new_key)
        self.counts[resource.name, op] += 1
        if self._writer.full:
            self._store()
        return seq

    def _store(self) -> None:
        batch = self._writer.take()
        if batch is not None:
            self._front.store(batch, self._batch_time)
            self._batch_time = self._begin.time_us


class _Rows:
    """The rows of one set: as they stood before, and the last state each was given, until it is written."""

    def __init__(self, front: Front, stood: dict[str, dict[Key, FrontRow]], batch: int) -> None:
        self._front = front
        self._stood = stood
        self._batch = batch
        self._given: dict[str, tuple[Resource, dict[Key, Written]]] = {}
        self.now_ns = time.time_ns()

    def standing(self, resource: Resource, key: Key) -> FrontRow | None:
        """The row under the key as the changes so far have left it; None if there is none (or it was not looked up)."""
        given = self._given.get(resource.name)
        if given is not None and key in given[1]:
            return given[1][key].row
        return self._stood.get(resource.name, {}).get(key)

    def put(self, resource: Resource, key: Key, written: Written) -> None:
        """Gives the row under the key its new state."""
        given = self._given.get(resource.name)
        if given is None:
            given = self._given[resource.name] = (resource, {})
        given[1][key] = written

    def forget(self, resource: Resource) -> None:
        """What stood in the table stands there no more."""
        self._stood.pop(resource.name, None)

    def write(self) -> None:
        """Writes each table once; afterwards what was given stands."""
        for resource, given in self._given.values():
            self._front.write(resource.target, given, self._batch)
            stood = self._stood.setdefault(resource.name, {})
            for key, written in given.items():
                if written.row is None:
                    stood.pop(key, None)
                else:
                    stood[key] = written.row
        self._given.clear()


def _old_key(binding: Binding, change: Change) -> Key:
    """The key a row had before the change (of an insert: has)."""
    row = change.old if change.old is not None else change.new
    return tuple([str(value) for value in binding.key_of(row or ())])


def _filled(new: Row, change: Change) -> Row:
    """The new row with unchanged values taken from the old one, as far as the log has them."""
    old = change.old
    if old is None or UNCHANGED not in new:
        return new
    columns = change.relation.columns
    return tuple([o if n is UNCHANGED and (change.old_complete or c.identity) else n for n, o, c in zip(new, old, columns, strict=True)])


def _complete(row: Row) -> FrontRow:
    """A row known to lack nothing."""
    return row  # type: ignore[return-value]

"""Frames events into the outbox's batches: checks the size of each, gives it its seq.

An event that is too large is withheld, before it gets its seq: its key is noted, and the next event
of the key that fits releases it.
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from agent import failpoints
from agent.config import KafkaSettings
from agent.connectors.changes import Begin, Commit, Heartbeat
from agent.connectors.position import position_number, position_text
from agent.front.base import FrontTransaction, Stored, Written
from agent.outbox.frames import BatchWriter
from agent.outbox.transactions import Transactions
from agent.resource import FrontRow, Resource
from agent.values.rows import Key

log = logging.getLogger(__name__)

_HEADERS = 512  # bytes of an event's headers at the most, beside the other key of a key change

# No row, as JSON has it
NULL = b"null"


class Withheld(Protocol):
    """What the owner of a table's state knows of rows that its topic goes without."""

    @property
    def copying(self) -> bool:
        """Whether the topic may hold rows that nobody knows of yet."""

    @property
    def withheld(self) -> Mapping[Key, bool]:
        """Keys whose rows are too large; whether the topic may hold an older row."""

    def withhold(self, key: Key, *, published: bool) -> None:
        """Notes a row that is too large; `published`: the topic may hold an older one."""

    def release(self, key: Key) -> None:
        """Notes that the topic has what it should have of this key."""


class Framing:
    """The outbox's side of the applier: transactions and their events. Commits nothing."""

    def __init__(
        self,
        front: FrontTransaction,
        stored: Stored,
        settings: KafkaSettings,
        tables: Mapping[str, Withheld],
    ) -> None:
        self._front = front
        self._limit = settings.max_event_bytes - _HEADERS
        self._transactions: Transactions | None = None
        if settings.transactions:
            self._transactions = Transactions(schemas=settings.value_format == "json-schema")

        self._generations: dict[str, int] = {}
        self._seqs: dict[str, int] = {}
        for name, state in stored.resources.items():
            self._generations[name] = state.generation
            self._seqs[name] = state.seq
        self._moved: dict[str, tuple[int, int]] = {}
        self._tables = tables
        self._writer = BatchWriter(stored.number, stored.batch)
        # Commit time of the first transaction in the batch being framed; 0: none yet
        self._batch_time = 0
        self.begun = Begin(0, 0, 0)  # the source transaction the events belong to
        # Where the transaction before it ended. A stream that begins anew goes on where it begins
        self.previous_end = position_number(stored.commit.position or stored.position)
        # (resource, op) -> events; the caller clears it
        self.counts: Counter[tuple[str, str]] = Counter()

    @property
    def next_batch(self) -> int:
        """The number of the batch that takes the next event."""
        return self._writer.batch + 1

    def seq(self, resource: str) -> int:
        """Returns the number of the last event of a topic."""
        return self._seqs[resource]

    def begin(self, begin: Begin) -> None:
        """A source transaction begins."""
        self.begun = begin
        self._batch_time = self._batch_time or begin.time_us
        self._writer.begin(*begin)
        if self._transactions is not None:
            self._transactions.begin(begin)

    def detach(self) -> None:
        """Detaches the events that follow from the source transaction.

        They are of rows that were read, and have no place in it.
        """
        if self._transactions is not None:
            self._transactions.begin(None)

    def commit(self, commit: Commit) -> None:
        """The source transaction is complete."""
        if self._transactions is not None:
            end = self._transactions.end()
            if end is not None:
                self._writer.boundary(False, end.key, end.value)
        self._writer.commit(commit.position)
        self.previous_end = commit.position

    def heartbeat(self, heartbeat: Heartbeat) -> None:
        """A sign of life, between source transactions."""
        self._batch_time = self._batch_time or heartbeat.time_us
        self._writer.heartbeat(heartbeat.position, heartbeat.time_us)

    def event(
        self,
        resource: Resource,
        op: bytes,
        key: Key,
        *,
        before: bytes,
        after: bytes,
        source: bytes,
        old_key: bytes = b"",
        new_key: bytes = b"",
    ) -> int:
        """Frames one event and returns its seq; one that is withheld has the seq before it.

        `old_key`, `new_key`: the other Kafka key of a key change.
        """
        name = resource.name
        table = self._tables[name]
        withheld = bool(table.withheld) and key in table.withheld
        if withheld:
            if op == b"d" and not table.withheld[key]:  # the topic never had the row
                table.release(key)
                return self._seqs[name]
            published = table.withheld[key]
            op, before = _after_withheld(resource, op, key, published=published)

        kafka_key = resource.kafka_key(key)
        place = None
        if self._transactions is not None:
            place = self._transactions.place(resource.collection)
        envelope = resource.envelope
        now = time.time_ns()
        value = envelope.value(op, before, after, source, now, place)
        room = self._limit - len(kafka_key) - len(old_key) - len(new_key)
        if len(value) > room:
            # The row after the change matters more than the one before it
            before = _without_before(resource, op, key)
            value = envelope.value(op, before, after, source, now, place)
            if len(value) > room:
                published = op != b"c" or table.copying
                size = len(kafka_key) + len(value)
                self._withhold(resource, key, size, published=published)
                return self._seqs[name]

        if withheld:
            table.release(key)
        self._open_transaction(resource)
        seq = self._seqs[name] + 1
        self._seqs[name] = seq
        self._moved[name] = (seq, self.begun.time_us)
        self.counts[name, op.decode()] += 1
        self._writer.event(
            resource.topic,
            self._generations[name],
            seq,
            kafka_key,
            value,
            tombstone=op == b"d",
            old_key=old_key,
            new_key=new_key,
        )
        if self._writer.full:
            self._store()
        return seq

    def reads(
        self,
        resource: Resource,
        rows: Mapping[Key, FrontRow],
        source: bytes,
    ) -> dict[Key, Written]:
        """Frames an `r` for each row and returns the rows as they are to be written.

        This is most of a copy's work, so what is the same for all is done once.
        """
        name = resource.name
        table = self._tables[name]
        withheld = table.withheld
        limit = self._limit
        generation = self._generations[name]
        time_us = self.begun.time_us
        first = seq = self._seqs[name]
        around = resource.envelope.value(b"r", NULL, b"\0", source, time.time_ns())
        start, _, end = around.partition(b"\0")

        read = {}
        for key, row in rows.items():
            kafka_key = resource.kafka_key(key)
            value = b"".join((start, resource.row_json(row), end))
            size = len(kafka_key) + len(value)
            if size > limit:
                self._withhold(resource, key, size, published=True)
                read[key] = Written(row, "I", seq, time_us)
                continue
            if withheld and key in withheld:
                table.release(key)
            seq += 1
            self._writer.event(resource.topic, generation, seq, kafka_key, value)
            read[key] = Written(row, "I", seq, time_us)
            if self._writer.full:
                self._store()

        if seq > first:
            self._seqs[name] = seq
            self._moved[name] = (seq, time_us)
            self.counts[name, "r"] += seq - first
        return read

    def end(self) -> tuple[int, int, dict[str, tuple[int, int]]]:
        """Stores what is left and returns the last number, the last batch, and what has moved.

        That is, by resource: seq and commit time of the last event, where it had one since the last
        `end`.
        """
        self._store()
        self._batch_time = 0
        moved = self._moved
        self._moved = {}
        return self._writer.number, self._writer.batch, moved

    def _open_transaction(self, resource: Resource) -> None:
        """Frames the record of the transaction's begin before its first event."""
        if self._transactions is not None:
            opening = self._transactions.take(resource.collection)
            if opening is not None:
                self._writer.boundary(True, opening.key, opening.value)

    def _withhold(
        self,
        resource: Resource,
        key: Key,
        size: int,
        *,
        published: bool,
    ) -> None:
        """Notes that the topic goes without this row: it is too large for a message.

        Nothing else waits for it. `published`: the topic may hold an older row.
        """
        table = self._tables[resource.name]
        new = key not in table.withheld
        if new:
            digest = hashlib.sha256(resource.key_json(key)).hexdigest()
            log.warning(
                "row_withheld resource=%s hash=%s position=%s size=%d limit=%d",
                resource.name,
                digest[:16],
                position_text(self.begun.commit_position),
                size + _HEADERS,
                self._limit + _HEADERS,
            )
        if new or published:
            table.withhold(key, published=published)

    def _store(self) -> None:
        batch = self._writer.take()
        if batch is not None:
            self._front.store(batch, self._batch_time)
            failpoints.hit("after_outbox")
            self._batch_time = self.begun.time_us


def _without_before(resource: Resource, op: bytes, key: Key) -> bytes:
    """Returns what stands for the row before: of a delete its key, else nothing."""
    if op == b"d":
        return resource.key_json(key)
    return NULL


def _after_withheld(
    resource: Resource,
    op: bytes,
    key: Key,
    *,
    published: bool,
) -> tuple[bytes, bytes]:
    """Returns operation and row before of an event that follows a withheld one.

    The row in the front end is not what the topic has: that is an older one, or none.
    """
    before = _without_before(resource, op, key)
    if op == b"u" and not published:
        op = b"c"
    return op, before

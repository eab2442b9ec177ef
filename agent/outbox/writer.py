"""Frames events into the outbox's batches: checks the size of each, gives it its seq.

An event that is too large is withheld, before it gets its seq: its key is noted, and the next event
of the key that fits releases it.
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final, Protocol

from agent import failpoints
from agent.config import KafkaSettings
from agent.connectors.changes import Begin, Commit, Heartbeat
from agent.connectors.position import position_number, position_text
from agent.front.base import FrontTransaction, ResourceState, Stored, Written
from agent.outbox.frames import BatchWriter
from agent.outbox.transactions import Transactions
from agent.resource import FrontRow, Resource
from agent.values.rows import Key

log = logging.getLogger(__name__)

# Bytes of an event's headers at the most, beside the other key of a key change
_HEADERS: Final = 512

# No row, as JSON has it
NULL: Final = b"null"


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
        self.limit = settings.max_event_bytes - _HEADERS
        self.transactions: Transactions | None = None
        if settings.transactions:
            self.transactions = Transactions(schemas=settings.value_format == "json-schema")

        self._stored = stored.resources
        self._tables = tables
        self._topics: dict[str, TopicFraming] = {}
        # Those that have had an event since the last `end`
        self.moved: list[TopicFraming] = []
        self.writer = BatchWriter(stored.number, stored.batch)
        # Commit time of the first transaction in the batch being framed; 0: none yet
        self._batch_time = 0
        self.begun = Begin(0, 0, 0)  # the source transaction the events belong to
        # Where the transaction before it ended. A stream that begins anew goes on where it begins
        self.previous_end = position_number(stored.commit.position or stored.position)
        # When the events that follow are processed, in nanoseconds since 1970
        self.now_ns = time.time_ns()
        # (resource, op) -> events; the caller clears it
        self.counts: Counter[tuple[str, str]] = Counter()

    @property
    def next_batch(self) -> int:
        """The number of the batch that takes the next event."""
        return self.writer.batch + 1

    def topic(self, resource: Resource) -> "TopicFraming":
        """Returns what frames the events of one table."""
        name = resource.name
        topic = self._topics.get(name)
        if topic is None:
            topic = TopicFraming(self, resource, self._stored[name], self._tables[name])
            self._topics[name] = topic
        return topic

    def begin_set(self) -> None:
        """A set of messages is worked off: its events are processed now."""
        self.now_ns = time.time_ns()

    def begin(self, begin: Begin) -> None:
        """A source transaction begins."""
        self.begun = begin
        self._batch_time = self._batch_time or begin.time_us
        self.writer.begin(*begin)
        if self.transactions is not None:
            self.transactions.begin(begin)

    def detach(self) -> None:
        """Detaches the events that follow from the source transaction.

        They are of rows that were read, and have no place in it.
        """
        if self.transactions is not None:
            self.transactions.begin(None)

    def commit(self, commit: Commit) -> None:
        """The source transaction is complete."""
        if self.transactions is not None:
            end = self.transactions.end()
            if end is not None:
                self.writer.boundary(False, end.key, end.value)
        self.writer.commit(commit.position)
        self.previous_end = commit.position

    def heartbeat(self, heartbeat: Heartbeat) -> None:
        """A sign of life, between source transactions."""
        self._batch_time = self._batch_time or heartbeat.time_us
        self.writer.heartbeat(heartbeat.position, heartbeat.time_us)

    def open_transaction(self, resource: Resource) -> None:
        """Frames the record of the transaction's begin before its first event."""
        if self.transactions is not None:
            opening = self.transactions.take(resource.collection)
            if opening is not None:
                self.writer.boundary(True, opening.key, opening.value)

    def end(self) -> tuple[int, int, dict[str, tuple[int, int]]]:
        """Stores what is left and returns the last number, the last batch, and what has moved.

        That is, by resource: seq and commit time of the last event, where it had one since the last
        `end`.
        """
        self.store()
        self._batch_time = 0
        moved = {}
        for topic in self.moved:
            moved[topic.name] = topic.seq, topic.time_us
            for op, number in topic.take_counts().items():
                self.counts[topic.name, op.decode()] += number
        self.moved.clear()
        return self.writer.number, self.writer.batch, moved

    def store(self) -> None:
        """Stores the batch that was framed so far in the open front-end transaction."""
        batch = self.writer.take()
        if batch is not None:
            self._front.store(batch, self._batch_time)
            failpoints.hit("after_outbox")
            self._batch_time = self.begun.time_us


class TopicFraming:
    """Frames the events of one table. Commits nothing."""

    __slots__ = (
        "_counts",
        "_generation",
        "_resource",
        "_table",
        "_topic",
        "_writer",
        "framing",
        "name",
        "seq",
        "time_us",
    )

    def __init__(
        self,
        framing: Framing,
        resource: Resource,
        stored: ResourceState,
        table: Withheld,
    ) -> None:
        self.framing = framing
        self.name = resource.name
        self._resource = resource
        self._table = table
        self._topic = resource.topic
        self._generation = stored.generation
        self._writer = framing.writer

        # Of the last event, and the commit time of its transaction
        self.seq = stored.seq
        self.time_us = 0

        # Events by operation since the last `end`
        self._counts: dict[bytes, int] = {}

    def event(
        self,
        op: bytes,
        key: Key,
        before: bytes,
        after: bytes,
        source: bytes,
        *,
        old_key: bytes = b"",
        new_key: bytes = b"",
    ) -> int:
        """Frames one event and returns its seq; one that is withheld has the seq before it.

        `old_key`, `new_key`: the other Kafka key of a key change.
        """
        table = self._table
        withheld = bool(table.withheld) and key in table.withheld
        if withheld:
            if op == b"d" and not table.withheld[key]:  # the topic never had the row
                table.release(key)
                return self.seq
            published = table.withheld[key]
            op, before = _after_withheld(self._resource, op, key, published=published)

        framing = self.framing
        resource = self._resource
        kafka_key = resource.kafka_key(key)
        place = NULL
        if framing.transactions is not None:
            place = framing.transactions.place(resource.collection)
        envelope = resource.envelope
        value = envelope.value(op, before, after, source, framing.now_ns, place)
        room = framing.limit - len(kafka_key) - len(old_key) - len(new_key)
        if len(value) > room:
            # The row after the change matters more than the one before it
            before = _without_before(resource, op, key)
            value = envelope.value(op, before, after, source, framing.now_ns, place)
            if len(value) > room:
                published = op != b"c" or table.copying
                size = len(kafka_key) + len(value)
                self._withhold(key, size, published=published)
                return self.seq

        if withheld:
            table.release(key)
        if framing.transactions is not None:
            framing.open_transaction(resource)
        self._count(op, 1)
        self.seq += 1
        self._writer.event(
            self._topic,
            self._generation,
            self.seq,
            kafka_key,
            value,
            tombstone=op == b"d",
            old_key=old_key,
            new_key=new_key,
        )
        if self._writer.full:
            framing.store()
        return self.seq

    def reads(self, rows: Mapping[Key, FrontRow], source: bytes) -> dict[Key, Written]:
        """Frames an `r` for each row and returns the rows as they are to be written.

        This is most of a copy's work, so what is the same for all is done once.
        """
        resource = self._resource
        writer = self._writer
        table = self._table
        limit = self.framing.limit
        time_us = self.framing.begun.time_us
        first = self.seq
        around = resource.envelope.value(b"r", NULL, b"\0", source, time.time_ns())
        start, _, end = around.partition(b"\0")

        read = {}
        for key, row in rows.items():
            kafka_key = resource.kafka_key(key)
            value = b"".join((start, resource.row_json(row), end))
            size = len(kafka_key) + len(value)
            if size > limit:
                self._withhold(key, size, published=True)
                read[key] = Written(row, "I", self.seq, time_us)
                continue
            if table.withheld and key in table.withheld:
                table.release(key)
            self.seq += 1
            writer.event(self._topic, self._generation, self.seq, kafka_key, value)
            read[key] = Written(row, "I", self.seq, time_us)
            if writer.full:
                self.framing.store()

        if self.seq > first:
            self._count(b"r", self.seq - first)
        return read

    def take_counts(self) -> dict[bytes, int]:
        """Returns the number of events by operation since it was last asked for."""
        counts = self._counts
        self._counts = {}
        return counts

    def _count(self, op: bytes, number: int) -> None:
        """Counts events of the source transaction that has begun."""
        if not self._counts:
            self.framing.moved.append(self)
        self._counts[op] = self._counts.get(op, 0) + number
        self.time_us = self.framing.begun.time_us

    def _withhold(self, key: Key, size: int, *, published: bool) -> None:
        """Notes that the topic goes without this row: it is too large for a message.

        Nothing else waits for it. `published`: the topic may hold an older row.
        """
        table = self._table
        framing = self.framing
        new = key not in table.withheld
        if new:
            digest = hashlib.sha256(self._resource.key_json(key)).hexdigest()
            log.warning(
                "row_withheld resource=%s hash=%s position=%s size=%d limit=%d",
                self.name,
                digest[:16],
                position_text(framing.begun.commit_position),
                size + _HEADERS,
                framing.limit + _HEADERS,
            )
        if new or published:
            table.withhold(key, published=published)


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

"""The outbox: the binary frames of its batches, their writer and their reader.

A batch is a run of frames; a frame never spans two batches. A batch that begins inside a source
transaction repeats its BEGIN frame, so each batch can be read by itself. All integers are
big-endian. A batch of more than a few frames is stored compressed (zstd): a tenth of the bytes, for
less time than the database would need to write the rest.

    T  begin      transaction u32, commit position u64, commit time µs i64,
                  ordinal of the next event u32
    R  topic      index u16, generation u32, length u16, name
    E  event      topic index u16, seq u64, flags u8,
                  key length u32, value length u32, other key length u32, then the three
    C  commit     position u64, events of the transaction u32
    H  heartbeat  position u64, time µs i64
    B  boundary   opens u8, key length u32, value length u32, then the two;
                  before the first event, or before the commit
"""

import hashlib
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import zstandard

from agent.front.base import PART, Batch

CHUNK = PART  # bytes of frames after which a batch is full
_SMALL: Final = 4096  # bytes up to which a batch is stored as it is
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"  # RFC 8878 section 3.1.1; no frame begins so
_TOMBSTONE: Final = 1
_OLD_KEY: Final = 2
_NEW_KEY: Final = 4
_BEGIN: Final = struct.Struct(">cIQqI")
_TOPIC: Final = struct.Struct(">cHIH")
_EVENT: Final = struct.Struct(">cHQBIII")
_COMMIT: Final = struct.Struct(">cQI")
_HEARTBEAT: Final = struct.Struct(">cQq")
_BOUNDARY: Final = struct.Struct(">cBII")


class OutboxBegin(NamedTuple):
    """A source transaction starts, or goes on at `ordinal` when a batch begins inside it."""

    transaction: int
    commit_position: int
    time_us: int
    ordinal: int


class OutboxEvent(NamedTuple):
    """One event as it goes to Kafka.

    `number` counts over all topics, `seq` within the topic and generation.
    """

    number: int
    topic: str
    generation: int
    seq: int
    commit_position: int
    time_us: int  # of the commit
    ordinal: int
    key: bytes
    value: bytes
    tombstone: bool  # followed by a record with the same key and no value
    header: tuple[str, bytes] | None  # __debezium.newkey or __debezium.oldkey of a key change

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key) + len(self.value)

    def id(self, source_id: str) -> str:
        """The event's name."""
        return event_id(source_id, self.commit_position, self.time_us, self.ordinal)


class OutboxCommit(NamedTuple):
    """The source transaction is complete."""

    position: int
    events: int
    time_us: int


class OutboxHeartbeat(NamedTuple):
    """A sign of life of the source at `position`."""

    position: int
    time_us: int


class OutboxBoundary(NamedTuple):
    """A record for the topic of transactions: of the begin (`opens`) or the end of one.

    Only transactions that have events have it. It has no number.
    """

    opens: bool
    key: bytes
    value: bytes


Frame = OutboxBegin | OutboxEvent | OutboxCommit | OutboxHeartbeat | OutboxBoundary


def packed(payload: bytes) -> bytes:
    """Compresses the frames of a batch, unless they are few."""
    return payload if len(payload) <= _SMALL else zstandard.compress(payload, 1)


def unpacked(stored: bytes) -> bytes:
    """The frames of a stored batch. Raises ValueError for a damaged one."""
    try:
        return zstandard.decompress(stored) if stored.startswith(_ZSTD_MAGIC) else stored
    # MemoryError: its header promises a size no batch has
    except (zstandard.ZstdError, MemoryError):
        raise ValueError("an outbox batch is damaged: it cannot be decompressed") from None


def event_id(
    source_id: str,
    commit_position: int,
    time_us: int,
    ordinal: int,
) -> str:
    """Returns 32 hex digits that name an event for ever: the same after every replay.

    See docs/decisions/event-identity.md.
    """
    name = _transaction_name(source_id, commit_position, time_us).copy()
    name.update(b"%d" % ordinal)
    return name.hexdigest()


@lru_cache(maxsize=16)
def _transaction_name(source_id: str, commit_position: int, time_us: int) -> hashlib.blake2b:
    """What the names of a transaction's events have in common, hashed once."""
    named = f"{source_id}\0{commit_position}\0{time_us}\0"
    return hashlib.blake2b(named.encode(), digest_size=16)


def frames(batch: Batch) -> Iterator[Frame]:
    """Yields the frames of a batch in order; declarations of topics are resolved into the events.

    Raises ValueError where the batch is damaged; half a frame is never given.
    """
    try:
        yield from _frames(batch)
    except (struct.error, KeyError):
        raise ValueError(
            f"outbox batch {batch.batch} is damaged: "
            "it ends too early, or names a topic it does not declare"
        ) from None


def _frames(batch: Batch) -> Iterator[Frame]:
    data = unpacked(batch.payload)
    offset = 0
    number = batch.first_number - 1
    topics: dict[int, tuple[str, int]] = {}
    begin = OutboxBegin(0, 0, 0, 0)
    ordinal = 0

    while offset < len(data):
        kind = data[offset : offset + 1]
        if kind == b"E":
            _, index, seq, flags, nkey, nvalue, nother = _EVENT.unpack_from(data, offset)
            start = offset + _EVENT.size
            value_at = start + nkey
            other_at = value_at + nvalue
            offset = other_at + nother
            if offset > len(data):  # a slice would be short and tell nobody
                raise struct.error

            header = None
            if flags & (_OLD_KEY | _NEW_KEY):
                name = "__debezium.newkey" if flags & _NEW_KEY else "__debezium.oldkey"
                header = name, data[other_at:offset]
            topic, generation = topics[index]
            number += 1
            yield OutboxEvent(
                number,
                topic,
                generation,
                seq,
                begin.commit_position,
                begin.time_us,
                ordinal,
                data[start:value_at],
                data[value_at:other_at],
                bool(flags & _TOMBSTONE),
                header,
            )
            ordinal += 1
        elif kind == b"T":
            begin = OutboxBegin(*_BEGIN.unpack_from(data, offset)[1:])
            ordinal = begin.ordinal
            offset += _BEGIN.size
            yield begin
        elif kind == b"C":
            _, position, events = _COMMIT.unpack_from(data, offset)
            yield OutboxCommit(position, events, begin.time_us)
            offset += _COMMIT.size
        elif kind == b"R":
            offset = _declare_topic(data, offset, topics)
        elif kind == b"H":
            yield OutboxHeartbeat(*_HEARTBEAT.unpack_from(data, offset)[1:])
            offset += _HEARTBEAT.size
        elif kind == b"B":
            _, opens, nkey, nvalue = _BOUNDARY.unpack_from(data, offset)
            start = offset + _BOUNDARY.size
            offset = start + nkey + nvalue
            if offset > len(data):
                raise struct.error
            yield OutboxBoundary(
                bool(opens),
                data[start : start + nkey],
                data[start + nkey : offset],
            )
        else:
            raise ValueError(f"outbox batch {batch.batch}: unknown frame at byte {offset}")


def _declare_topic(
    data: bytes,
    offset: int,
    topics: dict[int, tuple[str, int]],
) -> int:
    """Reads the declaration of a topic into `topics` and returns the offset behind it."""
    _, index, generation, length = _TOPIC.unpack_from(data, offset)
    start = offset + _TOPIC.size
    end: int = start + length
    if end > len(data):
        raise struct.error

    topics[index] = data[start:end].decode(), generation
    return end


class BatchWriter:
    """Frames events into batches: `take` hands each out, at the latest when it is `full`.

    The writer only counts and frames. The caller stores the batches in the open front-end
    transaction.
    """

    def __init__(self, number: int, batch: int) -> None:
        self.number = number  # of the last event framed
        self.batch = batch  # of the last batch handed out
        self.events = 0  # framed in the current source transaction: the next ordinal
        self._begin: OutboxBegin | None = None
        self._reset()

    def _reset(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._first = self.number + 1
        self._topics: dict[tuple[str, int], int] = {}
        if self._begin is not None:
            self._add(_BEGIN.pack(b"T", *self._begin._replace(ordinal=self.events)))

    def _add(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)

    @property
    def full(self) -> bool:
        """True when a batch should be taken."""
        return self._size >= CHUNK

    def begin(
        self,
        transaction: int,
        commit_position: int,
        time_us: int,
    ) -> None:
        """A source transaction starts."""
        self.events = 0
        self._begin = OutboxBegin(transaction, commit_position, time_us, 0)
        self._add(_BEGIN.pack(b"T", *self._begin))

    def event(
        self,
        topic: str,
        generation: int,
        seq: int,
        key: bytes,
        value: bytes,
        *,
        tombstone: bool = False,
        old_key: bytes = b"",
        new_key: bytes = b"",
    ) -> int:
        """Frames one event and returns its number."""
        index = self._topics.get((topic, generation))
        if index is None:
            index = self._topics[topic, generation] = len(self._topics)
            name = topic.encode()
            self._add(_TOPIC.pack(b"R", index, generation, len(name)) + name)
        other = old_key or new_key
        flags = 0
        if tombstone:
            flags |= _TOMBSTONE
        if old_key:
            flags |= _OLD_KEY
        if new_key:
            flags |= _NEW_KEY

        head = _EVENT.pack(b"E", index, seq, flags, len(key), len(value), len(other))
        self._parts += (head, key, value, other)
        self._size += len(head) + len(key) + len(value) + len(other)
        self.number += 1
        self.events += 1
        return self.number

    def commit(self, position: int) -> None:
        """The source transaction is complete."""
        self._add(_COMMIT.pack(b"C", position, self.events))
        self._begin = None

    def boundary(self, opens: bool, key: bytes, value: bytes) -> None:
        """Frames a record of the transaction, of its begin or of its end.

        The one stands right before its first event, the other right before its commit.
        """
        head = _BOUNDARY.pack(b"B", opens, len(key), len(value))
        self._add(b"".join((head, key, value)))

    def heartbeat(self, position: int, time_us: int) -> None:
        """A sign of life between transactions."""
        self._add(_HEARTBEAT.pack(b"H", position, time_us))

    def take(self) -> Batch | None:
        """Hands out the batch framed so far and begins the next one; None if there is nothing."""
        repeated_begin = self._begin is not None
        if len(self._parts) == int(repeated_begin):
            return None

        self.batch += 1
        payload = packed(b"".join(self._parts))
        taken = Batch(self.batch, self._first, self.number, payload)
        self._reset()
        return taken

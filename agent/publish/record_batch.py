"""Encodes records into batches and hands whole batches to kafka-python.

The client's own `send` makes a future and many calls for each record, which took more processor
time than all the rest of the publisher. Here the client gets a batch at once. Everything else stays
its work: producer id and sequence, compression, the transaction, repeats.

The format is the record batch of version 2 (Kafka protocol guide, "Record Batch"). How a batch is
handed over is private to the client. So `pyproject.toml` bounds the client's minor version, and a
test compares our bytes with the client's own.
"""

import time
from typing import Any, Final

from kafka import KafkaProducer
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.memory_records import MemoryRecordsBuilder
from kafka.structs import TopicPartition

from agent.publish.base import Headers

_VERSION: Final = 2  # of the format
_SHORT: Final = 1 << 14  # numbers below are looked up


def varint(number: int) -> bytes:
    """Returns a number in the protocol's variable length: zigzag, seven bits a byte."""
    rest = (number << 1) ^ (number >> 63)
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(0x80 | rest & 0x7F)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


_VARINTS: Final = [varint(number) for number in range(_SHORT)]

# How a record begins: it has no attributes, and the time of its batch
_BEGIN: Final = b"\0" + varint(0)

# The length of a value that is missing
_NULL: Final = varint(-1)


def _short(number: int) -> bytes:
    """Returns the same as `varint`, faster for the numbers that are usual."""
    return _VARINTS[number] if number < _SHORT else varint(number)


# Names of headers as they are written; there are only a few
_HEADER_NAMES: Final[dict[str, bytes]] = {}


def _header_name(name: str) -> bytes:
    written = _HEADER_NAMES.get(name)
    if written is None:
        encoded = name.encode()
        written = _HEADER_NAMES[name] = varint(len(encoded)) + encoded
    return written


class RecordBatch:
    """Records of one partition in their order, all with the time at which the batch began."""

    __slots__ = ("count", "records", "size", "time_ms")

    def __init__(self) -> None:
        self.records = bytearray()
        self.count = 0
        self.size = 0
        self.time_ms = int(time.time() * 1000)

    def add(self, key: bytes, value: bytes | None, headers: Headers, size: int) -> None:
        """Adds a record, which is a tombstone if it has no value.

        `size` is what the caller counts for it.
        """
        pieces = [_BEGIN, _short(self.count), _short(len(key)), key]
        if value is None:
            pieces.append(_NULL)
        else:
            pieces += (_short(len(value)), value)

        pieces.append(_short(len(headers)))
        for name, content in headers:
            pieces += (_header_name(name), _short(len(content)), content)

        record = b"".join(pieces)
        self.records += _short(len(record))
        self.records += record
        self.count += 1
        self.size += size


class Sending:
    """A batch on its way."""

    __slots__ = ("_count", "_result", "place", "size")

    def __init__(self, result: Any, place: tuple[str, int], batch: RecordBatch) -> None:
        self._result = result  # the client's future
        self._count = batch.count
        self.place = place  # topic and partition
        self.size = batch.size

    def wait(self, seconds: float) -> bool:
        """Waits for the broker's answer so long; tells whether it has come."""
        return bool(self._result.wait(seconds)) and bool(self._result.is_done)

    @property
    def is_done(self) -> bool:
        """Tells whether the broker has answered, or the client has given up."""
        return bool(self._result.is_done)

    def end(self) -> int | None:
        """Returns the offset after the last record; None where the broker did not say.

        It must be done. Raises the client's error.
        """
        if self._result.exception is not None:
            raise self._result.exception
        base, _, error_of = self._result.value
        if error_of is not None:
            raise error_of(0)
        return base + self._count if base >= 0 else None


def hand_over(client: KafkaProducer, place: tuple[str, int], batch: RecordBatch) -> Sending:
    """Gives the client a batch to be sent at once. Raises the client's errors.

    The client must know the topic.
    """
    accumulator = client._accumulator
    partition = TopicPartition(*place)
    handed = ProducerBatch(partition, _builder(accumulator.config, batch))

    manager = client._transaction_manager
    manager.maybe_add_partition_to_transaction(partition)
    with accumulator._tp_lock(partition):
        accumulator._batches[partition].append(handed)
        accumulator._incomplete.add(handed)
    client._sender.wakeup()
    return Sending(handed.produce_future, place, batch)


def _builder(config: Any, batch: RecordBatch) -> MemoryRecordsBuilder:
    """Returns the client's own form of a batch whose records have been appended."""
    builder = MemoryRecordsBuilder(_VERSION, config["compression_attrs"], config["batch_size"])
    inner = builder._builder
    inner._buffer += batch.records
    inner._num_records = batch.count
    inner._last_offset = batch.count - 1
    inner._first_timestamp = inner._max_timestamp = batch.time_ms
    builder._next_offset = batch.count
    return builder


def never_split(client: KafkaProducer) -> None:
    """Has a batch that the broker finds too large fail, as a single record does.

    The client would cut it in two and forget the result that was handed out. Batches are no larger
    than an event may be, and topics are checked for that.
    """
    client._sender._can_split = lambda _batch, _error: False


def fail_as_one(client: KafkaProducer) -> None:
    """Has all records of a batch fail with the broker's error of the batch.

    Where several records are at fault the client would name them all invalid, whatever the broker
    has against them, and the others it would give an error without a name.
    """
    client._sender._record_exceptions_fn = lambda error, _errors, _text: lambda _record: error

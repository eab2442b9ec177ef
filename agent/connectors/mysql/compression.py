"""Unpacks what the log holds compressed: whole transactions of MySQL, single events of MariaDB.

Any session may switch compression on, so each event tells for itself. An event that says of itself
that it is larger than `LARGEST` is refused before memory is asked for.
"""

import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO, Final, NamedTuple

import zstandard

from agent.connectors.mysql.events import HEADER
from agent.connectors.mysql.packing import Damaged, number, octets, packed

LARGEST: Final = 1 << 30  # bytes of an event; max_allowed_packet of both servers ends there

# Fields of MySQL's TRANSACTION_PAYLOAD event
_END, _SIZE, _COMPRESSION, _UNCOMPRESSED_SIZE = 0, 1, 2, 3
_ZSTD, _NONE = 0, 255


class Payload(NamedTuple):
    """The events of a transaction of MySQL, to be unpacked one by one."""

    stream: BinaryIO
    size: int  # bytes, unpacked


def payload(body: bytes) -> Payload:
    """Returns the events of a TRANSACTION_PAYLOAD, one behind the other, without checksums.

    Nothing is unpacked yet. Raises Damaged. Source: MySQL 9.7,
    libs/mysql/binlog/event/codecs/binary.cpp.
    """
    fields = {_COMPRESSION: _NONE, _UNCOMPRESSED_SIZE: 0}
    start = 0
    while True:
        kind, start = packed(body, start)
        if kind == _END:
            break
        size, start = packed(body, start)
        fields[kind], _ = packed(octets(body, start, size), 0)
        start += size

    data = octets(body, start, fields.get(_SIZE, len(body) - start))
    if fields[_COMPRESSION] == _NONE:
        return Payload(BytesIO(data), len(data))
    if fields[_COMPRESSION] != _ZSTD:
        raise Damaged(f"a compression that nobody knows: {fields[_COMPRESSION]}")
    # The frames need not say how large they are
    reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
    return Payload(reader, fields[_UNCOMPRESSED_SIZE])


def inner_events(transaction: Payload) -> Iterator[bytes]:
    """Yields the events of a transaction.

    Each is unpacked when it is asked for: no more than one is in memory, however large the
    transaction is. Raises Damaged.
    """
    left = transaction.size
    while left:
        head = _next(transaction.stream, HEADER, left)
        size = number(head, 9, 4)
        if not HEADER <= size <= LARGEST:
            raise Damaged("an event of a compressed transaction has a length that none has")
        yield head + _next(transaction.stream, size - HEADER, left - HEADER)
        left -= size
    if _read(transaction.stream, 1):
        raise Damaged("a compressed transaction is larger than it says")


def _next(stream: BinaryIO, size: int, left: int) -> bytes:
    """Unpacks so many bytes, of so many that are left."""
    if size > left:
        raise Damaged("an event leads past the end of its compressed transaction")
    found = _read(stream, size)
    if len(found) < size:
        raise Damaged("a compressed transaction is smaller than it says")
    return found


def _read(stream: BinaryIO, size: int) -> bytes:
    try:
        return stream.read(size)
    except (zstandard.ZstdError, MemoryError):
        raise Damaged("a compressed transaction cannot be unpacked") from None


# ---- MariaDB

_COMPRESSED_BIT: Final = 0x80
_ALGORITHM: Final = 0x70
_LENGTH_BYTES: Final = 0x07


def unpacked(data: bytes) -> bytes:
    """Unpacks the rows or the statement of a MariaDB event. Raises Damaged.

    Source: MariaDB 11.8, sql/log_event.cc (binlog_buf_uncompress): a byte of which three bits say
    how many bytes the length has, the length with its highest byte first, then zlib.
    """
    head = number(data, 0, 1)
    if not head & _COMPRESSED_BIT or head & _ALGORITHM:
        raise Damaged(f"a compression that nobody knows: {head}")
    length_bytes = head & _LENGTH_BYTES
    size = int.from_bytes(octets(data, 1, length_bytes), "big")
    if size > LARGEST:
        raise Damaged("a compressed event is larger than any packet")

    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(data[1 + length_bytes :], size + 1)
    except zlib.error:
        raise Damaged("a compressed event cannot be unpacked") from None
    if len(found) != size:
        raise Damaged("a compressed event has another size than it says")
    return found

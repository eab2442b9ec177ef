"""Unpacks what the log holds compressed: whole transactions of MySQL, single events of MariaDB.

Any session may switch compression on, so each event tells for itself. What says of itself that it
is larger than `LARGEST` is refused before memory is asked for.
"""

import zlib
from collections.abc import Iterator
from typing import Final

import zstandard

from agent.connectors.mysql.packing import Damaged, number, octets, packed

LARGEST: Final = 1 << 30  # bytes; max_allowed_packet of both servers ends there

# Fields of MySQL's TRANSACTION_PAYLOAD event
_END, _SIZE, _COMPRESSION, _UNCOMPRESSED_SIZE = 0, 1, 2, 3
_ZSTD, _NONE = 0, 255


def payload(body: bytes) -> bytes:
    """Returns the events of a TRANSACTION_PAYLOAD, one behind the other, without checksums.

    Raises Damaged. Source: MySQL 9.7, libs/mysql/binlog/event/codecs/binary.cpp.
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
        return data
    if fields[_COMPRESSION] != _ZSTD:
        raise Damaged(f"a compression that nobody knows: {fields[_COMPRESSION]}")
    return _unpacked_zstd(data, fields[_UNCOMPRESSED_SIZE])


def _unpacked_zstd(data: bytes, size: int) -> bytes:
    """Unpacks the frames of a transaction, which need not say how large they are."""
    if size > LARGEST:
        raise Damaged("a compressed transaction is larger than any packet")
    reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
    try:
        found = reader.read(size)
        further = reader.read(1)
    except (zstandard.ZstdError, MemoryError):
        raise Damaged("a compressed transaction cannot be unpacked") from None
    if len(found) != size or further:
        raise Damaged("a compressed transaction has another size than it says")
    return bytes(found)


def inner_events(data: bytes) -> Iterator[bytes]:
    """Yields the events of an unpacked transaction. Raises Damaged."""
    start = 0
    while start < len(data):
        size = number(data, start + 9, 4)
        if size < 1:
            raise Damaged("an event of no length")
        yield octets(data, start, size)
        start += size


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

"""Takes events of the log apart: header, checksum, and the bodies of those that hold no rows.

Sources: MySQL 9.7, libs/mysql/binlog/event; MariaDB 11.8, sql/log_event.h and log_event.cc.
"""

import struct
import zlib
from typing import Final, NamedTuple

from agent.connectors.mysql import event_types as types
from agent.connectors.mysql.packing import Damaged, number, octets
from agent.connectors.mysql.packing import name as name_of

HEADER: Final = 19  # bytes
CHECKSUM: Final = 4
_HEADER: Final = struct.Struct("<IBIIIH")
_IN_USE: Final = 0x1  # a flag of the format description while its file is written
_ALGORITHMS: Final = {0: False, 1: True}  # no checksum, CRC32
_VERSION_BYTES: Final = 50
_QUERY: Final = struct.Struct("<IIBHH")
_UUID_BYTES: Final = 16


class Event(NamedTuple):
    """An event without its checksum."""

    time: int  # seconds since 1970, by the source's clock
    type: int
    server_id: int
    end: int  # where the next one begins in the file; 0 in a transaction of MariaDB from 11.4 on
    size: int  # bytes, with header and checksum
    body: bytes


class Query(NamedTuple):
    """A statement that the log holds as text."""

    schema: str
    text: bytes  # in the character set of its session
    failed: int  # the error number with which it ended; 0: none


def event_of(data: bytes, checked: bool) -> Event:
    """Takes an event apart; `checked`: it ends in a checksum, which is tested. Raises Damaged."""
    if len(data) < HEADER:
        raise Damaged("an event is shorter than its header")
    time, kind, server_id, size, end, _flags = _HEADER.unpack_from(data)
    if size != len(data):
        raise Damaged(f"an event of {len(data)} bytes says that it has {size}")

    stop = size
    if checked:
        stop -= CHECKSUM
        _check(data, stop, kind)
    return Event(time, kind, server_id, end, size, data[HEADER:stop])


def _check(data: bytes, stop: int, kind: int) -> None:
    """Compares the checksum. Raises Damaged."""
    if stop < HEADER:
        raise Damaged("an event is shorter than its checksum")
    summed = data[:stop]
    if kind == types.FORMAT_DESCRIPTION:
        # The flag was not set when the sum was made
        low = data[17] & ~_IN_USE
        summed = data[:17] + bytes((low,)) + data[18:stop]
    if zlib.crc32(summed) != number(data, stop, CHECKSUM):
        raise Damaged("the checksum of an event is wrong")


def checksums(data: bytes) -> bool:
    """Tells from a format description, whole as it came, whether events have a checksum.

    Its last five bytes are the algorithm and its own checksum, whatever the algorithm is.
    Raises Damaged for an algorithm that nobody knows.
    """
    if len(data) < HEADER + 2 + _VERSION_BYTES + CHECKSUM + 1:
        raise Damaged("a format description is too short")
    algorithm = data[-CHECKSUM - 1]
    if algorithm not in _ALGORITHMS:
        raise Damaged(f"checksums of a kind that nobody knows: {algorithm}")
    return _ALGORITHMS[algorithm]


def server_version(data: bytes) -> str:
    """Returns the version of the server from a format description, whole as it came."""
    start = HEADER + 2
    return octets(data, start, _VERSION_BYTES).rstrip(b"\0").decode("ascii", "replace")


def rotation(body: bytes) -> tuple[str, int]:
    """Returns the file that follows, and where its first event begins."""
    return name_of(body[8:]), number(body, 0, 8)


def query(body: bytes) -> Query:
    """Reads a statement. Raises Damaged."""
    if len(body) < _QUERY.size:
        raise Damaged("a statement is shorter than its header")
    _, _, name_size, failed, variables_size = _QUERY.unpack_from(body)
    start = _QUERY.size + variables_size
    name = octets(body, start, name_size).decode("utf-8", "replace")
    return Query(name, body[start + name_size + 1 :], failed)


class Gtid(NamedTuple):
    """The name of a transaction.

    It is uuid:number or uuid:tag:number in MySQL, domain-server-number in MariaDB.
    """

    source: str  # uuid, or uuid:tag, or domain-server
    number: int  # counts up for each source
    standalone: bool = False  # MariaDB: no commit follows; the one event behind it is all
    prepared: bool = False  # MariaDB: the first half of an XA transaction

    @property
    def text(self) -> str:
        """The name as the server writes it; '' where the transaction has none."""
        if not self.source:
            return ""
        between = ":" if len(self.source) >= 2 * _UUID_BYTES else "-"
        return f"{self.source}{between}{self.number}"


# Where MySQL's GTID has the time of the commit, in microseconds since 1970
_COMMIT_TIME: Final = 1 + _UUID_BYTES + 8 + 1 + 8 + 8
_COMMIT_TIME_BYTES: Final = 7
_COMMIT_TIME_BITS: Final = 55  # the highest one says that another time follows


def commit_time(event: Event) -> int:
    """Returns when a transaction was committed, in microseconds since 1970.

    It is in whole seconds where the event has no more: in MariaDB, and of a name with a tag.
    """
    known = event.type in (types.GTID, types.ANONYMOUS_GTID)
    if known and len(event.body) >= _COMMIT_TIME + _COMMIT_TIME_BYTES:
        found = number(event.body, _COMMIT_TIME, _COMMIT_TIME_BYTES)
        return found & ((1 << _COMMIT_TIME_BITS) - 1)
    return event.time * 1_000_000


def gtid(body: bytes) -> Gtid:
    """Reads MySQL's GTID without a tag. Raises Damaged."""
    source = _uuid(octets(body, 1, _UUID_BYTES))
    return Gtid(source, number(body, 1 + _UUID_BYTES, 8))


_STANDALONE: Final = 1
_PREPARED: Final = 64


def mariadb_gtid(event: Event) -> Gtid:
    """Reads MariaDB's GTID. Raises Damaged."""
    flags = number(event.body, 12, 1)
    return Gtid(
        f"{number(event.body, 8, 4)}-{event.server_id}",
        number(event.body, 0, 8),
        standalone=bool(flags & _STANDALONE),
        prepared=bool(flags & _PREPARED),
    )


# ---- MySQL's serialised messages, of which a GTID with a tag is one

_FIELD_UUID, _FIELD_NUMBER, _FIELD_TAG = 1, 2, 3


def tagged_gtid(body: bytes) -> Gtid:
    """Reads MySQL's GTID with a tag: a serialised message with numbered fields. Raises Damaged.

    Source: MySQL 9.7, libs/mysql/serialization, and the fields of its Gtid_event.
    """
    start = 0
    for _ in range(3):  # version, size, the last field that must be understood
        _, start = _varlen(body, start)

    _expect(body, start, 0)
    _, start = _varlen(body, _varlen(body, start)[1])  # flags
    _expect(body, start, _FIELD_UUID)
    start = _varlen(body, start)[1]
    uuid = bytearray()
    for _ in range(_UUID_BYTES):
        byte, start = _varlen(body, start)
        uuid.append(byte & 0xFF)

    _expect(body, start, _FIELD_NUMBER)
    raw, start = _varlen(body, _varlen(body, start)[1])
    counted = raw >> 1  # the lowest bit is the sign
    _expect(body, start, _FIELD_TAG)
    size, start = _varlen(body, _varlen(body, start)[1])
    tag = octets(body, start, size).decode("ascii", "replace")
    source = _uuid(bytes(uuid))
    return Gtid(f"{source}:{tag}" if tag else source, counted)


def _expect(body: bytes, start: int, field: int) -> None:
    found, _ = _varlen(body, start)
    if found != field:
        raise Damaged(f"field {field} of a GTID is missing")


def _varlen(body: bytes, start: int) -> tuple[int, int]:
    """Reads an integer whose first byte has a one for each further byte, from the lowest bit on."""
    first = number(body, start, 1)
    further = 0
    while further < 8 and first >> further & 1:
        further += 1
    size = further + 1
    raw = number(body, start, size)
    value = raw >> 8 if size == 9 else raw >> size
    return value, start + size


def _uuid(data: bytes) -> str:
    text = data.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

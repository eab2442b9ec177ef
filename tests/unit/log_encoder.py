"""Encodes what a server of the MySQL family writes into its binary log, for tests of the reader."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

from agent.connectors.mysql import event_types, events
from agent.connectors.mysql import table_map as types

UTF8MB4 = 45  # the collation utf8mb4_general_ci
WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS = 30, 31, 32
_GROUP_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)  # of so many digits of a DECIMAL


class Described(NamedTuple):
    """A column as a description of its table has it."""

    name: str
    type: int
    metadata: bytes = b""


def event(kind: int, body: bytes, checked: bool = True) -> bytes:
    """An event as it comes from a server."""
    size = events.HEADER + len(body) + (events.CHECKSUM if checked else 0)
    head = bytes(4) + bytes((kind,)) + (7).to_bytes(4, "little") + size.to_bytes(4, "little")
    data = head + bytes(6) + body
    return data + zlib.crc32(data).to_bytes(4, "little") if checked else data


def gtid(source: bytes, number: int) -> bytes:
    """The body of MySQL's GTID, which names the transaction that follows. `source`: a UUID."""
    return b"\0" + source + number.to_bytes(8, "little")


def transaction(source: bytes, number: int, *parts: bytes) -> list[bytes]:
    """The events of a transaction, each with its checksum."""
    began = event(event_types.GTID, gtid(source, number))
    return [began, *parts, event(event_types.XID, bytes(8))]


def description(table_id: int, schema: str, table: str, columns: Sequence[Described]) -> bytes:
    """The body of a table's description, with names; its first column is the key."""
    body = table_id.to_bytes(6, "little") + bytes(2)
    body += _named(schema) + b"\0" + _named(table) + b"\0"
    body += bytes((len(columns),)) + bytes(column.type for column in columns)
    metadata = b"".join(column.metadata for column in columns)
    body += bytes((len(metadata),)) + metadata + bytes((len(columns) + 7) // 8)

    names = b"".join(_named(column.name) for column in columns)
    for field, data in ((2, bytes((UTF8MB4,))), (4, names), (8, b"\0")):
        body += bytes((field, len(data))) + data
    return body


def row_event(kind: int, table_id: int, count: int, rows: Sequence[bytes]) -> bytes:
    """The body of an event of rows that have so many columns, each row as `packed_row` has it."""
    size = (count + 7) // 8
    every = b"\xff" * size * (2 if kind == UPDATE_ROWS else 1)
    head = table_id.to_bytes(6, "little") + bytes(2) + (2).to_bytes(2, "little")
    return head + bytes((count,)) + every + b"".join(rows)


def packed_row(values: Sequence[bytes | None]) -> bytes:
    """A row of values as they are packed; None is NULL."""
    nulls = 0
    for place, value in enumerate(values):
        if value is None:
            nulls |= 1 << place
    present = [value for value in values if value is not None]
    return nulls.to_bytes((len(values) + 7) // 8, "little") + b"".join(present)


def packed_decimal(precision: int, scale: int, value: int) -> bytes:
    """A DECIMAL, given as its digits without a point: groups of nine, the shorter ones outside."""
    whole = precision - scale
    digits = f"{abs(value):0{precision}d}"
    first = whole % 9
    parts = [digits[:first]] if first else []
    parts += [digits[start : start + 9] for start in range(first, whole, 9)]
    parts += [digits[start : start + 9] for start in range(whole, precision, 9)]
    raw = b"".join(int(part).to_bytes(_GROUP_BYTES[len(part)], "big") for part in parts)
    if value < 0:
        raw = bytes(byte ^ 0xFF for byte in raw)
    return bytes((raw[0] ^ 0x80,)) + raw[1:]


def text(value: str, length_bytes: int = 1) -> bytes:
    """A text with its length before it."""
    raw = value.encode()
    return len(raw).to_bytes(length_bytes, "little") + raw


# The table of the benches, as MariaDB and MySQL describe it
BENCH = (
    Described("id", types.LONGLONG),
    Described("name", types.VARCHAR, (400).to_bytes(2, "little")),
    Described("number", types.VARCHAR, (72).to_bytes(2, "little")),
    Described("district", types.VARCHAR, (24).to_bytes(2, "little")),
    Described("address", types.BLOB, b"\2"),
    Described("balance", types.NEWDECIMAL, b"\x10\2"),
    Described("valid", types.TINY),
    Described("born", types.TIMESTAMP2, b"\6"),
    Described("changed", types.TIMESTAMP2, b"\6"),
    Described("version", types.LONG),
)


def bench_row(number: int) -> bytes:
    """A row of it, of about 400 bytes as JSON."""
    values = (
        number.to_bytes(8, "little"),
        text(f"张三{number}", 2),
        text(f"{number:018d}"),
        text("310105"),
        text("长宁区" + f"{number:032x}" * 5, 2),
        packed_decimal(16, 2, number * 100 // 7),
        bytes((number % 2,)),
        (31_536_000 + number * 3600).to_bytes(4, "big") + bytes(3),
        (1_767_225_600 + number).to_bytes(4, "big") + bytes(3),
        (number % 100).to_bytes(4, "little"),
    )
    return packed_row(values)


def _named(name: str) -> bytes:
    raw = name.encode()
    return bytes((len(raw),)) + raw

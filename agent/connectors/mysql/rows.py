"""Reads the rows of an event with the readers of its table's columns."""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from agent.connectors.mysql import event_types as types
from agent.connectors.mysql.charsets import NoText
from agent.connectors.mysql.columns import ColumnReader
from agent.connectors.mysql.compression import unpacked
from agent.connectors.mysql.packing import Damaged, number, packed
from agent.connectors.mysql.table_map import TABLE_ID_BYTES

_MOST_COLUMNS: Final = 4096  # of a table in either server
_EXTRA: Final = 2  # bytes of the length of version 2's extra data, which counts itself
Values = tuple[str | None, ...]
Images = tuple[Values | None, Values | None]  # before and after


class Partial(ValueError):
    """Rows without all their columns: a session's `binlog_row_image` is not FULL."""


class Unreadable(ValueError):
    """A value without canonical text; `place` is its column's."""

    def __init__(self, place: int) -> None:
        super().__init__(f"column {place}")
        self.place = place


class RowsHead(NamedTuple):
    """Where the rows of an event begin, and what they are."""

    table_id: int
    op: str  # I, U or D
    columns: int
    start: int
    is_compressed: bool


def head_of(kind: int, body: bytes) -> RowsHead:
    """Reads what comes before the rows. Raises Damaged, Partial."""
    op, is_second_version, is_compressed = types.ROWS[kind]
    table_id = number(body, 0, TABLE_ID_BYTES)
    start = TABLE_ID_BYTES + 2
    if is_second_version:
        extra = number(body, start, _EXTRA)
        if extra < _EXTRA:
            raise Damaged("the extra data of rows is shorter than its length")
        start += extra

    count, start = packed(body, start)
    if count > _MOST_COLUMNS:
        raise Damaged("rows of more columns than a table has")
    size = (count + 7) // 8
    every = (1 << count) - 1
    for _ in range(2 if op == types.UPDATE else 1):
        # The bits behind the last column mean nothing
        if number(body, start, size) & every != every:
            raise Partial
        start += size
    return RowsHead(table_id, op, count, start, is_compressed)


def rows_of(head: RowsHead, body: bytes, readers: Sequence[ColumnReader | int]) -> list[Images]:
    """Reads the rows; of a column whose reader is a number nobody wants the values.

    That number is the column's `extent` as `skipping` gives it. Raises Damaged, Unreadable.
    """
    if len(readers) != head.columns:
        raise Damaged("rows of another number of columns than their table has")
    data, start = body, head.start
    if head.is_compressed:
        data, start = unpacked(body[start:]), 0

    found: list[Images] = []
    while start < len(data):
        before: Values | None = None
        after: Values | None = None
        if head.op != types.INSERT:
            before, start = _row(data, start, readers)
        if head.op != types.DELETE:
            after, start = _row(data, start, readers)
        found.append((before, after))
    if start != len(data):
        raise Damaged("a row leads past the end of its event")
    return found


def skipping(width: int, length_bytes: int) -> int:
    """Returns how values that nobody wants are passed over, as one number.

    It is their width, or below zero the bytes of the length before them.
    """
    return width if width >= 0 else -length_bytes


def _row(data: bytes, start: int, readers: Sequence[ColumnReader | int]) -> tuple[Values, int]:
    """Reads one row; returns the values that are wanted, and where the next row begins.

    These are the hottest lines of the log's reader.
    """
    size = (len(readers) + 7) // 8
    nulls = number(data, start, size)
    start += size

    values: list[str | None] = []
    end = start
    place = -1
    try:
        for reader in readers:
            place += 1
            is_null = nulls and nulls >> place & 1
            if isinstance(reader, int):
                if is_null:
                    continue
                if reader < 0:
                    start += int.from_bytes(data[start : start - reader], "little") - reader
                else:
                    start += reader
                continue
            if is_null:
                values.append(None)
                continue

            width, length_bytes, write = reader
            if length_bytes == 1:  # one look at a byte is quicker than a number of bytes
                width = data[start]
            elif length_bytes:
                width = int.from_bytes(data[start : start + length_bytes], "little")
            start += length_bytes
            end = start + width
            values.append(write(data[start:end]))
            start = end
    except NoText:
        raise Unreadable(place) from None
    except (IndexError, ValueError, struct.error):
        if start >= len(data) or end > len(data):
            raise Damaged("a value leads past the end") from None
        raise
    if start > len(data):
        raise Damaged("a row leads past the end of its event")
    return tuple(values), start

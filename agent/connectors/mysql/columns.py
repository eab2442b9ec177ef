"""Makes what reads one column of a table's rows, once for each description of the table.

A value is found by its width or by the length before it, and its bytes are written as canonical
text: the text that a page of the same table has for the value.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from agent.connectors.mysql import table_map as types
from agent.connectors.mysql import temporals
from agent.connectors.mysql.binary_json import json_text
from agent.connectors.mysql.charsets import BINARY, NoText, text_decoder
from agent.connectors.mysql.decimals import decimal_bytes, decimal_writer
from agent.connectors.mysql.table_map import LoggedColumn
from agent.values.column_types import FLOAT4_ARRAY, INET, TEXT, UUID
from agent.values.floats import FLOAT8_DIGITS, float4_text, float_writer
from agent.values.writing import inet_text, uuid_text, vector_text

Write = Callable[[bytes], str | None]

_float8_text = float_writer(FLOAT8_DIGITS)
_INTEGERS: Final = {
    types.TINY: 1,
    types.SHORT: 2,
    types.INT24: 3,
    types.LONG: 4,
    types.LONGLONG: 8,
}
_UUID_BYTES: Final = 16
_SHORT_LENGTH: Final = 256  # from so many bytes on, a length takes two bytes
_BLOBS: Final = frozenset(
    (types.BLOB, types.BLOB_COMPRESSED, types.GEOMETRY, types.JSON, types.VECTOR)
)
_CHARACTERS: Final = frozenset((types.VARCHAR, types.VAR_STRING, types.STRING))


class Unsupported(ValueError):
    """A column whose values this reader does not know; the text names the type."""


class ColumnReader(NamedTuple):
    """How the values of a column are found, and written."""

    width: int  # bytes of each value; -1: a length stands before it
    length_bytes: int  # of that length
    write: Write  # raises NoText; None is NULL


def column_reader(
    column: LoggedColumn,
    charsets: Mapping[int, str],
    type_oid: int = 0,
    *,
    zero_is_null: bool = False,
) -> ColumnReader:
    """Returns what reads a column.

    `charsets`: the server's character set of each collation's id. `type_oid`: of the column in the
    catalogue; the log does not tell MariaDB's UUID, INET and VECTOR from bytes. A day as
    a text is one that may be none. `zero_is_null`: a day that is none is NULL. Raises Unsupported.
    """
    write = _writer(column, charsets)
    if type_oid == UUID:
        write = _uuid
    elif type_oid == INET:
        write = _address_writer(_longest(column))
    elif type_oid == FLOAT4_ARRAY:
        write = _vector
    elif column.type in _SPELLED:
        if type_oid == TEXT:
            write = _SPELLED[column.type](column.metadata)
        elif zero_is_null:
            write = _null_writer(write)
    return ColumnReader(*extent(column), write)


def extent(column: LoggedColumn) -> tuple[int, int]:
    """Returns the width of a column's values, or -1, and the bytes of the length before them.

    Raises Unsupported.
    """
    kind, metadata = column.type, column.metadata
    if kind in _INTEGERS:
        return _INTEGERS[kind], 0
    if kind in _CHARACTERS:
        longest = _longest(column)
        return -1, 1 if longest < _SHORT_LENGTH else 2
    if kind in _BLOBS:
        return -1, metadata
    if kind == types.VARCHAR_COMPRESSED:
        return -1, 1 if metadata < _SHORT_LENGTH else 2

    width = _width(kind, metadata)
    if width is None:
        raise Unsupported(_name(kind))
    return width, 0


def _width(kind: int, metadata: int) -> int | None:  # noqa: PLR0911 - one for each type
    """Returns the bytes of each value; None for a type that is not supported."""
    if kind in _WIDTHS:
        return _WIDTHS[kind]
    match kind:
        case types.NEWDECIMAL:
            return decimal_bytes(metadata >> 8, metadata & 0xFF)
        case types.TIME2:
            return 3 + temporals.fraction_bytes(metadata)
        case types.DATETIME2:
            return 5 + temporals.fraction_bytes(metadata)
        case types.TIMESTAMP2:
            return 4 + temporals.fraction_bytes(metadata)
        case types.BIT:
            return (_bit_count(metadata) + 7) // 8
        case types.ENUM | types.SET:
            return metadata & 0xFF
    return None


def _writer(column: LoggedColumn, charsets: Mapping[int, str]) -> Write:
    kind = column.type
    if kind in _INTEGERS:
        return _unsigned if column.unsigned else _signed
    if kind in _CHARACTERS or kind == types.BLOB:
        return _characters(column, charsets)
    if kind == types.ENUM:
        return _enum_writer(_texts(column, charsets))
    if kind == types.SET:
        return _set_writer(_texts(column, charsets))
    if kind in _WRITERS:
        return _WRITERS[kind]
    if kind in _MADE:
        return _MADE[kind](column.metadata)
    raise Unsupported(_name(kind))


def _null_writer(written: Write) -> Write:
    """Returns a writer that makes NULL of what has no text."""

    def write(raw: bytes) -> str | None:
        try:
            return written(raw)
        except NoText:
            return None

    return write


# ---- numbers


def _signed(raw: bytes) -> str:
    return str(int.from_bytes(raw, "little", signed=True))


def _unsigned(raw: bytes) -> str:
    return str(int.from_bytes(raw, "little"))


def _float(raw: bytes) -> str:
    (value,) = struct.unpack("<f", raw)
    return float4_text(value)


def _double(raw: bytes) -> str:
    (value,) = struct.unpack("<d", raw)
    return _float8_text(value)


def _bit_count(metadata: int) -> int:
    return (metadata & 0xFF) + 8 * (metadata >> 8)


def _bit(raw: bytes) -> str:
    return "t" if raw[0] else "f"


def _bits(raw: bytes) -> str:
    return str(int.from_bytes(raw, "big"))


def _bits_writer(metadata: int) -> Write:
    return _bit if _bit_count(metadata) == 1 else _bits


def _decimal_writer(metadata: int) -> Write:
    return decimal_writer(metadata >> 8, metadata & 0xFF)


# ---- texts and bytes


def _longest(column: LoggedColumn) -> int:
    """Returns the most bytes a value has. Two bits of a CHAR's stand in the byte of the type."""
    if column.type == types.VARCHAR:
        return column.metadata
    kind, low = column.metadata >> 8, column.metadata & 0xFF
    return ((kind & 0x30) ^ 0x30) << 4 | low


def _characters(column: LoggedColumn, charsets: Mapping[int, str]) -> Write:
    if column.collation in (BINARY, 0):
        if column.type == types.STRING:
            return _padded_writer(_longest(column))
        return _hex
    decode = text_decoder(charsets.get(column.collation, ""))
    if decode is None:
        raise Unsupported(f"collation {column.collation}")
    return decode


def _hex(raw: bytes) -> str:
    return "\\x" + raw.hex()


def _uuid(raw: bytes) -> str:
    return uuid_text(raw.ljust(_UUID_BYTES, b"\0"))


def _address_writer(size: int) -> Write:
    """Returns a writer of INET4 or INET6, which have so many bytes."""

    def write(raw: bytes) -> str:
        return inet_text(raw.ljust(size, b"\0"))

    return write


def _vector(raw: bytes) -> str:
    try:
        return vector_text(raw)
    except ValueError:
        raise NoText from None


def _padded_writer(size: int) -> Write:
    """Returns a writer of BINARY(n): the log leaves out the zero bytes at its end."""

    def write(raw: bytes) -> str:
        return "\\x" + raw.ljust(size, b"\0").hex()

    return write


# ---- ENUM and SET


def _texts(column: LoggedColumn, charsets: Mapping[int, str]) -> list[str]:
    decode = text_decoder(charsets.get(column.collation, ""))
    if decode is None:
        raise Unsupported(f"collation {column.collation}")
    return [decode(text) for text in column.texts]


def _enum_writer(texts: list[str]) -> Write:
    """Returns a writer of ENUM, whose values are counted from 1; 0 is the empty text."""
    counted = ["", *texts]

    def write(raw: bytes) -> str:
        number = int.from_bytes(raw, "little")
        if number >= len(counted):
            raise NoText
        return counted[number]

    return write


def _set_writer(texts: list[str]) -> Write:
    """Returns a writer of SET, which has one bit for each of its texts."""

    def write(raw: bytes) -> str:
        bits = int.from_bytes(raw, "little")
        if bits >> len(texts):
            raise NoText
        chosen = []
        for place, text in enumerate(texts):
            if bits >> place & 1:
                chosen.append(text)
        return ",".join(chosen)

    return write


def _spelled_date_writer(_metadata: int) -> Write:
    return temporals.spelled_date_text


# ---- by type

_WIDTHS: Final = {
    types.FLOAT: 4,
    types.DOUBLE: 8,
    types.YEAR: 1,
    types.DATE: 3,
    types.NEWDATE: 3,
}
_WRITERS: Final[dict[int, Write]] = {
    types.FLOAT: _float,
    types.DOUBLE: _double,
    types.YEAR: temporals.year_text,
    types.DATE: temporals.date_text,
    types.NEWDATE: temporals.date_text,
    types.JSON: json_text,
    types.GEOMETRY: _hex,
    types.VECTOR: _vector,
}
# Types whose writer depends on their digits or bits
_MADE: Final[dict[int, Callable[[int], Write]]] = {
    types.NEWDECIMAL: _decimal_writer,
    types.TIME2: temporals.time_writer,
    types.DATETIME2: temporals.datetime_writer,
    types.TIMESTAMP2: temporals.timestamp_writer,
    types.BIT: _bits_writer,
}
# Of days that may be none
_SPELLED: Final[dict[int, Callable[[int], Write]]] = {
    types.DATE: _spelled_date_writer,
    types.NEWDATE: _spelled_date_writer,
    types.DATETIME2: temporals.spelled_datetime_writer,
    types.TIMESTAMP2: temporals.spelled_timestamp_writer,
}
_NAMES: Final = {
    types.TIMESTAMP: "TIMESTAMP of an old format",
    types.TIME: "TIME of an old format",
    types.DATETIME: "DATETIME of an old format",
    types.BLOB_COMPRESSED: "BLOB COMPRESSED",
    types.VARCHAR_COMPRESSED: "VARCHAR COMPRESSED",
}


def _name(kind: int) -> str:
    return _NAMES.get(kind, f"type {kind}")

"""Writers: turn what a database driver hands out into the canonical text of a value.

A driver gives numbers, dates and bytes as Python objects. NULL (None) is the caller's affair.
"""

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any
from uuid import UUID

from agent.values import column_types as v
from agent.values.column_types import Type
from agent.values.floats import FLOAT4_DIGITS, FLOAT8_DIGITS, float4_text, float_writer
from agent.values.json_text import json_text, jsonb_text

Writer = Callable[[Any], str]

_IPV4_BYTES = 4
_FLOAT4_BYTES = 4
_EXACT = Context(prec=200_000)  # more digits than a numeric has: nothing is rounded in silence


def integer_text(value: Any) -> str:
    """Writes an integer; a bool, which some drivers give for it, is 1 or 0."""
    return str(int(value))


def boolean_text(value: Any) -> str:
    """Writes a boolean that was read as a bool or as a number."""
    return "t" if value else "f"


def decimal_text(value: Any) -> str:
    """Writes a decimal with the digits it has, never with an exponent."""
    if isinstance(value, float):
        value = repr(value)
    number = Decimal(value)
    if number.is_nan():
        return "NaN"
    if not number:  # zero has no sign
        number = number.copy_abs()
    return format(number, "f") if number.is_finite() else str(number)


def decimal_writer(scale: int) -> Writer:
    """Returns a writer of decimals with `scale` digits after the point.

    A column with a larger scale holds 5.00 as 5.0000. Digits that are not zero are all kept.
    """
    unit = Decimal(1).scaleb(-scale)

    def write(value: Decimal) -> str:
        number = value.quantize(unit, context=_EXACT)
        return format(number if number == value else value, "f")

    return write


def date_text(value: Any) -> str:
    """Writes a date; what the driver does not take for one, such as a zero date, stays as it is."""
    return value.isoformat() if isinstance(value, date) else str(value)


def time_text(value: Any) -> str:
    """Writes a time of day. As a duration, 24:00:00 is a time of its own."""
    if isinstance(value, time):
        return _without_zeros(value.isoformat(), value.microsecond)
    if not isinstance(value, timedelta):
        return str(value)
    seconds, micros = divmod(value // timedelta(microseconds=1), 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return _without_zeros(f"{text}.{micros:06d}", micros) if micros else text


def datetime_text(value: Any) -> str:
    """Writes a date and time without a zone; a zero date that somebody wrote stays as it is."""
    if not isinstance(value, datetime):
        return str(value)
    return _without_zeros(value.isoformat(" "), value.microsecond)


def instant_text(value: Any) -> str:
    """Writes a moment in UTC; one without a zone was read in UTC."""
    if not isinstance(value, datetime):
        return str(value)
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return datetime_text(value) + "+00"


def _without_zeros(text: str, micros: int) -> str:
    return text.rstrip("0") if micros else text


def bytes_text(value: Any) -> str:
    """Writes bytes in hex."""
    return "\\x" + str(value.hex())


def uuid_text(value: Any) -> str:
    """Writes a UUID that was read as one, as its text, or as its 16 bytes."""
    if isinstance(value, bytes):
        value = UUID(bytes=value)
    return str(value if isinstance(value, UUID) else UUID(value))


def inet_text(value: str | bytes) -> str:
    """Writes an IP address that was read as its text, or as its 4 or 16 bytes.

    PostgreSQL and the C library spell it in the same way: see src/port/inet_net_ntop.c there.
    Raises ValueError for what is no address.
    """
    try:
        if isinstance(value, str):
            family = AF_INET6 if ":" in value else AF_INET
            return inet_ntop(family, inet_pton(family, value))
        return inet_ntop(AF_INET if len(value) == _IPV4_BYTES else AF_INET6, value)
    except OSError:
        raise ValueError("no address") from None


def vector_text(value: bytes) -> str:
    """Writes floats of four bytes, the lowest first, as PostgreSQL's array of them.

    Raises ValueError where the last one is not whole.
    """
    if len(value) % _FLOAT4_BYTES:
        raise ValueError("no vector")
    numbers = struct.unpack(f"<{len(value) // _FLOAT4_BYTES}f", value)
    return "{" + ",".join([float4_text(number) for number in numbers]) + "}"


_WRITERS: dict[int, Writer] = {
    v.BOOL: boolean_text,
    v.INT2: integer_text,
    v.INT4: integer_text,
    v.INT8: integer_text,
    v.OID: integer_text,
    v.FLOAT4: float_writer(FLOAT4_DIGITS),
    v.FLOAT8: float_writer(FLOAT8_DIGITS),
    v.NUMERIC: decimal_text,
    v.BYTEA: bytes_text,
    v.DATE: date_text,
    v.TIME: time_text,
    v.TIMESTAMP: datetime_text,
    v.TIMESTAMPTZ: instant_text,
    v.UUID: uuid_text,
    v.JSON: json_text,
    v.JSONB: jsonb_text,
}


def writer(column: Type) -> Writer:
    """Returns the writer of a type's values; of the other types a driver hands out the text."""
    if column.elements or not column.builtin:
        return str
    return _WRITERS.get(column.oid, str)

"""The kinds of columns that several databases have, with writers that refuse what has no text.

A writer raises ValueError or TypeError rather than write a value as another one.
"""

import struct
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from agent.connectors.dialects.base import Kind
from agent.values import column_types as v
from agent.values import writing
from agent.values.floats import FLOAT8_DIGITS, float4_text, float_writer
from agent.values.json_text import is_json, json_text

_DAY = timedelta(days=1)
_ZONE = "+00"
_MICROSECONDS = 6  # digits

_float8_text = float_writer(FLOAT8_DIGITS)


# ---- writers


class Absent(ValueError):
    """A value that stands for none: it is read as NULL."""


def text(value: Any) -> str:
    """Writes a text. One with a NUL character has no canonical text."""
    if not isinstance(value, str):
        raise TypeError("no text")
    if "\0" in value:
        raise ValueError("a NUL character")
    return value


def unpadded(value: Any) -> str:
    """Writes a text of a fixed length: blanks at its end are no part of the value."""
    return text(value).rstrip(" ")


def whole_number(value: Any) -> str:
    """Writes an integer."""
    if not isinstance(value, int):
        raise TypeError("no integer")
    return writing.integer_text(value)


def number(value: Any) -> str:
    """Writes a decimal, with the digits that it has."""
    if not isinstance(value, int | float | Decimal):
        raise TypeError("no number")
    return writing.decimal_text(value)


def double(value: Any) -> str:
    """Writes a float of eight bytes."""
    if not isinstance(value, int | float):
        raise TypeError("no number")
    return _float8_text(float(value))


def single(value: Any) -> str:
    """Writes a float of four bytes that was read as one of eight."""
    if not isinstance(value, int | float):
        raise TypeError("no number")
    return float4_text(value)


def truth(value: Any) -> str:
    """Writes a boolean that was read as one, or as 0 or 1."""
    if value not in (0, 1):
        raise ValueError("neither true nor false")
    return writing.boolean_text(value)


def day(value: Any) -> str:
    """Writes a date; a zero date is none."""
    if not isinstance(value, date) or isinstance(value, datetime):
        raise TypeError("no date")
    return writing.date_text(value)


def moment(value: Any) -> str:
    """Writes a date and time without a zone; a zero date is none."""
    if not isinstance(value, datetime) or value.tzinfo is not None:
        raise TypeError("no date and time")
    return writing.datetime_text(value)


def instant(value: Any) -> str:
    """Writes a date and time in UTC; one without a zone was read in UTC."""
    if not isinstance(value, datetime):
        raise TypeError("no date and time")
    return writing.instant_text(value)


def time_of_day(value: Any) -> str:
    """Writes a time of day. A duration of a day at the most is one, too."""
    if isinstance(value, timedelta) and not timedelta() <= value <= _DAY:
        raise ValueError("no time of day")
    if isinstance(value, str):
        raise TypeError("no time of day")
    return writing.time_text(value)


def octets(value: Any) -> str:
    """Writes bytes."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("no bytes")
    return writing.bytes_text(bytes(value))


def address(value: Any) -> str:
    """Writes an IP address that was read as a text."""
    if not isinstance(value, str):
        raise TypeError("no address")
    return writing.inet_text(value)


def vector(value: Any) -> str:
    """Writes floats of four bytes that were read as bytes."""
    if not isinstance(value, bytes):
        raise TypeError("no bytes")
    return writing.vector_text(value)


def json(value: Any) -> str:
    """Writes JSON, as it is where it was read as a text."""
    found = json_text(value)
    if not is_json(found):
        raise ValueError("no JSON")
    return found


# ---- values that the database itself writes as texts


def from_text(kind: Kind, parse: Callable[[str], Any]) -> Kind:
    """Returns a kind whose values are read as texts. A value that is none is written as it is."""

    def write(value: Any) -> str:
        return kind.write(parse(value) if isinstance(value, str) else value)

    return kind._replace(write=write)


def moment_of(text: str) -> datetime:
    """Reads a date and time, such as 2024-02-29 03:04:05.120000000. Nothing is cut off."""
    whole, _, digits = text.strip().partition(".")
    if digits[_MICROSECONDS:].strip("0"):
        raise ValueError("finer than a microsecond")
    return datetime.fromisoformat(f"{whole}.{digits[:_MICROSECONDS]:0<6}")


# ---- the way back


def bytes_of(canonical: str) -> bytes:
    """Returns the bytes of a canonical text."""
    return bytes.fromhex(canonical[2:])


def vector_of(canonical: str) -> bytes:
    """Returns the bytes of a canonical array of floats of four bytes."""
    numbers = [float(part) for part in canonical[1:-1].split(",") if part]
    return struct.pack(f"<{len(numbers)}f", *numbers)


def unzoned(canonical: str) -> str:
    """Returns a date and time in UTC without its zone."""
    return canonical.removesuffix(_ZONE)


def padded(canonical: str) -> str | None:
    """Returns a date and time with six digits of a second and without a zone.

    None for one that only PostgreSQL has, such as infinity or a year before 1.
    """
    whole, _, digits = unzoned(canonical).partition(".")
    try:
        datetime.fromisoformat(whole)
    except ValueError:
        return None
    return f"{whole}.{digits:0<6}"


# ---- kinds


def plain(
    oid: int, name: str, write: Callable[[Any], str], bind: Callable[[str], Any] = str
) -> Kind:
    """Makes a kind whose column is selected as it is."""
    return Kind(oid, name, write, bind)


TEXT = plain(v.TEXT, "text", text)
BOOL = plain(v.BOOL, "boolean", truth, lambda canonical: int(canonical == "t"))
INT2 = plain(v.INT2, "smallint", whole_number, int)
INT4 = plain(v.INT4, "integer", whole_number, int)
INT8 = plain(v.INT8, "bigint", whole_number, int)
NUMERIC = plain(v.NUMERIC, "numeric", number, Decimal)
FLOAT4 = plain(v.FLOAT4, "real", single, float)
FLOAT8 = plain(v.FLOAT8, "double precision", double, float)
DATE = plain(v.DATE, "date", day)
TIME = plain(v.TIME, "time without time zone", time_of_day)
TIMESTAMP = plain(v.TIMESTAMP, "timestamp without time zone", moment)
TIMESTAMPTZ = plain(v.TIMESTAMPTZ, "timestamp with time zone", instant, unzoned)
BYTEA = plain(v.BYTEA, "bytea", octets, bytes_of)
UUID = plain(v.UUID, "uuid", writing.uuid_text)
INET = plain(v.INET, "inet", address)
JSON = plain(v.JSON, "json", json)
VECTOR = plain(v.FLOAT4_ARRAY, "real[]", vector, vector_of)._replace(
    elements=(v.Element(v.FLOAT4),)
)


def varchar(length: int | None) -> Kind:
    """Returns the kind of texts of at most so many characters."""
    if not length:
        return TEXT
    return TEXT._replace(oid=v.VARCHAR, name=f"character varying({length})")


def numeric(precision: int | None, scale: int | None) -> Kind:
    """Returns the kind of decimals with so many digits, of which so many follow the point."""
    if precision is None:
        return NUMERIC
    digits = scale or 0
    write = writing.decimal_writer(digits)

    def written(value: Any) -> str:
        if not isinstance(value, Decimal | int):
            raise TypeError("no decimal")
        # Zero has no sign
        exact = Decimal(value)
        return write(exact or exact.copy_abs())

    return NUMERIC._replace(name=f"numeric({precision},{digits})", write=written)

"""The forms events carry (docs/events.md), computed anew from what a database holds."""

from base64 import b64encode
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

BOOL, BYTEA, MONEY, DATE, TIMESTAMP, TIMESTAMPTZ, TIMETZ = 16, 17, 790, 1082, 1114, 1184, 1266
INTEGERS, FLOATS, TIMES = (20, 21, 23, 26), (700, 701), (DATE, TIMESTAMP, TIMESTAMPTZ)
NUMERIC = 1700
# By the word with which SQLite or MariaDB declares a column
DECLARED = {
    "TINYINT": 21,
    "DOUBLE": 701,
    "BIGINT": 20,
    "INTEGER": 20,
    "INT": 20,
    "TEXT": 25,
    "VARCHAR": 25,
    "CHAR": 25,
    "LONGTEXT": 25,
    "ENUM": 25,
    "SET": 25,
    "BLOB": BYTEA,
    "LONGBLOB": BYTEA,
    "DECIMAL": NUMERIC,
    "REAL": 701,
    "BOOLEAN": BOOL,
    "DATE": DATE,
    "DATETIME": TIMESTAMP,
    "TIMESTAMP": TIMESTAMPTZ,
}
TRUTH = {"t": True, "f": False, 1: True, 0: False}


class ValueType(NamedTuple):
    """What a column holds: a base type, or an array of such."""

    oid: int
    held: "ValueType | None" = None  # what the array holds
    delimiter: str = ","  # between values of this type in an array


def form(kind: ValueType, value: Any) -> Any:
    """Returns the form an event carries, from PostgreSQL's text or from what SQLite holds.

    What cannot be a value of the type stays as it is, and so differs.
    """
    try:
        return _form(kind, value)
    except (ValueError, IndexError):
        return value


def _form(kind: ValueType, value: Any) -> Any:  # noqa: PLR0911 - one for each type
    oid = kind.oid
    if value is None:
        return None
    if kind.held is not None:
        return _array(kind.held, value)
    if oid == BOOL:
        return TRUTH.get(value, value)
    if oid in INTEGERS:
        return int(value) if isinstance(value, str | int) else value
    if oid in FLOATS:
        # Neither SQLite nor JSON numbers need keep the sign of zero
        return value if value in ("NaN", "Infinity", "-Infinity") else float(value) + 0.0
    if oid == NUMERIC and isinstance(value, int | float):
        return f"{Decimal(repr(value)):f}"  # a source in SQLite keeps them so
    if oid == BYTEA:
        data = bytes.fromhex(value.removeprefix("\\x")) if isinstance(value, str) else value
        return b64encode(data).decode() if isinstance(data, bytes) else value
    if oid == MONEY:
        # Servers of the tests have no other currency
        return value.replace("$", "").replace(",", "")
    if oid == TIMETZ:
        return value if ":" in value[max(value.rfind("+"), value.rfind("-")) :] else f"{value}:00"
    return moment(value, oid == TIMESTAMPTZ) if oid in TIMES and isinstance(value, str) else value


def in_texts(value: Any, zoned: bool) -> Any:
    """Returns what a native column of MariaDB holds, as PostgreSQL would write it.

    Numbers of floats and integers stay numbers.
    """
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        text = f"{value:%H:%M:%S}" + (
            f".{value.microsecond:06d}".rstrip("0") if value.microsecond else ""
        )
        return f"{value.date().isoformat()} {text}{'+00' if zoned else ''}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        minutes, seconds = divmod(value, timedelta(minutes=1))
        text = f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds.seconds:02d}"
        return text + (f".{seconds.microseconds:06d}".rstrip("0") if seconds.microseconds else "")
    return value


def moment(text: str, zoned: bool) -> str:
    """Returns ISO 8601 of a date or time.

    Years that have no four digits are expanded years.
    """
    if text.endswith("infinity"):
        return text
    year_text, rest = text.removesuffix(" BC").split("-", 1)
    year = 1 - int(year_text) if text.endswith(" BC") else int(year_text)
    written = f"{year:04d}" if 1 <= year <= 9999 else f"{year:+07d}"
    rest = rest.replace(" ", "T", 1)
    return f"{written}-{rest.removesuffix('+00') + 'Z' if zoned else rest}"


def _array(held: ValueType, text: str) -> Any:
    """Returns an array letter by letter, as tuples.

    It is the text itself where an index does not begin at 1.
    """
    if text.startswith("["):
        return text
    value, end = _dimension(held, text, 1)
    if end != len(text):
        raise ValueError("the array goes on")
    return value


def _dimension(held: ValueType, text: str, at: int) -> tuple[Any, int]:
    """Returns what stands after an opening brace, and the place behind the closing one."""
    found: list[Any] = []
    while text[at] != "}":
        if text[at] == "{":
            inner, at = _dimension(held, text, at + 1)
            found.append(inner)
        elif text[at] == '"':
            letters, at = [], at + 1
            while text[at] != '"':
                at += text[at] == "\\"
                letters.append(text[at])
                at += 1
            found.append(form(held, "".join(letters)))
            at += 1
        else:
            start = at
            while text[at] not in (held.delimiter, "}"):
                at += 1
            found.append(None if text[start:at] == "NULL" else form(held, text[start:at]))
        at += text[at] == held.delimiter
    return tuple(found), at + 1


def from_json(kind: ValueType, value: Any) -> Any:
    """Returns what an event carries, as `form` gives it.

    A JSON number of a float column may look like an integer.
    """
    if isinstance(value, list):
        return tuple([from_json(kind, one) for one in value])
    while kind.held is not None:
        kind = kind.held
    return float(value) + 0.0 if kind.oid in FLOATS and isinstance(value, int | float) else value

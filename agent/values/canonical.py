"""Canonical texts: what PostgreSQL writes for a value under these session settings.

Two rows are equal if their texts are, so one value must have one text. A source that does not read
PostgreSQL writes them itself (`writing`); `canonical` tells whether it has written the right ones.
"""

import re
from collections.abc import Callable
from fractions import Fraction

from agent.values import column_types as v
from agent.values.column_types import Type
from agent.values.floats import FLOAT8_DIGITS, float4_text, float_writer
from agent.values.json_text import is_json, jsonb_text

# Settings of every connection that reads rows, so that one value has one text.
SESSION = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
}

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_NUMERIC = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_BYTES = re.compile(r"\\x(?:[0-9a-f]{2})*")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_YEAR = r"([0-9]{4}|[1-9][0-9]{4,6})"
_DAY = r"-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{0,5}[1-9])?"
_DATE_OR_MOMENT = re.compile(rf"{_YEAR}{_DAY}(?: ({_TIME}(?:\+00)?))?( BC)?")
_TIME_OF_DAY = re.compile(rf"{_TIME}|24:00:00")
_OFFSET = r"[+-](?:0[0-9]|1[0-5])(?::[0-5][0-9](?::[0-5][0-9])?)?"
_TIME_WITH_ZONE = re.compile(rf"(?:{_TIME}|24:00:00)({_OFFSET})")
_USELESS_OFFSET = re.compile(r"-00(?:|:00|:00:00)|.*:00")
_INTERVAL = re.compile(
    r"P(?:(-?[1-9][0-9]*)Y)?(?:(-?[1-9][0-9]?)M)?(?:-?[1-9][0-9]*D)?"
    r"(T(?:(-?[1-9][0-9]*)H)?(?:(-?[1-9][0-9]?)M)?(?:(-?[0-9]{1,2}(?:\.[0-9]{0,5}[1-9])?)S)?)?"
)
_SIZED = re.compile(r"\(([0-9]+)(?:,(-?[0-9]+))?\)")

_RANGES = {
    v.INT2: range(-(2**15), 2**15),
    v.INT4: range(-(2**31), 2**31),
    v.INT8: range(-(2**63), 2**63),
    v.OID: range(2**32),
}
_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")
_INFINITIES = ("infinity", "-infinity")
_FIRST_YEAR = -4713  # 4714 BC
_LAST_YEARS = {v.DATE: 5_874_897, v.TIMESTAMP: 294_276, v.TIMESTAMPTZ: 294_276}
_NAME_BYTES = 63
_float8_text = float_writer(FLOAT8_DIGITS)


def canonical(text: str, column: Type) -> bool:
    """Tells whether a text is exactly what PostgreSQL writes for some value of a type.

    Of an array, of money (whose text is a matter of the locale) and of types without a rule here
    every text counts that PostgreSQL can store.
    """
    if "\0" in text or not _encodable(text):
        return False
    if column.elements or not column.builtin:
        return True
    rule = _RULES.get(column.oid)
    return rule is None or rule(text, column)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sizes(column: Type) -> tuple[int, int] | None:
    """The length, or precision and scale, that the type's name gives."""
    found = _SIZED.search(column.name)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _boolean(text: str, _column: Type) -> bool:
    return text in ("t", "f")


def _integer(text: str, column: Type) -> bool:
    return _INTEGER.fullmatch(text) is not None and int(text) in _RANGES[column.oid]


def _float(text: str, column: Type) -> bool:
    if text in _NO_NUMBERS:
        return True
    try:
        number = float(text)
        if column.oid == v.FLOAT4:
            return float4_text(number) == text
        return _float8_text(number) == text
    except (ValueError, OverflowError):
        return False


def _numeric(text: str, column: Type) -> bool:  # noqa: PLR0911 - one for each rule
    sizes = _sizes(column)
    if text in _NO_NUMBERS:
        # A numeric with a precision has no infinity
        return sizes is None or text == "NaN"

    parts = _NUMERIC.fullmatch(text)
    if parts is None:
        return False
    sign, whole, fraction = parts[1], parts[2], parts[3] or ""
    digits = (whole + fraction).lstrip("0")
    if sign and not digits:  # a numeric's zero has no sign
        return False
    if sizes is None:
        return True

    precision, scale = sizes
    if len(fraction) != max(scale, 0):
        return False
    rounded_off = max(-scale, 0)  # digits before the point that a negative scale makes zeros
    if digits and not digits.endswith("0" * rounded_off):
        return False
    return len(digits) - rounded_off <= precision


def _character(text: str, column: Type) -> bool:
    sizes = _sizes(column)
    return sizes is None or len(text) == sizes[0]


def _varying(text: str, column: Type) -> bool:
    sizes = _sizes(column)
    return sizes is None or len(text) <= sizes[0]


def _name(text: str, _column: Type) -> bool:
    return len(text.encode()) <= _NAME_BYTES


def _matching(pattern: re.Pattern[str]) -> Callable[[str, Type], bool]:
    return lambda text, _column: pattern.fullmatch(text) is not None


def _date_or_moment(text: str, column: Type) -> bool:  # noqa: PLR0911 - one for each rule
    if text in _INFINITIES:
        return True
    parts = _DATE_OR_MOMENT.fullmatch(text)
    if parts is None:
        return False

    time, zone = parts[4] or "", "+00" if column.oid == v.TIMESTAMPTZ else ""
    has_time = column.oid != v.DATE
    if bool(time) != has_time or time.endswith("+00") != bool(zone):
        return False

    year, month, day = int(parts[1]), int(parts[2]), int(parts[3])
    if year == 0:
        return False
    if parts[5]:
        year = 1 - year
    if not _FIRST_YEAR <= year <= _LAST_YEARS[column.oid]:
        return False
    if year == _FIRST_YEAR and (month, day) < (11, 24):
        return False
    return day <= _days(year, month)


def _days(year: int, month: int) -> int:
    """The days of a month in the Gregorian calendar, also before its time."""
    if month == 2:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 29 if leap else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _time_with_zone(text: str, _column: Type) -> bool:
    parts = _TIME_WITH_ZONE.fullmatch(text)
    return parts is not None and _USELESS_OFFSET.fullmatch(parts[1]) is None


def _interval(text: str, _column: Type) -> bool:
    if text in (*_INFINITIES, "PT0S"):
        return True
    parts = _INTERVAL.fullmatch(text)
    if parts is None or text.endswith(("P", "T")):
        return False

    years, months, _, hours, minutes, seconds = parts.groups()
    if seconds is not None and not _interval_seconds(seconds):
        return False
    if abs(int(months or 0)) >= 12 or abs(int(minutes or 0)) >= 60:
        return False
    return _one_sign(years, months) and _one_sign(hours, minutes, seconds)


def _interval_seconds(text: str) -> bool:
    """Seconds below a minute, not zero, and without a useless zero before them."""
    digits = text.removeprefix("-")
    useless_zero = len(digits) > 1 and digits[0] == "0" and digits[1] != "."
    return not useless_zero and 0 < Fraction(digits) < 60


def _one_sign(*parts: str | None) -> bool:
    """Whether all parts that are there have the same sign."""
    return len({part.startswith("-") for part in parts if part is not None}) <= 1


def _json(text: str, _column: Type) -> bool:
    return is_json(text)


def _jsonb(text: str, _column: Type) -> bool:
    try:
        return jsonb_text(text) == text and "\\u0000" not in text
    except (ValueError, RecursionError):
        return False


_RULES: dict[int, Callable[[str, Type], bool]] = {
    v.BOOL: _boolean,
    v.INT2: _integer,
    v.INT4: _integer,
    v.INT8: _integer,
    v.OID: _integer,
    v.FLOAT4: _float,
    v.FLOAT8: _float,
    v.NUMERIC: _numeric,
    v.BPCHAR: _character,
    v.VARCHAR: _varying,
    v.NAME: _name,
    v.BYTEA: _matching(_BYTES),
    v.DATE: _date_or_moment,
    v.TIMESTAMP: _date_or_moment,
    v.TIMESTAMPTZ: _date_or_moment,
    v.TIME: _matching(_TIME_OF_DAY),
    v.TIMETZ: _time_with_zone,
    v.INTERVAL: _interval,
    v.UUID: _matching(_UUID),
    v.JSON: _json,
    v.JSONB: _jsonb,
}

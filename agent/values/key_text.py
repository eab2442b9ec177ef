"""Turns the JSON form of a key back into canonical text.

The caller checks besides that the text gives the same JSON again.
"""

import re
from base64 import b64decode
from collections.abc import Callable

from agent.values.column_types import BYTEA, DATE, MONEY, TIMESTAMP, TIMESTAMPTZ, TIMETZ

_USUAL = re.compile(r"\d{4}-|-?infinity$")
_EXPANDED = re.compile(r"([+-]\d{6,})(-\d\d-\d\d.*)$", re.DOTALL)  # other years
_WHOLE_HOURS = re.compile(r"(.*[+-]\d\d):00$", re.DOTALL)


def text_of(value: object, type_oid: int, money_forms: tuple[str, ...] = ()) -> str:
    """Returns the text of a value of a key.

    Raises ValueError or TypeError where it cannot be told. `money_forms`: see SourceColumn.
    """
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise TypeError("a key holds no such value")
    if type_oid == MONEY:
        return _money(value, money_forms)
    if type_oid in (DATE, TIMESTAMP, TIMESTAMPTZ):
        return _date(value, type_oid)
    return _TEXTS.get(type_oid, str)(value)


def _bytes(value: str) -> str:
    return "\\x" + b64decode(value, validate=True).hex()


def _time_with_zone(value: str) -> str:
    hours = _WHOLE_HOURS.match(value)
    return hours[1] if hours else value


_TEXTS: dict[int, Callable[[str], str]] = {BYTEA: _bytes, TIMETZ: _time_with_zone}


def _date(value: str, type_oid: int) -> str:
    zone = ""
    if type_oid == TIMESTAMPTZ and value.endswith("Z"):
        value, zone = value[:-1], "+00"
    if type_oid != DATE:
        value = value.replace("T", " ", 1)
    if _USUAL.match(value):
        return value + zone
    match = _EXPANDED.match(value)
    if match is None:
        raise ValueError("its text is not certain")
    year = int(match[1])
    if year > 0:
        return f"{year}{match[2]}{zone}"
    return f"{1 - year:04d}{match[2]}{zone} BC"


def _money(value: str, forms: tuple[str, ...]) -> str:
    """Writes the digits over those of the longest amount of this sign, from the right.

    Digits and signs of grouping that are left over go.
    """
    if not forms:
        raise ValueError("its text is not certain")
    negative = value.startswith("-")
    signs = list(forms[negative])
    places = [place for place, sign in enumerate(signs) if sign.isdecimal()]
    digits = list(filter(str.isdecimal, value))
    if not 0 < len(digits) <= len(places):
        raise ValueError("no amount has so many digits")

    used = places[-len(digits) :]
    for place in range(places[0], used[0]):
        signs[place] = ""
    for place, digit in zip(used, digits, strict=True):
        signs[place] = digit
    return "".join(signs)

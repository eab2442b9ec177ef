"""Value forms: PostgreSQL's text of a value turned into the JSON an event carries.

The rules are those of docs/events.md; the text is what the server writes under the session settings `SESSION`, the same for
rows streamed and rows read.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import NamedTuple

import orjson

# Settings of every connection that reads rows, so that one value has one text.
SESSION = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
}

# Text of a value that is not NULL -> what orjson writes as its JSON form
Form = Callable[[str], object]

BOOL, BYTEA, INT8, INT2, INT4, TEXT, JSON, FLOAT4, FLOAT8, MONEY = (
    16,
    17,
    20,
    21,
    23,
    25,
    114,
    700,
    701,
    790,
)
BPCHAR, VARCHAR, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, INTERVAL, TIMETZ, NUMERIC, UUID, JSONB, NAME, OID, CHAR, CIDR, INET = (
    1042, 1043, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950, 3802, 19, 26, 18, 650, 869,
)  # fmt: skip

_DATE = re.compile(r"^(\d{4,})-(\d\d-\d\d)(.*?)( BC)?$", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Element(NamedTuple):
    """What an array holds: the base type of its elements, and the letter that stands between them in PostgreSQL's text."""

    type_oid: int
    delimiter: str = ","


def _bool(text: str) -> object:
    return text == "t"


def _float(text: str) -> object:
    # The digits as they came
    return orjson.Fragment(text) if text not in ("NaN", "Infinity", "-Infinity") else text


def _bytea(text: str) -> object:
    return b64encode(bytes.fromhex(text[2:])).decode()


def plain_number(text: str) -> str:
    """A numeric's text without zeros at its end: equal numbers may have been stored with different scales."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def unpadded(text: str) -> str:
    """A char's text without blanks at its end, which its comparison does not see."""
    return text.rstrip(" ")


def unsigned_zero(text: str) -> str:
    """A float's text; its two zeros, which are equal, are one."""
    return "0" if text == "-0" else text


def expanded_year(text: str) -> str:
    """A date's text with its year as ISO 8601 has it: `0044-03-15 BC` is year -0043, years past 9999 carry a plus sign and six digits."""
    if text[4:5] == "-" and not text.endswith(" BC"):
        return text
    match = _DATE.match(text)
    if match is None:  # infinity, -infinity
        return text
    year = 1 - int(match[1]) if match[4] else int(match[1])
    if 0 < year <= 9999:
        return f"{year:04d}-{match[2]}{match[3]}"
    return f"{'-' if year < 0 else '+'}{abs(year):06d}-{match[2]}{match[3]}"


def _timestamp(text: str) -> object:
    return expanded_year(text).replace(" ", "T", 1)


def _timestamptz(text: str) -> object:
    return (
        text
        if text.endswith("infinity")
        else expanded_year(text).replace(" ", "T", 1).removesuffix("+00") + "Z"
    )


def _timetz(text: str) -> object:
    """The offset always with its minutes: +08 becomes +08:00."""
    return text if text[-3] == ":" else text + ":00"


_FORMS: dict[int, Form] = {
    BOOL: _bool,
    INT2: int,
    INT4: int,
    INT8: int,
    OID: int,
    FLOAT4: _float,
    FLOAT8: _float,
    BYTEA: _bytea,
    DATE: expanded_year,
    TIMESTAMP: _timestamp,
    TIMESTAMPTZ: _timestamptz,
    TIMETZ: _timetz,
}


def form(type_oid: int, elements: Sequence[Element] = (), money_digits: int = 2) -> Form | None:
    """The JSON form of a base type; None where it is a string with PostgreSQL's text.

    `elements`: of an array, what it holds, then what that holds where it is a domain over an array, and so on. `money_digits`: after
    the point of money, in the database's own lc_monetary, which says what the stored number means.
    """
    if elements:
        return _array(form(elements[0].type_oid, elements[1:], money_digits), elements[0].delimiter)
    return _money(money_digits) if type_oid == MONEY else _FORMS.get(type_oid)


def _money(places: int) -> Form:
    """The amount alone: sign, currency and grouping are written in as many ways as there are locales."""

    def money(text: str) -> object:
        digits = "".join(filter(str.isdecimal, text)).zfill(places + 1)
        sign = "-" if any(mark in text for mark in "-(\u2212") else ""
        return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else sign + digits

    return money


def _array(element: Form | None, delimiter: str) -> Form:
    """A JSON array of the elements' forms, nested by dimension; PostgreSQL's text where an index does not begin at 1.

    Source of the text: PostgreSQL manual, "Array Input and Output Syntax".
    """
    parts = re.compile(
        rf'"([^"\\]*(?:\\.[^"\\]*)*)"|([{{}}])|([^{{}}"{re.escape(delimiter)}]+)', re.DOTALL
    )
    of: Form = element or str

    def array(text: str) -> object:
        if text[0] == "[":
            return text
        if '"' not in text and "{" not in text[1:]:  # one dimension and nothing quoted
            return (
                [None if part == "NULL" else of(part) for part in text[1:-1].split(delimiter)]
                if text != "{}"
                else []
            )
        whole: list[object] = []
        inner = [whole]
        for quoted, brace, plain in parts.findall(text):
            if brace == "{":
                inner.append([])
                inner[-2].append(inner[-1])
            elif brace:
                inner.pop()
            elif plain:
                inner[-1].append(None if plain == "NULL" else of(plain))
            else:
                inner[-1].append(of(_ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted))
        return whole[0]

    return array

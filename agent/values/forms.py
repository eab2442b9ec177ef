"""Value forms: turn the canonical text of a value into the JSON that an event carries.

The rules are those of docs/events.md. A text is what the server writes under the session settings
`canonical.SESSION`, the same for rows streamed and rows read.
"""

import re
from base64 import b64encode
from collections.abc import Callable

import orjson

from agent.values.column_types import (
    BOOL,
    BYTEA,
    DATE,
    FLOAT4,
    FLOAT8,
    INT2,
    INT4,
    INT8,
    MONEY,
    OID,
    TIMESTAMP,
    TIMESTAMPTZ,
    TIMETZ,
    Type,
)

# Text of a value that is not NULL -> what orjson writes as its JSON form
Form = Callable[[str], object]

_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")
_DATE = re.compile(r"^(\d{4,})-(\d\d-\d\d)(.*?)( BC)?$", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_MINUS_SIGNS = "-(\u2212"  # of an amount of money


def plain_number(text: str) -> str:
    """Removes the zeros at the end of a numeric: equal numbers may have different scales."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def unpadded(text: str) -> str:
    """Removes the blanks at the end of a char, which its comparison does not see."""
    return text.rstrip(" ")


def unsigned_zero(text: str) -> str:
    """Makes the two zeros of a float, which are equal, one text."""
    return "0" if text == "-0" else text


def expanded_year(text: str) -> str:
    """Writes the year of a date as ISO 8601 has it.

    `0044-03-15 BC` is year -0043; years past 9999 carry a plus sign and six digits.
    """
    if text[4:5] == "-" and not text.endswith(" BC"):
        return text

    match = _DATE.match(text)
    if match is None:  # infinity, -infinity
        return text

    year = int(match[1])
    if match[4]:
        year = 1 - year
    if 0 < year <= 9999:
        return f"{year:04d}-{match[2]}{match[3]}"
    sign = "-" if year < 0 else "+"
    return f"{sign}{abs(year):06d}-{match[2]}{match[3]}"


# A look-up is quicker than a function of our own
_bool: Form = {"t": True, "f": False}.__getitem__


def _float(text: str) -> object:
    # The digits as they came
    return text if text in _NO_NUMBERS else orjson.Fragment(text)


def _bytea(text: str) -> object:
    return b64encode(bytes.fromhex(text[2:])).decode()


def _timestamp(text: str) -> object:
    return expanded_year(text).replace(" ", "T", 1)


def _timestamptz(text: str) -> object:
    if text[4:5] == "-" and text[-3:] == "+00":
        return f"{text[:10]}T{text[11:-3]}Z"
    if text.endswith("infinity"):
        return text
    return expanded_year(text).replace(" ", "T", 1).removesuffix("+00") + "Z"


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


def form(column: Type) -> Form | None:
    """Returns the JSON form of a type; None where it is a string with PostgreSQL's text."""
    if column.elements:
        held, *inner = column.elements
        element = form(column._replace(oid=held.type_oid, elements=tuple(inner)))
        return _array(element or str, held.delimiter)
    if column.oid == MONEY:
        return _money(column.money_digits)
    return _FORMS.get(column.oid)


def _money(places: int) -> Form:
    """The amount alone: sign, currency and grouping are written in many ways."""

    def money(text: str) -> object:
        digits = "".join(filter(str.isdecimal, text)).zfill(places + 1)
        if places:
            digits = f"{digits[:-places]}.{digits[-places:]}"

        negative = not set(text).isdisjoint(_MINUS_SIGNS)
        return "-" + digits if negative else digits

    return money


def _array(element: Form, delimiter: str) -> Form:
    """A JSON array of the elements' forms, nested by dimension.

    It is PostgreSQL's text where an index does not begin at 1. Source of the text: PostgreSQL
    manual, "Array Input and Output Syntax".
    """
    parts = re.compile(
        rf'"([^"\\]*(?:\\.[^"\\]*)*)"|([{{}}])|([^{{}}"{re.escape(delimiter)}]+)', re.DOTALL
    )

    def array(text: str) -> object:
        if text[0] == "[":
            return text
        if text == "{}":
            return []
        if '"' not in text and "{" not in text[1:]:  # one dimension and nothing quoted
            # A comprehension, for it is quicker than a loop
            return [
                None if part == "NULL" else element(part) for part in text[1:-1].split(delimiter)
            ]

        whole: list[object] = []
        open_lists = [whole]
        for quoted, brace, plain in parts.findall(text):
            if brace == "{":
                inner: list[object] = []
                open_lists[-1].append(inner)
                open_lists.append(inner)
            elif brace:
                open_lists.pop()
            elif plain:
                open_lists[-1].append(None if plain == "NULL" else element(plain))
            else:
                unescaped = _ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted
                open_lists[-1].append(element(unescaped))
        return whole[0]

    return array

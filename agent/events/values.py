"""Value forms: PostgreSQL's text of a value turned into the JSON an event carries.

The rules are those of docs/events.md; the text is what the server writes under the session settings `SESSION`, the same for
rows streamed and rows read.
"""

import re
from base64 import b64encode
from collections.abc import Callable

import orjson

# Settings of every connection that reads rows, so that one value has one text.
SESSION = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
}

Form = Callable[[str], bytes]  # text of a value that is not NULL -> JSON

BOOL, BYTEA, INT8, INT2, INT4, TEXT, JSON, FLOAT4, FLOAT8, MONEY = 16, 17, 20, 21, 23, 25, 114, 700, 701, 790
BPCHAR, VARCHAR, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, INTERVAL, TIMETZ, NUMERIC, UUID, JSONB, NAME, OID, CHAR = (
    1042, 1043, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950, 3802, 19, 26, 18,
)  # fmt: skip

_DATE = re.compile(r"^(\d{4,})-(\d\d-\d\d)(.*?)( BC)?$", re.DOTALL)


def _string(text: str) -> bytes:
    return orjson.dumps(text)


def _number(text: str) -> bytes:
    return text.encode()


def _bool(text: str) -> bytes:
    return b"true" if text == "t" else b"false"


def _float(text: str) -> bytes:
    return text.encode() if text not in ("NaN", "Infinity", "-Infinity") else b'"' + text.encode() + b'"'


def _bytea(text: str) -> bytes:
    return b'"' + b64encode(bytes.fromhex(text[2:])) + b'"'


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


def _date(text: str) -> bytes:
    return b'"' + expanded_year(text).encode() + b'"'


def _timestamp(text: str) -> bytes:
    return b'"' + expanded_year(text).replace(" ", "T", 1).encode() + b'"'


def _timestamptz(text: str) -> bytes:
    if text.endswith("infinity"):
        return b'"' + text.encode() + b'"'
    return b'"' + expanded_year(text).replace(" ", "T", 1).removesuffix("+00").encode() + b'Z"'


def _timetz(text: str) -> bytes:
    return b'"' + text.encode() + b'"'


_FORMS: dict[int, Form] = {
    BOOL: _bool,
    INT2: _number,
    INT4: _number,
    INT8: _number,
    OID: _number,
    FLOAT4: _float,
    FLOAT8: _float,
    BYTEA: _bytea,
    DATE: _date,
    TIMESTAMP: _timestamp,
    TIMESTAMPTZ: _timestamptz,
    TIME: _timetz,
    TIMETZ: _timetz,
}


def form(type_oid: int) -> Form:
    """The JSON form of a type; types not listed are strings with PostgreSQL's text."""
    return _FORMS.get(type_oid, _string)

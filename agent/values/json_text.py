"""JSON as canonical text.

Of the type json any text that is JSON is canonical, of jsonb only the one that PostgreSQL writes.
Source of jsonb's text: PostgreSQL's jsonb.c (JsonbToCString), jsonb_util.c (order of keys), and
json.c (escape_json).
"""

import json
import re
from decimal import Decimal
from typing import Any

_ESCAPES = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPES |= {'"': '\\"', "\\": "\\\\"}
_ESCAPED = re.compile(r'[\x00-\x1f"\\]')


def json_text(value: Any) -> str:
    """Writes json: a text as it is, and what a driver has parsed."""
    return value if isinstance(value, str) else jsonb_text(value)


def jsonb_text(value: Any) -> str:
    """Writes jsonb from any JSON text, or from what a driver has parsed.

    A str is a JSON text: from a driver that parses, a JSON string must come within its quotes.
    Raises ValueError where the text is no JSON.
    """
    if isinstance(value, str):
        value = json.loads(
            value, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant
        )
    return _written(value)


def is_json(text: str) -> bool:
    """Tells whether a text is JSON."""
    try:
        json.loads(text, parse_int=Decimal, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _written(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _quoted(value)
        case dict():
            names = sorted(value, key=_key_order)
            pairs = [f"{_quoted(name)}: {_written(value[name])}" for name in names]
            return "{" + ", ".join(pairs) + "}"
        case list():
            return "[" + ", ".join(map(_written, value)) + "]"
    return _number(value)


def _number(value: Any) -> str:
    """A numeric: without an exponent, and without a sign before zero."""
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise ValueError("JSON has no such number")
    return format(number or number.copy_abs(), "f")


def _key_order(name: str) -> tuple[int, bytes]:
    """Shorter keys stand before longer ones."""
    data = name.encode()
    return len(data), data


def _quoted(text: str) -> str:
    return '"' + _ESCAPED.sub(_escaped, text) + '"'


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    return _ESCAPES.get(letter) or f"\\u{ord(letter):04x}"

"""Writes MySQL's binary JSON as the text that the server itself writes for it.

Sources: MySQL 9.7, sql-common/json_binary.h (the form), json_dom.cc (the text), strings/dtoa.cc
(numbers). MariaDB keeps JSON as text.
"""

import base64
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from agent.connectors.mysql import table_map as types
from agent.connectors.mysql.charsets import NoText
from agent.connectors.mysql.decimals import decimal_bytes, decimal_writer
from agent.connectors.mysql.packing import Damaged, number, octets
from agent.connectors.mysql.temporals import clock_text

_OBJECTS: Final = {0: 2, 1: 4}  # by type: the bytes of its offsets
_ARRAYS: Final = {2: 2, 3: 4}
_LITERAL, _DOUBLE, _STRING, _OPAQUE = 4, 11, 12, 15
_LITERALS: Final = {0: "null", 1: "true", 2: "false"}
_INTEGERS: Final = {5: (2, True), 6: (2, False), 7: (4, True), 8: (4, False), 9: (8, True)}
_INTEGERS[10] = (8, False)
_DEEPEST: Final = 100  # as the servers take it

_ESCAPES: Final = {
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\b"): "\\b",
    ord("\f"): "\\f",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}
_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(32)} | _ESCAPES


def json_text(raw: bytes) -> str:
    """Writes a document. An empty one, which a server may leave, is null. Raises Damaged."""
    if not raw:
        return "null"
    return _value(raw[0], raw[1:], 0)


def _value(kind: int, data: bytes, depth: int) -> str:  # noqa: PLR0911 - one for each kind
    """Writes a value whose bytes begin the data."""
    if kind in _OBJECTS:
        return _object(data, _OBJECTS[kind], depth + 1)
    if kind in _ARRAYS:
        return _array(data, _ARRAYS[kind], depth + 1)
    if kind in _INTEGERS:
        size, signed = _INTEGERS[kind]
        return str(int.from_bytes(octets(data, 0, size), "little", signed=signed))
    if kind == _LITERAL:
        found = _LITERALS.get(number(data, 0, 1))
        if found is None:
            raise Damaged("a literal of JSON that nobody knows")
        return found
    if kind == _DOUBLE:
        (value,) = struct.unpack("<d", octets(data, 0, 8))
        return double_text(value)
    if kind == _STRING:
        return _quoted(_text(_sized(data, 0)))
    if kind == _OPAQUE:
        return _opaque(number(data, 0, 1), _sized(data, 1))
    raise Damaged(f"a value of JSON of a kind that nobody knows: {kind}")


def _object(data: bytes, width: int, depth: int) -> str:
    count, data = _container(data, width, depth)
    keys_at = 2 * width
    values_at = keys_at + count * (width + 2)

    pairs = []
    for place in range(count):
        key_at = keys_at + place * (width + 2)
        start = number(data, key_at, width)
        key = octets(data, start, number(data, key_at + width, 2))
        value = _entry(data, values_at + place * (width + 1), width, depth)
        pairs.append(f"{_quoted(_text(key))}: {value}")
    return "{" + ", ".join(pairs) + "}"


def _array(data: bytes, width: int, depth: int) -> str:
    count, data = _container(data, width, depth)
    values_at = 2 * width
    values = [_entry(data, values_at + n * (width + 1), width, depth) for n in range(count)]
    return "[" + ", ".join(values) + "]"


def _container(data: bytes, width: int, depth: int) -> tuple[int, bytes]:
    """Returns the number of elements, and the data of this container alone."""
    if depth > _DEEPEST:
        raise Damaged("JSON that is too deep")
    count = number(data, 0, width)
    if count > len(data):
        raise Damaged("JSON with more elements than bytes")
    return count, octets(data, 0, number(data, width, width))


def _entry(data: bytes, at: int, width: int, depth: int) -> str:
    """Writes an element: a short value stands in its entry, another one where that says."""
    kind = number(data, at, 1)
    if _is_inlined(kind, width):
        return _value(kind, octets(data, at + 1, width), depth)
    start = number(data, at + 1, width)
    if start >= len(data):
        raise Damaged("a value of JSON leads past the end")
    return _value(kind, data[start:], depth)


def _is_inlined(kind: int, width: int) -> bool:
    if kind == _LITERAL:
        return True
    return kind in _INTEGERS and _INTEGERS[kind][0] <= width


def _sized(data: bytes, start: int) -> bytes:
    """Reads bytes after their length, which has seven bits in each byte, the lowest first."""
    size = 0
    for place in range(5):
        byte = number(data, start, 1)
        start += 1
        size |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return octets(data, start, size)
    raise Damaged("a length of JSON that is too long")


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise NoText from None


def _quoted(text: str) -> str:
    return '"' + text.translate(_CONTROLS) + '"'


# ---- numbers

# From so many digits before the point on, and from so many zeros behind it on, with an exponent
_FIXED: Final = 15


def double_text(value: float) -> str:
    """Writes a double as the server does (my_gcvt): with a point or an exponent, always.

    The digits are the shortest ones that give the double back.
    """
    sign, figures, exponent = Decimal(repr(value)).normalize().as_tuple()
    if not isinstance(exponent, int):
        raise Damaged("JSON has no such number")
    digits = "".join(map(str, figures))
    minus = "-" if sign else ""
    if digits == "0":
        return f"{minus}0.0"

    point = len(digits) + exponent
    if 0 < point < len(digits):
        return f"{minus}{digits[:point]}.{digits[point:]}"
    if not -_FIXED + 1 <= point <= _FIXED:
        return minus + _with_exponent(digits, point)
    if point > 0:
        return minus + digits + "0" * (point - len(digits)) + ".0"
    return f"{minus}0.{'0' * -point}{digits}"


def _with_exponent(digits: str, point: int) -> str:
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1}"


# ---- values of the server's own types


_MICROSECOND_BITS: Final = 24
_MICROSECONDS: Final = (1 << _MICROSECOND_BITS) - 1


def _opaque(kind: int, data: bytes) -> str:
    if kind == types.NEWDECIMAL:
        digits = number(data, 0, 1), number(data, 1, 1)
        return decimal_writer(*digits)(octets(data, 2, decimal_bytes(*digits)))
    written = _MOMENTS.get(kind)
    if written is not None:
        return f'"{written(int.from_bytes(octets(data, 0, 8), "little", signed=True))}"'
    encoded = base64.b64encode(data).decode()
    lines = [encoded[start : start + 76] for start in range(0, len(encoded), 76)]
    return _quoted(f"base64:type{kind}:" + "\n".join(lines))


def _date(packed: int) -> str:
    year, month, day = _day(packed)
    return f"{year:04d}-{month:02d}-{day:02d}"


def _datetime(packed: int) -> str:
    clock = clock_text(packed >> _MICROSECOND_BITS & 0x1FFFF)
    return f"{_date(packed)} {clock}.{packed & _MICROSECONDS:06d}"


def _time(packed: int) -> str:
    sign = "-" if packed < 0 else ""
    packed = abs(packed)
    clock = clock_text(packed >> _MICROSECOND_BITS)
    return f"{sign}{clock}.{packed & _MICROSECONDS:06d}"


def _day(packed: int) -> tuple[int, int, int]:
    days = packed >> 41
    year, month = divmod(days >> 5, 13)
    return year, month, days & 31


_MOMENTS: Final[dict[int, Callable[[int], str]]] = {
    types.DATE: _date,
    types.TIME: _time,
    types.DATETIME: _datetime,
    types.TIMESTAMP: _datetime,
}

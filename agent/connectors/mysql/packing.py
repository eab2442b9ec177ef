"""Reads the integers that the binary log packs: little-endian, or with their length before them.

Source: MySQL's "Protocol::LengthEncodedInteger"; MariaDB writes the same.
"""

from typing import Final

_TWO_BYTES: Final = 252
_THREE_BYTES: Final = 253
_EIGHT_BYTES: Final = 254


class Damaged(ValueError):
    """What was read is no event of the log: a length leads past its end, or a value is none."""


def number(data: bytes, start: int, size: int) -> int:
    """Reads an unsigned integer of so many bytes. Raises Damaged past the end."""
    end = start + size
    if end > len(data):
        raise Damaged("an integer leads past the end")
    return int.from_bytes(data[start:end], "little")


def packed(data: bytes, start: int) -> tuple[int, int]:
    """Reads a length-encoded integer; returns it and where the next value begins.

    Raises Damaged past the end, and for the two first bytes that no integer has.
    """
    if start >= len(data):
        raise Damaged("an integer leads past the end")
    first = data[start]
    start += 1
    if first < _TWO_BYTES - 1:
        return first, start
    if first == _TWO_BYTES:
        return number(data, start, 2), start + 2
    if first == _THREE_BYTES:
        return number(data, start, 3), start + 3
    if first == _EIGHT_BYTES:
        return number(data, start, 8), start + 8
    raise Damaged("an integer begins with a byte that none has")


def octets(data: bytes, start: int, size: int) -> bytes:
    """Reads so many bytes. Raises Damaged past the end."""
    end = start + size
    if end > len(data):
        raise Damaged("a value leads past the end")
    return data[start:end]


def packed_octets(data: bytes, start: int) -> tuple[bytes, int]:
    """Reads bytes with their packed length before them; returns them and where the next begins."""
    size, start = packed(data, start)
    return octets(data, start, size), start + size


def name(raw: bytes) -> str:
    """Reads the name of a table, a column or a file, which is UTF-8. Raises Damaged."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Damaged("a name that is no text") from None


def high_bits(data: bytes, count: int) -> list[bool]:
    """Reads a bitmap whose first bit is the highest one, as a table's metadata has them."""
    octets(data, 0, (count + 7) // 8)
    return [bool(data[place // 8] & 0x80 >> place % 8) for place in range(count)]

"""Writes DECIMAL of the log as canonical text, with as many digits as the column has.

Nine digits take four bytes, fewer take fewer, the highest byte first. The first bit says that the
number is not below zero; below zero all bits are turned.
Source: MySQL 9.7, strings/decimal.cc (decimal2bin); MariaDB's is the same.
"""

from collections.abc import Callable
from typing import Final

from agent.connectors.mysql.charsets import NoText
from agent.connectors.mysql.packing import Damaged

_MOST: Final = 65  # digits of a DECIMAL
_GROUP: Final = 9  # digits
_BYTES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)  # of so many digits


def decimal_bytes(precision: int, scale: int) -> int:
    """Returns how many bytes a DECIMAL(precision, scale) takes. Raises Damaged for none."""
    if not 0 < precision <= _MOST or scale > precision:
        raise Damaged("a DECIMAL has digits that none may have")
    return _size(precision - scale) + _size(scale)


def _size(digits: int) -> int:
    groups, rest = divmod(digits, _GROUP)
    return 4 * groups + _BYTES[rest]


def decimal_writer(precision: int, scale: int) -> Callable[[bytes], str]:
    """Returns a writer of DECIMAL(precision, scale).

    It raises NoText where a group has more digits than it may have, which no server writes. Raises
    Damaged where no column has these digits.
    """
    bits = 8 * decimal_bytes(precision, scale)
    sign = 1 << (bits - 1)
    every = (1 << bits) - 1

    # Where each group is: bits to its right, its own, and what it is below
    groups = []
    shift = bits
    for digits in _groups(precision - scale) + _groups(scale)[::-1]:
        size = 8 * _BYTES[digits]
        shift -= size
        groups.append((shift, (1 << size) - 1, 10**digits))

    def write(raw: bytes) -> str:
        packed = int.from_bytes(raw, "big")
        is_below_zero = not packed & sign
        packed ^= every ^ sign if is_below_zero else sign

        value = 0
        for start, mask, limit in groups:
            group = packed >> start & mask
            if group >= limit:
                raise NoText
            value = value * limit + group

        text = str(value)
        if scale:
            text = text.rjust(scale + 1, "0")
            text = f"{text[:-scale]}.{text[-scale:]}"
        return f"-{text}" if is_below_zero and value else text

    return write


def _groups(digits: int) -> list[int]:
    """Returns the digits of each group, of which the first may be shorter."""
    groups, rest = divmod(digits, _GROUP)
    return [rest] * bool(rest) + [_GROUP] * groups

"""Writes DECIMAL of the log as canonical text, with as many digits as the column has.

Nine digits take four bytes, fewer take fewer, the highest byte first. The first bit says that the
number is not below zero; below zero all bits are turned.
Source: MySQL 9.7, strings/decimal.cc (decimal2bin); MariaDB's is the same.
"""

from collections.abc import Callable
from typing import Final

_GROUP: Final = 9  # digits
_BYTES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)  # of so many digits


def decimal_bytes(precision: int, scale: int) -> int:
    """Returns how many bytes a DECIMAL(precision, scale) takes."""
    return _size(precision - scale) + _size(scale)


def _size(digits: int) -> int:
    groups, rest = divmod(digits, _GROUP)
    return 4 * groups + _BYTES[rest]


def decimal_writer(precision: int, scale: int) -> Callable[[bytes], str]:
    """Returns a writer of DECIMAL(precision, scale)."""
    whole_digits = precision - scale
    first, rest = whole_digits % _GROUP, scale % _GROUP
    groups = [first] if first else []
    groups += [_GROUP] * (whole_digits // _GROUP)
    whole_groups = len(groups)
    groups += [_GROUP] * (scale // _GROUP)
    if rest:
        groups.append(rest)
    parts = [(digits, _BYTES[digits]) for digits in groups]

    def write(raw: bytes) -> str:
        positive = bool(raw[0] & 0x80)
        if positive:
            raw = bytes((raw[0] ^ 0x80,)) + raw[1:]
        else:
            turned = bytes([byte ^ 0xFF for byte in raw])
            raw = bytes((turned[0] ^ 0x80,)) + turned[1:]

        texts = []
        start = 0
        for digits, size in parts:
            end = start + size
            texts.append(f"{int.from_bytes(raw[start:end], 'big'):0{digits}d}")
            start = end
        whole = "".join(texts[:whole_groups]).lstrip("0") or "0"
        fraction = "".join(texts[whole_groups:])
        text = f"{whole}.{fraction}" if scale else whole
        below_zero = not positive and (whole != "0" or fraction.strip("0"))
        return f"-{text}" if below_zero else text

    return write

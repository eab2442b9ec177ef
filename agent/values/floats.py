"""Floats that a database gave back as numbers, written as PostgreSQL writes them."""

import math
import struct
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any

FLOAT4_DIGITS = 6  # from which number of digits on PostgreSQL writes an exponent
FLOAT8_DIGITS = 15
_WHOLE = 2**53  # from here on every float is a whole number


def float_writer(digits: int) -> Callable[[Any], str]:
    """Returns a writer of floats: the shortest text that gives the float back.

    It has an exponent below -4, and from `digits` on. A float4 must have been read from its own
    text; of one that was read from its four bytes see `float4_text`.
    """

    def write(value: Any) -> str:
        if isinstance(value, str):  # where a database keeps NaN or infinity as text
            return value
        number = _shortest(value) if digits > FLOAT4_DIGITS else Decimal(repr(value))
        return _decimal_text(number, digits)

    return write


def float4_text(value: float) -> str:
    """Writes the float4 that is nearest to a number. Raises OverflowError past the largest one."""
    (single,) = struct.unpack("<f", struct.pack("<f", value))
    if single == 0 or not math.isfinite(single):
        return _decimal_text(Decimal(single), FLOAT4_DIGITS)
    return _decimal_text(_shortest_single(single), FLOAT4_DIGITS)


def _decimal_text(number: Decimal, digits: int) -> str:
    if not number.is_finite():
        return str(number)
    if not number:
        return "-0" if number.is_signed() else "0"

    number = number.normalize()
    exponent = number.adjusted()
    if -4 <= exponent < digits:
        return format(number, "f")

    sign = "-" if number.is_signed() else ""
    first, *rest = map(str, number.as_tuple().digits)
    fraction = "." + "".join(rest) if rest else ""
    return f"{sign}{first}{fraction}e{exponent:+03d}"


def _shortest(value: float) -> Decimal:
    """Returns the shortest decimal that gives the float back and is not half-way to the next one.

    Python takes one that lies half-way, PostgreSQL (d2s.c) does not.
    """
    number = Decimal(repr(value))
    if abs(value) < _WHOLE or not math.isfinite(value):
        # What lies half-way has more digits than are ever written
        return number

    doubled_halves = (
        2 * int(value) + int(math.copysign(math.ulp(value), value)),
        int(value) + int(math.nextafter(value, 0)),
    )
    while 2 * int(number) in doubled_halves:
        more_digits = len(number.as_tuple().digits)
        number = Decimal(f"{value:.{more_digits}e}")
    return number


def _shortest_single(single: float) -> Decimal:
    """The same for a float4 that is neither zero nor infinite: the nearest of the shortest ones."""
    (bits,) = struct.unpack("<I", struct.pack("<f", abs(single)))
    exact = Fraction(abs(single))
    low = (exact + _single(bits - 1)) / 2
    high = (exact + _single(bits + 1)) / 2

    number = Decimal(abs(single))
    for digits in range(1, 10):
        unit = Decimal(1).scaleb(number.adjusted() - digits + 1)
        around = (number.quantize(unit, ROUND_FLOOR), number.quantize(unit, ROUND_CEILING))
        found = [one for one in around if low < Fraction(one) < high]
        if found:
            nearest = min(found, key=lambda one: abs(Fraction(one) - exact))
            return nearest.copy_sign(Decimal(single))
    raise AssertionError("nine digits name every float4")


def _single(bits: int) -> Fraction:
    """The float4 of these bits; past the largest one, the number that would follow it."""
    if bits == 0x7F800000:
        return Fraction(2) ** 128
    (single,) = struct.unpack("<f", struct.pack("<I", bits))
    return Fraction(single)

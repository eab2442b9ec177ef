"""Floats that a database gave back as numbers, written as PostgreSQL writes them."""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any


def _shortest(value: float) -> Decimal:
    """The shortest decimal that gives the float back, and does not lie half-way to the next one: Python takes such a one, PostgreSQL (d2s.c) does not."""
    number = Decimal(repr(value))
    if abs(value) >= 2**53:  # below, what lies half-way has more digits than are ever written
        halves = (
            2 * int(value) + int(math.copysign(math.ulp(value), value)),
            int(value) + int(math.nextafter(value, 0)),
        )
        while 2 * int(number) in halves:
            number = Decimal(f"{value:.{len(number.as_tuple().digits)}e}")
    return number


def float_out(digits: int) -> Callable[[Any], str]:
    """A float as PostgreSQL writes it: the shortest text that gives it back, with an exponent below -4 and from `digits` on."""

    def out(value: Any) -> str:
        if isinstance(value, str):
            return value
        # A float4 was read from its own text
        number = _shortest(value) if digits > 6 else Decimal(repr(value))
        exponent = number.adjusted()
        if not number or -4 <= exponent < digits:
            return format(
                number.normalize() if number else number.copy_sign(number).to_integral_value(), "f"
            )
        sign, parts, _ = number.normalize().as_tuple()
        text = "".join(map(str, parts))
        return f"{'-' if sign else ''}{text[0]}{'.' if text[1:] else ''}{text[1:]}e{exponent:+03d}"

    return out

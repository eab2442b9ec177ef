"""Writes dates and times of the log as canonical texts.

Each function takes the bytes of one value. Sources: MySQL 9.7, mysys/my_time.cc; MariaDB 11.8,
sql/compat56.cc. Digits of a second follow in (n + 1) // 2 bytes, as hundredths, ten-thousandths or
millionths.
"""

from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Final

from agent.connectors.mysql.charsets import NoText

_DATETIME_ZERO: Final = 0x8000000000
_TIME_ZERO: Final = 0x800000
_CLOCK_BITS: Final = 17
_CLOCK: Final = (1 << _CLOCK_BITS) - 1
_MIDNIGHT: Final = 24 << 12  # at the end of the day
_FIRST_DAY: Final = date(1970, 1, 1).toordinal()
_TWO: Final = [f"{number:02d}" for number in range(64)]  # each number that six bits have
_MINUTES_OF_DAY: Final = 24 * 60
_MINUTES: Final = [f"{n // 60:02d}:{n % 60:02d}" for n in range(_MINUTES_OF_DAY)]


def fraction_bytes(digits: int) -> int:
    """Returns how many bytes the digits of a second take."""
    return (digits + 1) // 2


def date_text(raw: bytes) -> str:
    """Writes a DATE: five bits for the day, four for the month. Raises NoText for a zero date."""
    packed = int.from_bytes(raw, "little")
    return _date(packed >> 9, packed >> 5 & 15, packed & 31)


def spelled_date_text(raw: bytes) -> str:
    """Writes a DATE as the server does, whether there is such a day or not."""
    packed = int.from_bytes(raw, "little")
    return _spelled(packed >> 9, packed >> 5 & 15, packed & 31)


def datetime_writer(digits: int) -> Callable[[bytes], str]:
    """Returns a writer of DATETIME(n). It raises NoText where there is no such day."""
    return _datetime_writer(digits, _date)


def spelled_datetime_writer(digits: int) -> Callable[[bytes], str]:
    """Returns a writer of DATETIME(n), whether there is such a day or not."""
    return _datetime_writer(digits, _spelled)


def _datetime_writer(
    digits: int, written: Callable[[int, int, int], str]
) -> Callable[[bytes], str]:
    """Returns a writer: year and month are one number, then come day and time as bits."""

    def write(raw: bytes) -> str:
        packed = int.from_bytes(raw[:5], "big") - _DATETIME_ZERO
        if packed < 0:
            raise NoText
        days = packed >> _CLOCK_BITS
        year, month = divmod(days >> 5, 13)
        day = written(year, month, days & 31)
        clock = clock_text(packed & _CLOCK)
        return f"{day} {clock}{_fraction(raw[5:], digits)}"

    return write


def timestamp_writer(digits: int) -> Callable[[bytes], str]:
    """Returns a writer of TIMESTAMP(n): seconds since 1970; zero is the zero date."""

    def write(raw: bytes) -> str:
        seconds = int.from_bytes(raw[:4], "big")
        if not seconds and not any(raw[4:]):
            raise NoText
        minutes, second = divmod(seconds, 60)
        days, minute = divmod(minutes, _MINUTES_OF_DAY)
        clock = f"{_MINUTES[minute]}:{_TWO[second]}"
        return f"{_day(days)} {clock}{_fraction(raw[4:], digits)}+00"

    return write


def spelled_timestamp_writer(digits: int) -> Callable[[bytes], str]:
    """Returns a writer of TIMESTAMP(n) that writes the zero date as the server does."""
    write_moment = timestamp_writer(digits)

    def write(raw: bytes) -> str:
        try:
            return write_moment(raw)
        except NoText:
            return f"{_spelled(0, 0, 0)} {clock_text(0)}"

    return write


def time_writer(digits: int) -> Callable[[bytes], str]:
    """Returns a writer of TIME(n), which may be a duration.

    Of those below zero and beyond a day it raises NoText.
    """
    further = 8 * fraction_bytes(digits)

    def write(raw: bytes) -> str:
        packed = int.from_bytes(raw, "big") - (_TIME_ZERO << further)
        if packed < 0:
            raise NoText
        clock = packed >> further
        fraction = _fraction(raw[3:], digits)
        if clock > _MIDNIGHT or (clock == _MIDNIGHT and fraction):
            raise NoText
        return clock_text(clock) + fraction

    return write


def year_text(raw: bytes) -> str:
    """Writes a YEAR: years since 1900, and zero."""
    return str(raw[0] + 1900 if raw[0] else 0)


def _date(year: int, month: int, day: int) -> str:
    try:
        return _written(year, month, day)
    except ValueError:
        raise NoText from None


def _spelled(year: int, month: int, day: int) -> str:
    return f"{year:04d}-{month:02d}-{day:02d}"


@lru_cache(maxsize=4096)
def _written(year: int, month: int, day: int) -> str:
    """Writes a day. Raises ValueError for one that is not in the calendar."""
    return date(year, month, day).isoformat()


def clock_text(packed: int) -> str:
    """Writes hours, and minutes and seconds that have six bits each."""
    hour = packed >> 12
    minute = packed >> 6 & 63
    second = packed & 63
    return f"{hour:02d}:{_TWO[minute]}:{_TWO[second]}"


@lru_cache(maxsize=4096)
def _day(days: int) -> str:
    """Writes the day so many days after the first of 1970; most rows are of few days."""
    return date.fromordinal(_FIRST_DAY + days).isoformat()


def _fraction(raw: bytes, digits: int) -> str:
    """Writes the digits of a second, without zeros at their end."""
    if not digits:
        return ""
    counted = int.from_bytes(raw, "big")
    if not counted:
        return ""
    written = f"{counted:0{2 * fraction_bytes(digits)}d}"
    return "." + written.rstrip("0")

"""Cursors: how far the looks at a table have come, as the source's token keeps it.

A cursor is a value of the column by which changed rows are found, in a text that gives the value
back. It is compared by the database alone. What is reckoned here is how far the next look reads
back: never from this host's clock.
"""

import math
import time
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import orjson

from agent.connectors.dialects.base import Kind
from agent.values import column_types as v
from agent.values.writing import datetime_text, instant_text

_DAY = len("2024-02-29")


class Cursor(NamedTuple):
    """How far the looks at a table have come."""

    # The largest value there was at the beginning of the last look that is complete; None: none
    at: str | None

    # Of a look that is not complete: up to which value it reads, and the last row that it has read,
    # by the value of the column (None: it was NULL) and the key
    to: str | None = None
    after: tuple[str | None, ...] | None = None


class Token(NamedTuple):
    """What the front end keeps of a polled source, beside the position."""

    cursors: Mapping[str, Cursor]  # by resource
    compared: Mapping[str, str]  # by resource: the last time at which its comparison was due


def read_token(text: str) -> Token:
    """Reads what `token_text` wrote; '' before the first look."""
    if not text:
        return Token({}, {})
    found = orjson.loads(text)
    cursors = {}
    for name, kept in found["cursors"].items():
        after = kept.get("after")
        cursors[name] = Cursor(
            kept["at"],
            kept.get("to"),
            None if after is None else tuple(after),
        )
    return Token(cursors, found["compared"])


def token_text(token: Token) -> str:
    """Writes a token as JSON."""
    cursors = {}
    for name, cursor in token.cursors.items():
        kept = cursor._asdict()
        cursors[name] = {part: value for part, value in kept.items() if value is not None}
        cursors[name]["at"] = cursor.at
    return orjson.dumps({"cursors": cursors, "compared": dict(token.compared)}).decode()


def earlier_number(text: str, overlap: float) -> str:
    """Returns a whole number that lies `overlap` below a number."""
    return str(math.floor(Decimal(text) - Decimal(overlap)))


class Standstill:
    """For how long the largest value of a column has been the same.

    A row may come late with an earlier value, but not for ever: not once the overlap has passed
    since the value was first seen. The duration is counted by a clock that nobody sets.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._value: str | None = None
        self._since = 0.0

    def seconds(self, value: str, *, is_ahead: bool) -> float:
        """Returns the seconds for which the value has been the largest one.

        One that is ahead of the database's clock does not stand yet.
        """
        now = self._clock()
        if value != self._value or is_ahead:
            self._value, self._since = value, now
        return now - self._since


def is_ahead(text: str, now: str) -> bool:
    """Tells whether a moment lies in the future of the database's clock, or cannot be compared."""
    try:
        moment = datetime.fromisoformat(text)
        present = datetime.fromisoformat(now).replace(tzinfo=moment.tzinfo)
    except (ValueError, OverflowError):
        return True
    return moment > present


def may_be_rounded(text: str) -> bool:
    """Tells whether a moment may be one of a column that holds dates, hours or minutes only.

    Rows of the same moment may come in it for as long.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return True
    return moment.second == 0 and moment.microsecond == 0


def earlier_moment(text: str, kind: Kind, overlap: float, now: str) -> str | None:
    """Returns the moment that lies `overlap` seconds before another one, in the same form.

    `now` is the time that the database's own clock shows, as the column would hold it. A moment
    that lies in its future counts as this one: the clock was set back, or somebody has written a
    date far ahead. None: there is no such moment, so that all rows are read.
    """
    try:
        moment = datetime.fromisoformat(text)
        present = datetime.fromisoformat(now)
        if moment.tzinfo is None or kind.oid == v.TIMESTAMPTZ:
            moment = min(moment, present.replace(tzinfo=moment.tzinfo))
        moment -= timedelta(seconds=overlap)
    except (ValueError, OverflowError):
        return None

    if kind.oid == v.TIMESTAMPTZ:
        return instant_text(moment)
    if len(text) == _DAY:
        return date.isoformat(moment.date())
    if kind.oid == v.TIMESTAMP:
        return datetime_text(moment)
    return moment.isoformat(text[_DAY])

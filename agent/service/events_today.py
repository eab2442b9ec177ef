"""Counts the events of each table since midnight, and knows when each had its last."""

from collections import Counter
from datetime import datetime


class EventsToday:
    """Counts by the clock and the time zone of this host.

    One thread adds, another one reads. After a start of the service it begins at 0.
    """

    def __init__(self) -> None:
        self.day = ""  # ISO 8601, of the counts
        self.counts: Counter[tuple[str, str]] = Counter()  # by table and operation
        self.last: dict[str, float] = {}  # table -> Unix time

    def add(self, table: str, operation: str, number: int, now: float) -> None:
        """Counts events that were written just now."""
        day = day_of(now)
        if day != self.day:
            self.counts = Counter()
            self.day = day
        self.counts[table, operation] += number
        self.last[table] = now

    def forget(self, table: str) -> None:
        """Forgets a table that is no longer shared."""
        self.last.pop(table, None)

    def of(self, table: str, operations: tuple[str, ...], now: float) -> dict[str, int]:
        """Returns the events of a table by operation, of the day that `now` lies in."""
        if day_of(now) != self.day:
            return dict.fromkeys(operations, 0)
        return {operation: self.counts[table, operation] for operation in operations}


def day_of(moment: float) -> str:
    """Returns the day, ISO 8601, of a Unix time where this host stands."""
    return datetime.fromtimestamp(moment).astimezone().date().isoformat()

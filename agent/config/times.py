"""Periods, times of day, cron expressions and hours of the day, as settings write them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol

from pydantic import Field

_UNITS = {"s": 1, "m": 60, "h": 3600}

Period = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}[smh]$")]
Cron = Annotated[str, Field(pattern=r"^\S+( \S+){4}$")]
TimeOrCron = Annotated[
    str, Field(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|\S+( \S+){4})$")
]  # fmt: skip
Hours = Annotated[
    str,
    Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$"),
]


class Times(Protocol):
    """The moments of a cron expression, which APScheduler reckons."""

    def get_next_fire_time(self, previous: None, now: datetime, /) -> datetime | None:
        """Returns the first moment from `now` on; None: there is none."""


def seconds(period: str) -> float:
    """Reads a period such as `5s`, `10m` or `2h`."""
    return float(int(period[:-1]) * _UNITS[period[-1]])


def times_of(text: str) -> Times:
    """Reads a time of day such as `02:00`, or a cron expression.

    Days of the week have to be names: cron counts them from Sunday, APScheduler from Monday. Raises
    ValueError for an expression that is none, or has no moment at all.
    """
    # It is loaded only where times are configured
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415

    if ":" in text:
        hour, minute = text.split(":")
        text = f"{int(minute)} {int(hour)} * * *"
    if any(sign.isdigit() for sign in text.rpartition(" ")[2].partition("/")[0]):
        raise ValueError("a day of the week as a number")

    # Wall clock times without a zone are reckoned as if they were in UTC, which skips no hour
    times: Times = CronTrigger.from_crontab(text, timezone=UTC)
    next_time(times, datetime(2024, 1, 1))  # noqa: DTZ001
    return times


def next_time(times: Times, after: datetime) -> datetime:
    """Returns the first moment behind this one, by the wall clock. Raises ValueError."""
    from_then = after.replace(tzinfo=UTC) + timedelta(microseconds=1)
    found = times.get_next_fire_time(None, from_then)
    if found is None:
        raise ValueError("no such moment")
    return found.replace(tzinfo=None)


def quiet_until(hours: Sequence[str], now: datetime) -> datetime | None:
    """Returns when the quiet hours end in which `now` lies; None where it lies in none of them."""
    clock = now.strftime("%H:%M")
    for written in hours:
        begin, end = written.split("-")
        if begin < end:
            inside = begin <= clock < end
        else:
            # Over midnight
            inside = clock >= begin or clock < end
        if inside:
            hour, minute = map(int, end.split(":"))
            ends = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return ends if ends > now else ends + timedelta(days=1)
    return None

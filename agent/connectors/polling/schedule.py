"""When tables are looked at and compared: by this host's clock, read as the wall shows it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from agent.config.times import Times, next_time, quiet_until, times_of

_FORM = "%Y-%m-%d %H:%M"


def wall_clock() -> datetime:
    """Returns the time of this host's clock, without a zone."""
    return datetime.now().astimezone().replace(tzinfo=None)


class LookTimes:
    """The moments of looks that a cron expression gives."""

    def __init__(self, cron: str, now: datetime) -> None:
        self._times = times_of(cron)
        self._seen = now
        self._next = next_time(self._times, now)

    def seconds(self, now: datetime) -> float:
        """Returns the seconds until the next look."""
        return max(0.0, (self._next - now).total_seconds())

    def due(self, now: datetime) -> bool:
        """Tells whether a moment has come since the last time that it was asked, or several."""
        if now < self._seen:
            # The clock was set back
            self._next = next_time(self._times, now)
        self._seen = now
        if now < self._next:
            return False
        self._next = next_time(self._times, now)
        return True


class Comparisons:
    """The times at which tables are compared. What was due is kept in the source's token."""

    def __init__(self, times: Mapping[str, str]) -> None:
        """`times` has a time of day such as `02:00`, or a cron expression, by resource."""
        self._times: dict[str, Times] = {}
        for name, text in times.items():
            self._times[name] = times_of(text)
        self.compared: dict[str, str] = {}

    def open(self, compared: Mapping[str, str], now: datetime) -> None:
        """Goes on from what was kept. A table that is new is copied, which compares it, too."""
        self.compared = {}
        for name in self._times:
            last = compared.get(name, "")
            # It lies far ahead where the clock went wrong: there would never be a comparison again
            if not last or _read(last) > now + timedelta(days=1):
                last = now.strftime(_FORM)
            self.compared[name] = last

    def due(self, now: datetime) -> list[str]:
        """Returns the tables whose time has come since they were compared, each once."""
        names = []
        for name, times in self._times.items():
            # A clock that was set back brings no comparison a second time
            if next_time(times, _read(self.compared[name])) <= now:
                self.compared[name] = now.strftime(_FORM)
                names.append(name)
        return names


def _read(text: str) -> datetime:
    return datetime.strptime(text, _FORM)  # noqa: DTZ007 - as the wall clock showed it


def quiet_seconds(hours: Sequence[str], now: datetime) -> float:
    """Returns the seconds until quiet hours are over; 0 where there are none now."""
    until = quiet_until(hours, now)
    return 0.0 if until is None else (until - now).total_seconds()

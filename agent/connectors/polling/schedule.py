"""The times at which tables are compared with the source: once a day, by this host's clock."""

from collections.abc import Mapping
from datetime import datetime, timedelta


class Schedule:
    """The comparisons of all tables. What was due is kept in the source's token."""

    def __init__(self, times: Mapping[str, str]) -> None:
        """`times` has the time of day by resource, such as `02:00`."""
        self._times = times
        self.compared: dict[str, str] = {}

    def open(self, compared: Mapping[str, str], now: datetime) -> None:
        """Goes on from what was kept. A table that is new is copied, which compares it, too."""
        self.compared = {}
        for name, time in self._times.items():
            self.compared[name] = compared.get(name) or _last(time, now)

    def due(self, now: datetime) -> list[str]:
        """Returns the tables whose time has come since they were compared, each once."""
        names = []
        for name, time in self._times.items():
            last = _last(time, now)
            # A clock that was set back brings no comparison a second time
            if last > self.compared[name]:
                self.compared[name] = last
                names.append(name)
        return names


def _last(time: str, now: datetime) -> str:
    """Returns when it was this time of day last."""
    hour, minute = map(int, time.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if today > now:
        today -= timedelta(days=1)
    return today.strftime("%Y-%m-%d %H:%M")

"""Measures what looks cost, and how far they have come, for the metrics of the agent."""

from collections import Counter
from collections.abc import Mapping

from agent.service import metrics


class Measures:
    """What the looks of one source have cost. Times are Unix times, by this host's clock."""

    def __init__(self) -> None:
        self.gauges: dict[str, float] = {}
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._seconds = 0.0  # of the look that is under way
        # By table: when its look began that is under way
        self._begun: dict[str, float] = {}

    def part(self, resource: str, rows: int, now: float, *, complete: bool) -> None:
        """Notes a part of the look at one table, which began now and has read these rows."""
        begun = self._begun.setdefault(resource, now)
        if rows:
            self._counts[metrics.POLL_ROWS, resource] += rows
        if complete:
            del self._begun[resource]
            self.gauges[f"{metrics.POLL_COMPLETE}/{resource}"] = int(begun)

    def look(self, seconds: float, *, complete: bool) -> None:
        """Notes a part of the look at all tables, which took so long."""
        self._seconds += seconds
        if complete:
            self.gauges[metrics.POLL_SECONDS] = self._seconds
            self._counts[metrics.POLL_LOOKS,] += 1
            self._seconds = 0.0

    def watch(self, resource: str, now: float, *, looks: bool) -> None:
        """Notes that a table is looked at from now on, or that it is not."""
        name = f"{metrics.POLL_DUE}/{resource}"
        if not looks:
            self.gauges[name] = 0
        elif not self.gauges.get(name):
            self.gauges[name] = now

    def due(self, resource: str, moment: float) -> None:
        """Notes when the next look at a table is due, after one that has read everything."""
        self.gauges[f"{metrics.POLL_DUE}/{resource}"] = moment

    def quiet(self, until: float | None) -> None:
        """Notes until when there are quiet hours; no look is due before. None: there are none."""
        self.gauges[metrics.POLL_QUIET] = int(until is not None)
        if until is None:
            return
        for name, moment in self.gauges.items():
            if name.startswith(metrics.POLL_DUE) and moment:
                self.gauges[name] = max(moment, until)

    def counts(self) -> Mapping[tuple[str, ...], int]:
        """Returns what was counted since the last call."""
        counts, self._counts = self._counts, Counter()
        return counts

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

    def quiet(self, quiet: bool) -> None:
        """Notes whether there are quiet hours."""
        self.gauges[metrics.POLL_QUIET] = int(quiet)

    def counts(self) -> Mapping[tuple[str, ...], int]:
        """Returns what was counted since the last call."""
        counts, self._counts = self._counts, Counter()
        return counts

"""Reports to the supervisor how capture goes: the gauges and counts of the metrics."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from agent.capture.runs import Run
from agent.capture.table_state import TableStates
from agent.front.base import Progress, Stored
from agent.service import metrics
from agent.service.control import Control

_STAGES = "captured", "applied"

Counts = dict[tuple[str, ...], int]  # name and labels of a metric -> by how much it goes up


class Reports:
    """The metrics of one capture process, for the resources with these names."""

    def __init__(self, names: Sequence[str], control: Control) -> None:
        self._names = names
        self._control = control
        self._copying: set[str] = set()  # as it was last reported
        self._read: set[str] = set()  # tables at work, as they were last reported

    def connected(self, *, source: bool, front: bool) -> None:
        """Reports which peers are connected."""
        gauges = {
            f"{metrics.CONNECTED}/source": source,
            f"{metrics.CONNECTED}/frontend": front,
        }
        self._control.beat(gauges)

    def states(self, stored: Stored) -> None:
        """Reports the state of each table that is configured and stored."""
        for name in self._names:
            resource = stored.resources.get(name)
            if resource is None:
                continue
            self._state(name, resource.state)
            if resource.code:
                values = json.loads(resource.details)
                self._control.suspended(name, resource.code, values)

    def _state(self, name: str, state: str) -> None:
        gauges = {}
        for possible in metrics.TABLE_STATES:
            gauge = f"{metrics.TABLE_STATE}/{name}/{possible}"
            gauges[gauge] = possible == state
        self._control.beat(gauges)

    def opened(self, stored: Stored, tables: TableStates) -> None:
        """Reports everything of the tables, as they are when all is opened."""
        self._copying = set(tables.copying)
        self.states(stored)
        self.keys(tables)

    def keys(self, tables: TableStates) -> None:
        """Reports how many rows are withheld from Kafka, and refused by the front end."""
        tables.keys_changed = False
        gauges = {}
        for name in self._names:
            gauge = f"{metrics.WITHHELD}/{name}"
            gauges[gauge] = len(tables[name].withheld)
        for name, table in tables.items():
            gauge = f"{metrics.REFUSED}/{name}"
            gauges[gauge] = len(table.refused)
        self._control.beat(gauges)

    def committed(self, progress: Progress, events: Mapping[tuple[str, str], int]) -> None:
        """Reports a commit, and its events by resource and operation."""
        seconds = progress.position_time_us / 1_000_000
        gauges = {}
        counts: Counts = {}
        for stage in _STAGES:
            gauge = f"{metrics.LAST_COMMIT}/{stage}"
            gauges[gauge] = seconds
        for (name, op), number in events.items():
            counts[metrics.EVENTS, "applied", name, op] = number
        self._control.beat(gauges, counts)

    def compared(self, differences: Mapping[str, int]) -> None:
        """Reports tables of which every row was compared just now, and how many rows differ."""
        gauges: dict[str, float] = {}
        for name, number in differences.items():
            gauges[f"{metrics.VERIFIED}/{name}"] = time.time()
            gauges[f"{metrics.DIFFERENCES}/{name}"] = number
        self._control.beat(gauges)

    def copies(
        self,
        tables: TableStates,
        runs: Sequence[Run],
        rows: Counter[str],
    ) -> None:
        """Reports states that have changed, rows read, and what is expected of runs at work."""
        copying = set(tables.copying)
        changed = copying ^ self._copying
        for name in changed:
            self._state(name, tables[name].word)
        self._copying = copying

        gauges: dict[str, float] = {metrics.COPYING: 0}
        estimates = {run.resource.name: run.copy.estimate for run in runs}
        for name in self._read - estimates.keys():
            gauges[f"{metrics.COPY_ESTIMATE}/{name}"] = 0
        for name, estimate in estimates.items():
            gauges[f"{metrics.COPY_ESTIMATE}/{name}"] = estimate
        self._read = set(estimates)
        for run in runs:
            gauges[metrics.COPYING] = int(run.repair)

        counts: Counts = {}
        for name, number in rows.items():
            counts[metrics.COPIED, name] = number
        self._control.beat(gauges, counts)

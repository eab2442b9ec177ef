"""Holds all metrics of the agent, and what the running service knows of its stages.

Each name stands in this place only. The supervisor feeds it from beats. The children, which only
need the names, do not load the library.
"""

import platform
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from agent import __version__
from agent.errors import AgentError, stored

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge

STAGES = ("capture", "publish")  # the child processes
PEERS = {"source": "capture", "frontend": "capture", "kafka": "publish"}  # who is connected to what

EVENTS = "agent_events_total"  # stage captured|applied|published, table, op
ERRORS = "agent_errors_total"  # stage, kind (the error's code)
RESTARTS = "agent_process_restarts_total"  # stage; counted by the supervisor
# stage; commit time of the newest event or heartbeat past it, so lag = time() - x
LAST_COMMIT = "agent_last_commit_timestamp_seconds"
SOURCE_LAG = "agent_source_lag_bytes"
LOG_NOTES = "agent_trigger_log_notes"
LOG_OLDEST = "agent_trigger_log_oldest_timestamp_seconds"  # 0: nothing waits
OUTBOX_EVENTS = "agent_outbox_events"
OUTBOX_OLDEST = "agent_outbox_oldest_timestamp_seconds"  # 0: nothing waits
PUBLISH_DURATION = "agent_publish_duration_seconds"
CONNECTED = "agent_connected"  # peer
TABLE_STATE = "agent_table_state"  # table, state
COPYING = "agent_snapshot_running"
COPIED = "agent_snapshot_rows_total"  # table
WITHHELD = "agent_withheld_rows"  # table
FRONT_LOG = "agent_front_wal_bytes"  # of SQLite; 0 elsewhere
REFUSED = "agent_refused_rows"  # table
STAGE_ERROR = (
    "agent_stage_error_info"  # stage, code; there only while the stage fails with that code
)
FAILING_SINCE = "agent_stage_failing_since_timestamp_seconds"  # stage; 0: it makes progress
COPY_ESTIMATE = (
    "agent_snapshot_estimated_rows"  # table; by the source's statistics when the copy began
)

EVENT_STAGES = ("captured", "applied", "published")
OPERATIONS = ("c", "u", "d", "r")
TABLE_STATES = ("live", "copying", "suspended")
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Connection(NamedTuple):
    """Whether a peer is connected, and since when (Unix time)."""

    connected: bool
    since: float


class Failure(NamedTuple):
    """A run of failed attempts of a stage."""

    error: AgentError  # the last one
    since: float  # Unix time of the first attempt
    attempts: int


class Metrics:
    """The registry, with every known label set at 0 from the start.

    It is updated by one thread and read by the server's.
    """

    def __init__(self, tables: Iterable[str]) -> None:
        from prometheus_client import (
            CollectorRegistry,
            Histogram,
            PlatformCollector,
            ProcessCollector,
        )

        self.registry = CollectorRegistry()
        self.connections = {peer: Connection(False, time.time()) for peer in PEERS}
        self.failures: dict[str, Failure | None] = dict.fromkeys(STAGES)
        self.turned = time.monotonic()  # last turn of the supervisor's loop
        self.states: dict[str, str] = {}  # of each table, '' as long as nobody has reported one
        self._counters = {
            EVENTS: self._counter(EVENTS, "Events that passed the stage.", "stage", "table", "op"),
            ERRORS: self._counter(ERRORS, "Errors by code.", "stage", "kind"),
            RESTARTS: self._counter(RESTARTS, "Restarts of a child process.", "stage"),
            COPIED: self._counter(
                COPIED, "Rows read from the source to copy or verify the table.", "table"
            ),
        }
        self._gauges = {
            LAST_COMMIT: self._gauge(
                LAST_COMMIT,
                "Source commit time of the newest event or heartbeat past the stage.",
                "stage",
            ),
            SOURCE_LAG: self._gauge(SOURCE_LAG, "Log the source holds for the agent."),
            LOG_NOTES: self._gauge(
                LOG_NOTES, "Notes of triggers in the business database that wait for the agent."
            ),
            LOG_OLDEST: self._gauge(
                LOG_OLDEST,
                "When the oldest note that waits was written; 0 when none does.",
            ),
            OUTBOX_EVENTS: self._gauge(OUTBOX_EVENTS, "Events in the outbox that wait for Kafka."),
            OUTBOX_OLDEST: self._gauge(
                OUTBOX_OLDEST,
                "Source commit time of the oldest event that waits; 0 when none does.",
            ),
            CONNECTED: self._gauge(CONNECTED, "1 while the peer is connected.", "peer"),
            COPYING: self._gauge(COPYING, "1 while a table is copied."),
            COPY_ESTIMATE: self._gauge(
                COPY_ESTIMATE, "Rows the source's statistics promised when the copy began.", "table"
            ),
            WITHHELD: self._gauge(
                WITHHELD,
                "Rows too large for Kafka: the front end has them, the topic has not.",
                "table",
            ),
            FRONT_LOG: self._gauge(
                FRONT_LOG,
                "Bytes of the SQLite front end's -wal, which grows as long as somebody reads.",
            ),
            REFUSED: self._gauge(
                REFUSED,
                "Rows that the front-end table refuses: the topic has them, the table has not.",
                "table",
            ),
            TABLE_STATE: self._gauge(
                TABLE_STATE, "1 for the state the table is in.", "table", "state"
            ),
            STAGE_ERROR: self._gauge(
                STAGE_ERROR,
                "1 while the stage fails, with the code of its last error.",
                "stage",
                "code",
            ),
            FAILING_SINCE: self._gauge(
                FAILING_SINCE,
                "First failed attempt since the stage last made progress; 0 while it does.",
                "stage",
            ),
        }
        self._histograms = {
            PUBLISH_DURATION: Histogram(
                PUBLISH_DURATION,
                "Duration of a Kafka transaction.",
                buckets=_DURATIONS,
                registry=self.registry,
            ),
        }
        self._known()
        self.set_tables(tables)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> "Counter":
        from prometheus_client import Counter

        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> "Gauge":
        from prometheus_client import Gauge

        return Gauge(name, text, labels, registry=self.registry)

    def set_tables(self, tables: Iterable[str]) -> None:
        """Shows these tables and no others, each with every known label set."""
        names = tuple(tables)
        for gone in self.states.keys() - set(names):
            for metric in (*self._counters.values(), *self._gauges.values()):
                metric.remove_by_labels({"table": gone})
        self.states = {name: self.states.get(name, "") for name in names}
        for name in names:
            self._know_table(name)

    def _know_table(self, table: str) -> None:
        for operation in OPERATIONS:
            for stage in EVENT_STAGES:
                self._counters[EVENTS].labels(stage, table, operation)
        self._counters[COPIED].labels(table)
        self._gauges[COPY_ESTIMATE].labels(table)
        self._gauges[WITHHELD].labels(table)
        self._gauges[REFUSED].labels(table)
        for state in TABLE_STATES:
            self._gauges[TABLE_STATE].labels(table, state)

    def _known(self) -> None:
        build = self._gauge("agent_build_info", "Version of the agent.", "version", "python")
        build.labels(__version__, platform.python_version()).set(1)
        for stage in STAGES:
            self._counters[RESTARTS].labels(stage)
            self._gauges[FAILING_SINCE].labels(stage)
            for code in sorted(_codes(AgentError)):
                self._counters[ERRORS].labels(stage, code)
        for stage in EVENT_STAGES:
            self._gauges[LAST_COMMIT].labels(stage)
        for peer in PEERS:
            self._gauges[CONNECTED].labels(peer)

    def beat(
        self,
        gauges: Mapping[str, float],
        counters: Mapping[str, int],
        observations: Mapping[str, Iterable[float]],
    ) -> None:
        """Takes over what a child reported: names with their labels appended by `/`.

        Raises KeyError for a name that is not listed above.
        """
        for name, value in gauges.items():
            self.gauge(name, value)
        for name, increment in counters.items():
            self.count(name, increment)
        for name, values in observations.items():
            for value in values:
                self._histograms[name].observe(value)

    def gauge(self, name: str, value: float) -> None:
        """Sets one gauge."""
        metric, *labels = name.split("/")
        gauge = self._gauges[metric]
        (gauge.labels(*labels) if labels else gauge).set(value)
        if metric == CONNECTED and self.connections[labels[0]].connected != bool(value):
            self.connections[labels[0]] = Connection(bool(value), time.time())
        if metric == TABLE_STATE and value and labels[0] in self.states:
            self.states[labels[0]] = labels[1]

    def count(self, name: str, increment: int = 1) -> None:
        """Adds to one counter."""
        metric, *labels = name.split("/")
        self._counters[metric].labels(*labels).inc(increment)

    def failed(self, stage: str, code: str, values: Mapping[str, object]) -> Failure:
        """Notes a failed attempt of a stage; returns the run of failures that it belongs to."""
        before = self.failures[stage]
        since = time.time() if before is None else before.since
        attempts = 1 if before is None else before.attempts + 1
        failure = Failure(stored(code, dict(values)), since, attempts)
        if before is not None and before.error.code != failure.error.code:
            self._gauges[STAGE_ERROR].remove(stage, before.error.code)
        self.failures[stage] = failure
        self.gauge(f"{STAGE_ERROR}/{stage}/{failure.error.code}", 1)
        self.gauge(f"{FAILING_SINCE}/{stage}", since)
        return failure

    def well(self, stage: str) -> Failure | None:
        """Notes that a stage has made progress.

        Returns the run of failures that is over by that, if there was one.
        """
        before = self.failures[stage]
        if before is not None:
            self.failures[stage] = None
            self._gauges[STAGE_ERROR].remove(stage, before.error.code)
            self.gauge(f"{FAILING_SINCE}/{stage}", 0)
        return before

    def disconnected(self, stage: str) -> None:
        """Notes that a child has ended: its peers are no longer connected."""
        for peer, owner in PEERS.items():
            if owner == stage:
                self.gauge(f"{CONNECTED}/{peer}", 0)

    def turn(self) -> None:
        """Notes that the supervisor's loop is alive."""
        self.turned = time.monotonic()


def _codes(error: type[AgentError]) -> set[str]:
    return {error.code}.union(*(_codes(child) for child in error.__subclasses__()))

"""Holds all metrics of the agent, and what the running service knows of its stages.

Each name stands in this place only. The supervisor feeds it from beats. The children, which only
need the names, do not load the library.
"""

import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent import __version__
from agent.errors import AgentError, stored

if TYPE_CHECKING:
    from agent.service.history import History
    from agent.service.kept_gauges import KeptGauges

STAGES = ("capture", "publish")  # the child processes
PEERS = {"source": "capture", "frontend": "capture", "kafka": "publish"}  # who is connected to what

BUILD = "agent_build_info"  # version, python
EVENTS = "agent_events_total"  # stage applied|published, table, op
ERRORS = "agent_errors_total"  # stage, kind (the error's code)
RESTARTS = "agent_process_restarts_total"  # stage; counted by the supervisor
# stage; commit time of the newest event or heartbeat past it, so lag = time() - x
LAST_COMMIT = "agent_last_commit_timestamp_seconds"
SOURCE_LAG = "agent_source_lag_bytes"
LOG_NOTES = "agent_trigger_log_notes"
LOG_OLDEST = "agent_trigger_log_oldest_timestamp_seconds"  # 0: nothing waits
STATEMENTS = "agent_statements_logged_total"  # of MySQL: in place of rows
DOUBTED = "agent_doubted_tables"  # that such a statement may have changed, not compared yet
POLL_LOOKS = "agent_poll_looks_total"
POLL_ROWS = "agent_poll_rows_total"  # table
POLL_SECONDS = "agent_poll_look_duration_seconds"
# table; when the last look began that has read everything: what was committed before is known
POLL_COMPLETE = "agent_poll_complete_timestamp_seconds"
# table; when the next look should have begun that reads everything, never in quiet hours; there
# only for tables that are looked at
POLL_DUE = "agent_poll_due_timestamp_seconds"
POLL_QUIET = "agent_poll_quiet"
OUTBOX_EVENTS = "agent_outbox_events"
OUTBOX_OLDEST = "agent_outbox_oldest_timestamp_seconds"  # 0: nothing waits
PUBLISH_DURATION = "agent_publish_duration_seconds"
CONNECTED = "agent_connected"  # peer
TABLE_STATE = "agent_table_state"  # table, state; there only for the state that the table is in
COPYING = "agent_snapshot_running"
COPIED = "agent_snapshot_rows_total"  # table
WITHHELD = "agent_withheld_rows"  # table; there only while a row is withheld
FRONT_LOG = "agent_front_wal_bytes"  # of SQLite; 0 elsewhere
FRONT_FREE = "agent_front_free_bytes"  # of SQLite's disk; NaN elsewhere
REFUSED = "agent_refused_rows"  # table; there only while a row is refused
STAGE_ERROR = (
    "agent_stage_error_info"  # stage, code; there only while the stage fails with that code
)
FAILING_SINCE = "agent_stage_failing_since_timestamp_seconds"  # stage; 0: it makes progress
# table; by the source's statistics when the copy began; there only while the table is read
COPY_ESTIMATE = "agent_snapshot_estimated_rows"
VERIFIED = "agent_verify_timestamp_seconds"  # table; 0: it was never compared whole
DIFFERENCES = "agent_verify_differences"  # table; what that comparison found and nobody repaired
LOG_STATUS = "agent_source_log_status"  # status; there only for the one it has
LOG_RETAINED = "agent_source_log_retained_bytes"
LOG_SAFE = "agent_source_log_safe_bytes"  # +Inf: no limit; NaN: no log is kept
LOG_FREE = "agent_source_log_free_bytes"  # of service.source_disk; NaN where there is none
OLDEST_TRANSACTION = "agent_source_oldest_transaction_timestamp_seconds"  # 0: none runs
ROLE = "agent_role"  # role; there only for the one that the service has
STANDBYS = "agent_standbys"  # NaN: none is asked for
MEMORY = "agent_process_resident_memory_bytes"  # stage; 0: the process does not run
# table; bytes of keys and values that Kafka has made visible. Only for the history: one series more
# for each table would be too many
PUBLISHED_BYTES = "published_bytes"

EVENT_STAGES = ("applied", "published")
COMMIT_STAGES = ("captured", "applied", "published")
OPERATIONS = ("c", "u", "d", "r")
TABLE_STATES = ("live", "copying", "suspended")
ROLES = ("active", "standby")
LOG_STATUSES = ("reserved", "extended", "unreserved", "lost", "given_up")

# A series of these is there only while its value is not 0. A table has few series so: an agent with
# 150 tables has less than 2,000.
_SPARSE = {TABLE_STATE, WITHHELD, REFUSED, COPY_ESTIMATE, LOG_STATUS, POLL_DUE, ROLE}
# Rows that are there; a rise is what has failed since
_FAILURES = (REFUSED, WITHHELD)
# These outlive the service, so that a restart does not look like a table that was never compared
_KEPT = {VERIFIED, DIFFERENCES}

# Errors of commands that ask, or write what the service reads: it never meets them
_OF_COMMANDS = {
    "ANSWER_MISSING",
    "ANSWER_WRONG",
    "INIT_REFUSED",
    "REQUEST_REFUSED",
    "SERVICE_AWAY",
    "SETUP_REFUSED",
}
# What each metric says, and its labels
_COUNTERS: dict[str, tuple[str, ...]] = {
    EVENTS: ("Events that passed the stage.", "stage", "table", "op"),
    ERRORS: ("Errors by code.", "stage", "kind"),
    RESTARTS: ("Restarts of a child process.", "stage"),
    STATEMENTS: ("Statements that the binary log has in place of rows of unknown tables.",),
    POLL_LOOKS: ("Looks at the tables of a business database that is polled.",),
    POLL_ROWS: ("Rows that these looks have read.", "table"),
    COPIED: ("Rows read from the source to copy or verify the table.", "table"),
}
_GAUGES: dict[str, tuple[str, ...]] = {
    BUILD: ("Version of the agent.", "version", "python"),
    LAST_COMMIT: ("Source commit time of the newest event or heartbeat past the stage.", "stage"),
    SOURCE_LAG: ("Log the source holds for the agent.",),
    LOG_NOTES: ("Notes of triggers in the business database that wait for the agent.",),
    LOG_OLDEST: ("When the oldest note that waits was written; 0 when none does.",),
    DOUBTED: ("Tables that such a statement may have changed and that wait to be compared.",),
    POLL_SECONDS: ("Seconds that the last look at all tables took.",),
    POLL_COMPLETE: ("When the last look began that has read all there was.", "table"),
    POLL_DUE: ("When the next look is due that reads all there is; not in quiet hours.", "table"),
    POLL_QUIET: ("1 in quiet hours, in which no table is read.",),
    OUTBOX_EVENTS: ("Events in the outbox that wait for Kafka.",),
    OUTBOX_OLDEST: ("Source commit time of the oldest event that waits; 0 when none does.",),
    CONNECTED: ("1 while the peer is connected.", "peer"),
    COPYING: ("1 while a table is copied.",),
    COPY_ESTIMATE: ("Rows the source's statistics promised when the copy began.", "table"),
    WITHHELD: ("Rows too large for Kafka: the front end has them, the topic has not.", "table"),
    FRONT_LOG: ("Bytes of the SQLite front end's -wal, which grows as long as somebody reads.",),
    FRONT_FREE: ("Bytes free on the disk of the SQLite front end; NaN for another one.",),
    VERIFIED: ("When all rows of the table were last compared; 0: never.", "table"),
    DIFFERENCES: ("Rows that differed then and were not repaired.", "table"),
    LOG_STATUS: ("1 for the state of the log that the source keeps for the agent.", "status"),
    LOG_RETAINED: ("Log that the source retains for the agent.",),
    LOG_SAFE: ("Log that may still be written before the source gives up what it retains.",),
    LOG_FREE: ("Bytes free on the disk of the source's log; NaN where nobody has named it.",),
    OLDEST_TRANSACTION: (
        "Since when the source's oldest writing transaction has been seen; 0: none runs.",
    ),
    MEMORY: ("Resident memory of a child process.", "stage"),
    ROLE: ("1 for what the service is: active, or standby for another host.", "role"),
    STANDBYS: ("Hosts that stand by, as the active one sees them; NaN: none is asked for.",),
    REFUSED: (
        "Rows that the front-end table refuses: the topic has them, the table has not.",
        "table",
    ),
    TABLE_STATE: ("1 for the state the table is in.", "table", "state"),
    STAGE_ERROR: ("1 while the stage fails, with the code of its last error.", "stage", "code"),
    FAILING_SINCE: (
        "First failed attempt since the stage last made progress; 0 while it does.",
        "stage",
    ),
}
_LABELS = {name: labels for name, (_, *labels) in (_COUNTERS | _GAUGES).items()}
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


class Suspension(NamedTuple):
    """Why a table stands still."""

    error: AgentError
    since: float  # Unix time from which on this service has known it


class ActiveHost(NamedTuple):
    """The host for which this one stands by."""

    name: str  # '': it has not said so
    since: float  # Unix time by the front-end server's clock


class Metrics:
    """The registry, with known label sets at 0 from the start.

    It is updated by one thread and read by the server's.
    """

    def __init__(
        self,
        agent: str,
        tables: Iterable[str],
        front_folder: Path | None = None,
        source_disk: str | None = None,
        kept: "KeptGauges | None" = None,
        history: "History | None" = None,
    ) -> None:
        """Makes the metrics of the agent of this name.

        `front_folder` is where a SQLite front end lies, `source_disk` a folder on the disk of the
        source's log; `kept` and `history` hold what the last service has left.
        """
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            PlatformCollector,
            ProcessCollector,
            disable_created_metrics,
        )

        from agent.service.history import History
        from agent.service.labelled import Labelled

        # They would double the series of every counter
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._kept = kept
        self._pids: dict[str, int] = {}  # of the stages that run
        self.connections = {peer: Connection(False, time.time()) for peer in PEERS}
        self.failures: dict[str, Failure | None] = dict.fromkeys(STAGES)
        self.turned = time.monotonic()  # last turn of the supervisor's loop
        self.states: dict[str, str] = {}  # of each table, '' as long as nobody has reported one
        self.suspensions: dict[str, Suspension] = {}  # of suspended tables
        self.history = history or History()
        self.stands_by_for: ActiveHost | None = None  # None: it is active itself, or begins
        self.values: dict[str, float] = {}  # gauges by name and labels, as `gauge` was given them
        self._lasting: dict[str, float] = {}
        self._counters = {}
        for name, (text, *labels) in _COUNTERS.items():
            self._counters[name] = Counter(name, text, labels, registry=self.registry)
        self._gauges = {}
        for name, (text, *labels) in _GAUGES.items():
            self._gauges[name] = Gauge(name, text, labels, registry=self.registry)
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
        self._measured(front_folder, source_disk)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

        every = self.registry
        self.registry = CollectorRegistry()
        self.registry.register(Labelled(every, {"agent": agent}))

    def set_tables(self, tables: Iterable[str]) -> None:
        """Shows these tables and no others."""
        names = set(tables)
        for gone in self.states.keys() - names:
            for name, metric in (*self._counters.items(), *self._gauges.items()):
                # The library refuses to look for a label that a metric has not
                if "table" in _LABELS[name]:
                    metric.remove_by_labels({"table": gone})
            self.suspensions.pop(gone, None)
            self._drop_values(gone)
        new = sorted(names - self.states.keys())
        self.states = {name: self.states.get(name, "") for name in sorted(names)}
        for table in new:
            for operation in OPERATIONS:
                for stage in EVENT_STAGES:
                    self._counters[EVENTS].labels(stage, table, operation)
            self._counters[COPIED].labels(table)
            for name in _KEPT:
                self._gauges[name].labels(table)
        self._restore(new)

    def _drop_values(self, table: str) -> None:
        for name in list(self.values):
            metric, *labels = name.split("/")
            if labels[:1] == [table] and "table" in _LABELS[metric]:
                del self.values[name]

    def _known(self) -> None:
        self._gauges[BUILD].labels(__version__, platform.python_version()).set(1)
        for stage in STAGES:
            self._counters[RESTARTS].labels(stage)
            self._gauges[FAILING_SINCE].labels(stage)
            for code in sorted(_codes(AgentError) - _OF_COMMANDS):
                self._counters[ERRORS].labels(stage, code)
        for stage in COMMIT_STAGES:
            self._gauges[LAST_COMMIT].labels(stage)
        for peer in PEERS:
            self._gauges[CONNECTED].labels(peer)
        self._gauges[LOG_SAFE].set(math.nan)
        self._gauges[STANDBYS].set(math.nan)

    def _restore(self, tables: Iterable[str]) -> None:
        """Sets the gauges that the last service has left, of tables that are still there."""
        found = {} if self._kept is None else self._kept.read()
        for name in sorted(_KEPT):
            for table in tables:
                gauge = f"{name}/{table}"
                if gauge in found:
                    self.gauge(gauge, found[gauge])

    def _measured(self, front_folder: Path | None, source_disk: str | None) -> None:
        """Sets up what is measured whenever somebody asks for the metrics."""
        self._gauges[FRONT_FREE].set_function(lambda: _free(front_folder))
        self._gauges[LOG_FREE].set_function(lambda: _free(source_disk))
        for stage in STAGES:
            self._gauges[MEMORY].labels(stage).set_function(_memory_of(self._pids, stage))

    def beat(
        self,
        gauges: Mapping[str, float],
        counters: Mapping[str, int],
        observations: Mapping[str, Iterable[float]],
    ) -> None:
        """Takes over what a child reported: names with their labels appended by `/`.

        Raises KeyError for a name that is not listed above, when the counts are taken over.
        """
        unknown = []
        for name, increment in counters.items():
            try:
                self.count(name, increment)
            except KeyError:
                unknown.append(name)
        lasting = dict(self._lasting)
        for name, value in gauges.items():
            self.gauge(name, value)
        if self._kept is not None and self._lasting != lasting:
            self._kept.write(self._lasting)
        for name, values in observations.items():
            for value in values:
                self._histograms[name].observe(value)
        if unknown:
            raise KeyError(*unknown)

    def gauge(self, name: str, value: float) -> None:
        """Sets one gauge."""
        metric, *labels = name.split("/")
        gauge = self._gauges[metric]
        before = self.values.get(name)
        self.values[name] = value
        if metric in _FAILURES and before is not None and value > before:
            self.history.add(labels[0], time.time(), failed=int(value - before))
        if metric in _SPARSE and not value:
            gauge.remove(*labels)
            return
        (gauge.labels(*labels) if labels else gauge).set(value)
        if metric in _KEPT:
            self._lasting[name] = value
        if metric == CONNECTED and self.connections[labels[0]].connected != bool(value):
            self.connections[labels[0]] = Connection(bool(value), time.time())
        if metric == TABLE_STATE and value and labels[0] in self.states:
            self.states[labels[0]] = labels[1]
            if labels[1] != "suspended":
                self.suspensions.pop(labels[0], None)

    def count(self, name: str, increment: int = 1) -> None:
        """Adds to one counter."""
        metric, *labels = name.split("/")
        if metric == PUBLISHED_BYTES:
            self.history.add(labels[0], time.time(), bytes=increment)
            return
        counter = self._counters[metric]
        # The library refuses to look for labels where a metric has none
        (counter.labels(*labels) if labels else counter).inc(increment)
        now = time.time()
        if metric == EVENTS and labels[0] == "applied":
            self.history.applied(labels[1], labels[2], increment, now)
        elif metric == EVENTS:
            self.history.add(labels[1], now, published=increment)

    def suspended(self, table: str, code: str, values: Mapping[str, object]) -> None:
        """Notes why a table is suspended."""
        before = self.suspensions.get(table)
        try:
            error = stored(code, dict(values))
        except (KeyError, TypeError):  # another version has stored it
            error = AgentError(detail=code)
        since = time.time()
        if before is not None and before.error.code == error.code:
            since = before.since
        self.suspensions[table] = Suspension(error, since)

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

    @property
    def is_active(self) -> bool:
        """Whether this service holds the front end, or has held it."""
        return bool(self.values.get(f"{ROLE}/active"))

    def active(self) -> None:
        """Notes that this service holds the front end."""
        self.stands_by_for = None
        self.gauge(f"{ROLE}/active", 1)
        self.gauge(f"{ROLE}/standby", 0)

    def standby(self, host: str, since: float) -> None:
        """Notes that this service stands by for another host."""
        self.stands_by_for = ActiveHost(host, since)
        self.gauge(f"{ROLE}/active", 0)
        self.gauge(f"{ROLE}/standby", 1)

    def started(self, stage: str, pid: int) -> None:
        """Notes that a child has started."""
        self._pids[stage] = pid

    def ended(self, stage: str) -> None:
        """Notes that a child has ended: its peers are no longer connected."""
        self._pids.pop(stage, None)
        for peer, owner in PEERS.items():
            if owner == stage:
                self.gauge(f"{CONNECTED}/{peer}", 0)

    def turn(self) -> None:
        """Notes that the supervisor's loop is alive."""
        self.turned = time.monotonic()


def _free(folder: Path | str | None) -> float:
    """Returns the bytes that the agent may still write in a folder; NaN where nobody can tell."""
    if folder is None:
        return math.nan
    try:
        disk = os.statvfs(folder)
    except OSError:
        return math.nan
    return disk.f_bavail * disk.f_frsize


def _memory_of(pids: Mapping[str, int], stage: str) -> Callable[[], float]:
    """Returns what measures the memory of the process that runs a stage; 0 while none does."""

    def measure() -> float:
        try:
            pages = Path(f"/proc/{pids[stage]}/statm").read_text(encoding="ascii").split()[1]
        except (KeyError, OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    return measure


def _codes(error: type[AgentError]) -> set[str]:
    return {error.code}.union(*(_codes(child) for child in error.__subclasses__()))

"""The capture loop: source transactions in, front-end transactions out, then the acknowledgement.

    source.read ─▶ Applier ─▶ ONE front-end transaction ─commit─▶ source.acknowledge, wake the publisher

After any error everything is thrown away and opened again from what is stored (crash-only); nothing else recovers.
"""

import logging
import time

from agent import metrics
from agent.config import ResourceSettings, Settings
from agent.connectors.base import Source
from agent.connectors.postgres import PostgresSource
from agent.control import Control
from agent.errors import NotInitialised, Retry, SlotBusy, Suspend, TableChanged, TableUnpublished
from agent.events.changes import Snapshot, lsn_number
from agent.front.applier import Applier
from agent.front.base import Front, Stored
from agent.front.commit_rule import CommitRule
from agent.front.opening import open_front
from agent.resource import Resource, SourceTable

log = logging.getLogger(__name__)

_IDLE = 0.2  # seconds to wait for the first message: how often the source is tended at least


def capture(settings: Settings, control: Control) -> None:
    """Runs the capture process until it is asked to stop. Raises Halt; retries and suspensions are dealt with here."""
    Capture(settings, PostgresSource(settings), open_front(settings), control).run()


class Capture:
    """One source, one front end, and the loop between them."""

    def __init__(self, settings: Settings, source: Source, front: Front, control: Control) -> None:
        self._settings = settings
        self._source = source
        self._front = front
        self._control = control
        self._snapshot: Snapshot | None = None  # the next commit forgets the applied transactions it sees
        self._tend_at = 0.0

    def run(self) -> None:
        """Opens, streams, and after an error does as its directive says."""
        while not self._control.stopping():
            try:
                self._open()
                self._stream()
            except Retry as error:
                self._tell_connected(source=0, frontend=0)
                self._close()
                self._control.retry(error)
            except Suspend as error:
                self._suspend(error)
            finally:
                self._close()

    def _stream(self) -> None:
        """The loop."""
        rule = CommitRule(self._settings.front.max_rows, self._settings.front.max_bytes)
        while not self._control.stopping():
            for message in self._source.read(_IDLE):
                self._applier.take(message)
                now = time.monotonic()
                rule.taken(message, now)
                if rule.due(more_waits=True, now=now):
                    self._commit(rule)
                if now >= self._tend_at:
                    self._tend(now)
                    if self._control.stopping():
                        return
            if rule.due(more_waits=False, now=time.monotonic()):
                self._commit(rule)
            self._tend(time.monotonic())

    def _commit(self, rule: CommitRule) -> None:
        """Rows, outbox and position become durable together; only then the source may forget."""
        started = time.monotonic()
        progress = self._applier.progress()
        if self._snapshot is not None:
            self._front.prune(self._snapshot)
            self._snapshot = None
        self._front.commit(progress)
        rule.committed(time.monotonic() - started)
        self._source.acknowledge(lsn_number(progress.position))
        self._control.wake()
        counts: dict[tuple[str, ...], int] = {
            (metrics.EVENTS, stage, name, op): n for (name, op), n in self._applier.counts.items() for stage in ("captured", "applied")
        }
        self._applier.counts.clear()
        seconds = progress.position_time_us / 1_000_000
        self._control.beat({f"{metrics.LAST_COMMIT}/{stage}": seconds for stage in ("captured", "applied")}, counts)

    def _tend(self, now: float) -> None:
        """What has to be done a few times a second, busy or not."""
        self._tend_at = now + _IDLE
        snapshot = self._source.tend()
        if snapshot is not None:
            self._snapshot = snapshot
            self._control.went_well()
        self._control.beat({metrics.SOURCE_LAG: self._source.lag_bytes()})

    # ---- opening

    def _open(self) -> None:
        """Front first: a source that nobody can write for must not be connected."""
        stored = self._front.open(self._control.nonce)
        if stored.slot != self._settings.slot:
            raise NotInitialised(what=f"slot {self._settings.slot} (this front end belongs to {stored.slot})")
        self._open_source(stored)
        resources = self._resources(stored)
        self._applier = Applier(self._front, resources, stored, self._settings.kafka.max_event_bytes)
        self._snapshot = None
        self._tend_at = 0.0
        self._tell_connected(source=1, frontend=1)
        log.info("streaming position=%s epoch=%s tables=%s", stored.position, stored.epoch, len(resources))

    def _open_source(self, stored: Stored) -> None:
        """Opens the source; the publisher may start unless the slot is another agent's, which then may be publishing too."""
        try:
            self._source.open(stored, self._front.silent_since)
        except SlotBusy:
            raise
        except Retry:
            self._control.ready()
            raise
        self._control.ready()

    def _resources(self, stored: Stored) -> list[Resource]:
        """The live resources, fitted to the source's tables as they are now. Raises TableChanged, FrontTableWrong."""
        tables = self._source.tables()
        resources = []
        for settings in self._settings.resource:
            if settings.name not in stored.resources:
                raise NotInitialised(what=f"resource {settings.name}")
            state = stored.resources[settings.name].state
            self._control.beat({f"{metrics.TABLE_STATE}/{settings.name}/{s}": s == state for s in ("live", "suspended")})
            if state == "live":
                resource = self._resource(settings, tables)
                self._front.check(resource.target)
                resources.append(resource)
        return resources

    def _resource(self, settings: ResourceSettings, tables: dict[tuple[str, str], SourceTable]) -> Resource:
        table = tables.get((settings.schema_name, settings.table_name))
        if table is None:
            raise TableChanged(resource=settings.name, table=settings.table, change="it does not exist")
        reason = self._source.unpublished(settings.schema_name, settings.table_name)
        if reason:
            raise TableUnpublished(resource=settings.name, publication=self._settings.publication, table=settings.table, reason=reason)
        return Resource(settings, self._settings, table)

    def _suspend(self, error: Suspend) -> None:
        """Stores that the table stands still; the others go on from the stored position."""
        log.error("table_suspended resource=%s error=%s", error.resource, error)
        try:
            self._front.rollback()
            self._front.suspend(error)
        except Retry as failed:
            self._control.retry(failed)

    def _tell_connected(self, **peers: int) -> None:
        self._control.beat({f"{metrics.CONNECTED}/{peer}": up for peer, up in peers.items()})

    def _close(self) -> None:
        self._source.close()
        self._front.rollback()
        self._front.close()

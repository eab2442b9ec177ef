"""The capture loop: source transactions in, front-end transactions out, then the acknowledgement.

    source.read ─▶ Applier ─▶ ONE front-end transaction ─commit─▶ source.acknowledge, wake the publisher

After any error everything is thrown away and opened again from what is stored (crash-only); nothing else recovers.
"""

import logging
import time
from typing import Literal

from agent import failpoints
from agent.capture.applier import Applier
from agent.capture.commit_rule import CommitRule
from agent.capture.reconciler import Reconciler
from agent.capture.tables import Tables
from agent.config import Settings
from agent.connectors.base import Source, Visible
from agent.connectors.changes import HighPosition
from agent.connectors.opening import check_identity, open_source
from agent.connectors.position import position_number
from agent.errors import Retry, SourceBusy, Suspend
from agent.front import init_settings
from agent.front.base import Front, Stored
from agent.front.opening import open_front
from agent.service import metrics
from agent.service.control import Control
from agent.stop_watch import answers_until_stopped

log = logging.getLogger(__name__)

# Where an attempt may fail: opening all, the stream and its commits, pages and what commands ask, the catalogues, the source's clockwork
Step = Literal["open", "stream", "pages", "look", "housekeeping"]
_IDLE = 0.2  # seconds to wait for the first message: how often the source is tended at least
_ASK = 0.5  # seconds between looks for what commands ask
_CATALOGUE = 10.0  # seconds between looks at the catalogue of the source, and of the front end
_UNSETTLED = 1.0  # the same while a copy waits for what such a look finds


def capture(settings: Settings, control: Control) -> None:
    """Runs the capture process until it is asked to stop. Raises Halt; retries and suspensions are dealt with here."""
    front = open_front(settings)
    front.alive = control.beat
    with answers_until_stopped(control.stop_fd):
        Capture(settings, open_source(settings), front, control).run()


class Capture:
    """One source, one front end, and the loop between them."""

    def __init__(self, settings: Settings, source: Source, front: Front, control: Control) -> None:
        self._settings = settings
        self._source = source
        self._front = front
        self._control = control
        self._visible: Visible | None = (
            None  # the next commit forgets the applied transactions it sees
        )
        self._outdated = False  # what was opened is no longer what is: open again
        self._step: Step = "open"  # what is being done
        self._failed: set[Step] = (
            set()
        )  # at which steps attempts have failed, and none has come past since
        self._committed = False  # since all was opened
        self._housekeeping_at = self._ask_at = self._look_at = self._look_front_at = 0.0

    def run(self) -> None:
        """Opens, streams, and after an error does as its directive says."""
        while not self._control.stopping():
            try:
                self._open()
                self._stream()
            except Retry as error:
                self._failed.add(self._step)
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
        while not self._control.stopping() and not self._outdated:
            for message in self._source.read(_IDLE):
                if isinstance(message, HighPosition):
                    self._step = "pages"
                    self._reconciler.reached(message)
                    self._step = "stream"
                else:
                    self._applier.take(message)
                now = time.monotonic()
                rule.taken(message, now)
                if rule.due(more_waits=True, now=now):
                    self._commit(rule)
                    if not self._reconcile(now):
                        return
                if now >= self._housekeeping_at:
                    self._housekeeping(now)
                    if self._control.stopping():
                        return
            if rule.due(more_waits=False, now=time.monotonic()):
                self._commit(rule)
            self._housekeeping(time.monotonic())
            self._outdated = self._source.outdated() or self._outdated
            if rule.clear and not self._outdated:
                self._reconcile(time.monotonic())

    def _commit(self, rule: CommitRule) -> None:
        """Rows, outbox and position become durable together; only then the source may forget."""
        started = time.monotonic()
        progress = self._applier.progress()
        if self._visible is not None:
            self._front.prune(self._visible)
            self._reconciler.seen(self._visible)
            self._visible = None
        self._front.commit(progress)
        self._reconciler.applied(progress.transactions)
        rule.committed(time.monotonic() - started)
        failpoints.hit("before_ack_send")
        self._source.acknowledge(position_number(progress.position))
        failpoints.hit("after_ack_send")
        self._control.wake()
        self._committed = True
        self._passed("stream")
        counts: dict[tuple[str, ...], int] = {
            (metrics.EVENTS, stage, name, op): n
            for (name, op), n in self._applier.counts.items()
            for stage in ("captured", "applied")
        }
        self._applier.counts.clear()
        if self._applier.tables.keys_changed:
            self._tell_withheld()
        seconds = progress.position_time_us / 1_000_000
        self._control.beat(
            {f"{metrics.LAST_COMMIT}/{stage}": seconds for stage in ("captured", "applied")}, counts
        )

    def _housekeeping(self, now: float) -> None:
        """What has to be done a few times a second, busy or not."""
        self._housekeeping_at = now + _IDLE
        if now >= self._look_at:
            self._step = "look"
            self._look_at = now + (_UNSETTLED if self._tables.unsettled else _CATALOGUE)
            self._control.beat({metrics.FRONT_LOG: self._front.housekeeping()})
            self._outdated = self._tables.moved() or self._outdated
            self._verify_rewritten()
            self._passed("look")
        self._step = "housekeeping"
        visible = self._source.housekeeping()
        if visible is not None:
            self._visible = visible
            self._passed("housekeeping")
        self._step = "stream"
        self._control.beat({metrics.SOURCE_LAG: self._source.lag_bytes()})

    def _reconcile(self, now: float) -> bool:
        """Between source transactions, with nothing open at the front end: what commands have asked, and the next page.

        False: the counters may be others by now, so nothing more may be written before all is opened again.
        """
        self._step = "pages"
        if now >= self._ask_at:
            self._ask_at = now + _ASK
            requests = self._front.requests()
            if now >= self._look_front_at or any(not request.running for request in requests):
                self._look_front_at = now + _CATALOGUE
                self._outdated = self._tables.front_moved() or self._outdated
            if not self._outdated:
                self._outdated = self._reconciler.asked(requests)
        if not self._outdated:
            self._reconciler.proceed()
        if self._reconciler.run is None or self._reconciler.rows:
            self._passed("pages")
        self._step = "stream"
        self._tell_copies()
        return not self._outdated

    def _passed(self, step: Step) -> None:
        """A step has gone well. The stage has, once something was committed and every step was passed at which attempts had failed.

        Else what fails again and again at one place would be shown as well between two attempts.
        """
        self._failed.discard(step)
        if self._committed and not self._failed:
            self._control.went_well()

    def _verify_rewritten(self) -> None:
        for name, now in self._tables.rewritten.items():
            self._reconciler.verify(name, now)

    # ---- opening

    def _open(self) -> None:
        """Front first: a source that nobody can write for must not be connected."""
        self._step = "open"
        self._committed = False
        stored = self._front.open(self._control.nonce)
        check_identity(self._settings, stored.identity)
        topics = {name: resource.topic for name, resource in stored.resources.items()}
        init_settings.check_prefix(self._settings, stored.settings, topics)
        self._open_source(stored)
        self._tell_states(stored)
        self._tables = Tables(self._settings, self._source, self._front, stored)
        stored, resources = self._tables.stored, self._tables.resources
        self._applier = Applier(
            self._front,
            resources,
            stored,
            self._settings.kafka,
            self._settings.front.max_refused_rows,
        )
        self._reconciler = Reconciler(
            self._settings.reconcile,
            self._source,
            self._front,
            self._applier,
            resources,
            stored.transactions,
            self._tables.unsettled,
            self._tables.changed,
        )
        self._verify_rewritten()
        self._copying = set(self._applier.tables.copying)
        self._tell_states(stored)
        self._tell_withheld()
        self._visible = None
        self._outdated = False
        self._housekeeping_at = self._ask_at = 0.0
        self._look_front_at = time.monotonic() + _CATALOGUE
        self._look_at = time.monotonic() + (_UNSETTLED if self._tables.unsettled else _CATALOGUE)
        self._passed("open")
        self._step = "stream"
        self._tell_connected(source=1, frontend=1)
        log.info(
            "streaming position=%s epoch=%s tables=%s",
            stored.position,
            stored.epoch,
            len(resources),
        )

    def _open_source(self, stored: Stored) -> None:
        """Opens the source.

        The publisher may start unless another agent reads the source: it may be publishing, too.
        """
        try:
            self._source.open(stored.resume, self._front.silent_since)
        except SourceBusy:
            raise
        except Retry:
            self._control.ready()
            raise
        self._control.ready()

    def _suspend(self, error: Suspend) -> None:
        """Stores that the table stands still; the others go on from the stored position."""
        log.error(
            "table_suspended resource=%s code=%s error=%s",
            error.resource,
            error.code,
            error.text("en"),
        )
        try:
            self._front.rollback()
            self._front.suspend(error)
        except Retry as failed:
            self._failed.add(self._step)
            self._control.retry(failed)

    def _tell_states(self, stored: Stored) -> None:
        for name in {
            resource.name for resource in self._settings.resource
        } & stored.resources.keys():
            self._tell_state(name, stored.resources[name].state)

    def _tell_state(self, name: str, state: str) -> None:
        self._control.beat(
            {f"{metrics.TABLE_STATE}/{name}/{s}": s == state for s in metrics.TABLE_STATES}
        )

    def _tell_withheld(self) -> None:
        """How many rows are withheld from Kafka, and refused by the front end."""
        tables = self._applier.tables
        tables.keys_changed = False
        for name in (resource.name for resource in self._settings.resource):
            self._control.beat({f"{metrics.WITHHELD}/{name}": len(tables[name].withheld)})
        for name, table in tables.items():
            self._control.beat({f"{metrics.REFUSED}/{name}": len(table.refused)})

    def _tell_copies(self) -> None:
        """States that have changed, rows read, and what is expected of the copy at work."""
        tables = self._applier.tables
        copying = set(tables.copying)
        if copying != self._copying:
            for name in copying ^ self._copying:
                self._tell_state(name, tables[name].word)
            self._copying = copying
        run = self._reconciler.run
        gauges: dict[str, float] = {metrics.COPYING: int(run is not None and run.repair)}
        if run is not None:
            gauges[f"{metrics.COPY_ESTIMATE}/{run.resource.name}"] = run.copy.estimate
        self._control.beat(
            gauges, {(metrics.COPIED, name): rows for name, rows in self._reconciler.rows.items()}
        )
        self._reconciler.rows.clear()

    def _tell_connected(self, **peers: int) -> None:
        self._control.beat({f"{metrics.CONNECTED}/{peer}": up for peer, up in peers.items()})

    def _close(self) -> None:
        self._source.close()
        self._front.rollback()
        self._front.close()

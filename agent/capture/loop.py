"""The capture loop: source transactions in, front-end transactions out, then the acknowledgement.

    source.read ─▶ Applier ─▶ ONE front-end transaction
        ─commit─▶ source.acknowledge, wake the publisher

After any error everything is thrown away and opened again from what is stored (crash-only); nothing
else recovers.
"""

import logging
import time
from typing import Literal

from agent import failpoints
from agent.capture.applier import Applier
from agent.capture.commit_rule import CommitRule
from agent.capture.reconciler import Reconciler
from agent.capture.reports import Reports
from agent.capture.standby import Standby
from agent.capture.tables import Tables
from agent.config import Settings
from agent.connectors.base import Source, Visible
from agent.connectors.changes import HighPosition
from agent.connectors.opening import check_identity, open_source
from agent.connectors.position import position_number
from agent.connectors.resume import Resume
from agent.errors import Retry, SourceBusy, Suspend
from agent.front import init_settings
from agent.front.base import Front, Stored
from agent.front.opening import open_front
from agent.service import metrics
from agent.service.control import Control
from agent.stop_watch import answers_until_stopped

log = logging.getLogger(__name__)

# Where an attempt may fail: opening all, the stream and its commits, pages and what commands ask,
# the catalogues, the source's housekeeping
Step = Literal["open", "stream", "pages", "catalogues", "housekeeping"]
# Seconds between two times of housekeeping while messages come, and to wait for the first one while
# a source transaction or a page is under way
_IDLE = 0.2
_ASK = 1.0  # seconds between looks for what commands ask
_PRUNE = 10.0  # seconds after which the front end forgets source transactions that every page sees
_CATALOGUE = 10.0  # seconds between looks at the catalogue of the source, and of the front end
_UNSETTLED = 1.0  # the same while a copy waits for what such a look finds


def capture(settings: Settings, control: Control) -> None:
    """Runs the capture process until it is asked to stop.

    Raises Halt; retries and suspensions are dealt with here.
    """
    front = open_front(settings.front, settings.agent)
    front.alive = control.beat
    standby = Standby(front, control) if settings.service.standby else None
    with answers_until_stopped(control.stop_fd):
        try:
            Capture(settings, open_source(settings), front, control, standby).run()
        finally:
            if standby is not None:
                standby.leave()


class Capture:
    """One source, one front end, and the loop between them."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        front: Front,
        control: Control,
        standby: Standby | None = None,
    ) -> None:
        """`standby`: this host's part, where another one may stand by."""
        self._settings = settings
        self._source = source
        self._front = front
        self._control = control
        self._standby = standby
        self._reports = Reports([resource.name for resource in settings.resource], control)

        # The next commit forgets the applied transactions that this sees
        self._visible: Visible | None = None
        self._outdated = False  # what was opened is no longer what is: open again

        self._step: Step = "open"  # what is being done
        # The steps at which attempts have failed, and none has come past since
        self._failed: set[Step] = set()
        self._committed = False  # since all was opened

        # When each is due again, in time.monotonic()
        self._housekeeping_at = 0.0
        self._requests_at = 0.0
        self._prune_at = 0.0
        self._catalogues_at = 0.0
        self._front_catalogue_at = 0.0

    def run(self) -> None:
        """Opens, streams, and after an error does as its directive says."""
        while not self._control.stopping():
            try:
                self._open()
                self._stream()
            except Retry as error:
                self._failed.add(self._step)
                self._reports.connected(source=False, front=False)
                self._close()
                # Who stands by asks the source for nothing
                if self._standby is None or self._standby.is_active:
                    self._source.unattended()
                self._control.beat(self._source.gauges())
                self._control.retry(error)
            except Suspend as error:
                self._suspend(error)
            finally:
                self._close()

    def _stream(self) -> None:
        """Reads and commits until something has to be opened again: the loop."""
        settings = self._settings.front
        rule = CommitRule(settings.max_rows, settings.max_bytes)
        while not self._control.stopping() and not self._outdated:
            for message in self._source.read(self._seconds_to_rest(rule)):
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

    def _seconds_to_rest(self, rule: CommitRule) -> float:
        """Returns how long the source may wait for a message before anything else is due."""
        if not rule.clear or self._reconciler.runs:
            return _IDLE
        due_at = min(self._requests_at, self._catalogues_at, self._control.beat_at)
        return max(0.0, due_at - time.monotonic())

    def _commit(self, rule: CommitRule) -> None:
        """Makes rows, outbox and position durable together; only then the source may forget."""
        started = time.monotonic()
        progress = self._applier.progress()
        if self._visible is not None:
            if started >= self._prune_at:
                self._prune_at = started + _PRUNE
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
        if self._applier.tables.keys_changed:
            self._reports.keys(self._applier.tables)
        self._reports.committed(progress, self._applier.counts)
        self._applier.counts.clear()

    def _housekeeping(self, now: float) -> None:
        """Does what has to be done from time to time, busy or not."""
        self._housekeeping_at = now + _IDLE
        if now >= self._catalogues_at:
            self._step = "catalogues"
            self._catalogues_at = now + self._patience()
            self._control.beat({metrics.FRONT_LOG: self._front.housekeeping()})
            self._outdated = self._tables.moved() or self._outdated
            self._verify_rewritten()
            self._passed("catalogues")
        self._step = "housekeeping"
        visible = self._source.housekeeping()
        if visible is not None:
            self._visible = visible
            self._passed("housekeeping")
        self._step = "stream"
        lag = {metrics.SOURCE_LAG: self._source.lag_bytes()}
        pair = {} if self._standby is None else self._standby.gauges
        gauges = {**lag, **pair, **self._source.gauges()}
        self._control.beat(gauges, self._source.counts())

    def _reconcile(self, now: float) -> bool:
        """Takes up what commands have asked, and sees to the next pages.

        It is called between source transactions, with nothing open at the front end. False: the
        counters may be others by now, so nothing more may be written before all is opened again.
        """
        self._step = "pages"
        if now >= self._requests_at:
            self._requests_at = now + _ASK
            requests = self._front.requests()
            new = any(not request.running for request in requests)
            if new:
                self._outdated = self._tables.front_moved() or self._outdated
            elif now >= self._front_catalogue_at:
                self._look_at_some_tables(now)
            if not self._outdated:
                self._outdated = self._reconciler.asked(requests)
            for name in self._source.comparisons(self._applier.tables.copying):
                self._reconciler.compare(name)
        if not self._outdated:
            self._reconciler.proceed()
        reconciler = self._reconciler
        if not reconciler.runs or reconciler.rows:
            self._passed("pages")
        self._step = "stream"
        self._reports.copies(self._applier.tables, reconciler.runs, reconciler.rows)
        reconciler.rows.clear()
        self._reports.compared(reconciler.compared)
        reconciler.compared.clear()
        return not self._outdated

    def _look_at_some_tables(self, now: float) -> None:
        """Looks at the front end's catalogue, at the tables whose turn has come.

        Each has one in `_CATALOGUE` seconds. Not all at once, for the stream waits meanwhile.
        """
        tables = max(len(self._tables.resources), 1)
        count = 0
        while count < tables and self._front_catalogue_at <= now:
            self._front_catalogue_at += _CATALOGUE / tables
            count += 1
        self._outdated = self._tables.front_moved(count) or self._outdated

    def _passed(self, step: Step) -> None:
        """Notes that a step has gone well.

        The stage has, once something was committed and every step was passed at which attempts had
        failed. Else what fails again and again at one place would be shown as well between two
        attempts.
        """
        self._failed.discard(step)
        if self._committed and not self._failed:
            self._control.went_well()

    def _verify_rewritten(self) -> None:
        for name, now in self._tables.rewritten.items():
            self._reconciler.verify(name, now)

    def _patience(self) -> float:
        """Returns the seconds until the catalogues are looked at again."""
        return _UNSETTLED if self._tables.unsettled else _CATALOGUE

    # ---- opening

    def _open(self) -> None:
        """Opens the front end, then the source.

        A source that nobody can write for must not be connected.
        """
        self._step = "open"
        self._committed = False
        stored = self._open_front()
        if stored is None:
            return
        self._control.active()
        settings = self._settings
        check_identity(settings.source, stored.identity)
        topics = {name: resource.topic for name, resource in stored.resources.items()}
        prefix = settings.kafka.prefix
        init_settings.check_prefix(prefix, settings.resource, stored.settings, topics)
        self._open_source(stored)

        self._reports.states(stored)
        self._tables = Tables(settings, self._source, self._front, stored)
        stored = self._tables.stored
        resources = self._tables.resources
        self._applier = Applier(
            self._front,
            resources,
            stored,
            settings.kafka,
            settings.front.max_refused_rows,
        )
        self._reconciler = Reconciler(
            settings.reconcile,
            self._source,
            self._front,
            self._applier,
            resources,
            stored.transactions,
            self._tables.unsettled,
            self._tables.changed,
        )
        self._verify_rewritten()

        self._reports.opened(stored, self._applier.tables)
        self._visible = None
        self._outdated = False
        self._housekeeping_at = 0.0
        self._requests_at = 0.0
        self._front_catalogue_at = time.monotonic() + _CATALOGUE
        self._catalogues_at = time.monotonic() + self._patience()
        self._passed("open")
        self._step = "stream"
        self._control.wake()  # for what an attempt has committed whose end nobody has seen
        self._reports.connected(source=True, front=True)
        log.info(
            "streaming position=%s epoch=%s tables=%s",
            stored.position,
            stored.epoch,
            len(resources),
        )

    def _open_front(self) -> Stored | None:
        """Opens the front end; None: the process was asked to stop while it stood by."""
        if self._standby is None:
            return self._front.open(self._control.nonce)
        return self._standby.open()

    def _open_source(self, stored: Stored) -> None:
        """Opens the source.

        The publisher may start unless another agent reads the source: it may be publishing, too.
        """
        try:
            self._source.open(self._resume(stored), self._front.silent_since)
        except SourceBusy:
            raise
        except Retry:
            self._control.ready()
            raise
        if self._standby is not None:
            self._standby.reads(self._source.reader())
        self._control.ready()

    def _resume(self, stored: Stored) -> Resume:
        """Returns what the source is handed back, with whom this host has taken over from."""
        left_by = "" if self._standby is None else self._standby.left_by
        return stored.resume._replace(left_by=left_by)

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

    def _close(self) -> None:
        self._source.close()
        self._front.rollback()
        self._front.close()

"""Makes a table of the front end equal to the source beside the live stream, or compares the two.

    open a window
        ─▶ the source reads a page
            ─▶ the stream delivers its high position
                ─▶ merge: page and window against the front end

Tables go through the phases (`agent/capture/phases.py`) in the order of the configuration: a large
one alone, small ones side by side. Their pages are read in one snapshot and have one high position,
and each has a window of its own, all opened at the same moment. `Reconciler.proceed` is the loop,
called between source transactions; `reached` merges inside the transaction that marks the pages'
end, so differences, their events and the marks become durable together.

Rules: docs/decisions/visibility-hand-over.md.
"""

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from agent import failpoints
from agent.capture.applier import Applier
from agent.capture.phases import Phases, being_read, last_key, same_order
from agent.capture.requests import Requests
from agent.capture.runs import Run, Runs
from agent.capture.window import Count, Window
from agent.config import ReconcileSettings
from agent.connectors.base import Ask, Page, Source, Visible
from agent.connectors.changes import HighPosition
from agent.errors import RowsMiscounted, TableWork, TooManyDeletes
from agent.front.base import COUNT, FOLLOWED, HOLES, PAGES, Front, Request
from agent.resource import Resource
from agent.values.rows import Key

log = logging.getLogger(__name__)

_LEAST, _MOST = 100, 20_000  # rows of a page
_SHORT, _LONG = 0.05, 0.2  # seconds of a merge: below, pages grow; above, they shrink
_TABLES = 64  # whose pages are read in one snapshot at the most
_FEW = 100  # rows that may be deleted whatever share they are
_LAG = 16 << 20  # bytes of log the stream may be behind while pages are read
_STARVED = 5.0  # seconds after which a page is read however far behind the stream is


class _AskedPage(NamedTuple):
    """The next page of one table."""

    run: Run
    window: Window  # the stream's changes since it was asked for


class _Asked(NamedTuple):
    """Pages that were asked for together."""

    token: str
    pages: Sequence[_AskedPage]


class Reconciler:
    """Between `Capture` and the tables that are not live, while source and front end are open."""

    def __init__(
        self,
        settings: ReconcileSettings,
        source: Source,
        front: Front,
        applier: Applier,
        resources: Sequence[Resource],
        unseen: Collection[int],
        unsettled: Collection[str] = (),
        changed: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Takes what was opened.

        `unseen`: source transactions applied, which a new snapshot may not see yet.
        `unsettled`: tables that are not copied yet.
        `changed` looks at the source's catalogue: whether a table has changed since all was opened.
        """
        self._settings = settings
        self._source = source
        self._front = front
        self._applier = applier
        self._tables = applier.tables
        self._changed = changed
        self._unseen = set(unseen)

        self._phases = Phases(front, self._tables)
        self._runs = Runs(self._tables, resources, unsettled)
        self._requests = Requests(front, self._tables, self._runs, self._drop)
        self._asked: _Asked | None = None
        # How many tables are asked for together: as many as are read and merged quickly
        self._width = 1
        # What the first pages wait for, of tables that begin before all is opened again
        self._barrier = ""
        self._merged_at = time.monotonic()
        # What the caller reports and clears, by resource: rows read; where every row was compared,
        # how many differ still
        self.rows: Counter[str] = Counter()
        self.compared: dict[str, int] = {}

    @property
    def runs(self) -> Sequence[Run]:
        """The runs at work."""
        return self._runs.at_work

    def applied(self, transactions: Collection[int]) -> None:
        """Notes source transactions that are in the front end for good."""
        self._unseen.update(transactions)

    def seen(self, visible: Visible) -> None:
        """Forgets the transactions that a new snapshot sees: every later one does."""
        seen = {number for number in self._unseen if visible.sees(number)}
        self._unseen -= seen

    def asked(self, requests: Sequence[Request]) -> bool:
        """Takes up what commands have asked. True: all must be opened again first."""
        return self._requests.take_up(requests)

    def verify(self, name: str, rewritten: Mapping[str, str]) -> None:
        """Verifies a table that was rewritten, nobody knows how; it is copied if it differs."""
        resource = self._runs.resource(name)
        assert resource is not None, "the table is open"
        run = Run(resource, FOLLOWED, repair=False, rewritten=rewritten)
        self._runs.verify(run)

    def compare(self, name: str) -> None:
        """Compares every row of a table, and repairs what differs, unless that is under way."""
        table = self._tables[name]
        if self._runs.resource(name) is not None and not table.copying:
            table.start_copy(FOLLOWED._replace(phase=PAGES, whole=True))

    # ---- the loop

    def proceed(self) -> None:
        """Sees that pages are on their way while tables need them.

        To be called between source transactions, after the front end's commit.
        """
        if self._asked is not None:
            self._source.page()  # raises what its reader has met
            if not all(page.window.useless for page in self._asked.pages):
                return
            self._drop("none of them can be merged")

        runs = self._runs.next(self._width)
        if runs and self._calm(runs[0]):
            for run in runs:
                with TableWork(run.resource.name):
                    self._prepare(run)
            self._ask(runs, self._unseen)

    def _prepare(self, run: Run) -> None:
        """Prepares a run for its next page."""
        if run.copy.phase == COUNT and being_read(self._tables, run):
            run.copy = run.copy._replace(phase=HOLES)  # and counted then
        if not run.copy.began_us:
            self._begin(run)

    def _calm(self, run: Run) -> bool:
        """Whether pages of such runs may be read now.

        The stream comes first, and Kafka must not be too far behind. Log that a long transaction
        holds back is no reason to wait: it goes when that ends, whatever is copied.
        """
        if self._source.lag_bytes() > _LAG:
            starved = time.monotonic() - self._merged_at >= _STARVED
            if self._source.log_large() or not starved:
                return False
        if not run.repair:
            return True
        return self._front.outbox_bytes() <= self._settings.max_outbox_bytes

    def _begin(self, run: Run) -> None:
        """Begins a run.

        Who runs now at the source may have changed the table before its changes were in the stream:
        the first page waits for them all, unless the stream has followed the table until now.
        """
        resource = run.resource
        barrier = run.copy.barrier
        if not barrier and not run.copy.followed:
            self._barrier = self._barrier or self._source.barrier()
            barrier = self._barrier
        run.copy = run.copy._replace(
            began_us=time.time_ns() // 1000,
            barrier=barrier,
            estimate=self._source.estimate(resource.table),
            front_rows=self._front.count(resource.target),
        )
        if run.repair:
            self._tables[resource.name].start_copy(run.copy)
        log.info(
            "reconcile_begins resource=%s repair=%s phase=%s estimate=%d",
            resource.name,
            run.repair,
            run.copy.phase,
            run.copy.estimate,
        )

    def _ask(
        self,
        runs: Sequence[Run],
        must_see: Collection[int],
        after: Key | None = None,
    ) -> None:
        """Opens windows and asks for rows that show everything before them.

        `after`: of the only run, instead of its mark.
        """
        token = str(uuid.uuid4())
        seen = frozenset(must_see)
        room = self._settings.window_bytes // len(runs)
        pages = []
        asks = []
        for run in runs:
            phase = self._phases.of(run)
            with TableWork(run.resource.name):
                window = phase.window(run, room)
            pages.append(_AskedPage(run, window))
            wanted = phase.wanted(run)
            ask = Ask(
                token,
                run.resource.name,
                run.resource.table,
                wanted.columns,
                seen,
                run.copy.barrier,
                after or run.copy.mark,
                run.limit,
                wanted.keys,
                wanted.counted,
                settled=run.repair,
            )
            asks.append(ask)

        self._asked = _Asked(token, pages)
        for page in pages:
            self._applier.windows[page.run.resource.name] = page.window
        first, *further = asks
        self._source.ask(first._replace(further=further))

    def reached(self, high: HighPosition) -> None:
        """Merges the pages whose high position the stream has come to, if they still count.

        This is inside the source transaction that marks the pages' end.
        """
        asked = self._asked
        if asked is None or asked.token != high.token:
            return
        page = self._source.page()
        # Now the front end holds, and the windows have heard of, everything before
        self._applier.flush()
        if page is None:
            self._drop("it was not read in time")
            return

        self._close_windows()
        read = [page, *page.further]
        self._read_on(asked, page)
        began = time.monotonic()
        for (run, window), found in zip(asked.pages, read, strict=False):
            if window.useless:
                _drop_page(run, window.useless)
            else:
                with TableWork(run.resource.name):
                    self._merged(run, window, found)
        self._merged_at = time.monotonic()
        whole = len(read) == len(asked.pages) and not read[-1].more
        self._width = _widened(len(read), whole, self._merged_at - began)

    def _merged(self, run: Run, window: Window, page: Page) -> None:
        """Merges a page and goes on to what comes after it."""
        failpoints.hit("before_page_merge")
        began = time.monotonic()
        self._merge(run, window, page)
        if run.repair and run.miscounted:
            self._repeat(run)
        else:
            self._advance(run, page)
        failpoints.hit("after_page_merge")
        seconds = time.monotonic() - began
        run.limit = _paced(run.limit, page, seconds)

    def _read_on(self, asked: _Asked, page: Page) -> None:
        """Asks for the next page of a table that is read alone, before this one is merged."""
        run, window = asked.pages[0]
        alone = len(asked.pages) == 1 and not window.useless
        if not alone or run.copy.phase != PAGES or not page.more:
            return
        first = run.repair or not self._tables.copying
        if first and self._calm(run):
            last = last_key(run.resource, page)
            must_see = self._unseen.union(self._applier.under_way)
            self._ask([run], must_see, last)

    def _drop(self, reason: str) -> None:
        """Gives up the pages that were asked for: the next ones are fewer, and smaller.

        `reason`: of those whose windows would be of use.
        """
        self._source.withdraw()
        if self._asked is not None:
            for run, window in self._asked.pages:
                _drop_page(run, window.useless or reason)
        self._close_windows()
        self._width = max(self._width // 2, 1)

    def _close_windows(self) -> None:
        self._asked = None
        self._applier.windows.clear()

    # ---- one page against the front end

    def _merge(self, run: Run, window: Window, page: Page) -> None:
        """Finds the differences, counts them, and takes them away where it is a repair."""
        if isinstance(window, Count):
            self._compare_counts(run, window, page)
            return

        resource = run.resource
        phase = self._phases.of(run)
        sides = phase.sides(run, page)
        found = phase.compare(run, window, sides)
        run.unsure.update(found.holes)
        holes = self._tables[resource.name].holes
        run.count(page, found, holes)
        self.rows[resource.name] += len(page.lines)

        if run.repair:
            self._guard(run)
            free = run.copy.phase == PAGES and same_order(self._front, resource)
            seen = sides.source.keys()
            self._applier.repair(resource, found, seen, free=free)

    def _guard(self, run: Run) -> None:
        """Raises TooManyDeletes before a wrong source or filter empties the front end.

        Of a front-end table that was empty, all that goes now has come from this source since: rows
        that a look has shown, and that were deleted before their page was read.
        """
        copy = run.copy
        if not copy.front_rows:
            return
        share = int(copy.front_rows * self._settings.max_delete_share)
        limit = max(_FEW, share)
        if copy.extra > limit and not copy.allow_deletes:
            raise TooManyDeletes(
                resource=run.resource.name,
                deletes=copy.extra,
                rows=copy.front_rows,
                limit=limit,
            )

    def _compare_counts(self, run: Run, window: Count, page: Page) -> None:
        """Compares the numbers of rows; those of a verify are reported.

        Raises RowsMiscounted where a repair did not make them equal. It goes on where the source's
        catalogue says that the table was changed meanwhile, see `_repeat`.
        """
        name = run.resource.name
        source = page.total
        if source is None:
            # Rows may have come or gone unseen since they were compared
            return
        front = window.expected(page.snapshot)
        run.counted = source, front
        # Rows refused before the window opened, and rows refused by now: either may be missing
        run.tolerance += len(self._tables[name].refused)

        log.info("rows_counted resource=%s source=%d front=%d", name, source, front)
        if not run.repair or not run.miscounted:
            return
        if run.repeated or not self._changed(name):
            raise RowsMiscounted(resource=name, source=source, front=front)

    def _repeat(self, run: Run) -> None:
        """Compares every row a second time, since the table was changed after its pages were read.

        A TRUNCATE of one partition, for one, is not in the stream: only the catalogue shows it.
        """
        assert run.counted is not None, "rows were counted"
        log.warning("rows_compared_again resource=%s", run.resource.name)
        run.copy = run.copy._replace(
            phase=PAGES,
            mark=None,
            rows=0,
            looked_up=0,
            republish=False,  # every row was published in the first round
            barrier=self._source.barrier(),
            front_rows=max(run.copy.front_rows, run.counted[1]),
        )
        run.repeated = True
        run.counted = None
        run.tolerance = 0
        run.equal = 0
        self._tables[run.resource.name].move(run.copy)

    # ---- what comes after a page

    def _advance(self, run: Run, page: Page) -> None:
        """Goes on to the next page, phase or table."""
        if not self._phases.advance(run, page):
            self._finish(run)
        elif run.repair:
            self._tables[run.resource.name].move(run.copy)

        if run.request is None:
            return
        if not self._front.answer(run.request.id, "running", run.report()):
            run.request = None
            if not run.repair:  # nobody waits for it any more
                self._drop("it was withdrawn")
                self._runs.end(run)

    def _finish(self, run: Run) -> None:
        """Ends a run: a table that was repaired is live."""
        copy = run.copy
        table = self._tables[run.resource.name]
        run.withheld = len(table.withheld)
        log.info(
            "reconcile_ends resource=%s repair=%s rows=%d missing=%d different=%d extra=%d",
            table.name,
            run.repair,
            copy.rows,
            copy.missing,
            copy.different,
            copy.extra,
        )

        if run.repair:
            run.refused = len(table.refused)
            table.complete()
            reconcile = run.request is not None and run.request.kind == "reconcile"
            if reconcile and run.differences:
                self._verify_repair(run)
        elif run.rewritten is not None:
            self._front.keep_fingerprint(table.name, run.rewritten)
            if run.unequal:
                table.move(FOLLOWED)

        if copy.whole:
            self.compared[table.name] = run.left
        if run.request is not None:
            self._front.answer(run.request.id, "done", run.report())
            run.request = None
        self._runs.end(run)

    def _verify_repair(self, run: Run) -> None:
        """Lets a verify find what still differs after a repair; it answers the request."""
        verify = Run(
            run.resource,
            FOLLOWED,
            repair=False,
            request=run.request,
            repaired=run.report(),
        )
        self._runs.verify(verify, first=True)
        run.request = None


def _drop_page(run: Run, reason: str) -> None:
    """Gives up the page of one table: its next one is smaller."""
    log.info(
        "page_dropped resource=%s rows=%d reason=%s",
        run.resource.name,
        run.limit,
        reason,
    )
    run.limit = max(run.limit // 2, 1)


def _widened(tables: int, whole: bool, seconds: float) -> int:
    """Returns how many tables are asked for next, by how long the merge of these took.

    `whole`: all that were asked for have come, and the last of them to its end.
    """
    if seconds > _LONG:
        return max(tables // 2, 1)
    if whole:
        return min(tables * 2, _TABLES)
    return tables


def _paced(limit: int, page: Page, seconds: float) -> int:
    """Returns the rows of the next page, by how long the merge of the last one took.

    They are never more than the source could give.
    """
    limit = min(limit, page.limit)
    if seconds > _LONG:
        return max(limit // 2, _LEAST)
    if seconds < _SHORT and page.more:
        return min(limit * 2, _MOST)
    return limit

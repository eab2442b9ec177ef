"""Makes a table of the front end equal to the source beside the live stream, or finds out whether it is: copy, repair and verify.

    open a window ─▶ the source reads a page ─▶ the stream delivers its high position ─▶ merge: page + window against the front end

One table at a time. `Reconciler.tend` is the loop, called between source transactions; `reached` merges inside the transaction that
marks the page's end, so differences, their events and the mark become durable together. Rules: docs/decisions/visibility-hand-over.md.
"""

import hashlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from agent import failpoints
from agent.capture.applier import Applier, Differences
from agent.capture.refusals import digest
from agent.capture.window import Count, Window
from agent.config import ReconcileSettings
from agent.connectors.base import Ask, Page, Source
from agent.connectors.changes import HighPosition, Snapshot
from agent.errors import RowsMiscounted, Suspend, TableWork, TooManyDeletes, stored
from agent.front.base import (
    COUNT,
    EXTRAS,
    HOLES,
    KNOWN,
    PAGES,
    REFUSED,
    TOPIC,
    WITHHELD,
    Copy,
    Front,
    Refused,
    Request,
)
from agent.resource import FrontRow, Resource
from agent.values.lines import row_of
from agent.values.rows import UNCHANGED, Key, Row

log = logging.getLogger(__name__)

_FIRST, _LEAST, _MOST = 1_000, 100, 20_000  # rows of a page
_SHORT, _LONG = 0.05, 0.2  # seconds of a merge: below, pages grow; above, they shrink
_FEW = 100  # rows that may be deleted whatever share they are
_SHOWN = 20  # differences that a report names
_LAG = 16 << 20  # bytes of log the stream may be behind while pages are read
_STARVED = 5.0  # seconds after which a page is read however far behind the stream is


@dataclass
class Run:
    """One table on its way through the phases. Of a verify nothing is stored: it begins anew after a restart."""

    resource: Resource
    copy: Copy
    repair: bool = True
    request: Request | None = None
    rewritten: Mapping[str, str] | None = (
        None  # a verify for which nobody asked: the table was rewritten, and this is its fingerprint since
    )
    limit: int = _FIRST
    keys: Sequence[Key] = ()  # to look up next; in the phase of the pages none
    topic_keys: Sequence[
        str
    ] = ()  # of the phase of the topic's keys: the same as the topic has them
    withheld: int = 0
    refused: int = 0  # rows that differ since the front end refuses them
    # Of a verify that follows a repair: what that has told
    repaired: Mapping[str, Any] | None = None
    unsure: set[Key] = field(default_factory=set)  # of a verify: keys to look up in the end
    equal: int = 0
    shown: list[dict[str, str]] = field(default_factory=list)
    counted: tuple[int, int] | None = None  # rows to share at the source, rows in the front end
    tolerance: int = 0  # by how many rows the two may differ: those that the front end refuses
    repeated: bool = False  # every row is compared a second time, see Reconciler._repeat

    @property
    def again(self) -> bool:
        """Whether rows are told again though nothing differs."""
        return self.copy.phase == WITHHELD or (self.copy.republish and self.copy.phase == PAGES)

    @property
    def differences(self) -> int:
        """How many rows differed so far."""
        return self.copy.missing + self.copy.different + self.copy.extra

    @property
    def unequal(self) -> bool:
        """Whether a row has differed, or the numbers of rows do."""
        return self.miscounted or self.differences > 0

    @property
    def miscounted(self) -> bool:
        """Whether source and front end were counted, and refused rows do not explain that their numbers differ."""
        source, front = self.counted or (0, 0)
        return abs(source - front) > self.tolerance

    def report(self) -> dict[str, Any]:
        """What a command is told."""
        copy = self.copy
        counts = {
            "rows": copy.rows,
            "equal": self.equal,
            "missing": copy.missing,
            "different": copy.different,
            "extra": copy.extra,
        }
        told = {
            "phase": copy.phase,
            "estimate": copy.estimate,
            "looked_up": copy.looked_up,
            **counts,
            "withheld": self.withheld,
            "counted": list(self.counted or ()),
            "refused": self.refused,
            "differences": self.shown,
        }
        if self.repaired is None:
            return told
        left = self.differences or int(self.miscounted)
        return told | {**self.repaired, "left": left, "refused": self.refused}

    def count(self, page: Page, found: Differences, on_their_way: Collection[Key]) -> None:
        """Counts what a page has shown; rows that are being read again are no differences."""
        kinds = {
            kind: [*keys, *found.refused.get(kind, ())] if found.refused else keys
            for kind, keys in (
                ("missing", found.missing),
                ("different", found.different),
                ("extra", found.extra),
            )
        }
        self.refused += sum(map(len, found.refused.values()))
        counted = {
            kind: [key for key in keys if key not in on_their_way] if on_their_way else keys
            for kind, keys in kinds.items()
        }
        looked = (
            {"rows": len(page.lines)} if self.copy.phase == PAGES else {"looked_up": len(self.keys)}
        )
        more = looked | {kind: len(keys) for kind, keys in counted.items()}
        self.copy = self.copy._replace(
            **{name: getattr(self.copy, name) + number for name, number in more.items()}
        )
        for kind, keys in counted.items():
            for key in islice(keys, max(0, _SHOWN - len(self.shown))):
                text = self.resource.key_json(key).decode()
                self.shown.append(
                    {
                        "kind": kind,
                        "hash": hashlib.sha256(text.encode()).hexdigest()[:16],
                        "key": text,
                    }
                )


class Reconciler:
    """Between `Capture` and the tables that are not live, for as long as source and front end are open."""

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
        """`changed` looks at the source's catalogue: whether a table has changed since the reconciler was made."""
        self._settings, self._source, self._front, self._applier = settings, source, front, applier
        self._tables = applier.tables
        self._resources = {resource.name: resource for resource in resources}
        self._unsettled = unsettled  # tables that are not copied yet
        self._changed = changed
        # Source transactions applied, which a new snapshot may not see yet
        self._unseen = set(unseen)
        self._verifies: list[Run] = []
        self._requests: dict[str, Request] = {}  # by resource: to reconcile it, once it is its turn
        self._window: tuple[str, Window] | None = (
            None  # token of the page, changes since it was asked for
        )
        self._merged_at = time.monotonic()
        self.run: Run | None = None  # at work
        self.rows: Counter[str] = Counter()  # read, by resource; the caller clears it

    def applied(self, xids: Collection[int]) -> None:
        """These source transactions are in the front end for good."""
        self._unseen.update(xids)

    def seen(self, snapshot: Snapshot) -> None:
        """What a new snapshot of the source sees, every later one does."""
        self._unseen = {xid for xid in self._unseen if not snapshot.sees(xid)}

    # ---- the loop

    def tend(self) -> None:
        """To be called between source transactions, after the front end's commit: sees that a page is on its way while a table needs one."""
        if self._window is not None:
            self._source.page()  # an error of its reader, if there is one
            if not (self._window[1].broken or self._window[1].overflown):
                return
            self._drop(
                "the table was emptied, or a row lacks values"
                if self._window[1].broken
                else "too many changes came meanwhile"
            )
        self.run = run = self._next()
        if run is None:
            return
        with TableWork(run.resource.name):
            if run.copy.phase == COUNT and self._holes(run):
                run.copy = run.copy._replace(phase=HOLES)  # and counted then
            if self._calm(run):
                if not run.copy.began_us:
                    self._begin(run)
                self._ask(run, run.copy.mark, self._unseen)

    def _calm(self, run: Run) -> bool:
        """Whether a page may be read now: the stream comes first, and Kafka must not be too far behind."""
        lagging = self._source.lag_bytes() > _LAG and time.monotonic() - self._merged_at < _STARVED
        return not lagging and not (
            run.repair and self._front.outbox_bytes() > self._settings.max_outbox_bytes
        )

    def _ask(self, run: Run, after: Key | None, must_see: Collection[int]) -> None:
        """Opens a window, in which the stream's changes of the table are remembered, and asks for rows that show everything before it."""
        token, resource = str(uuid.uuid4()), run.resource
        counting = run.copy.phase == COUNT
        if counting:
            window: Window = self._count(resource)
            run.tolerance = len(self._tables[resource.name].refused)
        else:
            window = Window(resource.name, self._settings.window_bytes)
        self._window, self._applier.window = (token, window), window
        columns = (
            tuple(resource.columns[i] for i in resource.key)
            if run.copy.phase == EXTRAS
            else resource.reading
        )
        keys = None if run.copy.phase == PAGES else run.keys
        self._source.ask(
            Ask(
                token,
                resource.name,
                resource.table,
                columns,
                frozenset(must_see),
                run.copy.horizon,
                after,
                run.limit,
                keys,
                resource.criteria if counting else None,
            )
        )

    def _count(self, resource: Resource) -> Count:
        """A window in which rows are counted; only between source transactions, where the front end stands at a commit."""
        front = self._front.count(resource.target)
        return Count(resource.name, self._settings.window_bytes, front)

    def reached(self, high: HighPosition) -> None:
        """The stream has come to a high position: a page that still counts is merged, inside the source transaction that marks its end."""
        if self._window is None or self._window[0] != high.token or self.run is None:
            return
        page, window, run = self._source.page(), self._window[1], self.run
        self._applier.flush()  # now the front end holds, and the window has heard of, everything before
        if page is None or window.broken or window.overflown:
            self._drop(
                "it was not read in time" if page is None else "its changes could not be kept"
            )
            return
        self._window = self._applier.window = None
        with TableWork(run.resource.name):
            self._merged(run, window, page)

    def _merged(self, run: Run, window: Window, page: Page) -> None:
        """Merges a page and goes on to what comes after it."""
        if (
            run.copy.phase == PAGES
            and page.more
            and (run.repair or not self._tables.copying)
            and self._calm(run)
        ):
            # Read while this one is merged
            self._ask(
                run,
                run.resource.key_of(row_of(page.lines[-1])),
                self._unseen.union(self._applier.under_way),
            )
        failpoints.hit("before_page_merge")
        began = time.monotonic()
        self._merge(run, window, page)
        if run.repair and run.miscounted:
            self._repeat(run)
        else:
            self._advance(run, page)
        failpoints.hit("after_page_merge")
        self._merged_at = time.monotonic()
        run.limit = _paced(run.limit, page, self._merged_at - began)

    def _drop(self, reason: str) -> None:
        """The page is of no use: the next one is smaller."""
        self._source.withdraw()
        self._window = self._applier.window = None
        if self.run is not None:
            log.info(
                "page_dropped resource=%s rows=%d reason=%s",
                self.run.resource.name,
                self.run.limit,
                reason,
            )
            self.run.limit = max(self.run.limit // 2, 1)

    # ---- one page against the front end

    def _merge(self, run: Run, window: Window, page: Page) -> None:
        """Finds the differences, counts them, and takes them away where it is a repair."""
        if isinstance(window, Count):
            self._compare_counts(run, window, page)
            return
        resource = run.resource
        rows, stands = self._compared(run, page)
        found = Differences()
        refused = {} if run.again else self._tables[resource.name].refused
        for key, read in rows.items():
            if key in refused and run.copy.phase in (PAGES, EXTRAS, TOPIC):
                continue  # it has a phase of its own
            after = window.after(key, read)
            row = _shared(resource, after)
            stood = stands.get(key)
            if row is None and key in refused:
                _judge_refused(run, found, key, None, stood, refused[key])
            elif row is None:
                if stood is not None:
                    found.extra.append(key)
                elif run.copy.phase == TOPIC:
                    found.gone.append(key)
            elif UNCHANGED in row and after is not read:
                found.holes.append(key)
            elif key in refused:
                _judge_refused(run, found, key, cast("FrontRow", row), stood, refused[key])
            elif run.again:
                found.told[key] = cast("FrontRow", row)
                run.equal += row == stood
            elif stood is None:
                found.missing[key] = cast("FrontRow", row)
            elif row != stood:
                found.different[key] = cast("FrontRow", row)
            else:
                run.equal += 1
        run.unsure.update(found.holes)
        run.count(page, found, self._tables[resource.name].holes)
        self.rows[resource.name] += len(page.lines)
        if run.repair:
            self._guard(run)
            self._applier.repair(
                resource,
                found,
                rows,
                free=run.copy.phase == PAGES and self._same_order(resource),
            )

    def _compared(self, run: Run, page: Page) -> tuple[dict[Key, Row | None], dict[Key, FrontRow]]:
        """What the page and what the front end say of the keys that need a look; rows equal on both sides need none."""
        resource, target = run.resource, run.resource.target
        if run.copy.phase == EXTRAS:
            found = set(map(row_of, page.lines))
            gone = [key for key in run.keys if key not in found]
            return dict.fromkeys(gone), self._front.fetch(target, gone)
        if run.copy.phase in (HOLES, WITHHELD, TOPIC, REFUSED):
            read = {resource.key_of(row): row for row in map(row_of, page.lines)}
            run.unsure.difference_update(run.keys)
            return {key: read.get(key) for key in run.keys}, self._front.fetch(target, run.keys)
        ours, theirs = page.lines, None
        if self._same_order(resource):
            theirs = self._front.lines(
                target, run.copy.mark, resource.key_of(row_of(ours[-1])) if page.more else None
            )
            if not resource.filtered and not self._holes(run) and not run.again:
                known = set(ours).intersection(theirs)
                run.equal += len(known)
                ours, theirs = (
                    [line for line in ours if line not in known],
                    [line for line in theirs if line not in known],
                )
        rows: dict[Key, Row | None] = {resource.key_of(row): row for row in map(row_of, ours)}
        if theirs is None:
            stands = self._front.fetch(target, list(rows))
            # What stands under another spelling of a key; a verify finds it among the extras
            others = stands.keys() - rows.keys() if run.repair else ()
            return rows | dict.fromkeys(others), stands
        stands = {resource.key_of(row): row for row in map(row_of, theirs)}
        return dict.fromkeys(stands) | rows, stands

    def _same_order(self, resource: Resource) -> bool:
        """Whether pages come in the order of the front end's keys: not where the key's own index has an order of its own."""
        plain = all(how.plain for how in resource.table.order)
        return plain and self._front.same_order(resource.target)

    def _compare_counts(self, run: Run, window: Count, page: Page) -> None:
        """Raises RowsMiscounted where a repair did not make the numbers of rows equal; of a verify it is reported.

        A repair goes on where the source's catalogue says that the table was changed meanwhile, see `_repeat`.
        """
        assert page.total is not None, "rows were to be counted"
        run.counted = page.total, window.expected(page.snapshot)
        # Rows refused before the window opened, and rows refused by now: either may be missing.
        run.tolerance += len(self._tables[run.resource.name].refused)
        source, front = run.counted
        log.info("rows_counted resource=%s source=%d front=%d", run.resource.name, source, front)
        if run.repair and run.miscounted and (run.repeated or not self._changed(run.resource.name)):
            raise RowsMiscounted(resource=run.resource.name, source=source, front=front)

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
            republish=False,  # every row was told again in the first round
            horizon=self._source.horizon(),
            front_rows=max(run.copy.front_rows, run.counted[1]),
        )
        run.repeated, run.counted, run.tolerance, run.equal = True, None, 0, 0
        self._tables[run.resource.name].move(run.copy)

    def _guard(self, run: Run) -> None:
        """Raises TooManyDeletes before a wrong source or filter empties the front end."""
        limit = max(_FEW, int(run.copy.front_rows * self._settings.max_delete_share))
        if run.copy.extra > limit and not run.copy.allow_deletes:
            raise TooManyDeletes(
                resource=run.resource.name,
                deletes=run.copy.extra,
                rows=run.copy.front_rows,
                limit=limit,
            )

    # ---- which table, which phase

    def _next(self) -> Run | None:
        """The run to go on with: copies first, in the order of the configuration, then what is to be verified."""
        if (
            self.run is not None
            and self.run.repair
            and self._tables[self.run.resource.name].copying
        ):
            return self.run
        copying = next(
            (
                name
                for name in self._resources
                if self._tables[name].copying and name not in self._unsettled
            ),
            None,
        )
        if copying is not None:
            if self.run is not None and not self.run.repair:
                self._verifies.insert(0, self.run)
            return Run(
                self._resources[copying],
                self._tables[copying].copy or Copy(),
                request=self._requests.pop(copying, None),
            )
        if self.run is not None:
            return self.run
        return self._verifies.pop(0) if self._verifies else None

    def _begin(self, run: Run) -> None:
        """Who runs now at the source may have changed the table before its changes were in the stream: the first page waits for them all."""
        copy = run.copy._replace(
            began_us=time.time_ns() // 1000, horizon=run.copy.horizon or self._source.horizon()
        )
        run.copy = copy._replace(
            estimate=self._source.estimate(run.resource.table),
            front_rows=self._front.count(run.resource.target),
        )
        if run.repair:
            self._tables[run.resource.name].start_copy(run.copy)
        log.info(
            "reconcile_begins resource=%s repair=%s phase=%s estimate=%d",
            run.resource.name,
            run.repair,
            copy.phase,
            run.copy.estimate,
        )

    def _holes(self, run: Run) -> Collection[Key]:
        return self._tables[run.resource.name].holes if run.repair else run.unsure

    def _advance(self, run: Run, page: Page) -> None:
        """On to the next page, phase or table. After the pages the front end's keys are looked up in the source, unless the pages have shown each."""
        copy, target = run.copy, run.resource.target
        if copy.phase == PAGES and page.more:
            copy = copy._replace(mark=run.resource.key_of(row_of(page.lines[-1])))
        elif copy.phase == PAGES:
            copy = copy._replace(
                phase=self._past_extras(copy) if self._same_order(run.resource) else EXTRAS,
                mark=None,
            )
        elif copy.phase in (EXTRAS, WITHHELD, REFUSED) and run.keys:
            copy = copy._replace(mark=run.keys[-1])
        elif copy.phase == TOPIC and run.topic_keys:
            self._front.forget_topic_keys(run.resource.name, run.topic_keys)
        run.keys = run.topic_keys = ()
        if copy.phase == EXTRAS:
            run.keys = self._front.keys_after(target, copy.mark, run.limit)
            copy = copy if run.keys else copy._replace(phase=self._past_extras(copy), mark=None)
        if copy.phase == WITHHELD:
            run.keys = _past(self._tables[run.resource.name].withheld, copy.mark)[: run.limit]
            copy = copy if run.keys else copy._replace(phase=REFUSED, mark=None)
        if copy.phase == TOPIC:
            self._topic_keys(run)
            copy = copy if run.topic_keys else copy._replace(phase=REFUSED, mark=None)
        if copy.phase == REFUSED:
            run.keys = _past(self._tables[run.resource.name].refused, copy.mark)[: run.limit]
            copy = copy if run.keys else copy._replace(phase=HOLES, mark=None)
        counted = copy.phase == COUNT
        if copy.phase == HOLES:
            run.keys = list(self._holes(run))[: run.limit]
            copy = copy if run.keys or not copy.whole else copy._replace(phase=COUNT)
        run.copy = copy
        if counted or (copy.phase == HOLES and not run.keys):
            self._finish(run)
        elif run.repair:
            self._tables[run.resource.name].move(copy)
        if run.request is not None and not self._front.answer(
            run.request.id, "running", run.report()
        ):
            run.request = None
            if not run.repair:  # nobody waits for it any more
                self._drop("it was withdrawn")
                self.run = None

    def _topic_keys(self, run: Run) -> None:
        """The next keys that the topic was found to hold."""
        run.topic_keys = self._front.topic_keys(run.resource.name, run.limit)
        keys = map(run.resource.key_of_kafka, run.topic_keys)
        run.keys = [key for key in keys if key is not None]
        if len(run.keys) < len(run.topic_keys):
            log.warning(
                "topic_keys_unread resource=%s count=%d",
                run.resource.name,
                len(run.topic_keys) - len(run.keys),
            )

    @staticmethod
    def _past_extras(copy: Copy) -> str:
        return TOPIC if copy.republish else REFUSED

    def _finish(self, run: Run) -> None:
        copy = run.copy
        run.withheld = len(self._tables[run.resource.name].withheld)
        log.info(
            "reconcile_ends resource=%s repair=%s rows=%d missing=%d different=%d extra=%d",
            run.resource.name, run.repair, copy.rows, copy.missing, copy.different, copy.extra,
        )  # fmt: skip
        if run.repair:
            run.refused = len(self._tables[run.resource.name].refused)
            self._tables[run.resource.name].complete()
            if run.request is not None and run.request.kind == "reconcile" and run.differences:
                self._look_again(run)
        elif run.rewritten is not None:
            self._front.keep_fingerprint(run.resource.name, run.rewritten)
            if run.unequal:
                self._tables[run.resource.name].move(KNOWN)
        if run.request is not None:
            self._front.answer(run.request.id, "done", run.report())
            run.request = None
        self.run = None

    def _look_again(self, run: Run) -> None:
        """What still differs after a repair is found by a verify, which then answers."""
        again = Run(run.resource, KNOWN, repair=False, request=run.request, repaired=run.report())
        self._verifies.insert(0, again)
        run.request = None

    # ---- what was asked

    def asked(self, requests: Sequence[Request]) -> bool:
        """Takes up what commands have asked. True: the tables must be opened anew first."""
        runs = [*self._verifies, *([self.run] if self.run else [])]
        known = {
            request.id
            for request in [*self._requests.values(), *(run.request for run in runs)]
            if request is not None
        }
        opened = False
        for request in requests:
            if request.id not in known:
                with TableWork(request.resource):
                    opened = self._take(request) or opened
        return opened

    def _take(self, request: Request) -> bool:
        name, table = request.resource, self._tables[request.resource]
        resource = self._resources.get(name)
        if request.kind == "suspend":
            if resource is not None:
                error = stored(str(request.values["code"]), dict(request.values["values"]))
                assert isinstance(error, Suspend), "an error of one table"
                log.error(
                    "table_suspended resource=%s code=%s error=%s",
                    name,
                    error.code,
                    error.text("en"),
                )
                table.suspend(error)
            self._front.answer(request.id, "done", {})
            return resource is not None
        if request.kind == "resume":
            if resource is None or table.copying:
                table.start_copy(Copy(allow_deletes=request.allow_deletes))
                self._front.answer(request.id, "done", {})
                return True
            self._front.answer(request.id, "failed", {"state": "live"})
            return False
        if (
            request.kind == "republish"
            and not request.running
            and not (table.copy is not None and table.copy.republish)
        ):
            table.begin_generation(Copy(allow_deletes=request.allow_deletes, republish=True))
            self._front.answer(request.id, "running", {})
            return True  # goes on once the table is open
        if resource is None or (table.copying and request.kind in ("verify", "retry")):
            self._front.answer(
                request.id, "failed", {"state": "copying" if table.copying else "suspended"}
            )
        elif request.kind == "verify":
            self._front.answer(request.id, "running", {})
            self._verifies.append(Run(resource, KNOWN, repair=False, request=request))
        else:
            if table.copy is None or (request.kind == "reconcile" and not table.copy.whole):
                self._begin_anew(name, request)
            self._front.answer(request.id, "running", {})
            if self.run is not None and self.run.repair and self.run.resource.name == name:
                self.run.request = request
            else:
                self._requests[name] = request
        return False

    def _begin_anew(self, name: str, request: Request) -> None:
        """A table that is live, or of which only some keys were being read again, goes through all phases (retry: the withheld rows only)."""
        if self.run is not None and self.run.repair and self.run.resource.name == name:
            self._drop("every row is compared instead")
            self.run = None
        retry = request.kind == "retry"
        self._tables[name].start_copy(
            KNOWN._replace(
                phase=WITHHELD if retry else PAGES,
                allow_deletes=request.allow_deletes,
                whole=not retry,
            )
        )

    def verify(self, name: str, rewritten: Mapping[str, str]) -> None:
        """A table was rewritten, nobody knows how: it is verified, and copied anew if it differs."""
        self._verifies.append(Run(self._resources[name], KNOWN, repair=False, rewritten=rewritten))


def _shared(resource: Resource, row: Row | None) -> Row | None:
    """What of a read row is shared: None if the filter keeps it back; a row with UNCHANGED in it is a hole."""
    if row is None:
        return None
    passes = resource.passes(row, shared_before=False)
    if passes is False:
        return None
    return resource.shared(row) if passes else (UNCHANGED, *resource.shared(row))


def _past(keys: Collection[Key], mark: Key | None) -> list[Key]:
    """Those after `mark`, in an order of their own."""
    return sorted(key for key in keys if mark is None or key > mark)


def _judge_refused(
    run: Run,
    found: Differences,
    key: Key,
    row: FrontRow | None,
    stood: FrontRow | None,
    known: Refused,
) -> None:
    """Decides about a row that the front end has refused before: whether it differs, and whether it needs an event."""
    if row == stood:
        run.equal += row is not None
    elif known.since_us < run.copy.began_us or not run.repair:
        kind = "extra" if row is None else "missing" if stood is None else "different"
        found.refused.setdefault(kind, []).append(key)
    if known.told == ("" if row is None else digest(row)):
        found.silent[key] = row
    elif row is not None:
        found.told[key] = row
    else:
        found.gone.append(key)


def _paced(limit: int, page: Page, seconds: float) -> int:
    """Rows of the next page: more while a merge is short, less when it held the stream up, never more than the source could give."""
    limit = min(limit, page.limit)
    if seconds > _LONG:
        return max(limit // 2, _LEAST)
    return min(limit * 2, _MOST) if seconds < _SHORT and page.more else limit

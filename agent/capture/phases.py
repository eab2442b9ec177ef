"""The phases through which a table is made equal to the source, or compared with it.

    pages ─▶ extras ─▶ topic ─▶ refused ─▶ holes ─▶ count
                                   ▲
    withheld ──────────────────────┘

    pages     every row of the source, in the order of the key's index
    extras    keys of the front end that no page can have shown, looked up at the source
    withheld  rows too large for Kafka, for a `retry`, which begins here
    topic     keys that the topic was found to hold, in a new generation of it
    refused   rows that the front-end table has refused
    holes     rows that lack values
    count     the number of rows

`Phases` holds the order. A page is asked for, compared, and then the phase goes on or ends.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple, cast

from agent.capture.differences import Differences
from agent.capture.refusals import digest
from agent.capture.runs import Run
from agent.capture.table_state import TableStates
from agent.capture.window import Count, Window
from agent.connectors.base import Page
from agent.connectors.table import Criterion, SourceColumn
from agent.front.base import (
    COUNT,
    EXTRAS,
    HOLES,
    PAGES,
    REFUSED,
    TOPIC,
    WITHHELD,
    Front,
    Refused,
)
from agent.resource import FrontRow, Resource
from agent.values.lines import row_of
from agent.values.rows import UNCHANGED, Key, Row

log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """What a phase asks the source for."""

    columns: tuple[SourceColumn, ...]
    keys: Sequence[Key] | None  # None: the next page
    counted: Sequence[Criterion] | None = None  # of rows that are counted, not read


class Sides(NamedTuple):
    """The rows of the keys that need a look; rows equal on both sides need none."""

    source: Mapping[Key, Row | None]
    front: Mapping[Key, FrontRow]


class Phase:
    """A phase that looks up keys at the source. It keeps nothing: where it is stands in the run."""

    name: ClassVar[str]
    # Whether it leaves refused rows to their own phase
    leaves_refused: ClassVar[bool] = False

    def __init__(self, front: Front, tables: TableStates) -> None:
        self._front = front
        self._tables = tables

    # ---- what to ask for

    def needed(self, run: Run) -> bool:
        """Whether a run that comes from an earlier phase goes through this one."""
        return True

    def wanted(self, run: Run) -> Wanted:
        """Returns what to ask the source for. A run that was resumed asks for nothing first."""
        return Wanted(run.resource.reading, run.keys)

    def window(self, run: Run, limit: int) -> Window:
        """Opens the window that remembers the changes beside what is asked for."""
        return Window(run.resource.name, limit)

    # ---- how to compare

    def compare(self, run: Run, window: Window, sides: Sides) -> Differences:
        """Finds the differences: the window's changes are put on what the source has shown."""
        resource = run.resource
        found = Differences()
        refused: Mapping[Key, Refused] = {}
        if not run.republishes:
            refused = self._tables[resource.name].refused

        for key, read in sides.source.items():
            known = refused.get(key)
            if known is not None and self.leaves_refused:
                continue
            after = window.after(key, read)
            row = _shared(resource, after)
            current = sides.front.get(key)

            if row is not None and after is not read and UNCHANGED in row:
                found.holes.append(key)
            elif known is not None:
                _compare_refused(run, found, key, _whole(row), current, known)
            elif row is None:
                self._absent(found, key, current)
            elif run.republishes:
                found.republished[key] = cast("FrontRow", row)
                run.equal += row == current
            elif current is None:
                found.missing[key] = cast("FrontRow", row)
            elif row != current:
                found.different[key] = cast("FrontRow", row)
            else:
                run.equal += 1
        return found

    def sides(self, run: Run, page: Page) -> Sides:
        """Returns what the page and what the front end say."""
        resource = run.resource
        keys = run.keys
        run.unsure.difference_update(keys)

        rows = _by_key(resource, page.lines)
        source = {key: rows.get(key) for key in keys}
        front = self._front.fetch(resource.target, keys)
        return Sides(source, front)

    def _absent(
        self,
        found: Differences,
        key: Key,
        current: FrontRow | None,
    ) -> None:
        """Notes a key of which the source has no row to share."""
        if current is not None:
            found.extra.append(key)

    # ---- what comes after

    def enter(self, run: Run) -> bool:
        """Begins the phase. False: it has nothing to do."""
        run.copy = run.copy._replace(phase=self.name, mark=None)
        return self.take_up(run)

    def advance(self, run: Run, page: Page) -> bool:
        """Goes on behind a merged page. False: the phase is over."""
        if run.keys:
            last = run.keys[-1]
            run.copy = run.copy._replace(mark=last)
        return self.take_up(run)

    def take_up(self, run: Run) -> bool:
        """Puts the next keys into the run. False: there are none."""
        run.keys = self.keys(run)
        return bool(run.keys)

    def keys(self, run: Run) -> Sequence[Key]:
        """Returns the keys past the mark, as many as a page may have."""
        raise NotImplementedError


class Pages(Phase):
    """Every row of the source, page by page. Begins a run; no other phase leads here."""

    name = PAGES
    leaves_refused = True

    def wanted(self, run: Run) -> Wanted:
        """See Phase.wanted."""
        return Wanted(run.resource.reading, None)

    def sides(self, run: Run, page: Page) -> Sides:
        """See Phase.sides."""
        lines = page.lines
        if same_order(self._front, run.resource):
            return self._side_by_side(run, page, lines)
        return self._looked_up(run, lines)

    def _side_by_side(
        self,
        run: Run,
        page: Page,
        lines: Sequence[bytes],
    ) -> Sides:
        """Compares with the front end's rows of the same range: what only it has is there, too."""
        resource = run.resource
        first = run.copy.mark
        last = last_key(resource, page) if page.more else None
        others = self._front.lines(resource.target, first, last)

        plain = not resource.filtered and not run.republishes
        if plain and not being_read(self._tables, run):
            if lines == others:
                run.equal += len(lines)
                return Sides({}, {})
            equal = set(lines).intersection(others)
            run.equal += len(equal)
            lines = [line for line in lines if line not in equal]
            others = [line for line in others if line not in equal]

        front = cast("dict[Key, FrontRow]", _by_key(resource, others))
        source: dict[Key, Row | None] = dict.fromkeys(front)
        source |= _by_key(resource, lines)
        return Sides(source, front)

    def _looked_up(self, run: Run, lines: Sequence[bytes]) -> Sides:
        """Compares with the front end's rows under the same keys."""
        resource = run.resource
        source: dict[Key, Row | None] = {**_by_key(resource, lines)}
        front = self._front.fetch(resource.target, list(source))
        if run.repair:
            # Rows under another spelling of a key; a verify finds them among the extras
            respelled = front.keys() - source.keys()
            source |= dict.fromkeys(respelled)
        return Sides(source, front)

    def advance(self, run: Run, page: Page) -> bool:
        """See Phase.advance."""
        if page.more:
            mark = last_key(run.resource, page)
            run.copy = run.copy._replace(mark=mark)
        return page.more


class Extras(Phase):
    """Keys of the front end, in its own order: what the source no longer has is deleted."""

    name = EXTRAS
    leaves_refused = True

    def needed(self, run: Run) -> bool:
        """Whether the pages have not shown each key of the front end."""
        return not same_order(self._front, run.resource)

    def wanted(self, run: Run) -> Wanted:
        """See Phase.wanted: the keys are enough."""
        resource = run.resource
        key_columns = tuple(resource.columns[i] for i in resource.key)
        return Wanted(key_columns, run.keys)

    def sides(self, run: Run, page: Page) -> Sides:
        """See Phase.sides: keys that were found need no look."""
        found = set(map(row_of, page.lines))
        missing = [key for key in run.keys if key not in found]
        source = dict.fromkeys(missing)
        front = self._front.fetch(run.resource.target, missing)
        return Sides(source, front)

    def keys(self, run: Run) -> Sequence[Key]:
        """See Phase.keys."""
        target = run.resource.target
        mark = run.copy.mark
        return self._front.keys_after(target, mark, run.limit)


class Withheld(Phase):
    """Rows too large for Kafka: they are published once more. A retry begins here."""

    name = WITHHELD

    def needed(self, run: Run) -> bool:
        """Whether an earlier phase leads here: none does."""
        return False

    def keys(self, run: Run) -> Sequence[Key]:
        """See Phase.keys."""
        table = self._tables[run.resource.name]
        keys = _past(table.withheld, run.copy.mark)
        return keys[: run.limit]


class Topic(Phase):
    """Keys that the topic was found to hold: those that the source lacks are deleted there."""

    name = TOPIC
    leaves_refused = True

    def needed(self, run: Run) -> bool:
        """Whether the topic has a new generation."""
        return run.copy.republish

    def _absent(
        self,
        found: Differences,
        key: Key,
        current: FrontRow | None,
    ) -> None:
        if current is None:
            found.only_in_topic.append(key)
        else:
            found.extra.append(key)

    def advance(self, run: Run, page: Page) -> bool:
        """See Phase.advance: what was dealt with is forgotten, so no mark is needed."""
        if run.topic_keys:
            self._front.forget_topic_keys(run.resource.name, run.topic_keys)
        return self.take_up(run)

    def take_up(self, run: Run) -> bool:
        """See Phase.take_up."""
        resource = run.resource
        run.topic_keys = self._front.topic_keys(resource.name, run.limit)
        keys = []
        unread = 0
        for text in run.topic_keys:
            key = resource.key_of_kafka(text)
            if key is None:
                unread += 1
            else:
                keys.append(key)

        run.keys = keys
        if unread:
            log.warning("topic_keys_unread resource=%s count=%d", resource.name, unread)
        return bool(run.topic_keys)


class RefusedRows(Phase):
    """Rows that the front-end table has refused: they are tried again."""

    name = REFUSED

    def keys(self, run: Run) -> Sequence[Key]:
        """See Phase.keys."""
        table = self._tables[run.resource.name]
        keys = _past(table.refused, run.copy.mark)
        return keys[: run.limit]


class Holes(Phase):
    """Rows that lack values."""

    name = HOLES

    def advance(self, run: Run, page: Page) -> bool:
        """See Phase.advance: a hole that was filled is none, so no mark is needed."""
        return self.take_up(run)

    def keys(self, run: Run) -> Sequence[Key]:
        """See Phase.keys."""
        keys = list(being_read(self._tables, run))
        return keys[: run.limit]


class Counting(Phase):
    """The number of rows, where every row was looked at."""

    name = COUNT

    def needed(self, run: Run) -> bool:
        """Whether every row was looked at."""
        return run.copy.whole

    def wanted(self, run: Run) -> Wanted:
        """See Phase.wanted."""
        resource = run.resource
        return Wanted(resource.reading, (), resource.criteria)

    def window(self, run: Run, limit: int) -> Window:
        """See Phase.window.

        Only between source transactions, where the front end is at a commit.
        """
        resource = run.resource
        refused = self._tables[resource.name].refused
        run.tolerance = len(refused)
        rows = self._front.count(resource.target)
        return Count(resource.name, limit, rows)

    def enter(self, run: Run) -> bool:
        """See Phase.enter."""
        run.copy = run.copy._replace(phase=COUNT, mark=None)
        run.keys = ()
        return True

    def advance(self, run: Run, page: Page) -> bool:
        """See Phase.advance: one count is enough."""
        return False


class Phases:
    """All phases, in their order."""

    def __init__(self, front: Front, tables: TableStates) -> None:
        kinds = (Pages, Extras, Withheld, Topic, RefusedRows, Holes, Counting)
        self._order: list[Phase] = []
        self._place: dict[str, int] = {}
        for place, kind in enumerate(kinds):
            phase: Phase = kind(front, tables)
            self._order.append(phase)
            self._place[phase.name] = place

    def of(self, run: Run) -> Phase:
        """Returns the phase a run is in."""
        place = self._place[run.copy.phase]
        return self._order[place]

    def advance(self, run: Run, page: Page) -> bool:
        """Moves a run on to its next page, in this phase or a later one. False: it has ended."""
        here = self._place[run.copy.phase]
        if self._order[here].advance(run, page):
            return True

        later = self._order[here + 1 :]
        return any(phase.needed(run) and phase.enter(run) for phase in later)


def same_order(front: Front, resource: Resource) -> bool:
    """Returns whether pages come in the order of the front end's keys.

    They do not where the key's own index has an order of its own.
    """
    order = resource.table.order
    if not all(how.plain for how in order):
        return False
    return front.same_order(resource.target)


def being_read(tables: TableStates, run: Run) -> Collection[Key]:
    """Returns the keys of a run whose rows must be read again."""
    if run.repair:
        return tables[run.resource.name].holes
    return run.unsure


def last_key(resource: Resource, page: Page) -> Key:
    """Returns the key of a page's last row."""
    row = row_of(page.lines[-1])
    return resource.key_of(row)


def _by_key(resource: Resource, lines: Iterable[bytes]) -> dict[Key, Row]:
    return {resource.key_of(row): row for row in map(row_of, lines)}


def _past(keys: Collection[Key], mark: Key | None) -> list[Key]:
    """Returns those after `mark`, in an order of their own."""
    if mark is None:
        return sorted(keys)
    return sorted(key for key in keys if key > mark)


def _shared(resource: Resource, row: Row | None) -> Row | None:
    """Returns what of a read row is shared: None if the filter keeps it back.

    A row with UNCHANGED in it is a hole.
    """
    if row is None:
        return None
    passes = resource.passes(row, shared_before=False)
    if passes is False:
        return None

    columns = resource.shared(row)
    return columns if passes else (UNCHANGED, *columns)


def _whole(row: Row | None) -> FrontRow | None:
    """Returns a row that lacks nothing."""
    return cast("FrontRow | None", row)


def _compare_refused(
    run: Run,
    found: Differences,
    key: Key,
    row: FrontRow | None,
    current: FrontRow | None,
    known: Refused,
) -> None:
    """Decides whether a row that was refused before differs, and whether it needs an event."""
    if row == current:
        run.equal += row is not None
    elif not run.repair or known.since_us < run.copy.began_us:
        kind = _kind(row, current)
        found.refused.setdefault(kind, []).append(key)

    published = "" if row is None else digest(row)
    if known.published == published:
        found.silent[key] = row
    elif row is not None:
        found.republished[key] = row
    else:
        found.only_in_topic.append(key)


def _kind(row: FrontRow | None, current: FrontRow | None) -> str:
    if row is None:
        return "extra"
    if current is None:
        return "missing"
    return "different"

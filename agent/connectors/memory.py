"""A source in memory: a twin for tests and models that keeps the contract of `Source`."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from agent.config import Condition, ResourceSettings
from agent.connectors.base import Ask, Fingerprint, Page, Visible
from agent.connectors.changes import Begin, Commit, Heartbeat, HighPosition, Message
from agent.connectors.plain_origin import PlainOrigin
from agent.connectors.position import position_number
from agent.connectors.resume import Resume
from agent.connectors.table import Criterion, SourceTable, TableName, passing
from agent.errors import SourceUnreachable
from agent.values.lines import line_of
from agent.values.rows import Key

RowValues = dict[str, str | None]  # column -> value


class MemorySnapshot(NamedTuple):
    """What a new snapshot of the twin sees: every transaction below `end` that is not running."""

    end: int
    running: frozenset[int] = frozenset()

    def sees(self, transaction: int) -> bool:
        """See Visible.sees."""
        if transaction in self.running:
            return False
        return transaction < self.end

    def serves(self, ask: Ask) -> bool:
        """Returns whether the rows asked for may be read in this snapshot."""
        barrier = int(ask.barrier or 0)
        if barrier >= self.end:
            return False
        if any(running <= barrier for running in self.running):
            return False
        return all(self.sees(transaction) for transaction in ask.must_see)


class MemorySource:
    """See Source.

    `log` is what the source has committed, in order: append to it at will. `held` is what a new
    snapshot sees.
    """

    def __init__(self, tables: dict[TableName, SourceTable]) -> None:
        # Whole transactions, or one Heartbeat
        self.log: list[Sequence[Message]] = []
        self.acknowledged = 0
        self.held: dict[TableName, dict[Key, RowValues]] = {}
        self.snapshot: MemorySnapshot | None = None
        self.asked: Ask | None = None
        self._page: Page | None = None
        self._tables = tables
        self._next = -1  # index into the log; -1: closed

    def open(self, resume: Resume, front_silent_since: Callable[[], float | None]) -> None:
        """See Source.open."""
        position = position_number(resume.position)
        self.acknowledged = max(self.acknowledged, position)
        self._next = 0
        for messages in self.log:
            if _end(messages) <= position:
                self._next += 1

    def reader(self) -> str:
        """See Source.reader."""
        return ""

    def tables(self) -> dict[TableName, SourceTable]:
        """See Source.tables."""
        return self._tables

    def criteria(self, resource: ResourceSettings, table: SourceTable) -> tuple[Criterion, ...]:
        """See Source.criteria: values are texts here, in one spelling, and booleans are t and f."""
        return tuple(map(_criterion, resource.filter))

    def origin(self, table: SourceTable) -> PlainOrigin:
        """See Source.origin."""
        return PlainOrigin(
            "memory",
            "memory",
            "memory",
            table.schema,
            table.table,
        )

    def check_captured(self, resource: ResourceSettings) -> None:
        """See Source.check_captured: memory carries everything."""

    def read(self, timeout: float) -> Iterator[Message]:
        """See Source.read."""
        if self._next < 0:
            raise SourceUnreachable(address="memory", reason="not open")
        self._attempt()
        while self._next < len(self.log):
            messages = self.log[self._next]
            self._next += 1
            yield from messages

    def outdated(self) -> bool:
        """See Source.outdated: its stream always goes on."""
        return False

    def ask(self, ask: Ask) -> None:
        """See Source.ask: the rows are read with the stream, in an order of the twin's own."""
        self.asked = ask
        self._page = None

    def _attempt(self) -> None:
        """Reads the rows asked for, if the snapshot serves, and writes their high position."""
        ask = self.asked
        if ask is None or self._page is not None:
            return
        asks = (ask, *ask.further)
        if self.snapshot is not None and not all(map(self.snapshot.serves, asks)):
            return

        self._page = self._read_pages(ask)
        written = _end(self.log[-1]) if self.log else 0
        at = max(written, self.acknowledged) + 8
        number = at & 0xFFFFFFFF
        transaction: list[Message] = [
            Begin(number, at, at),
            HighPosition(ask.token),
            Commit(number, at + 8, at),
        ]
        self.log.append(transaction)

    def _read_pages(self, ask: Ask) -> Page:
        """Reads the page that was asked for, and further ones until one has no end."""
        first = page = self._read(ask)
        further = []
        for other in ask.further:
            if page.more:
                break
            page = self._read(other)
            further.append(page)
        return first._replace(further=further)

    def _read(self, ask: Ask) -> Page:
        """Reads one page, or counts the rows."""
        place = ask.table.schema, ask.table.table
        rows = self.held.get(place, {})
        if ask.counted is not None:
            total = sum(_passes(row, ask.counted) for row in rows.values())
            return Page(ask.token, [], ask.limit, False, total, self.snapshot)

        if ask.keys is None:
            keys = sorted(rows)
            if ask.after is not None:
                keys = [key for key in keys if key > ask.after]
            keys = keys[: ask.limit]
        else:
            keys = [key for key in ask.keys if key in rows]

        lines = []
        for key in keys:
            row = rows[key]
            values = [row[column.name] for column in ask.columns]
            lines.append(line_of(values))
        more = ask.keys is None and len(lines) == ask.limit
        return Page(ask.token, lines, ask.limit, more)

    def page(self) -> Page | None:
        """See Source.page."""
        return self._page

    def withdraw(self) -> None:
        """See Source.withdraw."""
        self.asked = None
        self._page = None

    def barrier(self) -> str:
        """See Source.barrier."""
        if self.snapshot is None:
            return ""
        return str(self.snapshot.end)

    def estimate(self, table: SourceTable) -> int:
        """See Source.estimate."""
        place = table.schema, table.table
        return len(self.held.get(place, {}))

    def fingerprints(self) -> dict[TableName, Fingerprint]:
        """See Source.fingerprints: nothing ever changes here."""
        return {name: Fingerprint() for name in self._tables}

    def acknowledge(self, position: int) -> None:
        """See Source.acknowledge."""
        self.acknowledged = max(self.acknowledged, position)

    def housekeeping(self) -> Visible | None:
        """See Source.housekeeping."""
        return self.snapshot

    def comparisons(self, copying: Collection[str]) -> Sequence[str]:
        """See Source.comparisons: the stream shows everything."""
        return ()

    def lag_bytes(self) -> int:
        """See Source.lag_bytes."""
        return 0

    def log_large(self) -> bool:
        """See Source.log_large."""
        return False

    def gauges(self) -> Mapping[str, float]:
        """See Source.gauges."""
        return {}

    def counts(self) -> Mapping[tuple[str, ...], int]:
        """See Source.counts."""
        return {}

    def unattended(self) -> None:
        """See Source.unattended: nothing is kept."""

    def close(self) -> None:
        """See Source.close."""
        self.withdraw()
        self._next = -1


def _passes(row: RowValues, criteria: Sequence[Criterion]) -> bool:
    """Returns whether a row meets all conditions."""
    for criterion in criteria:
        test = passing(criterion)
        if not test(row[criterion.column]):
            return False
    return True


def _criterion(condition: Condition) -> Criterion:
    if condition.is_null is not None:
        return Criterion(condition.column, condition.is_null)
    texts = set()
    for value in condition.is_in or condition.not_in or []:
        if isinstance(value, bool):
            texts.add("t" if value else "f")
        else:
            texts.add(str(value))
    wanted = condition.is_in is not None
    return Criterion(condition.column, wanted, frozenset(texts))


def _end(messages: Sequence[Message]) -> int:
    last = messages[-1]
    assert isinstance(last, Commit | Heartbeat)
    return last.position

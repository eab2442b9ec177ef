"""A source without a log, in memory: a twin for tests that delivers states of rows.

It works as a trigger log does. Each change notes the key of its row. A look delivers the rows under
the noted keys as they are by then, as one transaction; what the front end has stored of a look is
forgotten when it is acknowledged, unless the row has changed again.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from agent.connectors.base import Ask, Page
from agent.connectors.changes import (
    Begin,
    Column,
    Commit,
    HighPosition,
    Message,
    Relation,
    RowState,
)
from agent.connectors.memory import MemorySnapshot, MemorySource, RowValues
from agent.connectors.position import position_number
from agent.connectors.resume import Resume
from agent.connectors.table import SourceTable, TableName
from agent.errors import SourceUnreachable
from agent.values.rows import Key

_STEP = 8  # between positions: a transaction has one for its commit and one behind it


class Note(NamedTuple):
    """The row of this key has changed."""

    table: TableName
    key: Key


Notes = dict[Note, int]  # with the number of the change


class MemoryStates(MemorySource):
    """See Source. `put` and `delete` are the life of the source; `held` is what it holds."""

    def __init__(self, tables: dict[TableName, SourceTable]) -> None:
        super().__init__(tables)
        self.held = {name: {} for name in tables}
        self._relations: dict[TableName, Relation] = {}
        for name, table in tables.items():
            self._relations[name] = _relation(table)

        # The last change of each noted key
        self._notes: Notes = {}
        self._changes = 0
        # What was delivered since the source was opened
        self._delivered: Notes = {}
        # Looks that are not acknowledged: position -> what they delivered
        self._looks: dict[int, Notes] = {}
        # Pages of which the high position was delivered, by token
        self._announced: set[str] = set()
        self._position = 0
        self._opened = False

    # ---- the source's own life

    def put(self, table: TableName, row: RowValues) -> None:
        """Inserts or changes a row."""
        names = self._tables[table].key
        key = tuple([str(row[name]) for name in names])
        self.held[table][key] = row
        self.note(table, key)

    def delete(self, table: TableName, key: Key) -> None:
        """Deletes a row, if it is there."""
        deleted = self.held[table].pop(key, None)
        if deleted is not None:
            self.note(table, key)

    def note(self, table: TableName, key: Key) -> None:
        """Notes that a row has changed, be it so or not."""
        self._changes += 1
        self._notes[Note(table, key)] = self._changes

    @property
    def idle(self) -> bool:
        """Whether every change is in the front end."""
        return not self._notes

    # ---- what the agent asks

    def open(self, resume: Resume, front_silent_since: Callable[[], float | None]) -> None:
        """See Source.open: what was delivered and not acknowledged is delivered again."""
        self.withdraw()
        stored = position_number(resume.position)
        self._position = max(self._position, stored)
        self._delivered.clear()
        self._looks.clear()
        self._opened = True

    def read(self, timeout: float) -> Iterator[Message]:
        """See Source.read: one look, and the page that was asked for in the same snapshot.

        The high position of the page comes with the next look: that may be newer than the page.
        """
        if not self._opened:
            raise SourceUnreachable(address="memory", reason="not open")
        messages = self._look()
        messages += self._high_position()
        self._read_page()
        yield from messages

    def acknowledge(self, position: int) -> None:
        """See Source.acknowledge: notes that were delivered and are stored by now are removed."""
        super().acknowledge(position)
        looks = [look for look in self._looks if look <= position]
        for look in looks:
            delivered = self._looks.pop(look)
            for note, change in delivered.items():
                if self._notes.get(note) == change:
                    del self._notes[note]

    def close(self) -> None:
        """See Source.close."""
        self.withdraw()
        self._opened = False

    def arranged(self, states: Sequence[RowState]) -> Sequence[RowState]:
        """Returns the states of a look in the order of delivery: any order is as good."""
        return states

    def _look(self) -> list[Message]:
        """Reads the rows whose keys are noted and that were not delivered yet."""
        new = {}
        for note, change in self._notes.items():
            if self._delivered.get(note) != change:
                new[note] = change
        if not new:
            return []

        self._delivered.update(new)
        states = [self._state(note) for note in new]
        messages = self._transaction(self.arranged(states))
        self._looks[self._position] = new
        return messages

    def _state(self, note: Note) -> RowState:
        relation = self._relations[note.table]
        held = self.held[note.table].get(note.key)
        row = None
        if held is not None:
            row = tuple([held[column.name] for column in relation.columns])
        return RowState(
            relation,
            note.key,
            row,
            position=self._position + 1,
            size=100,
        )

    def _read_page(self) -> None:
        """Reads the rows asked for, if nobody has yet."""
        if self.asked is not None and self._page is None:
            self._page = self._read_pages(self.asked)

    def _read(self, ask: Ask) -> Page:
        """Reads one page. Where rows are counted, the snapshot sees every look so far."""
        page = super()._read(ask)
        if page.total is None:
            return page
        snapshot = MemorySnapshot(self._position // _STEP + 1)
        return page._replace(snapshot=snapshot)

    def _high_position(self) -> list[Message]:
        """Returns the messages after which everything that a page has seen was delivered."""
        page = self._page
        if page is None or page.token in self._announced:
            return []
        self._announced.add(page.token)
        return self._transaction([HighPosition(page.token)])

    def _transaction(self, messages: Sequence[Message]) -> list[Message]:
        begin = self._position + 1
        self._position += _STEP
        number = self._position // _STEP
        return [
            Begin(number, begin, begin),
            *messages,
            Commit(number, self._position, begin),
        ]


def _relation(table: SourceTable) -> Relation:
    """Returns a table as a stream would describe it."""
    columns = []
    for column in table.columns:
        described = Column(
            column.name,
            column.type_oid,
            -1,
            column.name in table.key,
        )
        columns.append(described)
    return Relation(
        table.oid,
        table.schema,
        table.table,
        "d",
        tuple(columns),
    )

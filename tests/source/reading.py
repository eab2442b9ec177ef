"""Reads a source as the capture loop does, without a front end.

What is taken is what a front end would have stored.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import count
from typing import Any, NamedTuple, Protocol

from agent.connectors.base import Ask, Page, Source
from agent.connectors.changes import (
    Begin,
    Change,
    Commit,
    Heartbeat,
    HighPosition,
    Message,
    Truncate,
)
from agent.connectors.position import position_number, position_text
from agent.connectors.resume import CommitMark, Resume
from agent.connectors.table import SourceTable
from agent.values.lines import row_of
from agent.values.rows import Row
from tests.waiting import eventually


class PagedBusiness(Protocol):
    """What the page contract needs of a kind of source.

    It is a place with a table `orders` (id, note), alone or beside others, and a source on it.
    """

    def hold(self, *numbers: int) -> None:
        """Puts rows into the empty table: of 7 the key 7 and the note `order 7`."""

    def source(self) -> Source:
        """Makes a source, closed when the test ends; it may be opened again and again."""

    def initial(self) -> Resume:
        """Returns what `init` would have stored before the first transaction."""

    def analyse(self) -> None:
        """Brings the place's statistics up to date."""


class Business(PagedBusiness, Protocol):
    """What the log contract needs of a kind of source, besides."""

    whole_rows: bool  # changes have the whole row before them; else a delete has its key alone

    def commit(self, *steps: str) -> None:
        """Commits one transaction of these steps.

        `I7`, `U7` and `D7` insert, update and delete row 7, `T` empties the table. It may be a
        definition, which ends the transaction before it.
        """

    def beat(self, source: Source) -> None:
        """Makes the open source write a heartbeat."""


class NumberedBusiness(Business, Protocol):
    """What it needs of a server that numbers transactions and is told what is stored."""

    def acknowledged(self) -> int:
        """Returns up to where the server believes that everything is stored."""

    def hanging(self, step: str) -> AbstractContextManager[int]:
        """One transaction that is under way until the block ends; gives its id, as Begin has it."""


class Delivered(NamedTuple):
    """One transaction as it came."""

    transaction: int
    position: int
    changes: tuple[Change | Truncate, ...]

    @property
    def rows(self) -> list[tuple[str, Row | None, Row | None]]:
        """Operation, old and new row of each row change."""
        return [
            (change.op, change.old, change.new)
            for change in self.changes
            if isinstance(change, Change)
        ]


def silent_never() -> float | None:
    """A front end that answers at once."""
    return None


def read_until(
    source: Source, enough: Callable[[list[Message]], bool], timeout: float = 30.0
) -> list[Message]:
    """Reads until what has come is enough; never breaks off in the midst of a `read`."""
    messages: list[Message] = []

    def come() -> bool:
        messages.extend(source.read(0.05))
        return enough(messages)

    eventually(come, timeout, "the messages come", interval=0)
    return messages


def read_commits(source: Source, count: int) -> list[Delivered]:
    """Reads until that many transactions are complete.

    It makes sure that nothing came between them and nothing came twice.
    """
    messages = read_until(
        source, lambda so_far: sum(isinstance(m, Commit) for m in so_far) >= count
    )
    return transactions(messages)


def transactions(messages: Sequence[Message]) -> list[Delivered]:
    """Groups messages and checks their order: Begin, changes, Commit.

    Heartbeats come between transactions only, and positions never go back.
    """
    found: list[Delivered] = []
    begin: Begin | None = None
    changes: list[Change | Truncate] = []
    position = 0
    for message in messages:
        if isinstance(message, Begin):
            assert begin is None, "a transaction began inside another"
            assert message.commit_position >= position, "a commit record before what was complete"
            begin, changes = message, []
        elif isinstance(message, Heartbeat):
            assert begin is None, "a heartbeat inside a transaction"
            assert message.position >= position
            position = message.position
        elif isinstance(message, Commit):
            assert begin is not None, "a commit without a beginning"
            assert (message.transaction, message.time_us) == (begin.transaction, begin.time_us)
            assert message.position > begin.commit_position
            position = message.position
            found.append(Delivered(message.transaction, position, tuple(changes)))
            begin = None
        else:
            assert begin is not None, "a change or high position outside of a transaction"
            if isinstance(message, Change | Truncate):
                changes.append(message)
    assert begin is None, "a transaction without its end"
    return found


def stored_after(stored: Resume, messages: Sequence[Message]) -> Resume:
    """Returns what a front end has stored that committed after the last of these messages."""
    for message in messages:
        if isinstance(message, Commit):
            stored = stored._replace(
                position=position_text(message.position),
                commit=CommitMark(
                    position_text(message.position), message.transaction, message.time_us
                ),
                token=message.token,
            )
        elif isinstance(message, Heartbeat) and message.position > position_number(stored.position):
            position = position_text(message.position)
            stored = stored._replace(position=position, token=message.token)
    return stored


NUMBERS = count()


def table_of(source: Source) -> SourceTable:
    """Returns the table `orders`."""
    return next(table for table in source.tables().values() if table.table == "orders")


def asking(source: Source, **given: Any) -> Ask:
    """Returns rows of `orders` to read."""
    table = table_of(source)
    return Ask(
        f"token {next(NUMBERS)}",
        "orders",
        table,
        given.pop("columns", table.columns),
        given.pop("must_see", ()),
        given.pop("barrier", ""),
        **given,
    )


def page_of(source: Source, ask: Ask) -> tuple[Page, list[Message]]:
    """The page, with all that the stream delivered up to the transaction of its high position."""
    source.ask(ask)
    return awaited(source, ask)


def awaited(source: Source, ask: Ask) -> tuple[Page, list[Message]]:
    """Returns the page asked for."""
    high = HighPosition(ask.token)
    messages = read_until(source, lambda so_far: high in so_far and isinstance(so_far[-1], Commit))
    page = source.page()
    assert page is not None
    assert page.token == ask.token
    return page, messages


def rows_of(page: Page) -> list[tuple[str | None, ...]]:
    """Returns the page's rows."""
    return [row_of(line) for line in page.lines]

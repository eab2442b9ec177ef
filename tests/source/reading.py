"""Reads a source as the capture loop does, without a front end: what is taken is what a front end would have stored."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from agent.connectors.base import Source
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
from agent.values.rows import Row
from tests.waiting import eventually


class Business(Protocol):
    """A business database with a table `orders` (id, note) and a source on it: what the contract suite needs of a kind of source."""

    def commit(self, *steps: str) -> None:
        """One transaction of these steps: `I7`, `U7` and `D7` insert, update and delete row 7, `T` empties the table."""

    def source(self) -> Source:
        """A source, closed when the test ends; it may be opened again and again."""

    def initial(self) -> Resume:
        """What `init` would have stored before the first transaction."""

    def acknowledged(self) -> int:
        """Up to where the server believes that everything is stored."""

    def beat(self, source: Source) -> None:
        """Makes the open source write a heartbeat."""

    def analyse(self) -> None:
        """Brings the database's statistics up to date."""

    def hanging(self, step: str) -> AbstractContextManager[int]:
        """One transaction that is under way until the block ends; gives its xid (32 bits)."""


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
    """Reads until that many transactions are complete, and makes sure that nothing came between or twice."""
    messages = read_until(
        source, lambda so_far: sum(isinstance(m, Commit) for m in so_far) >= count
    )
    return transactions(messages)


def transactions(messages: Sequence[Message]) -> list[Delivered]:
    """Groups messages and checks their order: Begin, changes, Commit; heartbeats between transactions only; positions never back."""
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
            if not isinstance(message, HighPosition):
                changes.append(message)
    assert begin is None, "a transaction without its end"
    return found


def stored_after(stored: Resume, messages: Sequence[Message]) -> Resume:
    """What a front end has stored that committed after the last of these messages."""
    for message in messages:
        if isinstance(message, Commit):
            stored = stored._replace(
                position=position_text(message.position),
                commit=CommitMark(
                    position_text(message.position), message.transaction, message.time_us
                ),
            )
        elif isinstance(message, Heartbeat) and message.position > position_number(stored.position):
            stored = stored._replace(position=position_text(message.position))
    return stored

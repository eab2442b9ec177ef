"""A source in memory: a twin for tests and models that keeps the contract of `Source`."""

from collections.abc import Callable, Iterator, Sequence

from agent.errors import SourceUnreachable
from agent.events.changes import Commit, Heartbeat, Message, Snapshot, lsn_number
from agent.front.base import Stored
from agent.resource import SourceTable


class MemorySource:
    """See Source. `log` is what the source has committed, in order; append to it at will."""

    def __init__(self, tables: dict[tuple[str, str], SourceTable]) -> None:
        self.log: list[Sequence[Message]] = []  # whole transactions, or one Heartbeat
        self.acknowledged = 0
        self.snapshot: Snapshot | None = None
        self._tables = tables
        self._next = -1  # index into the log; -1: closed

    def open(self, stored: Stored, front_silent_since: Callable[[], float | None]) -> None:
        """See Source.open."""
        position = lsn_number(stored.position)
        self.acknowledged = max(self.acknowledged, position)
        self._next = next((i for i, messages in enumerate(self.log) if _end(messages) > position), len(self.log))

    def tables(self) -> dict[tuple[str, str], SourceTable]:
        """See Source.tables."""
        return self._tables

    def unpublished(self, schema: str, table: str) -> str:
        """See Source.unpublished: memory publishes everything."""
        return ""

    def read(self, timeout: float) -> Iterator[Message]:
        """See Source.read."""
        if self._next < 0:
            raise SourceUnreachable(address="memory", reason="not open")
        while self._next < len(self.log):
            messages = self.log[self._next]
            self._next += 1
            yield from messages

    def acknowledge(self, position: int) -> None:
        """See Source.acknowledge."""
        self.acknowledged = max(self.acknowledged, position)

    def tend(self) -> Snapshot | None:
        """See Source.tend."""
        return self.snapshot

    def lag_bytes(self) -> int:
        """See Source.lag_bytes."""
        return 0

    def close(self) -> None:
        """See Source.close."""
        self._next = -1


def _end(messages: Sequence[Message]) -> int:
    last = messages[-1]
    assert isinstance(last, Commit | Heartbeat)
    return last.position

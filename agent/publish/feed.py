"""Reads the outbox as a sequence of units, one batch at a time."""

from collections import deque

from agent.outbox.reader import Reader
from agent.publish.grouping import Grouper, Unit


class Feed:
    """The units after batch `after`, in order; holds one batch's units and what the grouper holds."""

    def __init__(self, reader: Reader, grouper: Grouper, after: int) -> None:
        self._reader = reader
        self._grouper = grouper
        self._batch = after
        self._units: deque[Unit] = deque()

    def peek(self) -> Unit | None:
        """The next unit; None when the outbox holds no complete one at the moment. Raises FrontUnreachable."""
        while not self._units:
            batch = self._reader.next_batch(self._batch)
            if batch is None:
                return None
            self._batch = batch.batch
            self._units.extend(self._grouper.feed(batch))
        return self._units[0]

    def take(self) -> Unit:
        """Removes and returns what `peek` has shown."""
        return self._units.popleft()

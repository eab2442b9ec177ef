"""Reads the outbox as a sequence of units."""

from collections import deque

from agent.front.base import Batch
from agent.outbox.reader import Reader
from agent.publish.grouping import Grouper, Unit


class UnitReader:
    """Hands out the units after batch `after`, in order.

    It holds the batches of one query, the units of one batch, and what the grouper holds.
    """

    def __init__(self, reader: Reader, grouper: Grouper, after: int) -> None:
        self._reader = reader
        self._grouper = grouper
        self._after = after  # the last batch that was read
        self._more = True  # the outbox may hold more than was read
        self._batches: deque[Batch] = deque()
        self._units: deque[Unit] = deque()

    def look(self) -> Unit | None:
        """Returns the next unit; None while the outbox holds no complete one.

        From then on `peek` shows what stands in the outbox now. Raises FrontUnreachable.
        """
        self._more = True
        return self.peek()

    def peek(self) -> Unit | None:
        """Returns the next unit of those that stood in the outbox at the last `look`, or None.

        What has come since waits for the next `look`, or a transaction would go on filling as long
        as something comes. Raises FrontUnreachable.
        """
        while not self._units:
            if not self._batches:
                self._read()
            if not self._batches:
                return None
            self._units.extend(self._grouper.units(self._batches.popleft()))
        return self._units[0]

    def take(self) -> Unit:
        """Removes and returns what `peek` has shown."""
        return self._units.popleft()

    def _read(self) -> None:
        """Reads the next batches, unless the last query has read all there was."""
        if not self._more:
            return
        waiting = self._reader.waiting(self._after)
        self._more = waiting.more
        if waiting.batches:
            self._after = waiting.batches[-1].batch
            self._batches.extend(waiting.batches)

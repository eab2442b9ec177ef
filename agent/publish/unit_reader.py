"""Reads the outbox as a sequence of units, one batch at a time."""

from collections import deque

from agent.outbox.reader import Reader
from agent.publish.grouping import Grouper, Unit


class UnitReader:
    """Hands out the units after batch `after`, in order.

    It holds the units of one batch, and what the grouper holds.
    """

    def __init__(self, reader: Reader, grouper: Grouper, after: int) -> None:
        self._reader = reader
        self._grouper = grouper
        self._batch = after
        self._units: deque[Unit] = deque()

    def peek(self) -> Unit | None:
        """Returns the next unit; None while the outbox holds no complete one.

        Raises FrontUnreachable.
        """
        while not self._units:
            batch = self._reader.next_batch(self._batch)
            if batch is None:
                return None
            self._batch = batch.batch
            self._units.extend(self._grouper.units(batch))
        return self._units[0]

    def take(self) -> Unit:
        """Removes and returns what `peek` has shown."""
        return self._units.popleft()

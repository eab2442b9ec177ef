"""When the open front-end transaction ends: a rule without I/O, in the clock of its caller.

It ends at a source commit, as soon as one of these holds:

- nothing more waits in the receive buffer;
- 10 ms have passed since the first change (up to 50 ms while commits take longer);
- the bound of rows or bytes is reached.
"""

from agent.connectors.changes import ROW_MESSAGES, Begin, Commit, Message

SHORTEST, LONGEST = 0.010, 0.050  # seconds a change waits for company


class CommitRule:
    """Told of every message and every commit, it says when to commit."""

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._patience = SHORTEST
        self._inside = False
        self._clear()

    def _clear(self) -> None:
        self._first_at: float | None = None
        self._rows = self._bytes = 0

    def taken(self, message: Message, now: float) -> None:
        """A message went into the transaction."""
        if self._first_at is None:
            self._first_at = now
        if isinstance(message, ROW_MESSAGES):
            self._rows += 1
            self._bytes += message.size
        elif isinstance(message, Begin):
            self._inside = True
        elif isinstance(message, Commit):
            self._inside = False

    @property
    def clear(self) -> bool:
        """Whether nothing has been taken since the last commit."""
        return self._first_at is None

    def due(self, more_waits: bool, now: float) -> bool:
        """Whether to commit now; never inside a source transaction, never for nothing."""
        if self._inside or self._first_at is None:
            return False
        if self._rows >= self._max_rows or self._bytes >= self._max_bytes:
            return True
        waited = now - self._first_at
        return not more_waits or waited >= self._patience

    def committed(self, seconds: float) -> None:
        """The transaction was committed; the commit took `seconds`."""
        self._clear()
        self._patience = min(max(seconds, SHORTEST), LONGEST)

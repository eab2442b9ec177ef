"""The contract every source keeps."""

from collections.abc import Callable, Iterator
from typing import Protocol

from agent.events.changes import Message, Snapshot
from agent.front.base import Stored
from agent.resource import SourceTable


class Source(Protocol):
    """Delivers committed transactions in commit order, each as Begin, its changes, Commit; heartbeats come between them.

    Each transaction after the stored position is delivered once per `open`, none before it; after a new `open` delivery starts
    at the position stored by then. Nothing is acknowledged to the server but what `acknowledge` was called with: positions the
    front end has committed. The source reads, the caller commits.
    Raises SourceUnreachable, LoginRefused, SlotBusy (retry) and the halts of checks A and B.
    """

    def open(self, stored: Stored, front_silent_since: Callable[[], float | None]) -> None:
        """Connects, makes the checks A and B and starts the stream after the stored position.

        `front_silent_since` tells (from any thread) since when, in time.monotonic(), the front end has left a question open, None
        if none is open: a front end silent for too long must not keep the server from shutting down.
        """

    def tables(self) -> dict[tuple[str, str], SourceTable]:
        """The catalogue's view of the configured tables that exist, by schema and name."""

    def unpublished(self, schema: str, table: str) -> str:
        """Why the stream does not carry every change of an existing table whole, or ''."""

    def read(self, timeout: float) -> Iterator[Message]:
        """What waits in the receive buffer, decoded; waits at most `timeout` seconds for the first message and ends when nothing more waits."""

    def acknowledge(self, position: int) -> None:
        """The front end has stored everything up to `position`: the server may forget it. Sent at once if it moves."""

    def tend(self) -> Snapshot | None:
        """To be called several times a second: writes heartbeats when due. Returns, about once a second, what a new snapshot sees; else None."""

    def lag_bytes(self) -> int:
        """Bytes of log the server had written past the acknowledged position when it was last asked."""

    def close(self) -> None:
        """Ends the connections. Never raises."""

"""What a snapshot of PostgreSQL sees, and whether a page may be read in it."""

from typing import NamedTuple

from agent.connectors.base import Ask


class Snapshot(NamedTuple):
    """A snapshot as pg_current_snapshot tells it; transaction ids (xid8) of 64 bits."""

    xmax: int
    in_progress: frozenset[int]
    xmin: int = 0  # every transaction before it is over

    def sees(self, transaction: int) -> bool:
        """Tells whether a transaction is visible.

        pgoutput sends only 32 bits of an id: the one nearest to xmax is meant. An id can be neither
        in progress nor below xmax, and is then not visible yet
        (docs/decisions/visibility-hand-over.md).
        """
        distance = (transaction - self.xmax) & 0xFFFFFFFF
        if distance >> 31:
            distance -= 1 << 32
        full = self.xmax + distance
        return full < self.xmax and full not in self.in_progress

    def serves(self, ask: Ask) -> bool:
        """Tells whether the rows asked for may be read in this snapshot."""
        past_barrier = self.xmin > int(ask.barrier or 0)
        return past_barrier and all(self.sees(xid) for xid in ask.must_see)


class OldestTransaction:
    """Remembers since when the oldest running transaction has been seen, snapshot by snapshot.

    So no right is needed: the server tells when a session's transaction began to its own role only.
    Transactions that have written nothing are not seen; they keep no log.
    """

    def __init__(self) -> None:
        self._xmin = 0
        self.since = 0.0  # Unix time; 0: none runs

    def seen(self, snapshot: Snapshot, now: float) -> None:
        """Takes a new snapshot up."""
        if snapshot.xmin >= snapshot.xmax:
            self.since = 0.0
        elif snapshot.xmin != self._xmin or not self.since:
            self.since = now
        self._xmin = snapshot.xmin


def snapshot_of(text: str) -> Snapshot:
    """Reads a pg_snapshot as the server writes it: `xmin:xmax:in progress`."""
    xmin, xmax, running = text.split(":")
    in_progress = frozenset(int(xid) for xid in running.split(",") if xid)
    return Snapshot(int(xmax), in_progress, int(xmin))

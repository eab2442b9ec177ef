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


def snapshot_of(text: str) -> Snapshot:
    """Reads a pg_snapshot as the server writes it: `xmin:xmax:in progress`."""
    xmin, xmax, running = text.split(":")
    in_progress = frozenset(int(xid) for xid in running.split(",") if xid)
    return Snapshot(int(xmax), in_progress, int(xmin))

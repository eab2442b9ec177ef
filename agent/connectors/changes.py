"""The messages of a source: transactions of row changes in commit order, and heartbeats between them."""

from typing import NamedTuple

from agent.values.rows import Row


class Column(NamedTuple):
    """A column of a source table as the stream describes it."""

    name: str
    type_oid: int
    type_modifier: int
    identity: bool  # part of the replica identity


class Relation(NamedTuple):
    """A source table as the stream describes it before its first row and after each change of it."""

    oid: int
    schema: str
    table: str
    identity: str  # pg_class.relreplident: d, f, i or n
    columns: tuple[Column, ...]


class Begin(NamedTuple):
    """A source transaction starts; its changes follow, then its Commit."""

    xid: int  # 32 bits, as pgoutput sends it
    commit_lsn: int  # position of the commit record: known before the rows, unlike the commit's end
    time_us: int  # commit time, microseconds since 1970 UTC


class Change(NamedTuple):
    """One row change. `new` is None for a delete; `old` is None where the log has no old values."""

    relation: Relation
    op: str  # I, U or D
    old: Row | None
    new: Row | None
    old_complete: bool  # True: `old` holds every column (FULL identity); False: only the identity columns mean anything
    lsn: int  # of this change
    size: int  # bytes it had in the stream


class Truncate(NamedTuple):
    """Tables emptied by one TRUNCATE."""

    relations: tuple[Relation, ...]
    lsn: int


class Commit(NamedTuple):
    """The source transaction is complete; `position` is where the stream goes on after it."""

    xid: int
    position: int  # end LSN of the commit
    time_us: int


class Heartbeat(NamedTuple):
    """Everything committed before `position` has been delivered; comes between transactions only."""

    position: int
    time_us: int


class HighPosition(NamedTuple):
    """The only content of a transaction that a page reader wrote behind its page: everything its snapshot saw has been delivered."""

    token: str  # of the page


Message = Begin | Change | Truncate | Commit | Heartbeat | HighPosition


def lsn_text(lsn: int) -> str:
    """A log position as PostgreSQL writes it: `16/B374D848`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_number(text: str) -> int:
    """The number of a log position written as `16/B374D848`."""
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


class Snapshot(NamedTuple):
    """What a new snapshot of the source sees (PostgreSQL: pg_current_snapshot); ids of 64 bits."""

    xmax: int
    in_progress: frozenset[int]
    xmin: int = 0  # every transaction before it is over

    def sees(self, xid: int) -> bool:
        """Whether the transaction is visible. Of `xid` only 32 bits are known (pgoutput): the id nearest to xmax is meant.

        An id can be neither in progress nor below xmax and is then not visible yet (docs/decisions/visibility-hand-over.md).
        """
        distance = (xid - self.xmax) & 0xFFFFFFFF
        full = self.xmax + (distance - (1 << 32) if distance >> 31 else distance)
        return full < self.xmax and full not in self.in_progress

"""The contract every front-end database keeps."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from agent.errors import Suspend
from agent.events.changes import Snapshot
from agent.front.outbox import Batch
from agent.resource import FrontRow, Key, Target


class CommitMark(NamedTuple):
    """A source commit as it can be recognised when the source sends it again. `position` is '' before the first."""

    position: str
    xid: int
    time_us: int


class ResourceState(NamedTuple):
    """A resource as the front end has it stored. `state` is live or suspended."""

    state: str
    topic: str
    generation: int
    seq: int


class Stored(NamedTuple):
    """What the front end knew when it was opened."""

    source_id: str
    system_id: str
    timeline: int
    slot: str
    epoch: int
    position: str
    position_time_us: int
    commit: CommitMark
    number: int
    batch: int
    resources: dict[str, ResourceState]


class Progress(NamedTuple):
    """What one front-end transaction moves, beside the rows."""

    position: str
    position_time_us: int
    commit: CommitMark
    number: int
    batch: int
    seqs: Mapping[str, tuple[int, int]]  # resource -> (seq, commit time µs) of its last event, where it had one
    xids: Sequence[int]  # source transactions applied in it


class Written(NamedTuple):
    """The last state of one row within a front-end transaction. `row` is None for a delete."""

    row: FrontRow | None
    operation: str  # I, U or D
    seq: int
    time_us: int  # commit time at the source


class Front(Protocol):
    """Writes the front-end database, in one transaction at a time.

    Order: `open`, then any number of `begin` … `commit` or `rollback`, then `close`; `begin` to `commit` is ONE database
    transaction that holds rows, outbox, counters, position and xids (promise P2). Nobody else commits. After any error the
    transaction is rolled back whole and the front must be closed and opened again; nothing of it remains.
    Raises FrontUnreachable, FrontBusy, LoginRefused (retry), RowRefused (suspend the table), AnotherAgent, NotInitialised (halt).
    """

    def silent_since(self) -> float | None:
        """Since when (time.monotonic()) the database has not answered the statement it was given; None if none is open. From any thread."""

    def open(self, nonce: str) -> Stored:
        """Takes the lock, raises the epoch by one, notes the service's nonce (one transaction of its own) and returns what is stored."""

    def check(self, target: Target) -> None:
        """Raises FrontTableWrong where the table is missing or could not hold every row of the source exactly."""

    def begin(self) -> None:
        """Opens the transaction unless it is open."""

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """The rows that stand under these keys, soft-deleted ones left out, as PostgreSQL's text."""

    def write(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """Makes the table hold exactly these rows under these keys; deletes come before upserts."""

    def first_keys(self, target: Target, limit: int) -> list[Key]:
        """The first keys of the table in the front end's own order, soft-deleted rows left out; a TRUNCATE becomes one delete per key."""

    def store(self, batch: Batch, time_us: int) -> None:
        """Adds one batch to the outbox; `time_us` is the commit time of its first transaction."""

    def commit(self, progress: Progress) -> None:
        """Moves state and counters and commits, if the epoch is still ours; else AnotherAgent and nothing is committed."""

    def rollback(self) -> None:
        """Ends the transaction without a trace. Never raises."""

    def prune(self, snapshot: Snapshot) -> None:
        """Forgets the applied transactions that this and so every later snapshot of the source sees; rides in the open transaction."""

    def suspend(self, error: Suspend) -> None:
        """Stores that a table stands still and why (a transaction of its own)."""

    def close(self) -> None:
        """Gives lock and connection back. Never raises."""

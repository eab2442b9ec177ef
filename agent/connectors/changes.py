"""The messages of a source: transactions of row changes in commit order, and heartbeats between.

Positions are numbers of the source's own making (agent.connectors.position); times are microseconds
since 1970 UTC by the source's clock.
"""

from typing import Final, NamedTuple

from agent.values.rows import Key, Row


class Column(NamedTuple):
    """A column of a source table as the stream describes it."""

    name: str
    type_oid: int
    type_modifier: int
    identity: bool  # part of the replica identity


class Relation(NamedTuple):
    """A source table as the stream describes it, before its first row and after each change."""

    oid: int
    schema: str
    table: str
    identity: str  # pg_class.relreplident: d, f, i or n
    columns: tuple[Column, ...]


class Begin(NamedTuple):
    """A source transaction starts; its changes follow, then its Commit."""

    transaction: int  # its id, as the source gives it: what `Visible.sees` is asked for
    # Where its commit stands: known before the rows, unlike the position behind it
    commit_position: int
    time_us: int  # of the commit


class Change(NamedTuple):
    """One row change. `new` is None for a delete; `old` is None where the log has no old values."""

    relation: Relation
    op: str  # I, U or D
    old: Row | None
    new: Row | None
    old_complete: bool  # False: only the columns of the identity mean anything in `old`
    position: int  # of this change
    size: int  # bytes it had in the stream


class RowState(NamedTuple):
    """What a row is now, from a source without a log: the row, or that there is none.

    The agent compares it with the front-end row, so a state that is delivered again has no event.
    """

    relation: Relation
    key: Key
    row: Row | None  # whole; None: there is no row under the key
    position: int  # of the look that saw it
    size: int  # bytes, about


class Truncate(NamedTuple):
    """Tables emptied by one TRUNCATE."""

    relations: tuple[Relation, ...]
    position: int


class Commit(NamedTuple):
    """The source transaction is complete; `position` is where the stream goes on after it."""

    transaction: int
    position: int
    time_us: int
    # What the source needs beside the position to go on (a cursor, a set of ids): only it reads it
    token: str = ""


class Heartbeat(NamedTuple):
    """Everything before `position` has been delivered; comes between transactions only."""

    position: int
    time_us: int
    token: str = ""  # see Commit


class HighPosition(NamedTuple):
    """Tells that everything the snapshot of a page saw has been delivered.

    It is the only content of a transaction that the page reader wrote behind its page.
    """

    token: str  # of the page


# Messages of one row each. A tuple, for a union would be made again at each test of a message
ROW_MESSAGES: Final = (Change, RowState)

Message = Begin | Change | RowState | Truncate | Commit | Heartbeat | HighPosition

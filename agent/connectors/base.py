"""The contract every source keeps (docs/writing-a-source.md)."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from agent.config import ResourceSettings
from agent.connectors.changes import Begin, Message
from agent.connectors.resume import Resume
from agent.connectors.table import Criterion, SourceColumn, SourceTable
from agent.values import connect
from agent.values.rows import Key


class Visible(Protocol):
    """What a snapshot of the source sees, and so every later one."""

    def sees(self, transaction: int, /) -> bool:
        """Tells whether a committed transaction (Begin.transaction) is visible."""


class Ask(NamedTuple):
    """Rows to read in one snapshot.

    They are the page after `after` in the order of the key's index, or the rows under `keys`. Where
    `counted` stands, no row is read: the rows that meet all its conditions are counted.
    """

    token: str  # comes back as HighPosition in the stream
    resource: str
    table: SourceTable
    columns: tuple[SourceColumn, ...]
    must_see: Collection[int]  # source transactions the snapshot must see
    barrier: str  # what `Source.barrier` gave; '': nothing has to be waited for
    after: Key | None = None
    limit: int = 0
    keys: Sequence[Key] | None = None
    counted: Sequence[Criterion] | None = None

    # The number is of use only if the stream delivers every change that it shows: a source that
    # cannot tell so leaves it out, and need not count
    settled: bool = False

    # Pages of other tables, which may be read in the same snapshot: in this order, each once all
    # before it have come to their ends. The token is the same. A source may leave them out.
    further: Sequence["Ask"] = ()


class Page(NamedTuple):
    """The rows, as lines of COPY text with the columns in the order of the `Ask`."""

    token: str
    lines: list[bytes]

    # The page was cut after so many rows: fewer than asked for where they were too large, or the
    # server too slow
    limit: int

    more: bool  # rows may follow
    total: int | None = None  # how many rows there are, where they were counted

    # The snapshot that counted them; None: it sees all that comes before the high position
    snapshot: Visible | None = None

    # Of `Ask.further`: the first ones, as many as were read
    further: Sequence["Page"] = ()


class Fingerprint(NamedTuple):
    """What the catalogue says of a table: named parts, ordered by what it means when one moves.

    A source whose stream shows every change of a table has no parts. The parts are stored by their
    names, and compared when the source is opened again: a name means the same in each version.
    """

    # Rows may have changed without a row in the stream: the table is copied
    copy: Mapping[str, str] = {}

    # The table was rewritten, nobody knows how: it is verified
    verify: Mapping[str, str] = {}

    # Worth a warning only
    notice: Mapping[str, str] = {}

    # A copy has to wait: only a stream that begins later follows the table
    unsettled: bool = False

    @property
    def parts(self) -> dict[str, str]:
        """All parts by name, as they are stored."""
        return {**self.copy, **self.verify, **self.notice}


class Origin(Protocol):
    """Writes the `source` block of one table's events, in JSON: where each of them comes from."""

    @property
    def schema(self) -> connect.Schema:
        """Kafka Connect's schema of the block."""

    def source(self, begin: Begin, previous_end: int, position: int) -> bytes:
        """Writes the block of a change at `position` in the transaction `begin`.

        `previous_end` is the position behind the transaction before it.
        """

    def read(self, begin: Begin, previous_end: int) -> bytes:
        """Writes the block of a row that was read and not streamed, within `begin`."""


class Source(Protocol):
    """Delivers committed transactions in commit order: Begin, changes, Commit each.

    Heartbeats come between them. Each transaction after the stored position is delivered once per
    `open`, none before it; after the next `open` delivery starts at the position stored by then.
    Nothing is acknowledged to the server but what `acknowledge` was called with: positions the
    front end has committed. The source reads, the caller commits.

    All methods are called from one thread. They raise SourceUnreachable, SourceUnfit, LoginRefused,
    SourceBusy, StreamUnreadable (retry), and the halts of a source that is not the one that was
    followed, or not where it was left.
    """

    # ---- from one opening to the next

    def open(self, resume: Resume, front_silent_since: Callable[[], float | None]) -> None:
        """Connects, checks identity and history, and starts the stream after the stored position.

        `front_silent_since` tells (from any thread) since when, in time.monotonic(), the front end
        has left a question open, None if none is open: a front end that is silent for too long must
        not keep the server from shutting down.
        """

    def reader(self) -> str:
        """Returns how the server names the session that reads its log; '' where there is no such.

        Another host that takes over gives it back as `Resume.left_by`: that host's session may
        still be there, while the host itself stands still.
        """

    def outdated(self) -> bool:
        """Tells whether the source must be opened again, from what is stored by then.

        `read` delivers nothing more, or goes a slower way than it has to.
        """

    def close(self) -> None:
        """Ends the connections. Never raises."""

    # ---- the tables

    def tables(self) -> dict[tuple[str, str], SourceTable]:
        """Returns the configured tables that exist, by schema and name."""

    def check_captured(self, resource: ResourceSettings) -> None:
        """Raises TableNotCaptured where the stream does not carry every change of a table whole."""

    def criteria(self, resource: ResourceSettings, table: SourceTable) -> tuple[Criterion, ...]:
        """Returns the conditions of a filter, with values in this source's text of their types.

        Raises ConfigInvalid, which names each value that is none of its column's type, and each
        column whose values cannot be compared as texts; ReadRefused.
        """

    def origin(self, table: SourceTable) -> Origin:
        """Returns what writes the `source` block of a table's events."""

    def estimate(self, table: SourceTable) -> int:
        """Returns how many rows the table has by the source's statistics; 0 without statistics."""

    def fingerprints(self) -> dict[tuple[str, str], Fingerprint]:
        """Returns the catalogue as it is now, of the configured tables that exist."""

    # ---- the stream

    def read(self, timeout: float) -> Iterator[Message]:
        """Delivers what waits in the receive buffer, and ends when nothing more waits.

        Waits at most `timeout` seconds for the first message, and no longer once the process is
        asked to stop (`agent.stop_watch.wait`). Raises ValueUnreadable (suspend the table) for a
        value that the server cannot hand over.
        """

    def acknowledge(self, position: int) -> None:
        """Lets the server forget everything up to `position`, which the front end has stored.

        Sent at once if it moves.
        """

    def housekeeping(self) -> Visible | None:
        """Writes heartbeats when they are due; to be called about once a second.

        Returns what a new snapshot sees, about once a second while there are changes; else None.
        """

    def comparisons(self, copying: Collection[str]) -> Sequence[str]:
        """Returns the resources whose rows are all to be compared now, each once.

        So a source finds what its stream does not show. To be called between transactions; the
        caller has stored that they are compared before it stores a later position. `copying`: the
        resources that are compared already, which are not begun again. A source whose reason is
        younger than their first pages returns them later.
        """

    def lag_bytes(self) -> int:
        """Returns the bytes of log past the acknowledged position, as last asked of the server."""

    def log_large(self) -> bool:
        """Tells whether the server keeps more log for the agent than its owner wants.

        While the stream is behind then, no page is read beside it.
        """

    def gauges(self) -> Mapping[str, float]:
        """Returns the metrics of this kind of source (`agent.service.metrics`), as last known."""

    def counts(self) -> Mapping[tuple[str, ...], int]:
        """Returns by how much counters of this kind of source have risen since the last call.

        Each is a metric and its labels.
        """

    def unattended(self) -> None:
        """Looks at what the server keeps for the agent, and bounds it where its owner has said so.

        To be called between attempts to open all: the front end may be away for long. Never raises.
        """

    # ---- pages

    def barrier(self) -> str:
        """Marks this moment for `Ask.barrier`, in a text that only the source reads.

        A page asked for with it waits until each transaction that runs now is over. '' where a
        source has nothing to wait for.
        """

    def ask(self, ask: Ask) -> None:
        """Starts reading rows beside the stream, in one snapshot that sees `must_see`.

        The source waits for such a snapshot. It does so for one `Ask` at a time: an earlier one
        that was not taken is withdrawn. When the rows are read, those of further pages too, a
        HighPosition is written in a transaction of its own, and comes with the stream.
        """

    def page(self) -> Page | None:
        """Returns the rows asked for once they are read; None while they are not.

        Waits only if their HighPosition was delivered. Raises ReadRefused, TableChanged,
        ValueUnreadable (suspend the table).
        """

    def withdraw(self) -> None:
        """Gives up the rows asked for; their HighPosition may still come."""

"""The contract every front-end database keeps."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from agent.connectors.changes import Snapshot
from agent.connectors.resume import CommitMark, Resume
from agent.errors import Suspend
from agent.resource import FrontRow, Target
from agent.values.rows import Key

PUBLICATION = "source.publication"  # the key of `Stored.settings` that names it


class ResourceState(NamedTuple):
    """A resource as the front end has it stored. `state` is copying, live or suspended."""

    state: str
    topic: str
    generation: int
    seq: int


# The phases of a copy
PAGES, EXTRAS, WITHHELD, TOPIC, REFUSED, HOLES, COUNT = (
    "pages",
    "extras",
    "withheld",
    "topic",
    "refused",
    "holes",
    "count",
)


class Copy(NamedTuple):
    """How far a copying table has come; moved in the transaction that holds the rows it speaks of."""

    phase: str = PAGES
    mark: Key | None = (
        None  # last key of the last page, as it came: in the source's order (pages) or the front end's (extras)
    )
    horizon: int = 0  # source transactions up to this xid must be over before a page is read; 0: those that run when the copy begins
    began_us: int = 0  # 0: it has not begun
    estimate: int = 0  # rows the source's statistics promise
    front_rows: int = 0  # rows the front end had when it began
    rows: int = 0  # read so far, each once
    looked_up: int = 0  # keys looked up at the source after the pages, so far
    missing: int = 0  # in the front end: added
    different: int = 0  # changed
    extra: int = 0  # deleted
    allow_deletes: bool = False  # somebody has confirmed that many rows may go
    republish: bool = False  # every row is told again, in a new generation of the topic
    whole: bool = (
        True  # every row is looked at, so all are counted in the end; False: some keys only
    )


def copy_of(data: Mapping[str, Any]) -> Copy:
    """A copy as it was stored as JSON."""
    mark = data["mark"]
    return Copy(**{**data, "mark": None if mark is None else tuple(mark)})


# Of a table whose changes were all in the stream until now: no transaction under way can have changed it unseen.
KNOWN = Copy(horizon=1)


class Request(NamedTuple):
    """What somebody has asked of the running service with a command. `kind` is resume, reconcile, verify, retry or republish; the publisher asks to suspend."""

    id: str
    kind: str
    resource: str
    allow_deletes: bool
    values: Mapping[str, Any] = {}  # of suspend: code and values of the error
    running: bool = False  # it was taken up already


class Refused(NamedTuple):
    """A row that the front-end table has refused. Its event was published all the same."""

    code: str  # SQLSTATE or error number, and names of constraints and columns; never values
    since_us: int
    # Digest of the row that was last told to subscribers; '' where they have none under this key
    told: str
    shown: str  # the key as events have it


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
    copies: Mapping[str, Copy] = {}  # by resource
    holes: Mapping[str, Collection[Key]] = {}  # by resource: keys whose rows must be read again
    withheld: Mapping[
        str, Mapping[Key, bool]
    ] = {}  # by resource: keys whose rows are too large for Kafka; whether the topic may hold an older row
    refused: Mapping[str, Mapping[Key, Refused]] = {}  # by resource
    fingerprints: Mapping[
        str, Mapping[str, str]
    ] = {}  # by resource: the source's catalogue, part by part
    settings: Mapping[str, str] = {}  # as `init` found them (front.belonging)
    xids: Collection[int] = ()  # applied lately: a new snapshot of the source may not see them yet

    @property
    def resume(self) -> Resume:
        """What the source is handed back when it is opened."""
        identity = {
            "system_id": self.system_id,
            "timeline": self.timeline,
            "slot": self.slot,
            "publication": self.settings.get(PUBLICATION, ""),
        }
        suspended = [name for name, now in self.resources.items() if now.state == "suspended"]
        return Resume(self.position, self.commit, identity, self.fingerprints, suspended)


PART = 1 << 20  # bytes of one stored part of a batch


class Batch(NamedTuple):
    """A batch of the outbox as it is stored. `last_number` is `first_number - 1` when it holds no event."""

    batch: int
    first_number: int
    last_number: int
    payload: bytes  # the frames, see agent.outbox.frames


class Progress(NamedTuple):
    """What one front-end transaction moves, beside the rows."""

    position: str
    position_time_us: int
    commit: CommitMark
    number: int
    batch: int
    # Resource -> (seq, commit time µs) of its last event, where it had one
    seqs: Mapping[str, tuple[int, int]]
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
    Raises FrontUnreachable, FrontBusy, LoginRefused (retry), RowRefused (suspend the table), AnotherAgent, NotInitialised,
    FrontDamaged (halt).
    """

    def silent_since(self) -> float | None:
        """Since when (time.monotonic()) the database has not answered the statement it was given; None if none is open. From any thread."""

    def open(self, nonce: str) -> Stored:
        """Takes the lock, raises the epoch by one, notes the service's nonce (one transaction of its own) and returns what is stored."""

    def check(self, target: Target) -> None:
        """Raises FrontTableWrong where the table is missing or could not hold every row of the source exactly."""

    def catalogue(self, target: Target) -> Mapping[str, str]:
        """What the database's catalogue says of the table, part by part: plain text, compared for equality only.

        To be asked for with no transaction open: somebody may be waiting for our locks with one that the catalogue waits for.
        """

    def tend(self) -> int:
        """Looks whether the database is still the one that was opened, and cuts its log where it may. Returns the bytes of a log beside it.

        Raises FrontDamaged. Between transactions or within one; never waits for anybody.
        """

    def claim(self, target: Target) -> None:
        """Notes that the table is this agent's (a transaction of its own). Raises FrontTableTaken where it is another's."""

    def release(self, resource: str) -> None:
        """Notes that this agent writes the table of a resource no more (a transaction of its own)."""

    def begin(self) -> None:
        """Opens the transaction unless it is open."""

    def spellings(self, target: Target) -> bool:
        """Whether the table takes keys of different texts for one (intervals: 24 hours and 1 day). After `check`."""

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """The rows that stand under these keys, soft-deleted ones left out, as PostgreSQL's text.

        A row whose key the table takes for one of these comes too, under its own spelling (`spellings`).
        """

    def write(
        self, target: Target, rows: Mapping[Key, Written], batch: int, most: int = 0
    ) -> dict[Key, str]:
        """Makes the table hold exactly these rows under these keys; deletes come before upserts.

        A delete takes the row of that very spelling only; an upsert takes the place of any equal one, its key included.
        Returns the rows that the table refuses for their content, each with what refused it: they are left out, all others are
        written. Raises RowRefused, with nothing of the set written, when there are more than `most`.
        """

    def insert(
        self, target: Target, rows: Mapping[Key, Written], batch: int, most: int = 0
    ) -> dict[Key, str]:
        """Adds rows under keys that are certain to hold none, not even a soft-deleted one. Refused rows: see `write`."""

    def keys_after(self, target: Target, after: Key | None, limit: int) -> list[Key]:
        """The first keys past `after` in the front end's own order, soft-deleted rows left out."""

    def same_order(self, target: Target) -> bool:
        """Whether keys are certain to stand in the order of a PostgreSQL source (numbers, times, uuids: yes; texts: no). After `check`."""

    def lines(self, target: Target, after: Key | None, upto: Key | None) -> list[bytes]:
        """The rows past `after` up to and with `upto` (None: the end) as lines of COPY text; soft-deleted ones left out. Where `same_order`."""

    def count(self, target: Target) -> int:
        """Rows of the table, soft-deleted ones left out."""

    def move(self, resource: str, state: str, copy: Copy | None) -> None:
        """Stores a table's state and how far its copy is (None: it has none); rides in the open transaction."""

    def note(self, resource: str, holes: Collection[Key], filled: Collection[Key]) -> None:
        """Adds and removes keys whose rows must be read again; rides in the open transaction."""

    def withhold(
        self, resource: str, withheld: Mapping[Key, bool], released: Collection[Key]
    ) -> None:
        """Adds and removes keys whose rows are too large for Kafka (`Stored.withheld`); rides in the open transaction."""

    def refuse(
        self, resource: str, refused: Mapping[Key, Refused], healed: Collection[Key]
    ) -> None:
        """Adds and removes keys whose rows the table refuses (`Stored.refused`); rides in the open transaction."""

    def topic_keys(self, resource: str, limit: int) -> list[str]:
        """Some of the keys, as JSON, that the topic was found to hold (`agent.publish.topic_keys`)."""

    def forget_topic_keys(self, resource: str, keys: Collection[str]) -> None:
        """Removes keys that were dealt with; rides in the open transaction."""

    def keep_occupants(self, resource: str, texts: Mapping[Key, str]) -> None:
        """Keeps a text for each key until the source transaction is complete, '' for none; rides in the open transaction."""

    def occupants(self, resource: str, keys: Collection[Key]) -> dict[Key, str]:
        """The texts kept for these keys."""

    def forget_occupants(self, resource: str) -> None:
        """Removes every text kept for a table; rides in the open transaction."""

    def keep_fingerprint(self, resource: str, parts: Mapping[str, str]) -> None:
        """Stores what the source's catalogue says of a table. Rides in the open transaction, else commits."""

    def outbox_bytes(self) -> int:
        """Bytes in the outbox, as far as the publisher has not deleted them."""

    def requests(self) -> list[Request]:
        """What was asked by commands and is not answered yet, oldest first."""

    def answer(self, request: str, state: str, report: Mapping[str, Any]) -> bool:
        """Stores how far a request is: running, done or failed. False: it was withdrawn. Rides in the open transaction, else commits."""

    def store(self, batch: Batch, time_us: int) -> None:
        """Adds one batch to the outbox; `time_us` is the commit time of its first transaction."""

    def commit(self, progress: Progress) -> None:
        """Moves state and counters and commits, if the epoch is still ours; else AnotherAgent and nothing is committed."""

    def rollback(self) -> None:
        """Ends the transaction without a trace. Never raises."""

    def prune(self, snapshot: Snapshot) -> None:
        """Forgets the applied transactions that this and so every later snapshot of the source sees; rides in the open transaction."""

    def suspend(self, error: Suspend) -> None:
        """Stores that a table stands still and why, and forgets its copy, but for `republish` (a transaction of its own)."""

    def start_copy(self, resource: str, copy: Copy) -> None:
        """Makes a table copying from the beginning, whatever it was (a transaction of its own). Where rows were to be told again, they still are."""

    def begin_generation(self, resource: str, copy: Copy) -> None:
        """A new generation of the topic, in which seq begins at 1, and a copy (a transaction of its own). What was opened is outdated then."""

    def close(self) -> None:
        """Gives lock and connection back. Never raises."""

"""The contract that every front-end database keeps, and the data that it takes and gives.

`Front` is made of three protocols. `FrontTransaction` opens the database and commits; `FrontTables`
reads and writes the front-end tables; `ResourceStore` keeps what the agent knows of each resource.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from agent.connectors.base import Visible
from agent.connectors.resume import CommitMark, Resume
from agent.errors import Suspend
from agent.resource import FrontRow, Target
from agent.values.rows import Key

# Bytes of one stored part of a batch
PART = 1 << 20


# ---- what is stored of each resource


class ResourceState(NamedTuple):
    """A resource as the front end has it stored. `state` is copying, live or suspended."""

    state: str
    topic: str
    generation: int
    seq: int
    # Why it is suspended: the error's code, and as JSON what fills its sentence
    code: str = ""
    details: str = "{}"


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
    """How far the copy of a table has come.

    It is stored in the transaction that holds the rows it speaks of.
    """

    phase: str = PAGES

    # The last key of the last page, as it came: in the source's order in the phase `pages`, in the
    # front end's order in the phase `extras`
    mark: Key | None = None

    # Source transactions up to this one must be over before a page is read: a text of the source's
    # own. '': it has not begun, or nothing has to be waited for
    barrier: str = ""

    # When it began, in microseconds since 1970. 0: it has not begun
    began_us: int = 0

    # Rows that the source's statistics promise
    estimate: int = 0

    # Rows that the front end had when the copy began
    front_rows: int = 0

    # Rows read at the source so far, each counted once
    rows: int = 0

    # Keys looked up at the source after the pages, so far
    looked_up: int = 0

    # Differences found: rows added to the front end, changed in it, deleted from it
    missing: int = 0
    different: int = 0
    extra: int = 0

    # Somebody has confirmed that many rows may be deleted
    allow_deletes: bool = False

    # Every row is published again, in a new generation of the topic
    republish: bool = False

    # Every row is compared, so that all are counted in the end. False: some keys only
    whole: bool = True

    # The stream has carried every change of the table until now: no transaction that runs now can
    # have changed it unseen
    followed: bool = False


def copy_of(data: Mapping[str, Any]) -> Copy:
    """Returns a copy that was stored as JSON."""
    mark = data["mark"]
    return Copy(**{**data, "mark": None if mark is None else tuple(mark)})


# A copy of a table that the stream has followed until now
FOLLOWED = Copy(followed=True)


class Request(NamedTuple):
    """What a command has asked of the running service.

    `kind` is resume, reconcile, verify, retry or republish; the publisher asks to suspend.
    """

    id: str
    kind: str
    resource: str
    allow_deletes: bool

    # Of suspend: code and values of the error
    values: Mapping[str, Any] = {}

    # The service has begun to work on it
    running: bool = False


class Refused(NamedTuple):
    """A row that the front-end table has refused. Its event was published all the same."""

    # SQLSTATE or error number, and names of constraints and columns; never values
    code: str

    since_us: int

    # Digest of the row that was last published under this key; '' where subscribers have none
    published: str

    # The key as events have it
    shown: str


class Stored(NamedTuple):
    """What the front end held when it was opened. Mappings are by resource."""

    source_id: str
    # Of the source, which alone reads it
    identity: Mapping[str, Any]
    epoch: int
    position: str
    position_time_us: int
    commit: CommitMark
    number: int
    batch: int
    resources: dict[str, ResourceState]
    copies: Mapping[str, Copy] = {}

    # Keys whose rows must be read again
    holes: Mapping[str, Collection[Key]] = {}

    # Keys whose rows are too large for Kafka; True: the topic may hold an older row
    withheld: Mapping[str, Mapping[Key, bool]] = {}

    # Keys whose rows the table refuses
    refused: Mapping[str, Mapping[Key, Refused]] = {}

    # The source's catalogue of each table, part by part
    fingerprints: Mapping[str, Mapping[str, str]] = {}

    # Settings as `init` found them (agent.front.init_settings)
    settings: Mapping[str, str] = {}

    # Source transactions applied lately, which a new snapshot of the source may not see yet
    transactions: Collection[int] = ()

    # What the source knows `position` by, where it needs more than that
    token: str = ""

    @property
    def resume(self) -> Resume:
        """What the source is handed back when it is opened."""
        suspended = [name for name, now in self.resources.items() if now.state == "suspended"]
        return Resume(
            self.position, self.commit, self.identity, self.fingerprints, suspended, self.token
        )


# ---- what one transaction writes


class Batch(NamedTuple):
    """A batch of the outbox as it is stored.

    `last_number` is `first_number - 1` where the batch holds no event.
    """

    batch: int
    first_number: int
    last_number: int

    # The frames, see agent.outbox.frames
    payload: bytes


class Progress(NamedTuple):
    """What one front-end transaction moves, beside the rows."""

    position: str
    position_time_us: int
    commit: CommitMark
    number: int
    batch: int

    # By resource: seq and commit time (µs) of its last event, where it had one
    seqs: Mapping[str, tuple[int, int]]

    # Source transactions applied in it
    transactions: Sequence[int]

    # What the source knows `position` by, where it needs more than that
    token: str = ""


class Written(NamedTuple):
    """The last state of one row within a front-end transaction. `row` is None for a delete."""

    row: FrontRow | None

    # I, U or D
    operation: str

    seq: int

    # Commit time at the source
    time_us: int


# ---- the contract


class FrontTransaction(Protocol):
    """Opens the front-end database, and writes it in one transaction at a time.

    Order: `open`, then any number of `begin` … `commit` or `rollback`, then `close`. All that is
    written between `begin` and `commit`, also by the two other protocols, is ONE database
    transaction: rows, outbox, counters, position and the numbers of applied transactions (promise
    P2). Nobody else commits, but for the methods that say so.

    Errors: FrontUnreachable, FrontBusy, FrontFull and LoginRefused (retry); AnotherAgent,
    NotInitialised, FrontUnfit and FrontDamaged (halt). After any error the transaction is rolled
    back whole, and the front must be closed and opened again; nothing of the transaction remains.
    The one exception is RowRefused of `FrontTables.write`.
    """

    def open(self, nonce: str) -> Stored:
        """Takes the agent's lock, raises the epoch by one, and returns what is stored.

        Notes the nonce of this service. All of it is committed. Raises AnotherAgent where another
        process holds the lock, NotInitialised where `init` has not run.
        """

    def begin(self) -> None:
        """Opens the transaction unless it is open."""

    def store(self, batch: Batch, time_us: int) -> None:
        """Adds one batch to the outbox, in the open transaction.

        `time_us` is the commit time of its first source transaction.
        """

    def prune(self, visible: Visible) -> None:
        """Forgets, in the open transaction, applied source transactions that are visible.

        Every later snapshot of the source sees them, too.
        """

    def commit(self, progress: Progress) -> None:
        """Stores position and counters, and commits.

        Raises AnotherAgent, with nothing committed, where the epoch is no longer ours.
        """

    def rollback(self) -> None:
        """Ends the transaction without a trace. Never raises."""

    def outbox_bytes(self) -> int:
        """Returns the bytes in the outbox, as far as the publisher has not deleted them."""

    def housekeeping(self) -> int:
        """Looks whether the database is still the one that was opened, and cuts its log.

        Returns the bytes of the log that lies beside it. Called within a transaction or between
        two; never waits for anybody. Raises FrontDamaged.
        """

    def silent_since(self) -> float | None:
        """Returns since when (time.monotonic()) the database owes an answer; None: it owes none.

        Called from any thread.
        """

    def close(self) -> None:
        """Gives lock and connection back. Never raises."""


class FrontTables(Protocol):
    """Reads and writes the front-end tables.

    Order: `claim` and `check` come first for each table, with no transaction open; rows are then
    read and written between `begin` and `commit` (see FrontTransaction), and `count` may be asked
    at any time.

    Rows are in PostgreSQL's text form. Soft-deleted rows count as absent everywhere.

    Errors: those of FrontTransaction, and FrontTableWrong, FrontTableTaken and RowRefused, each of
    which suspends the one table that it names.
    """

    def claim(self, target: Target) -> None:
        """Notes that the table is this agent's. Commits.

        Raises FrontTableTaken where it is another agent's.
        """

    def release(self, resource: str) -> None:
        """Notes that this agent writes the table of a resource no more. Commits."""

    def check(self, target: Target) -> None:
        """Raises FrontTableWrong where the table could not hold every row of the source exactly.

        That it is missing counts as well.
        """

    def catalogue(self, target: Target) -> Mapping[str, str]:
        """Returns what the database's catalogue says of the table, part by part.

        The parts are plain text, compared for equality only. To be asked with no transaction open:
        somebody may wait for our locks who holds one that the catalogue waits for.
        """

    def spellings(self, target: Target) -> bool:
        """Whether the table takes two keys of different texts for one. Asked after `check`.

        Intervals are an example: 24 hours equal 1 day.
        """

    def same_order(self, target: Target) -> bool:
        """Whether keys are certain to have the order of a PostgreSQL source. Asked after `check`.

        They have for numbers, times and uuids, and not for texts.
        """

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """Returns the rows under these keys.

        A row whose key the table takes for one of these comes too, under its own spelling.
        """

    def write(
        self,
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
        most: int = 0,
    ) -> dict[Key, str]:
        """Makes the table hold exactly these rows under these keys; deletes come before upserts.

        A delete takes the row of that very spelling only. An upsert takes the place of any row
        whose key is equal, its key included.

        Returns, by key, what refused a row for its content: these rows are left out, all others
        are written. Raises RowRefused, with nothing of the set written and the transaction still
        open, when more than `most` rows are refused.
        """

    def insert(
        self,
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
        most: int = 0,
    ) -> dict[Key, str]:
        """Adds rows under keys that are certain to hold none, not even a soft-deleted one.

        Refused rows: see `write`.
        """

    def keys_after(
        self,
        target: Target,
        after: Key | None,
        limit: int,
    ) -> list[Key]:
        """Returns the first keys past `after` in the front end's own order.

        None: from the start.
        """

    def lines(
        self,
        target: Target,
        after: Key | None,
        upto: Key | None,
    ) -> list[bytes]:
        """Returns the rows past `after`, up to and with `upto`, as lines of COPY text.

        None: from the start, or to the end. Only where `same_order`.
        """

    def count(self, target: Target) -> int:
        """Returns the number of rows of the table."""


class ResourceStore(Protocol):
    """Keeps what the agent knows of each resource, and what commands have asked of it.

    What is noted rides in the open transaction, so that it is true of the rows committed with it.
    The methods that say "Commits" are called with no transaction open.

    Errors: those of FrontTransaction.
    """

    def set_state(self, resource: str, state: str, copy: Copy | None) -> None:
        """Stores a table's state and how far its copy is; None: it has none."""

    def suspend(self, error: Suspend) -> None:
        """Stores that a table is suspended, and why. Commits.

        Its copy is forgotten, but for `republish`.
        """

    def start_copy(self, resource: str, copy: Copy) -> None:
        """Makes a table copying from the beginning, whatever it was. Commits.

        Where rows were to be published again, they still are.
        """

    def begin_generation(self, resource: str, copy: Copy) -> None:
        """Begins a new generation of the topic, whose seq begins at 1, and a copy. Commits.

        What `open` returned is outdated then.
        """

    def note_holes(
        self,
        resource: str,
        holes: Collection[Key],
        filled: Collection[Key],
    ) -> None:
        """Adds and removes keys whose rows must be read again (`Stored.holes`)."""

    def withhold(
        self,
        resource: str,
        withheld: Mapping[Key, bool],
        released: Collection[Key],
    ) -> None:
        """Adds and removes keys whose rows are too large for Kafka (`Stored.withheld`)."""

    def refuse(
        self,
        resource: str,
        refused: Mapping[Key, Refused],
        healed: Collection[Key],
    ) -> None:
        """Adds and removes keys whose rows the table refuses (`Stored.refused`)."""

    def topic_keys(self, resource: str, limit: int) -> list[str]:
        """Returns some of the keys, as JSON, that the topic was found to hold.

        See `agent.publish.topic_keys`.
        """

    def forget_topic_keys(self, resource: str, keys: Collection[str]) -> None:
        """Removes topic keys that were dealt with."""

    def keep_shared_keys(self, resource: str, texts: Mapping[Key, str]) -> None:
        """Keeps a text for each key until the source transaction is complete; '' removes it."""

    def shared_keys(self, resource: str, keys: Collection[Key]) -> dict[Key, str]:
        """Returns the texts kept for these keys."""

    def forget_shared_keys(self, resource: str) -> None:
        """Removes every text kept for a table."""

    def keep_fingerprint(self, resource: str, parts: Mapping[str, str]) -> None:
        """Stores what the source's catalogue says of a table. Commits where nothing is open."""

    def requests(self) -> list[Request]:
        """Returns what commands have asked and is not answered yet, oldest first."""

    def answer(self, request: str, state: str, report: Mapping[str, Any]) -> bool:
        """Stores how far a request is: running, done or failed. Commits where nothing is open.

        Returns False where the request was withdrawn.
        """


class Front(FrontTransaction, FrontTables, ResourceStore, Protocol):
    """The whole of a front end, for those who need more than one of the three parts."""

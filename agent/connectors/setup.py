"""The contract of what `init`, `check`, `rebind` and `status` do at a source."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol

from agent.connectors.resume import Resume
from agent.connectors.table import Criterion, SourceTable
from agent.findings import Finding

Tell = Callable[[str], None]  # shows a line to whoever has called the command
After = Literal["upgrade", "failover", "restore"]  # what a person says has happened


class Shareable(NamedTuple):
    """A table of the configuration that the source can share."""

    table: SourceTable
    # The conditions of its filter; None where they cannot be read yet, for want of a right
    criteria: tuple[Criterion, ...] | None


# By name of the resource
Shareables = Mapping[str, Shareable]


class Plan(NamedTuple):
    """What `init` shows of a source before anything is changed."""

    lines: Sequence[str]  # what its owner has to do, and what would be made
    tables: Shareables | None  # None where it cannot be asked, or cannot share a table


class Checked(NamedTuple):
    """What `check` has found at a source."""

    findings: list[Finding]
    tables: Shareables | None  # None where it cannot be asked, or cannot share a table


class Start(NamedTuple):
    """Where a stream begins, or goes on."""

    position: str
    time_us: int  # by the source's clock
    identity: Mapping[str, Any]  # the source's own, handed back to it in Resume.identity
    # Names the stream for ever, where the agent's own id is added
    stream: str


class Rebound(NamedTuple):
    """Where the stream goes on after `rebind`."""

    start: Start
    # Whether nothing of what was applied can be missing at the source: no table is read again
    proven: bool
    told: str  # the sentence for the person who has given the command


class Wait(NamedTuple):
    """A transaction of the source that a copy waits for. Times and names only."""

    who: str
    application: str
    since: str
    state: str


class Status(NamedTuple):
    """What `status` shows of a source."""

    values: Mapping[str, Any]  # of `status --json`: keys of the source's own
    text: str  # the same in a sentence
    # Why the stream cannot go on: a code and a sentence; None where it can
    trouble: tuple[str, str] | None
    waits: Sequence[Wait] = ()
    # What somebody should see to, though the stream goes on: a code and a sentence
    concern: tuple[str, str] | None = None


class Removal(NamedTuple):
    """What takes everything of the agent out of a source."""

    statements: Sequence[str]  # to be run in this order, each as a transaction of its own
    # Sentences: what stays there, and why
    stays: Sequence[str] = ()


class Preparation(Protocol):
    """A source that `init` makes ready, between its first step and its last."""

    lost: bool  # there is no stream to go on with: `Setup.start` has to make one

    @property
    def tables(self) -> Shareables:
        """The shared tables, every one of which can be shared."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What an earlier `init` has stored, with what its version had not noted; {} before one."""

    @property
    def missed(self) -> Collection[str]:
        """The resources of which changes may have been missed: what noted them was not there.

        Each is copied again. To be asked before `finish`.
        """

    def finish(self) -> None:
        """Makes what the stream reads from, where it is missing.

        To be called when front end and topics are made, and before `Setup.start`. What is there
        already stays. Raises FrontReplaced, InitRefused.
        """


class Setup(Protocol):
    """Everything that the commands do at one kind of source.

    The caller shows what it is told and stores what it is handed; it reads none of it. Nothing at
    the source is changed but by `prepare`, `start`, `rebind` and `remove`; each can be repeated.
    All raise the errors of the source's connections, but `check`, to which they are findings.
    """

    # Whether `plan`, `prepare`, `removal` and `remove` can act as an administrator
    administered: bool

    @property
    def address(self) -> str:
        """The source as users know it."""

    def plan(self, admin_url: str | None) -> Plan:
        """Asks what `prepare` would do, as the administrator where a URL is given.

        A source that does not answer is part of the plan. Changes nothing, raises nothing.
        """

    def check(self, stored: Callable[[], Resume] | None) -> Checked:
        """Checks everything the service needs of the source; changes nothing.

        `stored` reads what the front end has of the source; None where `init` was not run.
        """

    def prepare(
        self, tell: Tell, admin_url: str | None, before: Resume | None
    ) -> AbstractContextManager[Preparation]:
        """Judges the source, and makes what the agent needs there before there is a stream.

        `admin_url` leads to the source as its administrator; None where there is none.
        `before` is what an earlier `init` has stored: then the source has to be the same.
        Raises InitRefused with everything that stands in the way and what fixes it, ConfigInvalid,
        FrontReplaced, and what tells that the source is another one.
        """

    def start(self, tell: Tell, before: Resume | None) -> AbstractContextManager[Start]:
        """Begins the stream, last of all.

        The caller stores position and identity within the context; where that fails, the stream
        is taken away again. `before` is what was stored of a stream that is lost.
        """

    def rebind(self, before: Resume, after: After) -> Rebound:
        """Takes up the stream as it is after what a person says has happened; changes nothing.

        Raises InitRefused where there is nothing to accept, and what tells that something else
        has happened, or that the stream is lost or somebody else's.
        """

    def removal(self, admin_url: str | None) -> Removal:
        """Asks what of the agent is at the source; changes nothing.

        It is asked as the administrator where a URL is given.
        """

    def remove(self, tell: Tell, admin_url: str | None) -> None:
        """Takes away what `removal` names, in an order in which the application goes on meanwhile.

        The service does not run. Raises InitRefused where somebody else uses it, or a right is
        missing: what was taken away until then is gone.
        """

    def status(self, barriers: Sequence[str]) -> Status:
        """Asks how far the stream is behind, and for which transactions copies wait.

        `barriers`: what the source has given each copy to wait for.
        """

    def unknown(self) -> Mapping[str, Any]:
        """Returns the keys of `Status.values` for a source that does not answer."""

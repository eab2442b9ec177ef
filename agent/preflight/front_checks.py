"""Checks the front end for `check`.

That is the connection, the agent's state in it, the shared tables, and room on the disk.
"""

import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import make_url

from agent.config import ResourceSettings, Settings
from agent.connectors.resume import Resume
from agent.errors import AgentError, FrontReplaced, FrontUnreachable, NotInitialised
from agent.files import is_there, refused
from agent.findings import Finding, error, failed, ok, warning
from agent.front import init_settings
from agent.front.opening import front_of, open_front
from agent.front.sqlite.file import LOG_LARGE, beside, size
from agent.front.store import SqlFront
from agent.messages import mark, translate
from agent.outbox.reader import Reader
from agent.preflight.left_behind import left_behind
from agent.preflight.stored_source import resume_of
from agent.reach import refusal, why
from agent.resource import Resource, Target

_LITTLE, _LEAST = 5 << 30, 512 << 20  # bytes free: a word of warning, an error
_CONNECT_SECONDS = 5.0
_PATIENCE = 2.0  # seconds before a terminal is told what takes so long


class FrontCheck:
    """The front end, read beside a running agent: nothing is locked and nothing is created."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._front: SqlFront | None = None
        self.stored: Mapping[str, object] | None = (
            None  # the state row where init has come to its end
        )
        self.agent_uuid = ""  # also where init has not come to its end
        self.noted: Mapping[str, str] = {}  # what init stored of the settings
        self.misfit = False  # the configuration belongs to something else than this front end
        self.findings: list[Finding] = []
        self._rows: Mapping[str, Mapping[str, object]] = {}  # of the resources

    def open(self) -> None:
        """Connects and reads the agent's state; a SQLite file that is not there yet is no error."""
        file = file_of(self._settings.front.url)
        if file is not None and (found := refused(file)):
            self.findings.append(failed(found))
            return
        self.findings += _disk(self._settings.front.url)
        if file is not None and not is_there(file) and not size(beside(file, "-wal")):
            text = mark("The front end {path} does not exist yet; init makes it")
            self.findings.append(ok("FRONT", text, path=file))
            self.findings.append(_not_initialised(begun=False))
            return
        try:
            front = open_front(self._settings.front, self._settings.agent)
            front.engine = front.engine.execution_options(reader=True)
            _examine(front)
            state = front.stored_state()
        except AgentError as cause:
            told = failed(cause)
            if isinstance(cause, FrontUnreachable) and (fix := _way(self._settings.front.url)):
                told = told._replace(fix=fix)
            self.findings.append(told)
            return
        self.findings += log_findings(file)
        self._front = front
        self.findings.append(
            ok("FRONT", mark("Connected to the front end {url}"), url=self._settings.front.url)
        )
        self._state(front, state)

    def _state(self, front: SqlFront, state: Mapping[str, object] | None) -> None:
        if state is not None and state["agent_name"] == self._settings.agent:
            self.agent_uuid = str(state["agent_uuid"])
        if state is None or not state["initialised"]:
            self.findings.append(_not_initialised(begun=state is not None))
            return
        try:
            self.noted, topics = front.noted()
            init_settings.check(self._settings, state, self.noted, topics)
        except AgentError as cause:
            self.findings.append(failed(cause))
            self.misfit = isinstance(cause, FrontReplaced)
            return
        self.stored = state
        self.findings.append(ok("INITIALISED", mark("This agent is initialised")))
        try:
            self._rows = Reader(front.engine, front.agent).resources()
            self.findings += _resources(self._settings.resource, self._rows)
            self.findings += self._left_behind(front)
        except AgentError as cause:
            self.findings.append(failed(cause))

    def _left_behind(self, front: SqlFront) -> Iterator[Finding]:
        settings = self._settings
        return left_behind(settings.resource, settings.kafka, settings.topics, front)

    def resume(self) -> Resume:
        """Returns what the front end has of the source by now; only where `stored` is a row."""
        assert self._front is not None, "the front end was not opened"
        return resume_of(self._front.stored_state() or {})

    def tables(self, resources: list[Resource]) -> None:
        """Each shared table: there and wide enough, or init will make it."""
        for resource in resources:
            try:
                self.findings += self._table(resource.target)
            except AgentError as cause:
                self.findings.append(failed(cause))

    def _table(self, target: Target) -> list[Finding]:
        if self._front is None:
            front_of(self._settings.front, self._settings.agent).check_names(target)
            return [self._missing(target)]
        if not standing(self._front, target):
            return [self._missing(target)]
        return hazards(self._front, target) or [
            ok(
                "FRONT_TABLE",
                mark("Front-end table {table} holds every row of the source exactly"),
                table=target.name,
            )
        ]

    def _missing(self, target: Target) -> Finding:
        if self.stored is None:
            return ok(
                "FRONT_TABLE",
                mark("Front-end table {table} does not exist yet; init makes it"),
                table=target.name,
            )
        message = mark(
            "Front-end table {table} does not exist; init makes it, "
            "and the service fills it from the business database"
        )
        return error("FRONT_TABLE", message, "sync-agent init --apply", table=target.name)

    def close(self) -> None:
        """Gives the connection back."""
        if self._front is not None:
            self._front.engine.dispose()


def _not_initialised(begun: bool) -> Finding:
    """The service cannot start before `init --apply` has come to its end."""
    message = mark("This agent is not initialised: `init --apply` has not been run yet")
    if begun:
        message = mark(
            "This agent is not initialised: `init --apply` broke off before its end, "
            "and goes on there when it is run again"
        )
    return error(NotInitialised.code, message, "sync-agent init --apply")


def _way(front_url: str) -> str:
    """What to do where not even the front end's port can be reached; '' where it can."""
    url = make_url(front_url)
    if not url.host or url.host.startswith("/"):
        return ""
    port = url.port or {"mariadb": 3306, "mysql": 3306}.get(url.get_backend_name(), 5432)
    error = refusal(url.host, port, _CONNECT_SECONDS)
    return "" if error is None else translate(why(error)[1], host=url.host, port=port)


def hazards(front: SqlFront, target: Target) -> list[Finding]:
    """Returns what can change or refuse rows of a table that is fit.

    Each comes with the statement that removes it.
    """
    return [
        warning("FRONT_TABLE", found.message, found.remedy, table=target.name, name=found.name)
        for found in front.hazards(target)
    ]


def _resources(
    resources: Sequence[ResourceSettings], rows: Mapping[str, Mapping[str, object]]
) -> Iterator[Finding]:
    for resource in resources:
        row = rows.get(resource.name)
        if row is None:
            message = mark(
                "{resource} was added after init; init makes what it needs, "
                "and the service copies what the table holds once it is started again"
            )
            yield error(
                "RESOURCE_ADDED", message, "sync-agent init --apply", resource=resource.name
            )
        elif row["state"] == "suspended":
            yield warning(
                "TABLE_SUSPENDED",
                mark("{resource} is suspended: {reason}"),
                "sync-agent status",
                resource=resource.name,
                reason=row["code"],
            )


def standing(front: SqlFront, target: Target) -> bool:
    """Whether the front-end table is there and fits; False where it can still be made.

    Raises FrontTableWrong, FrontTableTaken. Nothing is changed.
    """
    front.check_names(target)
    front.refuse_taken(target)
    if not _exists(front, target):
        front.check_room(target)
        return False
    front.check(target)
    return True


def _exists(front: SqlFront, target: Target) -> bool:
    with front.guarded(target), front.engine.connect() as connection:
        return inspect(connection).has_table(target.table, schema=target.schema)


def file_of(front_url: str) -> Path | None:
    """The file of a SQLite front end."""
    url = make_url(front_url)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def _examine(front: SqlFront) -> None:
    """Looks for rights that every table takes, and for damaged pages.

    A terminal shows that it takes its time. Raises FrontUnfit, FrontDamaged.
    """
    front.alive = Waiting()
    with front.guarded():
        connection = front.engine.connect()
    with connection:
        with front.guarded():
            front.check_rights(connection)
        front.examine(connection)


class Waiting:
    """Says on a terminal, once, that the pages of the front end are being looked at."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._told = not sys.stderr.isatty()

    def __call__(self) -> None:
        """A sign that it goes on."""
        if not self._told and time.monotonic() > self._since + _PATIENCE:
            self._told = True
            text = mark("The pages of the front end are being looked at; large files take minutes")
            sys.stderr.write(translate(text) + "\n")


def log_findings(file: Path | None) -> Iterator[Finding]:
    """A -wal that a reader keeps from being emptied."""
    log = size(beside(file, "-wal")) if file else 0
    if log > LOG_LARGE:
        message = mark(
            "{path}-wal has grown to {size} MB: another program has been reading in one "
            "transaction for long, or a large one is being written"
        )
        fix = translate(
            mark("Find the program, and have it end its transaction: {command}"),
            command=f"sudo fuser -v {shlex.quote(str(file))}",
        )
        yield warning("FRONT_WAL", message, fix, path=file, size=log >> 20)


def _disk(front_url: str) -> Iterator[Finding]:
    """Looks for room where the SQLite front end lies, or will lie.

    Rows and, while Kafka is away, the outbox grow there.
    """
    file = file_of(front_url)
    if file is None:
        return
    folder = next((parent for parent in file.absolute().parents if parent.is_dir()), Path("/"))
    free = shutil.disk_usage(folder).free
    values = {"folder": folder, "free": free >> 20}
    if free < _LITTLE:
        level = error if free < _LEAST else warning
        message = mark(
            "Only {free} MB are free at {folder}: the front end and the outbox grow there"
        )
        yield level(
            "FRONT_DISK",
            message,
            translate(mark("Make room, or set front.url or state_directory to a larger disk.")),
            **values,
        )
    else:
        yield ok("FRONT_DISK", mark("{free} MB are free at {folder}"), **values)

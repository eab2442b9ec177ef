"""What the commands do at a database with a trigger log: its table and triggers are made there."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from agent.config import Settings
from agent.connectors.database import filters
from agent.connectors.database.identity import identity_of
from agent.connectors.database.session import Database, administered
from agent.connectors.position import position_text
from agent.connectors.readiness import not_asked, refuse
from agent.connectors.resume import Resume
from agent.connectors.setup import (
    After,
    Checked,
    Plan,
    Preparation,
    Rebound,
    Removal,
    Shareable,
    Shareables,
    Start,
    Status,
    Tell,
)
from agent.connectors.trigger.databases.base import LoggedTable, TriggerLog
from agent.connectors.trigger.inspection import Inspection, inspected
from agent.connectors.trigger.notes import Backlog, NotesTable
from agent.connectors.trigger.statements import account, execute
from agent.errors import AgentError, TriggerLogMissing
from agent.findings import Finding, Level, error, errors, failed, ok, to_repair, warning
from agent.messages import mark, translate

_FIRST = 1  # position before the first look


class TriggerPreparation:
    """See Preparation. Acts as the administrator where there is one, else as the agent."""

    lost = False

    def __init__(
        self,
        tables: Shareables,
        missed: Collection[str],
        identity: Mapping[str, Any],
        statements: Sequence[str],
        run: Callable[[Sequence[str]], None],
    ) -> None:
        """`statements` make what is missing, `run` executes them."""
        self.tables = tables
        self.missed = missed
        self.identity = identity
        self._statements = statements
        self._run = run

    def finish(self) -> None:
        """See Preparation.finish: the triggers are older than the first copy."""
        if self._statements:
            self._run(self._statements)


class TriggerSetup:
    """See Setup."""

    administered = True

    def __init__(self, settings: Settings, database: Database, log: TriggerLog) -> None:
        self._settings = settings
        self._source = settings.trigger
        self._database = database
        self._log = log

    @property
    def address(self) -> str:
        """See Setup.address."""
        return self._database.address

    def _inspect(self) -> Inspection:
        return inspected(self._database, self._log, self._settings.places)

    def _shareables(self, found: Inspection) -> dict[str, Shareable]:
        """Returns the tables that can be shared. Raises ConfigInvalid for a wrong filter."""
        tables = {name: judged.read.table for name, judged in found.judged.items()}
        return filters.shareables(self._settings, tables)

    def missing(self, found: Inspection) -> list[str]:
        """Returns the statements that make what is missing."""
        statements = [] if found.log else self._log.create_log()
        for judged in found.judged.values():
            if not judged.complete:
                # Some of them may be there, switched off or changed
                statements += self._log.drop_triggers(judged.table)
                statements += self._log.create_triggers(judged.table)
        return statements

    # ---- init

    def plan(self, admin_url: str | None) -> Plan:
        """See Setup.plan."""
        try:
            found = self._inspect()
        except AgentError as cause:
            return Plan([not_asked(cause.text())], None)
        wrong = errors(found.findings)
        if wrong:
            return Plan([to_repair(wrong)], None)

        lines = []
        for statement in self.missing(found):
            lines += [f"   {line}" for line in f"{statement};".splitlines()]
        if not lines:
            text = mark("   table {log} and the triggers of every shared table: there")
            lines.append(translate(text, log=self._log.log))
        return Plan(lines, self._shareables(found))

    @contextmanager
    def prepare(
        self, tell: Tell, admin_url: str | None, before: Resume | None
    ) -> Iterator[Preparation]:
        """See Setup.prepare."""
        found = self._inspect()
        refuse(found.findings)

        def run(statements: Sequence[str]) -> None:
            administrator = self._administrator(admin_url)
            made = [*statements, *self._grants(admin_url)]
            execute(administrator, made, tell)

        identity = identity_of(self._source) if before is None else before.identity
        tables = self._shareables(found)
        missed = [name for name, judged in found.judged.items() if not judged.complete]
        if not found.log:
            # With the log went the notes of every table
            missed = list(found.judged)
        yield TriggerPreparation(tables, missed, identity, self.missing(found), run)

    def _administrator(self, admin_url: str | None) -> Database:
        """Returns the way to the database for whoever makes the triggers."""
        if admin_url is None:
            return self._database
        return administered(self._source, admin_url)

    def _grants(self, admin_url: str | None) -> list[str]:
        """Returns what lets the agent read a log that somebody else has made."""
        if admin_url is None:
            return []
        return self._log.grants(account(self._database, self._log))

    @contextmanager
    def start(self, tell: Tell, before: Resume | None) -> Iterator[Start]:
        """See Setup.start."""
        yield self._start(position_text(_FIRST) if before is None else before.position)
        tell(translate(mark("Changes are noted from now on; the service copies what is there")))

    def _start(self, position: str) -> Start:
        identity = identity_of(self._source)
        return Start(position, time.time_ns() // 1000, identity, f"trigger/{self.address}")

    def rebind(self, before: Resume, after: After) -> Rebound:
        """See Setup.rebind: every table is compared, whatever has happened."""
        self._inspect()
        text = mark("Bound to the database at {address}; the service reads every table again")
        told = translate(text, address=self.address)
        return Rebound(self._start(before.position), proven=False, told=told)

    # ---- remove-source

    def removal(self, admin_url: str | None) -> Removal:
        """See Setup.removal: the notes go last, without which a trigger fails."""
        return Removal(self._drops(self._administrator(admin_url)))

    def _drops(self, administrator: Database) -> list[str]:
        tables = [LoggedTable(schema, name, ()) for schema, name in self._settings.places]
        with administrator.connect() as connection, administrator.guarded():
            return self._log.removal(connection, tables)

    def remove(self, tell: Tell, admin_url: str | None) -> None:
        """See Setup.remove."""
        administrator = self._administrator(admin_url)
        execute(administrator, self._drops(administrator), tell)

    # ---- check and status

    def check(self, stored: Callable[[], Resume] | None) -> Checked:
        """See Setup.check."""
        try:
            found = self._inspect()
            findings = [*found.findings, *self._judged_log(found)]
            tables = None if errors(found.findings) else self._shareables(found)
        except AgentError as cause:
            return Checked([failed(cause)], None)
        return Checked(findings, tables)

    def _judged_log(self, found: Inspection) -> Iterator[Finding]:
        """Yields what is missing of the log, or how much waits in it."""
        statements = self.missing(found)
        if statements:
            text = mark("triggers, or the table of their notes, are missing or switched off")
            fix = "\n".join([f"{statement};" for statement in statements])
            yield error("TRIGGERS_MISSING", text, fix)
        if not found.log:
            return
        with self._database.connect() as connection, self._database.guarded():
            backlog = self._backlog(connection)
        level: Level = "warning" if backlog.notes > self._source.warn_rows else "ok"
        yield Finding("LOG_SIZE", level, self._told(backlog))
        yield given_up(self._source.warn_rows, self._source.max_rows)

    def _backlog(self, connection: Connection) -> Backlog:
        counted = max(self._source.warn_rows, self._source.max_rows or 0)
        return NotesTable(self._log).backlog(connection, counted)

    def _told(self, backlog: Backlog) -> str:
        text = mark("{notes} notes wait in {log}, the oldest since {oldest}")
        return translate(text, None, notes=backlog.number, log=self._log.log, oldest=backlog.since)

    def status(self, barriers: Sequence[str]) -> Status:
        """See Setup.status."""
        with self._database.connect() as connection, self._database.guarded():
            if not self._log.exists(connection):
                missing = TriggerLogMissing(log=self._log.log)
                return Status(self.unknown(), missing.text(), (missing.code, missing.text()))
            backlog = self._backlog(connection)
        told = self._told(backlog)
        many = backlog.notes > self._source.warn_rows
        return Status(
            {"notes": backlog.notes, "oldest_note": backlog.since},
            told,
            None,
            concern=("LOG_SIZE", told) if many else None,
        )

    def unknown(self) -> Mapping[str, Any]:
        """See Setup.unknown."""
        return {"notes": None, "oldest_note": "-"}


def given_up(warned: int, most: int | None) -> Finding:
    """Tells whether the agent ever gives up its log by itself, and what that costs.

    `warned`: source.warn_rows; `most`: source.max_rows.
    """
    if most is None:
        return ok("LOG_GIVEN_UP", mark("The agent never gives up its trigger log by itself"))
    if warned >= most:
        message = mark(
            "source.max_rows is {most}, but the agent warns only above {warned} notes: "
            "it may give up its trigger log before anything has warned"
        )
        fix = translate(mark("Set source.warn_rows to half of source.max_rows."))
        return warning("LOG_GIVEN_UP", message, fix, most=most, warned=warned)
    message = mark(
        "Above {most} notes the agent drops its triggers and the notes: what they have noted is in "
        "no event, and init --apply has every table compared"
    )
    return ok("LOG_GIVEN_UP", message, most=most)

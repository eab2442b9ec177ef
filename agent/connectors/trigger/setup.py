"""What the commands do at a database with a trigger log: its table and triggers are made there."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from agent.config import ResourceSettings, Settings
from agent.config.loading import invalid
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
from agent.connectors.table import TableName
from agent.connectors.trigger.databases.base import LoggedTable, TriggerLog
from agent.connectors.trigger.inspection import Inspection, inspected
from agent.connectors.trigger.notes import Backlog, NotesTable
from agent.connectors.trigger.statements import account, execute
from agent.errors import AgentError, TriggerLogMissing
from agent.findings import Finding, Level, error, errors, failed, to_repair
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

    @property
    def _places(self) -> dict[TableName, ResourceSettings]:
        found = {}
        for resource in self._settings.resource:
            found[self._source.place(resource.table)] = resource
        return found

    def _inspect(self) -> Inspection:
        return inspected(self._database, self._log, self._places)

    def _shareables(self, found: Inspection) -> dict[str, Shareable]:
        """Returns the tables that can be shared. Raises ConfigInvalid for a wrong filter."""
        made = {}
        problems = []
        for number, resource in enumerate(self._settings.resource):
            judged = found.judged.get(resource.name)
            if judged is None:
                continue
            table = judged.read.table
            criteria, wrong = filters.criteria(number, resource, table)
            problems += wrong
            made[resource.name] = Shareable(table, criteria)
        if problems:
            raise invalid(self._settings.agent, problems)
        return made

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
        tables = [LoggedTable(schema, name, ()) for schema, name in self._places]
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

"""What the commands do at a database that is polled: nothing is made there, everything is asked."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from agent.config import Settings
from agent.config.times import quiet_until
from agent.connectors.database.identity import identity_of
from agent.connectors.database.session import database_of
from agent.connectors.polling.inspection import Inspection, inspect
from agent.connectors.polling.schedule import wall_clock
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
    Shareables,
    Start,
    Status,
    Tell,
)
from agent.errors import AgentError
from agent.findings import Finding, errors, failed, to_repair
from agent.messages import mark, translate

_FIRST = 1  # position before the first look


class PollingPreparation:
    """See Preparation."""

    lost = False
    missed = ()

    def __init__(self, tables: Shareables, identity: Mapping[str, Any]) -> None:
        self.tables = tables
        self.identity = identity

    def finish(self) -> None:
        """See Preparation.finish: nothing is made at the source."""


class PollingSetup:
    """See Setup."""

    administered = False

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        """`clock` is what the quiet hours are compared with."""
        self._clock = clock
        self._settings = settings
        self._source = settings.polling
        self._database = database_of(self._source)

    @property
    def address(self) -> str:
        """See Setup.address."""
        return self._database.address

    def _inspect(self) -> Inspection:
        return inspect(self._settings, self._database)

    def plan(self, admin_url: str | None) -> Plan:
        """See Setup.plan."""
        lines = list(self._writes())
        try:
            found = self._inspect()
        except AgentError as cause:
            return Plan([*lines, not_asked(cause.text())], None)
        wrong = errors(found.findings)
        if wrong:
            return Plan([*lines, to_repair(wrong)], None)
        return Plan(lines, found.tables)

    def _writes(self) -> Iterator[str]:
        """Yields what will be written to the business database, a line for each table."""
        nothing = True
        for resource in self._settings.resource:
            poll = resource.poll
            if poll is None or not poll.write_back:
                continue
            nothing = False
            text = mark(
                "   business database: column {column} of table {table} is set to {done} in each "
                "row that was taken"
            )
            yield translate(text, column=poll.column, table=resource.table, done=poll.done)
        if nothing:
            text = mark("   nothing is made in the business database: it is only read")
            yield translate(text)

    def check(self, stored: Callable[[], Resume] | None) -> Checked:
        """See Setup.check."""
        try:
            found = self._inspect()
        except AgentError as cause:
            return Checked([failed(cause)], None)
        findings: list[Finding] = found.findings
        return Checked(findings, None if errors(findings) else found.tables)

    @contextmanager
    def prepare(
        self, tell: Tell, admin_url: str | None, before: Resume | None
    ) -> Iterator[Preparation]:
        """See Setup.prepare."""
        found = self._inspect()
        refuse(found.findings)
        identity = identity_of(self._source) if before is None else before.identity
        yield PollingPreparation(found.tables, identity)

    @contextmanager
    def start(self, tell: Tell, before: Resume | None) -> Iterator[Start]:
        """See Setup.start."""
        position = position_text(_FIRST) if before is None else before.position
        yield self._start(position)
        tell(translate(mark("The service looks at the tables as soon as it is started")))

    def rebind(self, before: Resume, after: After) -> Rebound:
        """See Setup.rebind: every table is compared, whatever has happened."""
        self._inspect()
        text = mark("Bound to the database at {address}; the service reads every table again")
        told = translate(text, address=self.address)
        return Rebound(self._start(before.position), proven=False, told=told)

    def removal(self, admin_url: str | None) -> Removal:
        """See Setup.removal."""
        text = mark("nothing was made in the business database: it is only read")
        return Removal([], [translate(text)])

    def remove(self, tell: Tell, admin_url: str | None) -> None:
        """See Setup.remove: there is nothing."""

    def _start(self, position: str) -> Start:
        identity = identity_of(self._source)
        time_us = time.time_ns() // 1000
        return Start(position, time_us, identity, f"polling/{self.address}")

    def status(self, barriers: Sequence[str]) -> Status:
        """See Setup.status."""
        self._database.connect().close()
        return Status(self._times(), "; ".join(self._sentences()), None)

    def _sentences(self) -> Iterator[str]:
        """Yields when tables are read, and whether they are read now."""
        source = self._source
        if source.cron is None:
            yield translate(mark("looks at its tables every {every}"), every=source.every)
        else:
            yield translate(mark("looks at its tables by {cron}"), cron=source.cron)
        if source.quiet:
            text = mark("reads none during {hours}")
            yield translate(text, hours=", ".join(source.quiet))
        until = quiet_until(source.quiet, self._clock())
        if until is not None:
            text = mark("quiet until {time}")
            yield translate(text, time=until.strftime("%H:%M"))

    def _times(self) -> dict[str, Any]:
        source = self._source
        until = quiet_until(source.quiet, self._clock())
        return {
            "every": source.every if source.cron is None else "",
            "cron": source.cron or "",
            "quiet": source.quiet,
            "quiet_until": "" if until is None else until.strftime("%H:%M"),
        }

    def unknown(self) -> Mapping[str, Any]:
        """See Setup.unknown."""
        return self._times()

"""What the commands do at MariaDB or MySQL whose binary log is read: nothing is made there."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, make_url

from agent.config import Settings
from agent.connectors.database import filters
from agent.connectors.database.session import Database
from agent.connectors.mysql import rights
from agent.connectors.mysql.continuation import Gap, gap_behind, left_at
from agent.connectors.mysql.identity import identity_of
from agent.connectors.mysql.inspection import Inspection, Inspector
from agent.connectors.mysql.packing import Damaged
from agent.connectors.mysql.server import Server, executed, server_of
from agent.connectors.mysql.server_findings import kept_seconds
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
from agent.errors import AgentError, InitRefused
from agent.findings import Finding, error, errors, failed, to_repair
from agent.messages import mark, phrase, translate

_FIRST = position_text(1)  # before the first transaction
_DAY = 86_400  # seconds
_GAPS: Mapping[Gap, str] = {
    "foreign": mark("the server lacks transactions that the agent has applied"),
    "purged": mark("the server has deleted log that the agent has not read"),
}


class MySqlPreparation:
    """See Preparation."""

    missed = ()

    def __init__(self, tables: Shareables, identity: Mapping[str, Any], *, lost: bool) -> None:
        self.tables = tables
        self.identity = identity
        self.lost = lost

    def finish(self) -> None:
        """See Preparation.finish: nothing is made at the source."""


class MySqlSetup:
    """See Setup. An administrator makes the agent's account; nothing else of it is there."""

    administered = False

    def __init__(self, settings: Settings, database: Database, server_id: int) -> None:
        """`server_id`: what the agent reads the log as."""
        self._settings = settings
        self._source = settings.mysql
        self._database = database
        self._server_id = server_id

    @property
    def address(self) -> str:
        """See Setup.address."""
        return self._database.address

    def _inspect(self) -> Inspection:
        standby = self._settings.service.standby
        inspector = Inspector(
            self._database, self._settings.places, self._server_id, has_standby=standby
        )
        return inspector.inspect()

    @contextmanager
    def _asked(self) -> Iterator[tuple[Connection, Server]]:
        """Opens a connection, and asks the server who it is."""
        connection = self._database.connect()
        try:
            with self._database.guarded():
                yield connection, server_of(connection)
        finally:
            connection.close()

    def _shareables(self, found: Inspection) -> dict[str, Shareable]:
        """Returns the tables that can be shared. Raises ConfigInvalid for a wrong filter."""
        tables = {name: read.table for name, read in found.tables.items()}
        return filters.shareables(self._settings, tables)

    # ---- init

    def plan(self, admin_url: str | None) -> Plan:
        """See Setup.plan: shows the grants, which the agent has already where nothing is wrong."""
        try:
            found = self._inspect()
        except AgentError as cause:
            url = make_url(self._source.url)
            lines = self._grants(
                rights.account(url.username or ""),
                is_mariadb=url.get_backend_name() == "mariadb",
            )
            return Plan([*lines, not_asked(cause.text())], None)

        lines = self._grants(found.account, is_mariadb=found.server.is_mariadb)
        wrong = errors(found.findings)
        if wrong:
            return Plan([*lines, to_repair(wrong)], None)
        return Plan(lines, self._shareables(found))

    def _grants(self, account: str, *, is_mariadb: bool) -> list[str]:
        """Returns what the server's administrator has to do once."""
        places = [(schema or self._database.name, name) for schema, name in self._settings.places]
        lines = [translate(mark("   nothing is made in the business database. Its account needs:"))]
        for statement in rights.statements(account, places, is_mariadb=is_mariadb):
            lines.append(f"   {statement}")
        return lines

    @contextmanager
    def prepare(
        self, tell: Tell, admin_url: str | None, before: Resume | None
    ) -> Iterator[Preparation]:
        """See Setup.prepare."""
        found = self._inspect()
        refuse(found.findings)
        tables = self._shareables(found)
        if before is None:
            yield MySqlPreparation(tables, {}, lost=False)
            return
        yield MySqlPreparation(tables, before.identity, lost=bool(self._gap(before)))

    def _gap(self, before: Resume) -> Gap:
        """Tells what stands between the place where the agent was left and the server's log."""
        with self._asked() as (connection, server):
            try:
                place = left_at(before, is_mariadb=server.is_mariadb)
            except Damaged:
                # Of a server of the other kind, as a rule
                return "foreign"
            return gap_behind(connection, server, place)

    @contextmanager
    def start(self, tell: Tell, before: Resume | None) -> Iterator[Start]:
        """See Setup.start.

        What the log has from now on is read, though every table is copied later anyway.
        """
        start = self._start(_FIRST if before is None else before.position)
        yield start
        if before is None:
            tell(translate(mark("The log is read from now on; the service copies what is there")))
            return
        if start.identity["server"] != before.identity.get("server"):
            tell(translate(mark("Warning: the business database is on another server than before")))
        text = mark("The log is read from now on, and the service reads every table again")
        tell(translate(text))

    def _start(self, position: str) -> Start:
        """Returns a stream that begins with the transactions after now."""
        with self._asked() as (connection, server):
            now = executed(connection, server)
        identity = identity_of(self._source, server, now)
        return Start(position, time.time_ns() // 1000, identity, f"mysql/{self.address}")

    def rebind(self, before: Resume, after: After) -> Rebound:
        """See Setup.rebind.

        After a failover, a server that has every transaction that was applied is proof enough. An
        upgraded one may write values otherwise than before.
        """
        refuse(self._inspect().findings)
        gap = self._gap(before)
        start = self._start(before.position)
        if gap or after != "failover":
            text = mark("Bound to the database at {address}; the service reads every table again")
            return Rebound(start, proven=False, told=translate(text, address=self.address))

        if start.identity["server"] == before.identity.get("server"):
            text = mark("the business database is the one it was: there is nothing to rebind")
            raise InitRefused(reason=phrase(text))
        # Where no token is stored yet, the stream begins where it was to begin
        identity = {**start.identity, "executed": before.identity.get("executed", "")}
        text = mark(
            "Bound to the server at {address}, which has every transaction that was applied: the "
            "stream goes on, and no table is read again"
        )
        told = translate(text, address=self.address)
        return Rebound(start._replace(identity=identity), proven=True, told=told)

    # ---- remove-source

    def removal(self, admin_url: str | None) -> Removal:
        """See Setup.removal."""
        try:
            with self._asked() as (connection, _):
                account = rights.account_of(connection)
        except AgentError:
            account = rights.account(make_url(self._source.url).username or "")
        text = mark("the agent's account stays; the server's administrator drops it: {statement}")
        return Removal([], [translate(text, statement=rights.drop(account))])

    def remove(self, tell: Tell, admin_url: str | None) -> None:
        """See Setup.remove: there is nothing that the agent could drop."""

    # ---- check and status

    def check(self, stored: Callable[[], Resume] | None) -> Checked:
        """See Setup.check."""
        try:
            found = self._inspect()
            findings = list(found.findings)
            tables = None if errors(findings) else self._shareables(found)
            if stored is not None and tables is not None:
                findings += self._lost(stored())
        except AgentError as cause:
            return Checked([failed(cause)], None)
        return Checked(findings, tables)

    def _lost(self, before: Resume) -> Iterator[Finding]:
        gap = self._gap(before)
        if gap:
            fix = mark(
                "Stop the service, `sync-agent init --apply`, start it: every table is compared."
            )
            yield error("LOG_LOST", _GAPS[gap], translate(fix))

    def status(self, barriers: Sequence[str]) -> Status:
        """See Setup.status."""
        with self._asked() as (connection, server):
            status = rights.log_status(connection, server) or ()
            files = rights.log_files(connection) or ()
        values = dict(self.unknown())
        values["kept_seconds"] = kept_seconds(server)
        values["files"] = len(files)
        values["bytes"] = sum(int(file[1]) for file in files)
        for row in status:
            values["file"], values["offset"] = str(row[0]), int(row[1])
        return Status(values, _told(values), None)

    def unknown(self) -> Mapping[str, Any]:
        """See Setup.unknown."""
        return {"file": "-", "offset": None, "files": None, "bytes": None, "kept_seconds": None}


def _told(values: Mapping[str, Any]) -> str:
    """Says where the log ends, and for how long it is kept."""
    days = values["kept_seconds"] / _DAY
    text = mark("its log ends at {file}:{offset}; {files} files, {size} MB; kept for {days} days")
    if not days:
        text = mark("its log ends at {file}:{offset}; {files} files, {size} MB; kept for ever")
    return translate(
        text,
        file=values["file"],
        offset=values["offset"],
        files=values["files"],
        size=values["bytes"] >> 20,
        days=f"{days:.1f}",
    )

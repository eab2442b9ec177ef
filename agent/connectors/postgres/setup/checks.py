"""Checks the business database for `check`.

That is the way to it, server, role, tables, publication and slot.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from agent.connectors.postgres import server_state
from agent.connectors.postgres.history import check_server as check_history
from agent.connectors.postgres.history import other_publication
from agent.connectors.postgres.session import address, guarded, opened
from agent.connectors.postgres.setup import facts, login, statements, stream
from agent.connectors.postgres.setup.filter_samples import check_filters
from agent.connectors.postgres.setup.inspection import Inspection, inspect, inspect_server
from agent.connectors.postgres.setup.server import no_replication
from agent.connectors.postgres.setup.subscription import Subscription
from agent.connectors.postgres.slot_notes import SlotNotes
from agent.connectors.resume import Resume
from agent.connectors.setup import Checked
from agent.errors import AgentError, SlotBusy, SlotMissing
from agent.findings import Finding, error, errors, failed, ok, warning
from agent.messages import mark, phrase, translate

Connection = psycopg.Connection[Any]
Stored = Callable[[], Resume]
_SKEW_WARNING, _SKEW_ERROR = 2.0, 60.0  # seconds between the clocks
_LONG = 60.0  # seconds a transaction may be open before slot creation would run into its time-out
_BEHIND = 1 << 30  # bytes of log a slot may keep without a word


def check_source(subscription: Subscription, stored: Stored | None, front: str) -> Checked:
    """Makes every check of the business database.

    `stored` reads what the front end at `front` has of it; None where `init` was not run.
    """
    source = subscription.source
    findings = list(login.check_network(source))
    if errors(findings):
        return Checked(findings, None)
    try:
        connection = opened(source)
    except AgentError as cause:
        return Checked([*findings, failed(cause)], None)
    except psycopg.Error as cause:
        return Checked([*findings, login.refused(source, str(cause))], None)
    with connection:
        text = mark("Logged in to {address} as {user}")
        findings.append(ok("SOURCE_LOGIN", text, address=address(source), user=source.user))
        checks = _Checks(subscription, stored, front, connection)
        findings += checks.run()

    # Two steps may meet the same, such as a server that is full
    once = list(dict.fromkeys(findings))
    inspected = checks.inspected
    if inspected is None or errors(inspected.tables):
        return Checked(once, None)
    return Checked(once, inspected.shareable)


class _Checks:
    """The checks over one connection; what a step cannot find out does not stop the next."""

    def __init__(
        self, subscription: Subscription, stored: Stored | None, front: str, connection: Connection
    ) -> None:
        self.inspected: Inspection | None = None
        self._subscription = subscription
        self._stored = stored
        self._front = front
        self._side = connection

    def run(self) -> list[Finding]:
        """Makes one step after the other; an error of ours is a finding."""
        steps: list[Callable[[], list[Finding]]] = [
            self._server,
            self._tables,
            self._filters,
            self._replication,
            self._long_transactions,
        ]
        found: list[Finding] = []
        for step in steps:
            try:
                with guarded(self._subscription.source):
                    found += step()
            except AgentError as cause:
                found.append(failed(cause))
        return found

    def _server(self) -> list[Finding]:
        return [*inspect_server(self._subscription, self._side), *_clock(self._side)]

    def _tables(self) -> list[Finding]:
        """Role, tables and publication."""
        found = self.inspected = inspect(self._subscription, self._side)
        if found.published is not None:
            return [*found.rights, *found.tables, *found.publication]
        return [*found.rights, *found.tables, self._no_publication(found.generated)]

    def _no_publication(self, generated: bool) -> Finding:
        name = self._subscription.publication
        fix = f"{statements.create_publication(self._subscription, generated)};"
        if self._stored is None:
            message = mark(
                "The publication {publication} does not exist yet; init makes it, or its owner does"
            )
            return warning("PUBLICATION_MISSING", message, fix, publication=name)
        if other := other_publication(self._stored().identity.get("publication", ""), name):
            return failed(other)
        message = mark("The publication {publication} does not exist")
        return error("PUBLICATION_MISSING", message, fix, publication=name)

    def _filters(self) -> list[Finding]:
        """What each filter keeps of a sample, where everything that can be read fits."""
        found = self.inspected
        if found is None or errors([*found.tables, *found.rights]):
            return []
        return check_filters(self._side, found.shareable)

    def _replication(self) -> list[Finding]:
        """The replication connection and the slot."""
        try:
            replication = opened(self._subscription.source, replication=True)
        except psycopg.Error as cause:
            return [no_replication(str(cause), facts.server(self._side))]
        with replication:
            found = [ok("SOURCE_REPLICATION", mark("A replication connection can be made"))]
            if self._stored is None:
                return [*found, self._unmade_slot()]
            return [*found, self._followed_slot(replication, self._stored)]

    def _unmade_slot(self) -> Finding:
        name = self._subscription.slot
        found = facts.slot(self._side, name)
        if found is None:
            text = mark("The replication slot {slot} does not exist yet; init makes it")
            return ok("SLOT", text, slot=name)
        message, values = stream.existing_slot(name, found, self._front)
        text = mark("This agent is not initialised, and {reason}")
        return error("SLOT", text, reason=phrase(message, **values))

    def _followed_slot(self, replication: Connection, stored: Stored) -> Finding:
        """Makes checks A and B as the service does, and tells how far the slot is behind."""
        # A running service moves all on, slot <= position <= end of the log at any moment:
        # so they are asked in this order.
        name = self._subscription.slot
        confirmed = server_state.server(replication, self._side, name).confirmed
        known = stored()
        server = server_state.server(replication, self._side, name)._replace(confirmed=confirmed)

        slot_name = str(known.identity["slot"])
        text = mark(
            "The replication slot {slot} stands where this agent left it; nobody reads it now"
        )
        try:
            check_history(server, known, address(self._subscription.source))
        except SlotBusy:
            text = mark("The replication slot {slot} is being read")
        except SlotMissing as cause:
            note = SlotNotes(self._subscription.directory).read(slot_name)
            raise (note and note.loss) or cause from None
        slot = facts.slot(self._side, slot_name)
        if slot is None or slot.behind <= _BEHIND:
            return ok("SLOT", text, slot=slot_name)
        message = mark(
            "The replication slot {slot} is {behind} MB behind: "
            "the server keeps that much log for it"
        )
        fix = translate(
            mark("Start the service, or look at `sync-agent status` for what holds it up.")
        )
        return warning("SLOT", message, fix, slot=slot_name, behind=slot.behind >> 20)

    def _long_transactions(self) -> list[Finding]:
        """Transactions for which the creation of the slot would wait."""
        if self._stored is not None:
            return []
        found = facts.long_transactions(self._side, _LONG)
        return [_long(who, application, seconds) for who, application, seconds in found]


def _clock(connection: Connection) -> Iterator[Finding]:
    """Compares the clocks of the server and of this host."""
    before = time.time()
    clock = facts.server(connection).clock
    seconds = abs(clock - (before + time.time()) / 2)
    if seconds <= _SKEW_WARNING:
        yield ok("CLOCK", mark("The clocks of the business database and of this host agree"))
        return
    level = error if seconds > _SKEW_ERROR else warning
    message = mark(
        "The clocks of the business database and of this host differ by {seconds} s: "
        "lags and times of events are wrong by as much, "
        "and Kafka refuses events that are dated an hour ahead"
    )
    fix = translate(mark("Set both by NTP; see it with: timedatectl timesync-status"))
    yield level("CLOCK", message, fix, seconds=f"{seconds:.0f}")


def _long(who: str, application: str, seconds: int) -> Finding:
    message = mark(
        "A transaction has been open for {seconds} s (process {who}, {application}): "
        "init would wait for its end to make the slot"
    )
    fix = (
        "SELECT pid, usename, application_name, client_addr, state, xact_start "
        f"FROM pg_stat_activity WHERE pid = {who};"
    )
    if not who.isdigit():
        fix = "SELECT gid, prepared, owner, database FROM pg_prepared_xacts;"
    return warning(
        "LONG_TRANSACTION", message, fix, seconds=seconds, who=who, application=application
    )

"""Makes for `init --apply` what has to be there before the stream: role, grants, publication."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg

from agent.config import PostgresSettings
from agent.connectors.postgres import server_state
from agent.connectors.postgres.history import (
    Identity,
    check_identity,
    elsewhere,
    other_publication,
)
from agent.connectors.postgres.session import address, connect, guarded, opened
from agent.connectors.postgres.setup import facts, publication, statements
from agent.connectors.postgres.setup.inspection import Inspection, inspect, inspect_server
from agent.connectors.postgres.setup.server import no_replication
from agent.connectors.postgres.setup.subscription import Subscription
from agent.connectors.readiness import refuse
from agent.connectors.resume import Resume
from agent.connectors.setup import Shareables, Tell
from agent.errors import InitRefused
from agent.findings import Finding, errors
from agent.messages import mark, phrase, translate

Connection = psycopg.Connection[Any]


@contextmanager
def connected(settings: PostgresSettings) -> Iterator[Connection]:
    """Opens the agent's own connection."""
    with connect(settings) as connection, guarded(settings):
        yield connection


class PostgresPreparation:
    """See Preparation. Acts as the administrator where there is one, else as the agent's role."""

    def __init__(
        self,
        subscription: Subscription,
        side: Connection,
        administrator: Connection | None,
        tell: Tell,
        before: Resume | None,
    ) -> None:
        """Judges everything, and grants what is missing. `side` is the agent's own connection.

        Raises InitRefused, ConfigInvalid, SourceReplaced, SourcePromoted, SourceNotPrimary,
        FrontReplaced.
        """
        self._subscription = subscription
        self._side = side
        self._administrator = administrator
        self._tell = tell
        self._before = before
        self.lost = facts.slot(side, subscription.slot) is None
        if before is not None and not self.lost:
            refuse_other_server(subscription, side, before)
        self._inspected = inspect_and_grant(subscription, administrator, side, tell)

    @property
    def tables(self) -> Shareables:
        """See Preparation."""
        return self._inspected.shareable

    @property
    def missed(self) -> Collection[str]:
        """See Preparation: the slot keeps the log, and one that is lost concerns every table."""
        return ()

    @property
    def identity(self) -> Mapping[str, Any]:
        """See Preparation: version 0.1.0 did not note the publication."""
        if self._before is None:
            return {}
        identity = Identity(**self._before.identity)
        return identity._replace(
            publication=identity.publication or self._subscription.publication
        )._asdict()

    def finish(self) -> None:
        """See Preparation.finish: the publication is older than the slot.

        On PostgreSQL 18 a slot that is older than its publication is wrong without an error.
        """
        name = self._subscription.publication
        if self._inspected.published is None:
            if self._before is not None:
                noted = Identity(**self._before.identity).publication
                if other := other_publication(noted, name):
                    raise other
            make_publication(
                self._subscription, self._administrator or self._side, self._inspected, self._tell
            )
        elif self._before is None:
            text = mark("Publication {publication} exists and fits")
            self._tell(translate(text, publication=name))


def prepare_role(settings: PostgresSettings, administrator: Connection | None, tell: Tell) -> None:
    """Makes, as the administrator, the agent's role, or gives it what it lacks.

    The password of the configuration leaves this host only as its SCRAM verifier.
    """
    if administrator is None:
        return
    found = facts.role(administrator, settings.user)
    if found is not None and found.login and (found.replication or found.super):
        return
    exists = found is not None
    verifier = ""
    if not exists and settings.password is not None:
        password = settings.password.read("source.password").encode()
        verifier = administrator.pgconn.encrypt_password(
            password, settings.user.encode(), b"scram-sha-256"
        ).decode()
    statement = statements.role(settings.user, exists, verifier)
    run(administrator, statement, tell, shown=statements.role(settings.user, exists))


def run(connection: Connection, statement: str, tell: Tell, shown: str = "") -> None:
    """Runs a statement and tells it; `shown` in its place where it must not be told itself."""
    shown = shown or statement
    try:
        connection.execute(statement.encode())
    except psycopg.Error as error:
        reason = mark(
            "the business database refuses (SQLSTATE {sqlstate}); its owner must run:\n"
            "      {statement};"
        )
        sqlstate = error.sqlstate or "?"
        raise InitRefused(reason=phrase(reason, sqlstate=sqlstate, statement=shown)) from None
    tell(translate(mark("Business database: {statement}"), statement=shown))


def inspect_and_grant(
    subscription: Subscription, administrator: Connection | None, side: Connection, tell: Tell
) -> Inspection:
    """Refuses a server or tables that will not do, then grants what is missing.

    Only an administrator can grant. Raises InitRefused, ConfigInvalid.
    """
    inspected = inspect(subscription, side)
    if inspected.published is not None:
        missing = publication.missing(subscription, inspected.published)
        if missing:
            run(administrator or side, statements.add_tables(subscription, missing), tell)
            inspected = inspect(subscription, side)
    _refuse_other_server_of(administrator, side)
    if inspected.invalid is not None:
        raise inspected.invalid
    _refuse_unready(subscription, side, inspected, tell)

    if administrator is not None and errors(inspected.rights):
        _grant(subscription, administrator, inspected, tell)
        inspected = inspect(subscription, side)
    refuse(inspected.rights)
    refuse(check_replication(subscription.source, side))
    return inspected


def _refuse_other_server_of(administrator: Connection | None, side: Connection) -> None:
    """Raises InitRefused where the administrator is connected to another server than the agent."""
    server = facts.server(side)
    if administrator is not None and facts.server(administrator).started != server.started:
        text = mark("--as leads to another server than source.host and source.port")
        raise InitRefused(reason=phrase(text))


def _refuse_unready(
    subscription: Subscription, side: Connection, inspected: Inspection, tell: Tell
) -> None:
    """Raises InitRefused for what no grant mends; what bounds the slot is only told."""
    of_server = inspect_server(subscription, side)
    bounds = [finding for finding in of_server if finding.code in ("SLOT_LIMIT", "SLOT_IDLE")]
    others = [finding for finding in of_server if finding not in bounds]
    refuse([*others, *inspected.tables, *inspected.publication])
    for finding in bounds:
        if finding.level != "ok":
            tell(translate(mark("Warning: {finding}"), finding=finding.message))


def _grant(
    subscription: Subscription, administrator: Connection, inspected: Inspection, tell: Tell
) -> None:
    for statement in statements.grants(subscription, inspected.key_schemas):
        run(administrator, statement, tell)
    for finding in inspected.rights:
        if finding.code == "RIGHT_TYPE_SCHEMA":
            run(administrator, finding.fix.rstrip(";"), tell)


def check_replication(settings: PostgresSettings, side: Connection) -> list[Finding]:
    """Tells why no replication connection is to be had.

    The slot is made over one, after everything else.
    """
    try:
        with opened(settings, replication=True):
            return []
    except psycopg.Error as cause:
        return [no_replication(str(cause), facts.server(side))]


def refuse_other_server(subscription: Subscription, side: Connection, before: Resume) -> None:
    """Raises SourceReplaced, SourcePromoted, SourceNotPrimary, FrontReplaced.

    `init` makes what is missing, it accepts no other server.
    """
    source, slot = subscription.source, subscription.slot
    with connect(source, replication=True) as replication:
        server = server_state.server(replication, side, slot)
    identity = Identity(**before.identity)
    check_identity(server, identity.system_id, identity.timeline, address(source))
    if server.elsewhere:
        raise elsewhere(server, slot)


def make_publication(
    subscription: Subscription, connection: Connection, inspected: Inspection, tell: Tell
) -> None:
    """Makes the publication for the shared tables."""
    run(connection, statements.create_publication(subscription, inspected.generated), tell)

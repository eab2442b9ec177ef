"""Takes slot, publication and role out of the business database, for `remove-source`."""

from typing import Any

import psycopg

from agent.connectors.postgres.catalogue import publication
from agent.connectors.postgres.setup import facts, statements
from agent.connectors.postgres.setup.administrator import administrator
from agent.connectors.postgres.setup.preparation import connected, run
from agent.connectors.postgres.setup.role_removal import role_removal
from agent.connectors.postgres.setup.subscription import Subscription
from agent.connectors.setup import Removal, Tell
from agent.errors import InitRefused
from agent.messages import Phrase, mark, phrase, translate

Connection = psycopg.Connection[Any]


def removal(subscription: Subscription, admin_url: str | None) -> Removal:
    """See Setup.removal."""
    with administrator(subscription.source, admin_url) as admin:
        if admin is not None:
            return _removal(subscription, admin, administers=True)
    with connected(subscription.source) as side:
        return _removal(subscription, side, administers=False)


def remove(subscription: Subscription, tell: Tell, admin_url: str | None) -> None:
    """See Setup.remove. Raises InitRefused while somebody reads the slot, or for want of a right.

    The slot goes first: one without its publication would keep the log for nobody. The role goes
    last, and only as an administrator; the slot and the publication it can drop itself, if they
    are its own.
    """
    with administrator(subscription.source, admin_url) as admin:
        if admin is not None:
            _remove(subscription, admin, tell, administers=True)
            return
    with connected(subscription.source) as side:
        _remove(subscription, side, tell, administers=False)


def _removal(subscription: Subscription, connection: Connection, administers: bool) -> Removal:
    found = facts.slot(connection, subscription.slot)
    drops = []
    # A slot of another database cannot be dropped from here, and was not made for this one
    if found is not None and found.database == subscription.source.database:
        drops.append(statements.drop_slot(subscription.slot))
    if publication(connection, subscription.publication) is not None:
        drops.append(statements.drop_publication(subscription.publication))

    reason: Phrase | None = phrase(mark("only an administrator (`--as URL`) can take them away"))
    if administers:
        of_role, reason = role_removal(subscription, connection)
        drops += of_role
    if reason is None:
        return Removal(drops)

    text = mark("role {role} and its rights stay: {reason}")
    return Removal(drops, [translate(text, role=subscription.source.user, reason=reason)])


def _remove(
    subscription: Subscription, connection: Connection, tell: Tell, administers: bool
) -> None:
    found = facts.slot(connection, subscription.slot)
    if found is not None and found.active_pid is not None:
        text = mark(
            "the replication slot {slot} is being read by server process {pid} for a client at "
            "{client}: another agent has it"
        )
        values = {"slot": subscription.slot, "pid": found.active_pid}
        raise InitRefused(reason=phrase(text, **values, client=found.reader or "?"))
    for statement in _removal(subscription, connection, administers).statements:
        run(connection, statement, tell)

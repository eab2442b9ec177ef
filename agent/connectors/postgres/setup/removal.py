"""Takes slot and publication out of the business database, for `remove-source`."""

from typing import Any

import psycopg

from agent.connectors.postgres.catalogue import publication
from agent.connectors.postgres.setup import facts, statements
from agent.connectors.postgres.setup.administrator import administrator
from agent.connectors.postgres.setup.preparation import connected, run
from agent.connectors.postgres.setup.subscription import Subscription
from agent.connectors.setup import Removal, Tell
from agent.errors import InitRefused
from agent.messages import mark, phrase, translate

Connection = psycopg.Connection[Any]


def removal(subscription: Subscription, admin_url: str | None) -> Removal:
    """See Setup.removal."""
    with administrator(subscription.source, admin_url) as admin:
        if admin is not None:
            return _removal(subscription, admin)
    with connected(subscription.source) as side:
        return _removal(subscription, side)


def remove(subscription: Subscription, tell: Tell, admin_url: str | None) -> None:
    """See Setup.remove. Raises InitRefused while somebody reads the slot, or for want of a right.

    The slot goes first: one without its publication would keep the log for nobody.
    """
    with administrator(subscription.source, admin_url) as admin:
        if admin is not None:
            _remove(subscription, admin, tell)
            return
    with connected(subscription.source) as side:
        _remove(subscription, side, tell)


def _removal(subscription: Subscription, connection: Connection) -> Removal:
    found = facts.slot(connection, subscription.slot)
    drops = []
    # A slot of another database cannot be dropped from here, and was not made for this one
    if found is not None and found.database == subscription.source.database:
        drops.append(statements.drop_slot(subscription.slot))
    if publication(connection, subscription.publication) is not None:
        drops.append(statements.drop_publication(subscription.publication))

    text = mark("role {role} and its rights stay: its administrator may drop it")
    return Removal(drops, [translate(text, role=subscription.source.user)])


def _remove(subscription: Subscription, connection: Connection, tell: Tell) -> None:
    found = facts.slot(connection, subscription.slot)
    if found is not None and found.active_pid is not None:
        text = mark(
            "the replication slot {slot} is being read by server process {pid} for a client at "
            "{client}: another agent has it"
        )
        values = {"slot": subscription.slot, "pid": found.active_pid}
        raise InitRefused(reason=phrase(text, **values, client=found.reader or "?"))
    for statement in _removal(subscription, connection).statements:
        run(connection, statement, tell)

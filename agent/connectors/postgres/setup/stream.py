"""Makes the replication slot, with which the stream begins, for `init --apply`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg

from agent.connectors.postgres import server_state, slot
from agent.connectors.postgres.history import Server
from agent.connectors.postgres.session import connect
from agent.connectors.postgres.setup import facts, statements
from agent.connectors.postgres.setup.preparation import connected
from agent.connectors.postgres.setup.server import no_slot
from agent.connectors.postgres.setup.subscription import Subscription
from agent.connectors.readiness import refuse
from agent.connectors.setup import Start, Tell
from agent.errors import InitRefused
from agent.messages import mark, phrase, translate

Connection = psycopg.Connection[Any]
SLOT_SECONDS = 60.0  # for the server to make the slot
_LIMIT_REACHED = "53400"  # all replication slots are in use


def refuse_existing_slot(subscription: Subscription, side: Connection, front: str) -> None:
    """Raises InitRefused where a slot of the name exists, though no position is stored.

    Nobody knows what it has passed.
    """
    found = facts.slot(side, subscription.slot)
    if found is None:
        return
    message, values = existing_slot(subscription.slot, found, front)
    raise InitRefused(reason=phrase(message, **values))


def existing_slot(name: str, found: Any, front: str) -> tuple[str, Mapping[str, object]]:
    """Tells what to do about a slot for which the front end has no position.

    Returns a message and what fills it. To drop it is advised only where nobody reads it.
    """
    if found.active_pid is not None:
        text = mark(
            "the replication slot {slot} is being read by server process {pid} for a client "
            "at {client}: another agent has it. Give this one another name or source.slot; "
            "or, if it is this one, put front.url, state_directory and name back"
        )
        return text, {"slot": name, "pid": found.active_pid, "client": found.reader or "?"}
    text = mark(
        "the replication slot {slot} exists, and the front end at {url} has no position for it. "
        "Was this agent initialised before? "
        "Then put front.url, state_directory and name back as they were. "
        "Only if no other agent uses it, its owner runs:\n      {statement};"
    )
    return text, {"slot": name, "url": front, "statement": statements.drop_slot(name)}


@contextmanager
def new_slot(
    subscription: Subscription, tell: Tell, timeout: float | None = None
) -> Iterator[Start]:
    """Makes the slot and yields where it begins.

    If the caller cannot store the position, the slot is dropped again. Raises InitRefused.
    """
    source, name = subscription.source, subscription.slot
    seconds = SLOT_SECONDS if timeout is None else timeout
    with connected(source) as side, connect(source, replication=True) as replication:
        server = server_state.server(replication, side, name)
        text = mark(
            "Creating replication slot {slot}; waiting up to {seconds} s for running transactions"
        )
        tell(translate(text, slot=name, seconds=f"{seconds:g}"))
        position = _create(subscription, replication, side, seconds)
        try:
            yield start_of(subscription, server, position, side)
        except BaseException:
            slot.drop(replication, source, name)
            raise


def start_of(subscription: Subscription, server: Server, position: str, side: Connection) -> Start:
    """Describes the stream of the agent's slot on this server, from a position on."""
    source, name = subscription.source, subscription.slot
    identity = {
        "system_id": server.system_id,
        "timeline": server.timeline,
        "slot": name,
        "publication": subscription.publication,
    }
    return Start(
        position,
        int(facts.server(side).clock * 1_000_000),
        identity,
        f"{server.system_id}/{source.database}/{name}",
    )


def _create(
    subscription: Subscription, replication: Connection, side: Connection, seconds: float
) -> str:
    """Makes the slot within the time, else tells why not. Raises InitRefused."""
    name = subscription.slot
    try:
        return slot.create(replication, side, subscription.source, name, seconds)
    except slot.SlotTimeout as error:
        waits = [f"      {w.who}  {w.application}  {w.since}  {w.state}" for w in error.waits]
        reason = mark(
            "no replication slot within {seconds} s: the server waits for these transactions "
            "to end (process, application, begun, state):\n{waits}"
        )
        listed = "\n".join(waits) or "      ?"
        raise InitRefused(reason=phrase(reason, seconds=f"{seconds:g}", waits=listed)) from None
    except slot.SlotRefused as error:
        if error.sqlstate == _LIMIT_REACHED:
            # Somebody has taken the last one meanwhile
            refuse([no_slot(facts.server(side))])
        reason = mark("the server refuses to make replication slot {slot}: SQLSTATE {sqlstate}")
        raise InitRefused(reason=phrase(reason, slot=name, sqlstate=error.sqlstate)) from None

"""Tells for `status` how the replication slot is, and for which transactions a copy waits."""

from collections.abc import Mapping
from typing import Any

from agent.connectors.postgres import server_state
from agent.connectors.postgres.session import connect, guarded
from agent.connectors.postgres.setup.subscription import Subscription
from agent.connectors.postgres.slot import waited_for
from agent.connectors.setup import Status, Wait
from agent.messages import mark, translate


def status(subscription: Subscription, horizon: int) -> Status:
    """Asks the business database. `horizon`: the xid up to which a copy waits, 0 for none.

    Raises the errors of the source's connections.
    """
    source, slot = subscription.source, subscription.slot
    with guarded(source), connect(source) as connection:
        lag = server_state.slot_lag(connection, slot)
        running = waited_for(connection, horizon) if horizon else []
    waits = [Wait(*transaction) for transaction in running]
    if not lag:
        values = {"slot": slot, "exists": False, "active": False, "lag_bytes": None}
        text = translate(mark("replication slot {slot} does not exist"), slot=slot)
        return Status(values, text, ("SLOT_MISSING", text), waits)

    behind, active = lag
    values = {"slot": slot, "exists": True, "active": active, "lag_bytes": behind}
    text = mark("replication slot {slot} is {bytes} bytes behind")
    return Status(values, translate(text, slot=slot, bytes=f"{behind or 0:,}"), None, waits)


def unknown(subscription: Subscription) -> Mapping[str, Any]:
    """See Setup.unknown."""
    return {"slot": subscription.slot, "exists": None, "active": None, "lag_bytes": None}

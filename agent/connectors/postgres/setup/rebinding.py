"""Takes up the slot for `rebind`, on a server that a person says is the right one."""

import time
from typing import NamedTuple

from agent.connectors.position import position_number, position_text
from agent.connectors.postgres import server_state
from agent.connectors.postgres.history import Identity, Server, elsewhere
from agent.connectors.postgres.session import address, connect
from agent.connectors.postgres.setup.preparation import connected
from agent.connectors.postgres.setup.stream import start_of
from agent.connectors.postgres.setup.subscription import Subscription
from agent.connectors.resume import Resume
from agent.connectors.setup import After, Rebound, Start
from agent.errors import (
    InitRefused,
    SlotBusy,
    SlotLost,
    SlotMissing,
    SourceNotPrimary,
    SourcePromoted,
    SourceReplaced,
)
from agent.messages import mark, phrase, translate

# Seconds in which the connection of a service that has just ended gives the slot free
_RELEASE_SECONDS = 10.0
_INTERVAL = 0.2

_TOLD = {
    "upgrade": mark(
        "Bound to the upgraded server; the stream goes on at {position}, "
        "and the service reads every table again"
    ),
    "failover": mark(
        "Bound to the promoted server; what was applied may not be in its history: "
        "the stream goes on at {position}, and the service reads every table again"
    ),
    "restore": mark(
        "Bound to slot and state record; the stream goes on at {position}, "
        "and the service publishes every row in a new generation"
    ),
}
_PROVEN = mark(
    "Bound to the promoted server; everything that was applied is in its history: "
    "the stream goes on at {position}, and no table is read again"
)


class _Found(NamedTuple):
    """What the server says, once nobody reads the slot any more."""

    server: Server
    branched: int | None  # where its history left the stored timeline
    start: Start  # at the slot's confirmed position


def rebind(subscription: Subscription, before: Resume, after: After) -> Rebound:
    """See Setup.rebind."""
    found = _find(subscription, Identity(**before.identity).timeline)
    _check_identity(subscription, found.server, Identity(**before.identity), after)
    _check_slot(subscription.slot, found.server, before.position)

    server, begins = found.server, found.server.confirmed
    now = {"system_id": server.system_id, "timeline": server.timeline}
    start = found.start._replace(identity={**before.identity, **now})
    if after == "failover" and found.branched is not None:
        # The old and the new history are one up to `common`: what comes again from there is known.
        position = position_number(before.position)
        common = min(position, found.branched)
        if server.confirmed <= common == position:
            return _rebound(start, position, proven=True, text=_PROVEN)
        begins = max(server.confirmed, common)
    return _rebound(start, begins, proven=False, text=_TOLD[after])


def _rebound(start: Start, position: int, proven: bool, text: str) -> Rebound:
    shown = position_text(position)
    return Rebound(start._replace(position=shown), proven, translate(text, position=shown))


def _find(subscription: Subscription, timeline: int) -> _Found:
    """Asks the server, repeatedly while the slot is read: the service may have just ended."""
    source, slot = subscription.source, subscription.slot
    deadline = time.monotonic() + _RELEASE_SECONDS
    while True:
        with connected(source) as side, connect(source, replication=True) as replication:
            server = server_state.server(replication, side, slot)
            if server.active_pid is None or time.monotonic() > deadline:
                branched = server_state.branched_at(replication, server, timeline)
                confirmed = position_text(server.confirmed)
                return _Found(server, branched, start_of(subscription, server, confirmed, side))
        time.sleep(_INTERVAL)


def _check_identity(
    subscription: Subscription, server: Server, before: Identity, after: After
) -> None:
    """Raises what tells that something else has happened than the person says."""
    if server.in_recovery:
        raise SourceNotPrimary(address=address(subscription.source))
    if after == "restore":
        return
    same_system = server.system_id == before.system_id
    same_timeline = server.timeline == before.timeline
    if same_system and same_timeline:
        text = mark("the business database is the one it was: there is nothing to rebind")
        raise InitRefused(reason=phrase(text))
    if after == "upgrade" and same_system:
        raise SourcePromoted(before=before.timeline, now=server.timeline)
    if after == "failover" and not same_system:
        raise SourceReplaced(before=before.system_id, now=server.system_id)


def _check_slot(slot: str, server: Server, position: str) -> None:
    """Raises what stands against going on at the slot, above all that somebody else does."""
    if server.elsewhere:
        raise elsewhere(server, slot)
    if not server.slot_exists:
        raise SlotMissing(slot=slot, position=position)
    if server.active_pid is not None:
        raise SlotBusy(slot=slot, pid=server.active_pid)
    if server.conflict or server.wal_status == "lost":
        reason = server.conflict or phrase("wal_status is lost")
        raise SlotLost(slot=slot, reason=reason, position=position)

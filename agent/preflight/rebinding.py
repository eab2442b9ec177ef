"""`rebind`: takes up the slot as it is, on a server that a person says is the right one, or with a front end that was restored."""

import time
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from agent.config import Settings
from agent.connectors.position import position_number, position_text
from agent.connectors.postgres import catalogue
from agent.connectors.postgres.history import Server, elsewhere
from agent.connectors.postgres.session import address, connect
from agent.errors import (
    InitRefused,
    NotInitialised,
    SlotBusy,
    SlotLost,
    SlotMissing,
    SourceNotPrimary,
    SourcePromoted,
    SourceReplaced,
)
from agent.front import init_settings
from agent.front.store import SqlFront
from agent.messages import mark, phrase, translate
from agent.preflight import generations, source_facts, source_init
from agent.preflight.initialise import locked

Tell = Callable[[str], None]
After = Literal["upgrade", "failover", "restore"]
_READ = 10.0  # seconds in which the connection of a service that has just ended gives the slot free
_LOOK = 0.2

_TOLD = {
    "upgrade": mark(
        "Bound to the upgraded server; the stream goes on at {position}, and the service reads every table again"
    ),
    "failover": mark(
        "Bound to the promoted server; what was applied may not be in its history: the stream goes on at {position}, and the service reads every table again"
    ),
    "restore": mark(
        "Bound to slot and state record; the stream goes on at {position}, and the service publishes every row in a new generation"
    ),
}
_PROVEN = mark(
    "Bound to the promoted server; everything that was applied is in its history: the stream goes on at {position}, and no table is read again"
)


class _Found(NamedTuple):
    """What the server says, once nobody reads the slot any more."""

    server: Server
    branched: int | None  # where its history left the stored timeline
    clock: int


def rebind(settings: Settings, tell: Tell, after: After) -> None:
    """Takes up the slot on a server with another identity, or after a backup was put back into the front end or Kafka.

    Every table is compared with the source, unless the history of a promoted server proves that nothing can be missing.
    After a restore every topic begins a new generation. Raises InitRefused where there is nothing to accept, SourceReplaced and
    SourcePromoted where something else has happened, NotInitialised, SlotMissing, SlotLost, SlotBusy, the errors of connections, and Kafka's.
    """
    with locked(settings) as front:
        stored = front.stored_state()
        if stored is None or not stored["initialised"]:
            raise NotInitialised(what=phrase("the state in the front end"))
        init_settings.check(settings, stored, *front.noted())
        found = _find(settings, int(str(stored["timeline"])))
        _identity(settings, found.server, stored, after)
        _slot(settings, found.server, str(stored["position"]))
        if after == "restore":
            generations.begin_anew(
                settings, front, str(stored["agent_uuid"]), int(str(stored["epoch"]))
            )
        _bind(front, stored, found, after, tell)


def _find(settings: Settings, timeline: int) -> _Found:
    """Asks the server, again and again while somebody reads the slot: the service may have ended just now."""
    deadline = time.monotonic() + _READ
    while True:
        with (
            source_init.connected(settings) as side,
            connect(settings.source, replication=True) as replication,
        ):
            server = catalogue.server(replication, side, settings.slot)
            if server.active_pid is None or time.monotonic() > deadline:
                branched = catalogue.branched_at(replication, server, timeline)
                clock = int(source_facts.server(side).clock * 1_000_000)
                return _Found(server, branched, clock)
        time.sleep(_LOOK)


def _identity(
    settings: Settings, server: Server, stored: Mapping[str, object], after: After
) -> None:
    """Raises what tells that something else has happened than the person who gives the command says."""
    if server.in_recovery:
        raise SourceNotPrimary(address=address(settings.source))
    same_system = server.system_id == stored["system_id"]
    same_timeline = server.timeline == stored["timeline"]
    if after == "restore":
        return
    if same_system and same_timeline:
        raise InitRefused(
            reason=phrase(
                mark("the business database is the one it was: there is nothing to rebind")
            )
        )
    if after == "upgrade" and same_system:
        raise SourcePromoted(before=stored["timeline"], now=server.timeline)
    if after == "failover" and not same_system:
        raise SourceReplaced(before=stored["system_id"], now=server.system_id)


def _slot(settings: Settings, server: Server, position: str) -> None:
    """Raises what stands against going on at the slot, above all that somebody else does."""
    if server.elsewhere:
        raise elsewhere(server, settings.slot)
    if not server.slot_exists:
        raise SlotMissing(slot=settings.slot, position=position)
    if server.active_pid is not None:
        raise SlotBusy(slot=settings.slot, pid=server.active_pid)
    if server.conflict or server.wal_status == "lost":
        reason = server.conflict or phrase("wal_status is lost")
        raise SlotLost(slot=settings.slot, reason=reason, position=position)


def _bind(
    front: SqlFront, stored: Mapping[str, object], found: _Found, after: After, tell: Tell
) -> None:
    """Stores the server's identity, and where the stream goes on."""
    server, begins, text = found.server, found.server.confirmed, _TOLD[after]
    if after == "failover" and found.branched is not None:
        # The old and the new history are one up to `common`: what comes again from there is known.
        position = position_number(str(stored["position"]))
        common = min(position, found.branched)
        if server.confirmed <= common == position:
            front.update_state(timeline=server.timeline)
            tell(translate(_PROVEN, position=position_text(position)))
            return
        begins = max(server.confirmed, common)
    front.follow(server.system_id, server.timeline, position_text(begins), found.clock)
    tell(translate(text, position=position_text(begins)))

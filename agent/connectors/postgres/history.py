"""Checks A and B: is the slot where we left it, and is the server's history the one we have followed? Decisions without I/O."""

from typing import NamedTuple

from agent.errors import (
    SlotAdvanced,
    SlotBusy,
    SlotLost,
    SlotMissing,
    SourceForked,
    SourceNotPrimary,
    SourceReplaced,
)
from agent.events.changes import Begin, Commit, Heartbeat, Message, lsn_number, lsn_text
from agent.front.base import Stored
from agent.messages import phrase


class Server(NamedTuple):
    """What the server says of itself and of the slot at connection."""

    system_id: str
    timeline: int
    flushed: int  # end of its durable log
    in_recovery: bool
    slot_exists: bool
    confirmed: int  # confirmed_flush_lsn of the slot
    active_pid: int | None
    wal_status: str  # reserved, extended, unreserved or lost
    conflict: str  # why the slot is invalid, '' if it is not


def check_server(server: Server, stored: Stored, address: str) -> None:
    """Checks A and B as far as they can be made before the stream starts; raises what stands against it."""
    position = lsn_number(stored.position)
    if server.in_recovery:
        raise SourceNotPrimary(address=address)
    if server.system_id != stored.system_id:
        raise SourceReplaced(
            what=phrase("its system identifier"), before=stored.system_id, now=server.system_id
        )
    if server.timeline != stored.timeline:
        raise SourceReplaced(
            what=phrase("its timeline"), before=stored.timeline, now=server.timeline
        )
    if not server.slot_exists:
        raise SlotMissing(slot=stored.slot, position=stored.position)
    if server.wal_status == "lost" or server.conflict:
        raise SlotLost(
            slot=stored.slot,
            reason=server.conflict or phrase("wal_status is lost"),
            position=stored.position,
        )
    if server.confirmed > position:
        raise SlotAdvanced(
            slot=stored.slot, confirmed=lsn_text(server.confirmed), position=stored.position
        )
    if server.flushed < position:
        raise SourceForked(
            position=stored.position,
            reason=phrase("its log ends at {position}", position=lsn_text(server.flushed)),
        )
    if server.active_pid is not None:
        raise SlotBusy(slot=stored.slot, pid=server.active_pid)


class Resumption:
    """The rest of check B, on the stream: passes over what was applied and demands that the last applied commit comes again.

    A server sends every commit after the slot's confirmed position again. If the last applied one lies after it, it must come
    with the same end, xid and time: a server restored from a copy has another one there (measured: docs/decisions/checks.md).
    """

    def __init__(self, stored: Stored, confirmed: int) -> None:
        self._applied = lsn_number(stored.position)
        self._last = stored.commit
        self._last_end = lsn_number(stored.commit.position) if stored.commit.position else 0
        self._awaited = self._last_end > confirmed  # the last applied commit must come again
        self._passing_over = False

    def accept(self, message: Message) -> bool:
        """True if the message is new, False if it was applied before. Raises SourceForked."""
        if isinstance(message, Begin):
            self._passing_over = message.commit_lsn < self._applied
            if not self._passing_over:
                self._demand(message.commit_lsn)
        elif isinstance(message, Commit):
            if self._passing_over:
                self._passed_over(message)
                self._passing_over = False
                return False
        elif isinstance(message, Heartbeat):
            if message.position <= self._applied:
                return False
            self._demand(message.position)
        return not self._passing_over

    def _demand(self, reached: int) -> None:
        if self._awaited:
            raise self._forked(
                phrase(
                    "the last applied commit did not come again before {position}",
                    position=lsn_text(reached),
                )
            )

    def _passed_over(self, commit: Commit) -> None:
        """Before the stored position nothing lies after the last applied commit, and that one is the same."""
        if commit.position < self._last_end:
            return
        if (lsn_text(commit.position), commit.xid, commit.time_us) != self._last:
            raise self._forked(
                phrase("another commit ends at {position}", position=lsn_text(commit.position))
            )
        self._awaited = False

    def _forked(self, reason: str) -> SourceForked:
        return SourceForked(position=lsn_text(self._last_end or self._applied), reason=reason)

"""Checks A and B: the slot is where we left it, and the history the one we have followed.

Decisions without I/O.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.config import PostgresSettings
from agent.connectors.changes import Begin, Change, Commit, Heartbeat, Message
from agent.connectors.position import position_number, position_text
from agent.connectors.resume import Resume
from agent.errors import (
    AgentError,
    DuplicateAgent,
    FrontReplaced,
    SlotAdvanced,
    SlotBusy,
    SlotLost,
    SlotMissing,
    SourceForked,
    SourceNotPrimary,
    SourcePromoted,
    SourceReplaced,
)
from agent.messages import mark, phrase


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
    reader: str = ""  # address of the client that reads the slot, as far as it is known
    elsewhere: str = ""  # the other database of the server that a slot of this name belongs to


class Identity(NamedTuple):
    """What `init` has found of the server and made on it (Resume.identity)."""

    system_id: str
    timeline: int
    slot: str
    publication: str = ""  # '' of an agent of an older version


def check_identity(server: Server, system_id: str, timeline: int, address: str) -> None:
    """Raises what tells that the server is not the one that was followed.

    That is SourceNotPrimary, SourceReplaced, or SourcePromoted.
    """
    if server.in_recovery:
        raise SourceNotPrimary(address=address)
    if server.system_id != system_id:
        raise SourceReplaced(before=system_id, now=server.system_id)
    if server.timeline != timeline:
        raise SourcePromoted(before=timeline, now=server.timeline)


def check_server(server: Server, resume: Resume, address: str) -> None:
    """Makes the checks A and B as far as they can be made before the stream starts.

    Raises what stands against it.
    """
    identity = Identity(**resume.identity)
    slot = identity.slot
    check_identity(server, identity.system_id, identity.timeline, address)
    if server.elsewhere:
        raise elsewhere(server, slot)
    wrong = _wrong(server, slot, resume.position)
    if server.active_pid is None:
        if wrong is not None:
            raise wrong
    elif wrong is not None:
        # Whoever reads the slot has moved it: dropping it, which the other error advises, would
        # take it from them
        raise DuplicateAgent(reason=in_use(server, slot))
    else:
        raise SlotBusy(slot=slot, pid=server.active_pid)


def _wrong(server: Server, slot: str, stored: str) -> AgentError | None:
    """What stands against going on at the slot; the way back from each begins with dropping it."""
    position = position_number(stored)
    if not server.slot_exists:
        return SlotMissing(slot=slot, position=stored)
    if server.wal_status == "lost" or server.conflict:
        return SlotLost(
            slot=slot,
            reason=server.conflict or phrase("wal_status is lost"),
            position=stored,
        )
    if server.confirmed > position:
        return SlotAdvanced(slot=slot, confirmed=position_text(server.confirmed), position=stored)
    if server.flushed < position:
        return SourceForked(
            position=stored,
            reason=phrase("its log ends at {position}", position=position_text(server.flushed)),
        )
    return None


def in_use(server: Server, slot: str) -> str:
    """Tells who reads a slot that this agent does not read."""
    return phrase(
        "the replication slot {slot} is being read by server process {pid}"
        " for a client at {client}",
        slot=slot,
        pid=server.active_pid,
        client=server.reader or "?",
    )


def elsewhere(server: Server, slot: str) -> FrontReplaced:
    """Makes the error for a slot of another database of the same server."""
    return FrontReplaced(
        reason=phrase(
            "its replication slot {slot} is in database {database}: is source.database right?",
            slot=slot,
            database=server.elsewhere,
        )
    )


def check_settings(settings: PostgresSettings, identity: Mapping[str, Any]) -> None:
    """Raises FrontReplaced where the configuration names another slot than the one followed."""
    slot = identity.get("slot", settings.slot)
    if slot != settings.slot:
        text = mark("it follows slot {other}, the configuration names {slot}")
        raise FrontReplaced(reason=phrase(text, other=slot, slot=settings.slot))


def other_publication(before: str, now: str) -> FrontReplaced | None:
    """Makes the error for a publication that does not exist where `init` made another.

    One that exists may have been renamed on purpose, and is judged by what it carries.
    """
    if before in ("", now):
        return None
    return FrontReplaced(
        reason=phrase(
            "init made publication {before}; {now}, which the configuration names, does not exist",
            before=before,
            now=now,
        )
    )


def branch(history: str, timeline: int) -> int | None:
    """Reads a timeline history file: where it left `timeline`; None where it never was on it."""
    for line in history.splitlines():
        parts = line.split("\t")
        if len(parts) >= 2 and parts[0].strip() == str(timeline):
            return position_number(parts[1].strip())
    return None


class Resumption:
    """Makes the rest of check B, on the stream.

    It passes over what was applied and demands that the last applied commit comes again. A server
    sends every commit after the slot's confirmed position again. If the last applied one lies after
    it, it must come with the same end, xid and time: a server restored from a copy has another one
    there (measured: docs/decisions/checks.md).
    """

    def __init__(self, resume: Resume, confirmed: int) -> None:
        self._applied = position_number(resume.position)
        self._last = resume.commit
        self._last_end = position_number(resume.commit.position) if resume.commit.position else 0
        self._awaited = self._last_end > confirmed  # the last applied commit must come again
        self._passing_over = False

    def accept(self, message: Message) -> bool:
        """True if the message is new, False if it was applied before. Raises SourceForked."""
        if isinstance(message, Change):
            return not self._passing_over
        if isinstance(message, Begin):
            self._passing_over = message.commit_position < self._applied
            if not self._passing_over:
                self._demand(message.commit_position)
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
                    position=position_text(reached),
                )
            )

    def _passed_over(self, commit: Commit) -> None:
        """Demands that the last applied commit is the same, and the last before the position."""
        if commit.position < self._last_end:
            return
        if (position_text(commit.position), commit.transaction, commit.time_us) != self._last:
            raise self._forked(
                phrase("another commit ends at {position}", position=position_text(commit.position))
            )
        self._awaited = False

    def _forked(self, reason: str) -> SourceForked:
        return SourceForked(position=position_text(self._last_end or self._applied), reason=reason)

"""Watches the log that the server keeps for the agent's slot, and gives the slot up.

It gives it up only where the configuration has a bound for it, and only while the agent cannot go
on: a stream that is read works its log off. What the slot kept is lost with it, so that every table
has to be compared afterwards. No slot is dropped but the one that the agent has followed, while
nobody reads it, and where the agent has left it (docs/decisions/log-guard.md).
"""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import psycopg

from agent import failpoints
from agent.config import Settings
from agent.connectors.position import position_text
from agent.connectors.postgres import server_state, slot
from agent.connectors.postgres.history import check_server
from agent.connectors.postgres.kept_log import GIVEN_UP, NOTHING, kept_log
from agent.connectors.postgres.session import address, connect, guarded
from agent.connectors.postgres.slot_notes import SlotNote, SlotNotes
from agent.connectors.resume import CommitMark, Resume
from agent.errors import AgentError, SlotGivenUp

_log = logging.getLogger(__name__)
_WARN_SECONDS = 3600.0  # between two warnings in the log
_ALONE_SECONDS = 30.0  # between two looks while nobody reads
# Seconds without progress after which the agent counts as not able to go on. One that was stopped
# for long may find much log when it begins: it has this time to begin to work it off
_PATIENCE = 300.0
_NO_COMMIT = CommitMark("", 0, 0)


class LogGuard:
    """What the slot keeps, as last asked of the server. Times are in time.monotonic()."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.postgres
        self._slot = settings.postgres.slot
        self._bound = settings.postgres.warn_log_bytes
        self._most = settings.postgres.max_log_bytes
        self._notes = SlotNotes(settings.directory)
        self._note: SlotNote | None = None  # None: no stream was opened in this process

        self._kept = NOTHING
        self._gauges: Mapping[str, float] = {}
        self._warn_at = -math.inf
        self._alone_at = -math.inf
        self._told = False  # that the slot is given up
        self._acknowledged = 0
        self._progress_at = time.monotonic()

    @property
    def gauges(self) -> Mapping[str, float]:
        """The metrics of the log; none before it was looked at."""
        return self._gauges

    @property
    def large(self) -> bool:
        """Whether more is kept than the bound above which somebody should know of it."""
        return self._kept.large(self._bound)

    def look(self, connection: psycopg.Connection[Any], now: float) -> None:
        """Asks what is kept, and warns in the log once an hour while that is too much.

        Raises the driver's errors.
        """
        self._kept = kept_log(connection, self._slot) or NOTHING
        self._gauges = self._kept.gauges()
        if self.large and now >= self._warn_at:
            self._warn_at = now + _WARN_SECONDS
            _log.warning(
                "source_log_large slot=%s retained_bytes=%s bound=%s unread_bytes=%s"
                " wal_status=%s safe_bytes=%s",
                self._slot,
                self._kept.bytes,
                self._kept.warned_of(self._bound),
                self._kept.unread_bytes,
                self._kept.status,
                self._kept.safe_bytes,
            )

    # ---- the stream, as it must be known while the front end is away

    def opened(self, identity: Mapping[str, Any], position: int) -> None:
        """Takes over which slot is followed, and from where on."""
        self._keep(SlotNote(dict(identity), position_text(position)))
        if self._most is None:
            self._notes.forget()
        self._acknowledged = position
        self._told = False

    def reached(self, position: int) -> None:
        """Takes over how far the stream is acknowledged. To be called now and then, and at its end.

        Positions of a stream only rise: one that has risen is progress.
        """
        if self._note is None or position <= self._acknowledged:
            return
        self._acknowledged = position
        self._progress_at = time.monotonic()
        self._keep(self._note._replace(position=position_text(position)))

    def explained(self) -> SlotGivenUp | None:
        """Returns why there is no slot, where the agent itself has dropped it.

        Each process says so once in its log: the one that has dropped it may have been killed.
        """
        note = self._known()
        loss = None if note is None else note.loss
        if loss is not None:
            self._kept = GIVEN_UP
            self._gauges = GIVEN_UP.gauges()
            if not self._told:
                self._told = True
                _log.error("slot_given_up slot=%s error=%s", self._slot, loss.text("en"))
        return loss

    def _known(self) -> SlotNote | None:
        """Returns what is known of the slot, from this process or the one before it."""
        return self._note or self._notes.read(self._slot)

    def _keep(self, note: SlotNote) -> None:
        self._note = note
        if self._most is not None:
            self._notes.write(note)

    # ---- giving the slot up

    def alone(self) -> None:
        """Looks over a connection of its own, now and then, while nobody reads. Never raises."""
        now = time.monotonic()
        if now < self._alone_at:
            return
        self._alone_at = now + _ALONE_SECONDS
        try:
            with guarded(self._settings), connect(self._settings) as side:
                self.look(side, now)
                if not self._kept.status:
                    self.explained()
                elif self._must_give_up(now):
                    self._give_up(side)
        except AgentError as error:
            self._refused(error)

    def _must_give_up(self, now: float) -> bool:
        """Tells whether more is kept than its owner allows, because the agent cannot go on."""
        return self._kept.too_large(self._most) and now - self._progress_at >= _PATIENCE

    def _give_up(self, side: psycopg.Connection[Any]) -> None:
        """Drops the slot, if it is the agent's own and nobody reads it.

        The note of it comes first: whoever dies in between either finds the slot, and goes on with
        it, or finds the note. Raises what stands against it.
        """
        note = self._known()
        if note is None:
            return
        resume = Resume(note.position, _NO_COMMIT, note.identity)
        with connect(self._settings, replication=True) as replication:
            server = server_state.server(replication, side, self._slot)
            check_server(server, resume, address(self._settings))
            values = {
                "slot": self._slot,
                "kept": self._kept.bytes,
                "bound": self._most,
                "position": note.position,
            }
            self._keep(note._replace(given_up=values))
            failpoints.hit("before_giving_up")
            slot.drop(replication, self._settings, self._slot)
        failpoints.hit("after_giving_up")
        self.explained()

    def _refused(self, error: AgentError) -> None:
        """Says that the slot could not be looked at or dropped; it is tried again for ever."""
        if not self._must_give_up(time.monotonic()):
            return
        _log.warning(
            "slot_kept slot=%s retained_bytes=%s max_log_bytes=%s error=%s",
            self._slot,
            self._kept.bytes,
            self._most,
            error.text("en"),
        )
        note = self._known()
        refused = {"code": error.code, "values": error.plain_values()}
        if note is not None and note.refused != refused:
            self._keep(note._replace(refused=refused))

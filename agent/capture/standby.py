"""Waits for the front end while another host holds it, and takes over when that one is gone.

Who holds the lock and raises the epoch is the active one; nothing here decides that. It decides
when to try, and has the front-end server end the session of a host that stands still.
See docs/decisions/standby.md.
"""

import logging
import math
import socket
import time

from sqlalchemy import Connection, inspect

from agent.capture.lease import Lease
from agent.errors import AnotherAgent
from agent.front.base import Stored
from agent.front.hosts import Host, Hosts
from agent.front.store import SqlFront
from agent.messages import phrase
from agent.service import metrics
from agent.service.control import Control

log = logging.getLogger(__name__)

# Seconds between two looks
_LOOK = 1.0

# Seconds for which the front end must be free once it was held: the active host begins anew within
# them after an error, or when it takes up its configuration
_FREE = 3.0


class Standby:
    """The part of one host in a pair. The capture loop opens the front end through it."""

    def __init__(self, front: SqlFront, control: Control) -> None:
        self._front = front
        self._control = control
        self._name = socket.gethostname()
        self._hosts: Hosts | None = None  # None: the table has not been found yet
        self._lease: Lease | None = None  # None: this process has not been the active one yet
        front.host = self._name

        # What is reported of the active host: its name, and since when
        self._reported: tuple[str, float] | None = None

        # The active host as it was seen last
        self._last: Host | None = None

        # From when on a front end that nobody holds may be taken, in time.monotonic()
        self._free_at = -math.inf

        # How the business database names the session by which the former active host reads its
        # log; '' unless this process has seen that host at work on this very front end. A copy of
        # it, of which somebody else's session is noted, has seen nobody.
        self.left_by = ""

    @property
    def is_active(self) -> bool:
        """Whether this process is, or has been, the active one."""
        return self._lease is not None

    @property
    def gauges(self) -> dict[str, float]:
        """What the active host knows of the others."""
        return {} if self._lease is None else {metrics.STANDBYS: self._lease.standbys}

    def open(self) -> Stored | None:
        """Opens the front end once this host may; None: the process is to stop.

        Raises AnotherAgent where this process was the active one and another is now.
        """
        while self._wait():
            try:
                stored = self._front.open(self._control.nonce)
            except AnotherAgent:
                # A third one was faster
                if self.is_active:
                    raise
                continue
            if self._lease is None:
                self._lease = Lease(self._front, self._control.nonce)
            return stored
        return None

    def reads(self, reader: str) -> None:
        """Notes how the business database names the session that reads its log."""
        if self._lease is not None:
            self._lease.reader = reader
        self.left_by = ""

    def leave(self) -> None:
        """Takes this host's row away, if the front end takes that at once."""
        if self._lease is not None:
            self._lease.end()

    # ---- waiting

    def _wait(self) -> bool:
        """Waits until this host may try to open the front end; False: the process is to stop."""
        front, control = self._front, self._control
        with front.reading() as connection:
            front.hasten(connection)
            while not control.stopping():
                if self._look(connection):
                    return True
                control.went_well()
                control.wait(_LOOK)
            if self._hosts is not None and not self.is_active:
                self._hosts.forget(connection, control.nonce)
                connection.commit()
        return False

    def _look(self, connection: Connection) -> bool:
        """Looks who holds the front end; returns whether this host may try."""
        holder = self._front.holder(connection)
        active = self._active(connection)
        if active is not None and self._must_end(active, holder):
            log.warning("host_ended host=%s silent_seconds=%d", active.name, int(active.silent))
            self._front.end_holder(connection, holder)
            connection.commit()
            # Nobody is to be waited for; opening waits for the lock
            return True

        occupied = holder != 0 or self._is_at_work(connection, active)
        connection.commit()
        if self.is_active:
            if occupied and not holder:
                raise AnotherAgent(holder=phrase("its epoch was raised"))
            # Opening says who holds the lock
            return True
        return self._is_free(occupied, active)

    def _active(self, connection: Connection) -> Host | None:
        """Returns the active host as it is noted, and gives a sign of life of this one."""
        if self._hosts is None:
            table = self._front.own.hosts
            if not inspect(connection).has_table(table.name):
                return None
            self._hosts = Hosts(table)

        if not self.is_active:
            self._hosts.note_standby(connection, self._control.nonce, self._name)
        active = None
        for host in self._hosts.all(connection):
            if host.role == "active":
                active = host
        self._watch(active)
        return active

    def _watch(self, active: Host | None) -> None:
        """Notes by which session the active host reads the log, once it is seen to live."""
        last, self._last = self._last, active
        if active is None or last is None or active.nonce != last.nonce:
            return
        if active.nonce == self._control.nonce:
            return
        if active.seen_us != last.seen_us:
            self.left_by = active.reader

    def _must_end(self, active: Host, holder: int) -> bool:
        """Whether the session that holds the lock is of a host that stands still or is cut off.

        One of this service itself, whose line broke, is nobody's any more.
        """
        mine = active.nonce == self._control.nonce
        return holder == active.session and holder != 0 and (mine or not active.lives)

    def _is_at_work(self, connection: Connection, active: Host | None) -> bool:
        """Whether another host is active that holds no lock just now, between two attempts."""
        if active is None or active.nonce == self._control.nonce or not active.lives:
            return False
        return self._front.is_open(connection, active.lease)

    def _is_free(self, occupied: bool, active: Host | None) -> bool:
        """Whether the front end is free, and has been for long enough where it was held."""
        now = time.monotonic()
        if occupied:
            self._free_at = math.inf
            self._report(active)
            return False
        if self._free_at == math.inf:
            self._free_at = now + _FREE
        return now >= self._free_at

    def _report(self, active: Host | None) -> None:
        """Reports that this host stands by, and for whom."""
        self._control.beat({f"{metrics.CONNECTED}/frontend": 1})
        said = ("", 0.0) if active is None else (active.name, active.since_us / 1e6)
        if said != self._reported:
            self._reported = said
            log.info("standing_by active=%s", said[0] or "-")
            self._control.standing_by(*said)

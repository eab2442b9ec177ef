"""Gives signs of life of the active host, while another one stands by."""

import threading
from contextlib import suppress

from sqlalchemy import Connection

from agent.front.hosts import RENEWAL, Hosts
from agent.front.store import SqlFront

# Seconds of silence, after which a host that stood by is no longer shown
_FORGOTTEN = 3600.0

# Seconds that the end of the process waits for the last word
_LAST_WORD = 2.0


class Lease:
    """A thread with a session of its own: the writing one may be at a long statement for minutes.

    It ends with the process, and a process that stands still gives no sign of life.
    """

    def __init__(self, front: SqlFront, nonce: str) -> None:
        self._front = front
        self._nonce = nonce
        self._hosts = Hosts(front.own.hosts)

        # How the business database names the session that reads its log; set by the capture loop
        self.reader = ""

        # How many hosts stand by, as it was seen last
        self.standbys = 0

        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ends the thread, which takes the host's row away if it can do so at once."""
        self._over.set()
        self._thread.join(_LAST_WORD)

    def _run(self) -> None:
        while not self._over.is_set():
            # The capture loop meets the same error, and reports it
            with suppress(Exception):
                self._renew()
            self._over.wait(RENEWAL)

    def _renew(self) -> None:
        """Gives signs of life until the end, or an error of the front end.

        The connection is opened without `reading`, which notes the questions of the capture loop.
        """
        front = self._front
        with front.engine.connect() as connection:
            front.hasten(connection)
            session = front.session(connection)
            while not self._over.is_set():
                self._sign(connection, session)
                self._over.wait(RENEWAL)

            self._hosts.forget(connection, self._nonce)
            connection.commit()

    def _sign(self, connection: Connection, session: int) -> None:
        hosts = self._hosts
        hosts.renew(connection, self._nonce, session, self.reader)
        hosts.forget_silent(connection, _FORGOTTEN)
        standbys = 0
        for host in hosts.all(connection):
            if host.role == "standby" and host.lives:
                standbys += 1
        connection.commit()
        self.standbys = standbys

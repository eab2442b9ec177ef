"""The replication connection: our own COPY BOTH loop on libpq.

Status updates go out on a timer of its own. psycopg2's replication cursor acknowledges by itself
(docs/decisions/psycopg3.md), so nothing but `Acknowledgement` decides here.

Source of the message formats: PostgreSQL manual, "Streaming Replication Protocol" (XLogData,
primary keepalive, standby status update).
"""

import logging
import select
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg
from psycopg.generators import execute
from psycopg.pq import DiagnosticField, ExecStatus

from agent import stop_watch
from agent.connectors.position import position_text
from agent.connectors.postgres.acknowledgement import Acknowledgement, Status
from agent.connectors.postgres.sqlstates import is_passing
from agent.errors import (
    AgentError,
    PublicationWrong,
    SlotBusy,
    SlotLost,
    SlotMissing,
    SourceUnfit,
    SourceUnreachable,
    StreamUnreadable,
)
from agent.messages import phrase

log = logging.getLogger(__name__)

_EPOCH_US = 946_684_800_000_000
_XLOG = struct.Struct(">cQQq")
_DATA = ord("w")
_KEEPALIVE = struct.Struct(">cQqB")
_STATUS = struct.Struct(">cQQQqB")
_SHORTEST = 0.01  # seconds between two looks of the timer
_END = 0.5  # seconds for the timer to end
_DRAIN = 256  # messages taken under one lock


# One message of the output plugin, and its position in the log. A plain tuple: there are many
WalData = tuple[int, bytes]


class Shutdown(NamedTuple):
    """The server shuts down and waits until `position`, its end, is confirmed."""

    position: int


class Wire:
    """Reads one replication connection.

    A thread sends status updates in time even while the owner waits for the front end.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        acknowledgement: Acknowledgement,
        front_silent_since: Callable[[], float | None],
        address: str,
    ) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._acknowledgement = acknowledgement
        self._front_silent_since = front_silent_since
        self._address = address
        # Of the connection (libpq: one thread at a time) and of what is decided to be sent
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._reason = ""
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket, select.POLLIN)
        self._unread = select.poll()  # the timer's own: one thread at a time on a poll object
        self._unread.register(self._pgconn.socket, select.POLLIN)
        self._timer = threading.Thread(target=self._keep_alive, name="status-updates", daemon=True)

    def start(self, slot: str, publication: str, option: str = "") -> None:
        """Starts the stream at 0/0: the server goes on at the slot's confirmed position.

        `option`: what the output plugin is told besides. Raises SlotBusy, SlotMissing, SlotLost,
        SourceUnreachable, SourceUnfit.
        """
        self._publication = publication
        quoted = publication.replace('"', '""').replace("'", "''")
        command = (
            f'START_REPLICATION SLOT "{slot}" LOGICAL 0/0'
            f" (proto_version '1', publication_names '\"{quoted}\"', messages 'true'{option})"
        )
        self._pgconn.send_query(command.encode())
        try:  # libpq's own waiting call would hear of no signal and know no end
            result = self._connection.wait(execute(self._pgconn))[-1]
        except psycopg.Error as error:
            raise self._gone(error) from None
        if result.status != ExecStatus.COPY_BOTH:
            sqlstate = (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
            raise _refusal(sqlstate, slot, self._address)
        self._pgconn.nonblocking = 1
        self._timer.start()

    def receive(self, timeout: float) -> Iterator[WalData | Shutdown]:
        """Delivers what has arrived, and ends when nothing more waits.

        Waits up to `timeout` seconds for the first byte. Raises SourceUnreachable,
        StreamUnreadable.
        """
        waited = False
        while True:
            payloads, ended = self._drain()
            for payload in payloads:
                if payload[0] == _DATA:
                    yield _XLOG.unpack_from(payload)[1], payload[_XLOG.size :]
                    continue
                shutdown = self._answered(payload)
                if shutdown is not None:
                    yield shutdown
            if ended:
                raise self._end()
            if len(payloads) < _DRAIN:
                if not self._arrives(0.0 if waited or payloads else timeout):
                    return
                waited = True
                self._consume()

    def _arrives(self, timeout: float) -> bool:
        """Whether bytes arrive in time. A process that is asked to stop waits no longer."""
        if timeout > 0:
            return stop_watch.wait(timeout, self._pgconn.socket)
        return bool(self._poll.poll(0))

    def acknowledge(self, position: int) -> None:
        """`position` is durable in the front end."""
        with self._lock:
            self._send(self._acknowledgement.durable(position, time.monotonic()))

    def close(self) -> None:
        """Ends timer and connection."""
        self._ended.set()
        if self._timer.is_alive():
            self._timer.join(_END)
        with self._lock, suppress(psycopg.Error):
            self._connection.close()

    def _drain(self) -> tuple[list[bytes], bool]:
        payloads: list[bytes] = []
        with self._lock:
            try:
                while len(payloads) < _DRAIN:
                    size, data = self._pgconn.get_copy_data(1)
                    if size <= 0:
                        return payloads, size < 0
                    payloads.append(bytes(data))
            except psycopg.Error as error:
                raise self._gone(error) from None
        return payloads, False

    def _consume(self) -> None:
        with self._lock:
            try:
                self._pgconn.consume_input()
            except psycopg.Error as error:
                raise self._gone(error) from None
        self._acknowledgement.heard(time.monotonic())

    def _answered(self, payload: bytes) -> Shutdown | None:
        """Answers a keepalive; returns what it means if the server shuts down."""
        if payload[:1] != b"k":
            return None
        _, end, _, asked = _KEEPALIVE.unpack(payload)
        with self._lock:
            answer, shutting_down = self._acknowledgement.keepalive(bool(asked), time.monotonic())
            self._send(answer)
        return Shutdown(end) if shutting_down else None

    def _send(self, status: Status | None) -> None:
        """Sends a status update, under the lock that was held when it was decided.

        An older status of the other thread's must not come after it.
        """
        if status is None:
            return
        now = time.time_ns() // 1000 - _EPOCH_US
        data = _STATUS.pack(
            b"r", status.position, status.position, status.position, now, status.ask
        )
        try:
            self._pgconn.put_copy_data(data)
            self._pgconn.flush()
        except psycopg.Error as error:
            raise self._gone(error) from None

    def _keep_alive(self) -> None:
        """Sends updates when they are due: the timer thread.

        Ends the connection when it must not hold the server up.
        """
        while not self._ended.wait(self._seconds_to_rest()):
            now = time.monotonic()
            # The owner is busy with the front end: what waits here shows that the server lives
            if self._unread.poll(0):
                self._acknowledgement.heard(now)
            self._reason = self._acknowledgement.give_up(self._front_silent_since(), now)
            if self._reason:
                log.warning("source_given_up reason=%s", self._reason)
                with self._lock:
                    self._connection.close()
                return
            try:
                with self._lock:
                    self._send(self._acknowledgement.due(now))
            except AgentError:
                return  # the owner meets the same error at its next read

    def _seconds_to_rest(self) -> float:
        """The seconds until the timer may have something to do."""
        due_at = self._acknowledgement.next_time(self._front_silent_since())
        return max(_SHORTEST, due_at - time.monotonic())

    def _end(self) -> AgentError:
        """Why the server ended the stream."""
        with self._lock:
            result = None if self._reason else self._pgconn.get_result()
        sqlstate = (
            (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
            if result is not None
            else ""
        )
        if (
            sqlstate == "42704"
        ):  # undefined_object, while the log is decoded: before 18 that is an error, and stays one
            reason = phrase(
                "changes were written while it did not exist, and this server cannot pass over them"
            )
            return PublicationWrong(publication=self._publication, reason=reason)
        if sqlstate and not is_passing(sqlstate):
            return StreamUnreadable(
                position=position_text(self._acknowledgement.position), sqlstate=sqlstate
            )
        return (
            SourceUnreachable(address=self._address, reason=f"SQLSTATE {sqlstate}")
            if sqlstate
            else self._gone()
        )

    def _gone(self, error: Exception | None = None) -> SourceUnreachable:
        reason = self._reason or phrase("the server ended the stream")
        if error and not self._reason:
            lines = str(error).strip().splitlines()
            reason = lines[0] if lines else phrase("connection lost")
        return SourceUnreachable(address=self._address, reason=reason)


def _refusal(sqlstate: str, slot: str, address: str) -> AgentError:
    if sqlstate == "55006":  # object_in_use
        return SlotBusy(slot=slot, pid="?")
    if sqlstate == "42704":  # undefined_object
        return SlotMissing(slot=slot, position="?")
    if sqlstate == "55000":  # object_not_in_prerequisite_state: invalidated
        return SlotLost(slot=slot, reason="START_REPLICATION: SQLSTATE 55000", position="?")
    reason = f"START_REPLICATION: SQLSTATE {sqlstate}"
    if sqlstate and not is_passing(sqlstate):
        return SourceUnfit(reason=reason)
    return SourceUnreachable(address=address, reason=reason)

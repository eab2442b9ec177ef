"""PostgreSQL connections that wait so long for an answer and no longer: a line can be dead while TCP still stands."""

import os
import select
import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.errors import _WaitTimeout

_STOP_SECONDS = 3.0  # that a process which is asked to stop may still wait for answers
_TICK = 0.25
_open: "weakref.WeakSet[BoundedConnection]" = weakref.WeakSet()
_opening = threading.Lock()


class BoundedConnection(psycopg.Connection[Any]):
    """After `patience` seconds without an answer it closes itself and raises OperationalError."""

    patience: float | None = None

    def wait(self, *arguments: Any, **named: Any) -> Any:
        """See psycopg.Connection.wait."""
        try:
            return super().wait(*arguments, **{"timeout": self.patience} | named)
        except _WaitTimeout:
            self.pgconn.finish()  # else a rollback would wait as long
            raise psycopg.OperationalError(f"no answer for {self.patience:.0f} s") from None


def bounded(patience: float, *arguments: Any, **named: Any) -> BoundedConnection:
    """Connects as psycopg.connect does."""
    connection = BoundedConnection.connect(*arguments, **named)
    connection.patience = patience
    with _opening:
        _open.add(connection)
    return connection


def shut(connection: psycopg.Connection[Any]) -> None:
    """Ends the line, so that whoever waits for an answer meets an error at once. From any thread; never waits."""
    with (
        suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


@contextmanager
def answers_until_stopped(stop_fd: int) -> Iterator[None]:
    """Within it no connection waits for an answer for more than a moment once `stop_fd` is readable: the process shall end in good order."""
    over = threading.Event()
    watch = threading.Thread(
        target=_watch, args=[os.dup(stop_fd), over], name="stop-watch", daemon=True
    )
    watch.start()
    try:
        yield
    finally:
        over.set()


def _watch(stop_fd: int, over: threading.Event) -> None:
    try:
        poll = select.poll()
        poll.register(stop_fd, select.POLLIN)
        while not over.is_set() and not poll.poll(_TICK * 1000):
            pass
    finally:
        os.close(stop_fd)
    wait = _STOP_SECONDS
    while not over.wait(wait):
        wait = _TICK  # again and again: another one may have been opened
        with _opening:
            connections = list(_open)
        for connection in connections:
            shut(connection)

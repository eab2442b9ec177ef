"""Lets a process that is asked to stop do so soon, although it waits for answers on connections."""

import math
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from agent.descriptors import readable

_STOP_SECONDS = 3.0  # that a process which is asked to stop may still wait for answers
_TICK = 0.25
_CONNECT_SECONDS = 5.0  # that a server has to accept a connection


class Line(Protocol):
    """A connection that waits for answers."""

    def shut(self) -> None:
        """Ends the line, so that whoever waits for an answer meets an error at once.

        Called from another thread; never waits and never raises.
        """


_open: "weakref.WeakSet[Line]" = weakref.WeakSet()
_opening = threading.Lock()
_ends_at = math.inf  # when the lines are shut, by time.monotonic(); set by the request to stop
_stop_fd: int | None = None  # readable once the process is asked to stop


def register(line: Line) -> None:
    """Has the line shut when the process is asked to stop; one that nobody holds is forgotten."""
    with _opening:
        _open.add(line)


def seconds_to_connect() -> float:
    """Returns how long a server has to accept a connection, less once a stop is asked for.

    At 0 no connection may be opened any more. One that is being opened has no line yet that could
    be shut.
    """
    return min(_CONNECT_SECONDS, max(0.0, _ends_at - time.monotonic()))


def shut_socket(fileno: int) -> None:
    """Ends the line of a socket, from any thread; whoever waits for its answer meets an error.

    The socket itself stays open, for its owner to close. Raises nothing where it is closed.
    """
    with suppress(OSError), socket.socket(fileno=os.dup(fileno)) as line:
        line.shutdown(socket.SHUT_RDWR)


def wait(seconds: float, *fds: int) -> bool:
    """Waits until a descriptor is readable, and no longer than until the process is to stop.

    Returns whether one of them is. Without descriptors it sleeps.
    """
    stop = () if _stop_fd is None else (_stop_fd,)
    return not readable(seconds, *fds, *stop).isdisjoint(fds)


@contextmanager
def answers_until_stopped(stop_fd: int) -> Iterator[None]:
    """Shuts every registered line a moment after `stop_fd` is readable, as long as it lasts.

    So no connection waits for an answer for more than that moment: the process ends in good order.
    """
    global _ends_at, _stop_fd  # noqa: PLW0603 - the process has one end
    before, _stop_fd = _stop_fd, stop_fd
    over, end = os.pipe()
    watch = threading.Thread(
        target=_watch, args=[os.dup(stop_fd), over], name="stop-watch", daemon=True
    )
    watch.start()
    try:
        yield
    finally:
        os.close(end)
        watch.join()
        _ends_at = math.inf
        _stop_fd = before


def _watch(stop_fd: int, over: int) -> None:
    """Waits for the request to stop, then shuts the lines until the other end of `over` is closed.

    Both descriptors are closed in the end.
    """
    try:
        if over not in readable(None, stop_fd, over):
            _shut_lines(over)
    finally:
        os.close(stop_fd)
        os.close(over)


def _shut_lines(over: int) -> None:
    """Shuts the lines after a moment, again and again: one may have been opened meanwhile."""
    global _ends_at  # noqa: PLW0603 - the process has one end
    _ends_at = time.monotonic() + _STOP_SECONDS
    wait = _STOP_SECONDS
    while not readable(wait, over):
        wait = _TICK
        with _opening:
            lines = list(_open)
        for line in lines:
            line.shut()

"""Lets a process that is asked to stop do so soon, although it waits for answers on connections."""

import os
import select
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_STOP_SECONDS = 3.0  # that a process which is asked to stop may still wait for answers
_TICK = 0.25


class Line(Protocol):
    """A connection that waits for answers."""

    def shut(self) -> None:
        """Ends the line, so that whoever waits for an answer meets an error at once.

        Called from another thread; never waits and never raises.
        """


_open: "weakref.WeakSet[Line]" = weakref.WeakSet()
_opening = threading.Lock()


def register(line: Line) -> None:
    """Has the line shut when the process is asked to stop; one that nobody holds is forgotten."""
    with _opening:
        _open.add(line)


@contextmanager
def answers_until_stopped(stop_fd: int) -> Iterator[None]:
    """Shuts every registered line a moment after `stop_fd` is readable, as long as it lasts.

    So no connection waits for an answer for more than that moment: the process ends in good order.
    """
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
    """Waits for the request to stop, then shuts the lines until `over`."""
    try:
        poll = select.poll()
        poll.register(stop_fd, select.POLLIN)
        while not over.is_set() and not poll.poll(_TICK * 1000):
            pass
    finally:
        os.close(stop_fd)

    wait = _STOP_SECONDS
    while not over.wait(wait):
        # Again and again: another one may have been opened
        wait = _TICK
        with _opening:
            lines = list(_open)
        for line in lines:
            line.shut()

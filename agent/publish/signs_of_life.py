"""Gives signs of life while the publisher waits, and ends its waits after a stop."""

import time

from agent.service.control import Control

_BETWEEN_SECONDS = 0.2
_STOP_SECONDS = 1.0  # a transaction under way may still end so long after the stop


class Stopped(BaseException):
    """The process was asked to stop while something waited; no error handler may swallow it."""


class SignsOfLife:
    """The tick that everything calls which waits or takes long (see `base.Tick`)."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._next_at = 0.0
        self._stop_at = 0.0  # 0: nobody has asked for the stop

    def __call__(self) -> None:
        """Gives a sign of life. Raises Stopped a moment after the process was asked to stop.

        Most calls do nothing. System calls give up the interpreter's lock, and taking it back from
        the sending thread costs up to 5 ms.
        """
        now = time.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + _BETWEEN_SECONDS

        self._control.beat()
        if self._control.stopping():
            self._stop_at = self._stop_at or now + _STOP_SECONDS
            if now >= self._stop_at:
                raise Stopped

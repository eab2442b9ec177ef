"""A request to stop a self-test: what it has made is taken away all the same."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """The test is to stop. No trial takes it for a failure of its own."""


class Interruption:
    """Whether the test was asked to stop.

    A driver may turn what is raised into an error of its own, so that it is remembered here.
    """

    def __init__(self) -> None:
        self.came = False

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True
        raise Interrupted

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raises Interrupted within the context when a signal comes."""
        before = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

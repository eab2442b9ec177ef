"""Waiting for something to become true: the only place in the tests that sleeps."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LONGEST = 0.2  # seconds between two looks at a condition that has not come true for a while

# A machine with other work may need so many times the seconds that a quiet one needs. Patience
# costs nothing while all is well, so it is generous where `on_a_busy_machine` has been called.
SETTING = "SYNC_TEST_PATIENCE"
patience = float(os.environ.get(SETTING, "1"))
PATIENCE = 600.0  # seconds, the same for what waits by other means

# What other work of the machine may add to a promised time, in seconds. It is less than what
# follows from breaking the promise: the front end's silence (30 s) or the server's
# wal_sender_timeout (60 s).
BUSY = 20.0


def on_a_busy_machine() -> None:
    """Sets what keeps tests green beside other work.

    It holds here and in the processes that are started from here.
    """
    global patience  # noqa: PLW0603 - a setting of the process
    patience = 6.0
    os.environ[SETTING] = str(patience)

    # Brokers of tests live for minutes: compiling them for speed costs a third of all they take
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


class Hopeless(Exception):
    """Raised by a condition that can no longer come true, so that the wait ends at once."""


def eventually(
    condition: Callable[[], T],
    timeout: float = 30.0,
    what: str = "the condition",
    interval: float = 0.05,
) -> T:
    """Call `condition` until its value is true and return it; an exception counts as "not yet".

    `timeout` is in seconds of a quiet machine, see `patience`. It is no measure of how fast
    something is.
    """
    timeout *= patience
    deadline = time.monotonic() + timeout
    pause = interval / 8
    while True:
        error: Exception | None = None
        try:
            value = condition()
            if value:
                return value
            last = f"last value: {value!r}"
        except Hopeless:
            raise
        except Exception as caught:  # noqa: BLE001 - whatever it is, it is shown at the deadline
            error, last = caught, f"last error: {type(caught).__name__}: {caught}"
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout:g} s: {what} ({last})") from error
        time.sleep(pause)
        # What comes soon is seen at once, and what takes long is not held up by being looked at
        pause = min(pause * 1.5, max(interval, LONGEST) if interval else 0.0)


def never(
    condition: Callable[[], object],
    during: float,
    what: str = "the condition",
    interval: float = 0.05,
) -> None:
    """Fail as soon as `condition` is true within `during` seconds."""
    deadline = time.monotonic() + during
    while time.monotonic() < deadline:
        assert not condition(), f"happened: {what}"
        time.sleep(interval)

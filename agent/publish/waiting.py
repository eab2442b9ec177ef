"""Runs calls of a client that have no time-out of their own, in a thread, under our deadline."""

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from agent.publish.base import Tick

T = TypeVar("T")
PAUSE = 0.25  # longest time between two ticks


class Expired(Exception):
    """The call had not ended at its deadline.

    It goes on in its thread and nobody will see its end.
    """


class Worker:
    """One daemon thread that does one call at a time.

    After `Expired` the worker is lost and must be closed.
    """

    def __init__(self, tick: Tick) -> None:
        self._tick = tick
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="kafka-call", daemon=True).start()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def call(self, work: Callable[[], T], deadline: float) -> T:
        """Returns the result of `work`, or raises its exception.

        Raises Expired at the deadline, and whatever `tick` raises.
        """
        done = threading.Event()
        results: list[T] = []
        errors: list[BaseException] = []

        def attempt() -> None:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                errors.append(error)
            done.set()

        self._calls.put(attempt)
        while not done.wait(max(0.0, min(PAUSE, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                raise Expired
            self._tick()
        if errors:
            raise errors[0]
        return results[0]

    def close(self) -> None:
        """Ends the thread after its current call."""
        self._calls.put(None)


def bounded(work: Callable[[], T], deadline: float, tick: Tick) -> T:
    """Does one call in a thread of its own."""
    worker = Worker(tick)
    try:
        return worker.call(work, deadline)
    finally:
        worker.close()


def patiently(
    work: Callable[[], T], deadline: float, tick: Tick, passes: Callable[[BaseException], bool]
) -> T:
    """Repeats a call while its error is one that passes by itself.

    At the deadline the error is raised.
    """
    while True:
        try:
            return work()
        except Exception as error:
            if time.monotonic() + PAUSE >= deadline or not passes(error):
                raise
        tick()
        time.sleep(PAUSE)

"""Reports the publisher's numbers to the supervisor's metrics."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from agent.outbox.frames import OutboxEvent
from agent.outbox.reader import Reader
from agent.service.control import Control
from agent.service.metrics import (
    CONNECTED,
    EVENTS,
    LAST_COMMIT,
    OUTBOX_EVENTS,
    OUTBOX_OLDEST,
    PUBLISH_DURATION,
    PUBLISHED_BYTES,
)

BACKLOG_SECONDS = 1.0  # between two readings of the outbox
BACKLOG_IDLE_SECONDS = 9.0  # longer while it does not move
_OP = b'"op":"'
# Bytes at the end of an envelope that hold `op`, after everything that comes from rows
_TAIL = 160


class Gauges:
    """Collects counters of a transaction and sends them once it is visible.

    `tables` are the resources by their topics.
    """

    def __init__(self, tables: Mapping[str, str], control: Control) -> None:
        self._control = control
        self._tables = tables
        self._counted: Counter[tuple[str, bytes]] = Counter()  # by topic and operation
        self._bytes: dict[str, int] = {}  # of keys and values, by topic
        self._backlog_at = 0.0
        self._moved = True  # the outbox may hold something else than when it was read

    def connected(self, value: bool) -> None:
        """Reports whether a producer is open and has claimed the state topic."""
        self._control.beat({f"{CONNECTED}/kafka": float(value)})

    def begin(self) -> None:
        """Begins to count for a transaction."""
        self._counted.clear()
        self._bytes.clear()

    def events(self, events: Sequence[OutboxEvent]) -> None:
        """Counts events that were handed over."""
        self._counted.update([(event.topic, _operation(event.value)) for event in events])
        sizes = self._bytes
        for event in events:
            topic = event.topic
            sizes[topic] = sizes.get(topic, 0) + len(event.key) + len(event.value)

    def visible(self, time_us: int, seconds: float) -> None:
        """Reports a transaction that is visible; its last source commit was at `time_us`."""
        counters: dict[tuple[str, ...], int] = {}
        for (topic, operation), count in self._counted.items():
            table = self._tables.get(topic, topic)
            name = (EVENTS, "published", table, operation.decode("ascii", "replace"))
            counters[name] = counters.get(name, 0) + count
        for topic, size in self._bytes.items():
            table = self._tables.get(topic, topic)
            sizes = (PUBLISHED_BYTES, table)
            counters[sizes] = counters.get(sizes, 0) + size
        self.begin()
        self.moved()

        self._control.observe(PUBLISH_DURATION, seconds)
        self._control.beat({f"{LAST_COMMIT}/published": time_us / 1e6}, counters)

    def moved(self) -> None:
        """Notes that the outbox has got more or less: there is news for `backlog`."""
        self._moved = True

    @property
    def due_at(self) -> float:
        """The time, by time.monotonic(), of the next `backlog` that has news; inf for none."""
        return self._backlog_at if self._moved else math.inf

    def backlog(self, reader: Reader, number: int) -> None:
        """Reports what waits after event `number`, looked up at most once a second.

        It is looked up when the outbox has moved, and else every ten seconds. Raises
        FrontUnreachable.
        """
        now = time.monotonic()
        if now >= min(self.due_at, self._backlog_at + BACKLOG_IDLE_SECONDS):
            self._backlog_at = now + BACKLOG_SECONDS
            self._moved = False
            backlog = reader.backlog(number)
            self._control.beat(
                {OUTBOX_EVENTS: backlog.events, OUTBOX_OLDEST: backlog.oldest_time_us / 1e6}
            )


def _operation(value: bytes) -> bytes:
    """Returns `op` of an event's envelope."""
    at = value.rfind(_OP, max(0, len(value) - _TAIL)) + len(_OP)
    return value[at : at + 1]

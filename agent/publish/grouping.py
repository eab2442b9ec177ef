"""Cuts the outbox into units. Pure.

A unit is a whole source transaction, or a numbered part of one that is too large.
"""

from collections.abc import Iterator
from typing import NamedTuple

from agent.errors import AgentError
from agent.front.base import Batch
from agent.outbox.frames import (
    Frame,
    OutboxBoundary,
    OutboxCommit,
    OutboxEvent,
    OutboxHeartbeat,
    frames,
)

_QUICK = 3  # quick transactions after which the bounds are doubled again


class Pace:
    """The bounds of a Kafka transaction as the line allows them.

    A slow transaction halves them, three quick ones double them. Slow is the caller's judgement;
    quick means a quarter of `limit`: one of twice the size would still keep half of it.
    """

    def __init__(self, events: int, size: int, limit: float) -> None:
        self._most = (events, size)
        self._limit = limit
        self._quick = 0
        self.events = events
        self.bytes = size

    def slow(self) -> None:
        """Notes a transaction that was not through in time."""
        self.events = max(1, self.events // 2)
        self.bytes = max(1, self.bytes // 2)
        self._quick = 0

    def succeeded(self, seconds: float) -> None:
        """Notes a transaction that was through after `seconds`."""
        if seconds > self._limit / 4:
            self._quick = 0
            return
        self._quick += 1
        if self._quick >= _QUICK:
            self._quick = 0
            most_events, most_bytes = self._most
            self.events = min(most_events, self.events * 2)
            self.bytes = min(most_bytes, self.bytes * 2)


class Unit(NamedTuple):
    """What becomes visible at once: a source transaction, a part of one, or a heartbeat.

    A heartbeat has no events.
    """

    events: list[OutboxEvent]
    size: int
    part: int  # 0: the transaction is not split
    last: bool  # its source transaction is complete
    position: int  # of the commit or heartbeat; 0 unless `last`
    time_us: int
    covered: int  # with this unit, every batch up to this number is done
    opening: OutboxBoundary | None = None  # goes before the events: of the transaction's begin
    closing: OutboxBoundary | None = None  # goes behind them: of its end


class Grouper:
    """Goes through the batches in order and cuts them into units.

    The first batch holds event `number` + 1 or begins after `number`. Events up to `number` are
    passed over, also in the middle of a split transaction: `part` says which part ended at
    `number` (0: none).

    P4: a transaction within the bounds of `pace` is one unit; of a larger one each unit is a part,
    numbered from 1. A transaction that has begun to be split goes on in parts, whatever the bounds
    are by then. At most one unit is held.

    Raises AgentError where the outbox is not the gapless sequence it must be.
    """

    def __init__(self, number: int, part: int, position: int, pace: Pace) -> None:
        self._number = number
        self._part = part
        self._position = position
        self._pace = pace
        self._resumed = True  # until the first event
        self._events: list[OutboxEvent] = []
        self._size = 0
        self._opening: OutboxBoundary | None = None  # of the transaction at hand
        self._closing: OutboxBoundary | None = None

    def units(self, batch: Batch) -> list[Unit]:
        """Returns the units that this batch completes."""
        units = []
        for frame, covered in _covering(batch):
            unit = None
            if isinstance(frame, OutboxEvent):
                if frame.number > self._number:
                    unit = self._event(frame, batch.batch - 1)
            elif isinstance(frame, OutboxCommit):
                unit = self._commit(frame, covered)
                self._opening = self._closing = None
            elif isinstance(frame, OutboxHeartbeat):
                unit = self._sign(frame.position, frame.time_us, covered)
            elif isinstance(frame, OutboxBoundary):
                self._boundary(frame)
            if unit is not None:
                units.append(unit)
        return units

    def _boundary(self, frame: OutboxBoundary) -> None:
        if frame.opens:
            self._opening, self._closing = frame, None
        else:
            self._closing = frame

    def _event(self, event: OutboxEvent, covered: int) -> Unit | None:
        self._check(event)
        size = event.size
        unit = None
        full = len(self._events) >= self._pace.events
        if self._events and (full or self._size + size > self._pace.bytes):
            self._part += 1
            unit = self._cut(False, 0, 0, covered)
        self._number = event.number
        self._events.append(event)
        self._size += size
        return unit

    def _check(self, event: OutboxEvent) -> None:
        if event.number != self._number + 1:
            raise AgentError(detail=f"the outbox goes from event {self._number} to {event.number}")
        if self._resumed and (event.ordinal == 0) != (self._part == 0):
            raise AgentError(
                detail=f"event {event.number} does not go on where part {self._part} ended"
            )
        self._resumed = False

    def _commit(self, frame: OutboxCommit, covered: int) -> Unit | None:
        if not self._events:  # its events were published before, or it had none
            return self._sign(frame.position, frame.time_us, covered)
        if self._part:
            self._part += 1
        unit = self._cut(True, frame.position, frame.time_us, covered)
        self._position = frame.position
        self._part = 0
        return unit

    def _sign(self, position: int, time_us: int, covered: int) -> Unit | None:
        if position <= self._position:
            return None
        self._position = position
        return Unit([], 0, 0, True, position, time_us, covered)

    def _cut(self, last: bool, position: int, time_us: int, covered: int) -> Unit:
        opening = self._opening if self._events[0].ordinal == 0 else None
        unit = Unit(
            self._events,
            self._size,
            self._part,
            last,
            position,
            time_us,
            covered,
            opening,
            self._closing,
        )
        self._events, self._size = [], 0
        return unit


def _covering(batch: Batch) -> Iterator[tuple[Frame, int]]:
    """Each frame with the batch that is done with it.

    That is this batch with its last frame, and the one before until then.
    """
    before = batch.batch - 1
    found = list(frames(batch))
    for frame in found[:-1]:
        yield frame, before
    for frame in found[-1:]:
        yield frame, batch.batch

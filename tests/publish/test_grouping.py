"""Tests units, from any place on.

They are whole source transactions within the bounds, and numbered parts beyond them.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.front.base import Batch
from agent.outbox.frames import BatchWriter, OutboxBoundary
from agent.publish.grouping import Grouper, Pace, Unit


def outbox(
    transactions: list[int], take_every: int = 1000, heartbeats: bool = False, bounded: bool = False
) -> list[Batch]:
    """Returns batches with transactions of so many events each.

    A batch is taken after each `take_every` frames. `bounded`: every other transaction has records
    of begin and end.
    """
    writer, batches, frames = BatchWriter(0, 0), [], 0

    def framed() -> None:
        nonlocal frames
        frames += 1
        if frames % take_every == 0 and (batch := writer.take()):
            batches.append(batch)

    for index, count in enumerate(transactions):
        lsn = 100 * (index + 1)
        writer.begin(index, lsn, lsn)
        told = bounded and count and index % 2 == 0
        for ordinal in range(count):
            if told and ordinal == 0:
                writer.boundary(True, b"%d" % lsn, b"BEGIN")
            writer.event("t", 1, writer.number + 1, b"k", b"v" * 9)
            framed()
        if told:
            writer.boundary(False, b"%d" % lsn, b"END")
        writer.commit(lsn + 50)
        framed()
        if heartbeats:
            writer.heartbeat(lsn + 60, lsn)
            framed()
    if batch := writer.take():
        batches.append(batch)
    return batches


def units(batches: list[Batch], grouper: Grouper) -> list[Unit]:
    """Everything the grouper says."""
    return [unit for batch in batches for unit in grouper.units(batch)]


def shape(found: list[Unit]) -> list[tuple[list[int], int, bool]]:
    """Numbers, part and last of each unit."""
    return [([event.number for event in unit.events], unit.part, unit.last) for unit in found]


def pace(events: int = 3, size: int = 1_000_000) -> Pace:
    """Bounds that stay."""
    return Pace(events, size, 5.0)


def test_whole_transactions_and_parts() -> None:
    """Three fit the bound, seven do not."""
    found = units(outbox([3, 7, 1]), Grouper(0, 0, 0, pace()))
    assert shape(found) == [
        ([1, 2, 3], 0, True),
        ([4, 5, 6], 1, False),
        ([7, 8, 9], 2, False),
        ([10], 3, True),
        ([11], 0, True),
    ]
    assert [unit.position for unit in found] == [150, 0, 0, 250, 350]


def test_the_byte_bound_splits_too_and_one_event_always_passes() -> None:
    """10 bytes an event."""
    found = units(outbox([3]), Grouper(0, 0, 0, pace(100, 20)))
    assert shape(found) == [([1, 2], 1, False), ([3], 2, True)]
    assert shape(units(outbox([2]), Grouper(0, 0, 0, pace(100, 1)))) == [
        ([1], 1, False),
        ([2], 2, True),
    ]


def test_resumed_within_a_split_transaction() -> None:
    """The part after the one that was published; the rest stays split although it would fit now."""
    found = units(outbox([3, 7, 1]), Grouper(6, 1, 150, pace(10)))
    assert shape(found) == [([7, 8, 9, 10], 2, True), ([11], 0, True)]


def test_heartbeats_and_empty_transactions_carry_the_position() -> None:
    """Units without events, only where they are news."""
    found = units(outbox([1, 0], heartbeats=True), Grouper(0, 0, 0, pace()))
    assert [(len(unit.events), unit.position) for unit in found] == [
        (1, 150),
        (0, 160),
        (0, 250),
        (0, 260),
    ]
    again = units(outbox([1, 0], heartbeats=True), Grouper(1, 0, 160, pace()))
    assert [unit.position for unit in again] == [250, 260]


def test_a_gap_halts() -> None:
    """Nothing is skipped silently."""
    batches = outbox([1, 1, 1], take_every=2)
    with pytest.raises(AgentError, match="from event 1 to 3"):
        units([batches[0], batches[2]], Grouper(0, 0, 0, pace()))


def test_a_record_that_is_wrong_about_the_split_halts() -> None:
    """Event 2 is in the middle of a transaction, part 0 says it is not."""
    with pytest.raises(AgentError, match="does not go on"):
        units(outbox([3]), Grouper(1, 0, 0, pace()))


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=12),
    st.integers(1, 7),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 40),
    st.booleans(),
    st.booleans(),
)
def test_any_cut_any_resume(
    transactions: list[int],
    take_every: int,
    first: int,
    second: int,
    crash: int,
    heartbeats: bool,
    bounded: bool,
) -> None:
    """Published up to any unit, then resumed with other bounds: every event comes once, in order.

    A transaction is whole where it fits; its parts are numbered from 1, with one last.

    A record of the begin goes with the first part, one of the end with the last, once each.
    """
    batches = outbox(transactions, take_every, heartbeats, bounded)
    before = units(batches, Grouper(0, 0, 0, pace(first)))[:crash]
    number = max((unit.events[-1].number for unit in before if unit.events), default=0)
    withevents = [unit for unit in before if unit.events]
    part = 0 if not withevents or withevents[-1].last else withevents[-1].part
    position = max((unit.position for unit in before), default=0)
    after = (
        batches[[batch.last_number > number for batch in batches].index(True) :]
        if batches and batches[-1].last_number > number
        else []
    )
    found = before + units(after, Grouper(number, part, position, pace(second)))
    assert [event.number for unit in found for event in unit.events] == list(
        range(1, sum(transactions) + 1)
    )
    whole: dict[int, list[Unit]] = {}
    for unit in found:
        if unit.events:
            assert len({event.commit_position for event in unit.events}) == 1
            whole.setdefault(unit.events[0].commit_position, []).append(unit)
    for parts in whole.values():
        count = sum(len(unit.events) for unit in parts)
        assert [unit.part for unit in parts] == (
            [0] if len(parts) == 1 else list(range(1, len(parts) + 1))
        )
        assert [unit.last for unit in parts] == [False] * (len(parts) - 1) + [True]
        assert len(parts) == 1 or count > min(first, second)
        lsn = parts[0].events[0].commit_position
        key, told = b"%d" % lsn, bounded and lsn // 100 % 2 == 1
        opening, closing = OutboxBoundary(True, key, b"BEGIN"), OutboxBoundary(False, key, b"END")
        assert [unit.opening for unit in parts] == ([opening] if told else [None]) + [None] * (
            len(parts) - 1
        )
        assert [unit.closing for unit in parts] == [None] * (len(parts) - 1) + (
            [closing] if told else [None]
        )
    assert all(unit.opening is unit.closing is None for unit in found if not unit.events)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 7), st.integers(1, 6))
def test_a_covered_batch_is_done(transactions: list[int], take_every: int, bound: int) -> None:
    """After a unit, every event of the batches it covers is in it or before it.

    The next event is not.
    """
    batches = outbox(transactions, take_every)
    number = 0
    for unit in units(batches, Grouper(0, 0, 0, pace(bound))):
        number = unit.events[-1].number if unit.events else number
        assert all(batch.last_number <= number for batch in batches if batch.batch <= unit.covered)
    assert unit.covered == batches[-1].batch


def test_pace_halves_and_grows() -> None:
    """Down to one event; three quick ones double it; never above the bounds."""
    pace = Pace(100, 1000, 5.0)
    pace.slow()
    assert (pace.events, pace.bytes) == (50, 500)
    for _ in range(20):
        pace.slow()
    assert (pace.events, pace.bytes) == (1, 1)
    for seconds in (0.1, 0.1, 2.0, 0.1, 0.1):
        pace.succeeded(seconds)
    assert pace.events == 1  # never three in a row
    pace.succeeded(0.1)
    assert (pace.events, pace.bytes) == (2, 2)
    for _ in range(60):
        pace.succeeded(0.1)
    assert (pace.events, pace.bytes) == (100, 1000)

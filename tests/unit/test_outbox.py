"""The outbox: what is framed comes back, numbers and ids the same wherever batches are cut."""

from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.front.base import Batch
from agent.outbox import frames as outbox
from agent.outbox.frames import (
    BatchWriter,
    Frame,
    OutboxBegin,
    OutboxCommit,
    OutboxEvent,
    OutboxHeartbeat,
    event_id,
    frames,
    unpacked,
)


class Event(NamedTuple):
    """What the applier gives for one event."""

    topic: str
    generation: int
    key: bytes
    value: bytes
    tombstone: bool
    old_key: bytes
    new_key: bytes


class Transaction(NamedTuple):
    """A source transaction and its events."""

    transaction: int
    commit_position: int
    time_us: int
    events: tuple[Event, ...]


class Beat(NamedTuple):
    """A heartbeat."""

    position: int
    time_us: int


positions = st.integers(1, 2**62)
times = st.integers(-(2**60), 2**60)
other_keys = st.sampled_from([(b"", b""), (b'{"id":1}', b""), (b"", b'{"id":2}')])
events = st.builds(
    lambda topic, generation, key, value, tombstone, others: Event(
        topic, generation, key, value, tombstone, *others
    ),
    st.sampled_from(["unit.person", "unit.订单", "t"]),
    st.sampled_from([1, 2, 2**32 - 1]),
    st.binary(max_size=20),
    st.binary(max_size=60),
    st.booleans(),
    other_keys,
)
transactions = st.builds(
    Transaction,
    st.integers(1, 2**32 - 1),
    positions,
    times,
    st.lists(events, max_size=8).map(tuple),
)
histories = st.lists(transactions | st.builds(Beat, positions, times), max_size=8)


def written(
    history: Sequence[Transaction | Beat],
    chunk: int,
    number: int = 0,
    batch: int = 0,
    cut: bool = False,
) -> list[Batch]:
    """Frames a history as the applier does.

    A batch is taken when it is full, and (`cut`) after every call.
    """
    writer, batches = BatchWriter(number, batch), list[Batch | None]()

    def take_if_full() -> None:
        if cut or writer.full:
            batches.append(writer.take())

    with patch.object(outbox, "CHUNK", chunk):
        for entry in history:
            if isinstance(entry, Beat):
                writer.heartbeat(*entry)
            else:
                writer.begin(entry.transaction, entry.commit_position, entry.time_us)
                take_if_full()
                for seq, event in enumerate(entry.events, 1):
                    others = {
                        "tombstone": event.tombstone,
                        "old_key": event.old_key,
                        "new_key": event.new_key,
                    }
                    writer.event(
                        event.topic,
                        event.generation,
                        seq,
                        event.key,
                        event.value,
                        **others,  # type: ignore[arg-type]
                    )
                    take_if_full()
                writer.commit(entry.commit_position + 48)
            take_if_full()
    batches.append(writer.take())
    assert writer.take() is None
    return [batch for batch in batches if batch is not None]


def expected(history: Sequence[Transaction | Beat], number: int = 0) -> list[Frame]:
    """Returns the frames of a history that was never cut."""
    result: list[Frame] = []
    for entry in history:
        if isinstance(entry, Beat):
            result.append(OutboxHeartbeat(*entry))
            continue
        result.append(OutboxBegin(entry.transaction, entry.commit_position, entry.time_us, 0))
        for ordinal, e in enumerate(entry.events):
            number += 1
            header = (
                ("__debezium.oldkey", e.old_key)
                if e.old_key
                else ("__debezium.newkey", e.new_key)
                if e.new_key
                else None
            )
            place = ordinal + 1, entry.commit_position, entry.time_us, ordinal
            result.append(
                OutboxEvent(
                    number, e.topic, e.generation, *place, e.key, e.value, e.tombstone, header
                )
            )
        result.append(OutboxCommit(entry.commit_position + 48, len(entry.events), entry.time_us))
    return result


def read(batches: Sequence[Batch]) -> list[Frame]:
    """Returns all frames, without the BEGINs that only say where a batch goes on."""
    result: list[Frame] = []
    for batch in batches:
        for place, frame in enumerate(frames(batch)):
            goes_on = (
                place == 0
                and isinstance(frame, OutboxBegin)
                and bool(result)
                and not isinstance(result[-1], OutboxCommit | OutboxHeartbeat)
            )
            if not goes_on:
                result.append(frame)
    return result


@given(histories, st.integers(1, 300), st.integers(0, 2**60), st.booleans())
def test_every_frame_comes_back_wherever_batches_are_cut(
    history: list[Transaction | Beat], chunk: int, number: int, cut: bool
) -> None:
    """Events, order, ordinals, numbers and ids do not depend on the cuts."""
    assert read(written(history, chunk, number, cut=cut)) == expected(history, number)


@given(histories, st.integers(1, 300), st.integers(0, 2**60), st.integers(0, 2**60))
def test_batches_and_numbers_have_no_gap(
    history: list[Transaction | Beat], chunk: int, number: int, batch: int
) -> None:
    """Batches count on by one.

    Each begins at the number after the one before, and holds exactly the numbers it names.
    """
    last = number
    for place, one in enumerate(written(history, chunk, number, batch), 1):
        assert one.batch == batch + place
        assert one.first_number == last + 1
        held = [frame.number for frame in frames(one) if isinstance(frame, OutboxEvent)]
        assert held == list(range(one.first_number, one.last_number + 1))
        last = one.last_number
    assert last - number == sum(
        len(entry.events) for entry in history if isinstance(entry, Transaction)
    )


@given(histories, st.integers(1, 300))
def test_each_batch_can_be_read_by_itself(history: list[Transaction | Beat], chunk: int) -> None:
    """A batch that begins inside a transaction repeats where it goes on.

    So every event knows its commit and ordinal.
    """
    whole = {frame.number: frame for frame in expected(history) if isinstance(frame, OutboxEvent)}
    for batch in reversed(written(history, chunk)):
        for frame in frames(batch):
            if isinstance(frame, OutboxEvent):
                assert frame == whole[frame.number]


def test_a_heartbeat_is_a_batch_without_events() -> None:
    """It passes the outbox alone: last number before first."""
    (batch,) = written([Beat(5, 6)], 100, number=7, batch=3)
    assert (batch.batch, batch.first_number, batch.last_number) == (4, 8, 7)
    assert list(frames(batch)) == [OutboxHeartbeat(5, 6)]


def test_nothing_framed_is_no_batch() -> None:
    """`take` gives None for nothing, and for a BEGIN alone, which is not lost by it."""
    writer = BatchWriter(0, 0)
    assert writer.take() is None
    writer.begin(1, 2, 3)
    assert writer.take() is None
    writer.commit(4)
    taken = writer.take()
    assert taken is not None
    assert taken.batch == 1
    assert list(frames(taken)) == [OutboxBegin(1, 2, 3, 0), OutboxCommit(4, 0, 3)]
    assert writer.take() is None


def test_a_batch_is_full_at_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """`full` says when to take, so that no stored part is much larger than CHUNK."""
    monkeypatch.setattr(outbox, "CHUNK", 200)
    writer = BatchWriter(0, 0)
    writer.begin(1, 2, 3)
    full = [writer.full]
    writer.event("t", 1, 1, b"k", b"v" * 200)
    full.append(writer.full)
    assert writer.take() is not None
    full.append(writer.full)
    assert full == [False, True, False]


def test_the_size_of_an_event_is_its_key_and_value() -> None:
    """What bounds of bytes count."""
    (batch,) = written(
        [Transaction(1, 2, 3, (Event("t", 1, b"key", b"value", True, b"", b""),))], 1000
    )
    assert [frame.size for frame in frames(batch) if isinstance(frame, OutboxEvent)] == [8]


def test_an_unknown_frame_is_an_error() -> None:
    """A damaged batch is never read past."""
    with pytest.raises(ValueError, match="batch 9: unknown frame at byte 0"):
        list(frames(Batch(9, 1, 0, b"?")))


def test_event_ids_never_change() -> None:
    """32 hex digits, fixed for ever: a replay by any later version gives the same."""
    time_us = 1_780_000_000_123_456
    plain = b"3f1c\x00" + b"24023128" + b"\x00" + b"1780000000123456" + b"\x00" + b"0"
    assert event_id("3f1c", 24023128, time_us, 0) == blake2b(plain, digest_size=16).hexdigest()
    assert event_id("3f1c", 0x16B374D848, time_us, 7) == "44da398f10c666746ea29d056444c6d5"
    assert (
        OutboxEvent(9, "t", 1, 4, 0x16B374D848, time_us, 7, b"k", b"v", False, None).id("3f1c")
        == "44da398f10c666746ea29d056444c6d5"
    )
    kinds = {
        event_id(source, lsn, time, ordinal)
        for source in ("1", "11")
        for lsn in (1, 11)
        for time in (1, 11)
        for ordinal in (1, 11)
    }
    assert len(kinds) == 16


def test_a_damaged_batch_never_gives_half_an_event() -> None:
    """Cut anywhere, whole frames come, then ValueError, unless the cut lies between two frames."""
    writer = BatchWriter(0, 0)
    writer.begin(1, 2, 3)
    writer.event("p.t", 1, 1, b"key", b"value", tombstone=False, new_key=b"other")
    writer.commit(4)
    batch = writer.take()
    assert batch is not None
    whole = list(frames(batch))
    for cut in range(len(batch.payload)):
        found: list[Frame] = []
        with suppress(ValueError):
            for frame in frames(batch._replace(payload=batch.payload[:cut])):
                found.append(frame)  # noqa: PERF402 - those before the error count
        assert found == whole[: len(found)]
    with pytest.raises(ValueError, match="decompressed"):
        unpacked(b"\x28\xb5\x2f\xfdnonsense")

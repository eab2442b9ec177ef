"""Our batches against those of kafka-python, and what a reader finds in them."""

from hypothesis import given
from hypothesis import strategies as st
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from agent.publish.base import Headers
from agent.publish.record_batch import RecordBatch, _builder, varint

SIZES = st.sampled_from([0, 1, 63, 64, 127, 128, 8191, 8192, 16383, 16384, 70000])
BYTES = st.one_of(st.binary(max_size=40), SIZES.map(bytes))
HEADERS = st.lists(st.tuples(st.text(max_size=12), BYTES), max_size=6)
RECORDS = st.lists(st.tuples(BYTES, st.none() | BYTES, HEADERS), min_size=1, max_size=30)
WHOLE = 1 << 30  # bytes of a batch that holds them all
CONFIG = {"compression_attrs": 0, "batch_size": WHOLE}

Record = tuple[bytes, bytes | None, Headers]


def ours(records: list[Record]) -> RecordBatch:
    """The records in a batch of ours."""
    batch = RecordBatch()
    for key, value, headers in records:
        batch.add(key, value, headers, len(key))
    return batch


def closed(builder: MemoryRecordsBuilder) -> bytes:
    """The batch as it is sent, within a transaction."""
    builder.set_producer_state(7, 1, 3, True)
    builder.close()
    return bytes(builder.buffer())


@given(RECORDS)
def test_the_bytes_are_those_of_the_client(records: list[Record]) -> None:
    """The client's own builder makes the same batch of the same records."""
    batch = ours(records)
    theirs = MemoryRecordsBuilder(2, 0, WHOLE)
    for key, value, headers in records:
        assert theirs.append(batch.time_ms, key, value, headers)
    assert closed(_builder(CONFIG, batch)) == closed(theirs)


@given(RECORDS)
def test_a_reader_finds_every_record(records: list[Record]) -> None:
    """Keys, values, headers and order come back, also out of a compressed batch."""
    for compression in (0, 4):
        batch = ours(records)
        sent = closed(_builder(CONFIG | {"compression_attrs": compression}, batch))
        (read,) = MemoryRecords(sent)
        found = [(record.key, record.value, record.headers) for record in read]
        assert found == records
        assert batch.count == len(records)


def test_many_records_count_on() -> None:
    """The numbers within a batch go beyond those that are looked up."""
    batch = RecordBatch()
    for number in range(20_000):
        batch.add(b"%d" % number, b"", [], 1)
    (read,) = MemoryRecords(closed(_builder(CONFIG, batch)))
    assert [record.offset for record in read] == list(range(20_000))


@given(st.integers(-(2**62), 2**62))
def test_a_number_comes_back(number: int) -> None:
    """Zigzag and seven bits a byte, as the protocol has it."""
    shift = rest = 0
    for byte in varint(number):
        rest |= (byte & 0x7F) << shift
        shift += 7
    assert (rest >> 1) ^ -(rest & 1) == number

"""The partitioner agrees with the Java client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as reference

from agent.publish.partition import murmur2, partition


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # org.apache.kafka.common.utils.UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_of_the_java_client(text: bytes, expected: int) -> None:
    """Java's signed result, as an unsigned number."""
    assert murmur2(text) == expected & 0xFFFFFFFF


def test_partition_is_positive_and_within_the_count() -> None:
    """toPositive masks the sign bit, it does not take the absolute value."""
    assert partition(b"21", 1000) == (-973932308 & 0x7FFFFFFF) % 1000
    assert {partition(b"%d" % number, 7) for number in range(200)} == set(range(7))
    assert partition(b"", 3) in range(3)


@given(st.binary(max_size=300))
def test_murmur2_of_kafka_python(data: bytes) -> None:
    """The same for keys of every length."""
    assert murmur2(data) == reference(data) & 0xFFFFFFFF

"""The state record is read strictly."""

from typing import Any

import orjson
import pytest

from agent.publish.state import InvalidState, StateRecord, TopicState, loads

RECORD = StateRecord(
    "uuid",
    3,
    "nonce",
    42,
    "ab" * 16,
    "16/B374D848",
    1_700_000_000_000_000,
    2,
    {"p.orders": TopicState("id", 1, 3, {0: 7, 1: 0, 2: 5})},
)


def test_written_and_read() -> None:
    """A record comes back as it was."""
    assert loads(RECORD.dumps()) == RECORD
    assert RECORD.reached == 0x16_B374D848
    empty = RECORD._replace(number=0, event="", position="", part=0, topics={})
    assert loads(empty.dumps()) == empty and empty.reached == 0


def changed(**fields: Any) -> bytes:
    """The record's JSON with other fields; a value of None leaves the field out."""
    data = orjson.loads(RECORD.dumps()) | fields
    return orjson.dumps({name: value for name, value in data.items() if value is not None})


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (changed(number=None), "number"),
        (changed(later=1), "later"),
        (changed(number="42"), "record.number"),
        (changed(number=True), "record.number"),
        (changed(epoch=-1), "record.epoch"),
        (changed(position="somewhere"), "position"),
        (changed(position="0/1\n"), "position"),
        (changed(topics=[]), "record.topics"),
        (changed(topics={"t": 1}), "topics.t"),
        (changed(topics={"t": {"id": "i", "generation": 1, "partitions": 1}}), "offsets"),
        (
            changed(
                topics={"t": {"id": "i", "generation": 1, "partitions": 1, "offsets": {"x": 1}}}
            ),
            "topics.t.offsets",
        ),
        (
            changed(
                topics={
                    "t": {"id": "i", "generation": 1, "partitions": 1, "offsets": {"8" * 50: 1}}
                }
            ),
            "topics.t.offsets",
        ),
        (
            changed(
                topics={"t": {"id": "i", "generation": 1, "partitions": 1, "offsets": {"٣": 1}}}
            ),
            "topics.t.offsets",
        ),
        (
            changed(
                topics={"t": {"id": "i", "generation": 1, "partitions": 1, "offsets": {"0": -1}}}
            ),
            "topics.t.offsets",
        ),
    ],
)
def test_anything_else_is_refused_by_name(value: bytes, named: str) -> None:
    """Unknown, missing and mistyped fields are named."""
    with pytest.raises(InvalidState, match=named):
        loads(value)

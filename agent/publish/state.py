"""The state record: how far this agent has published, as of the last visible Kafka transaction."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from agent.connectors.position import position_number
from agent.errors import NewerVersion
from agent.messages import mark, phrase

VERSION = 2  # of the record
FIRST = 1  # of records without a number, those of 0.1.0
_POSITION = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")
_PARTITION = re.compile(r"0|[1-9][0-9]{0,9}")


class InvalidState(ValueError):
    """The record is not one this version understands; the text names the field."""


class TopicState(NamedTuple):
    """A topic as it was published to."""

    id: str
    generation: int
    partitions: int
    offsets: dict[int, int]  # partition -> last known end
    # Why its events up to this generation are passed over: code, values, and from which number on;
    # empty: they are published
    lost: Mapping[str, Any] = {}

    def passes_over(self, generation: int) -> bool:
        """Whether events of a generation go nowhere."""
        return bool(self.lost) and generation <= self.generation


class StateRecord(NamedTuple):
    """One record per Kafka transaction, its last; the key is the agent's uuid.

    See docs/decisions/crash-only-producer.md.
    """

    agent: str
    epoch: int
    nonce: str
    number: int  # of the last event published; 0 before the first
    event: str  # its id; '' before the first
    # Of the last source commit or heartbeat published, as the source writes it; '' before the first
    position: str
    time_us: int  # its time
    # Of the split source transaction the last event belongs to; 0: that transaction is complete
    part: int
    topics: dict[str, TopicState]

    @property
    def reached(self) -> int:
        """The position as a number; 0 before the first."""
        return position_number(self.position) if self.position else 0

    def dumps(self, version: int = VERSION) -> bytes:
        """The record's value, in the form of this version or of 0.1.0, which is `FIRST`."""
        topics = {name: topic._asdict() for name, topic in self.topics.items()}
        record = {**self._asdict(), "topics": topics}
        if version > FIRST:
            record["version"] = version
        return orjson.dumps(record, option=orjson.OPT_NON_STR_KEYS)


def loads(value: bytes) -> StateRecord:
    """Reads a record of this version or an older one strictly.

    Raises NewerVersion, and InvalidState for anything unknown, missing or of a wrong type.
    """
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise InvalidState("it is not JSON") from None
    _check_version(data)
    fields = _fields("record", data, _RECORD)
    topics = {}
    for name, topic in fields.pop("topics").items():
        topics[name] = _topic(name, topic)

    if fields["position"] and not _POSITION.fullmatch(fields["position"]):
        raise InvalidState("record.position is not a position")
    return StateRecord(**fields, topics=topics)


def _check_version(data: object) -> None:
    """Takes the version out of a record. Raises NewerVersion, InvalidState."""
    if not isinstance(data, dict):
        return
    version = data.pop("version", FIRST)
    if type(version) is not int or version < 1:
        raise InvalidState("record.version is not a number from 1")
    if version > VERSION:
        what = phrase(mark("The state record in Kafka"))
        raise NewerVersion(what=what, found=version, known=VERSION)


_RECORD: dict[str, type] = {
    "agent": str,
    "epoch": int,
    "nonce": str,
    "number": int,
    "event": str,
    "position": str,
    "time_us": int,
    "part": int,
    "topics": dict,
}
_TOPIC: dict[str, type] = {
    "id": str,
    "generation": int,
    "partitions": int,
    "offsets": dict,
    "lost": dict,
}


def _fields(what: str, data: object, types: dict[str, type]) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidState(f"{what} is not an object")
    if data.keys() != types.keys():
        names = sorted(data.keys() ^ types.keys())
        raise InvalidState(f"{what} has missing or unknown fields: {', '.join(names)}")
    for name, kind in types.items():
        value = data[name]
        if kind is int:
            if not _is_number(value):
                raise InvalidState(f"{what}.{name} is not a number from 0")
        elif type(value) is not kind:
            raise InvalidState(f"{what}.{name} is not of type {kind.__name__}")
    return data


def _is_number(value: object) -> bool:
    """Returns whether a value is a whole number from 0."""
    return type(value) is int and value >= 0


def _topic(name: str, data: object) -> TopicState:
    if isinstance(data, dict):
        # Records before 0.2 have no `lost`
        data = {"lost": {}} | data
    fields = _fields(f"topics.{name}", data, _TOPIC)

    offsets = {}
    for partition, offset in fields.pop("offsets").items():
        if not _PARTITION.fullmatch(partition) or not _is_number(offset):
            raise InvalidState(f"topics.{name}.offsets is not a table of partitions and offsets")
        offsets[int(partition)] = offset
    return TopicState(**fields, offsets=offsets)

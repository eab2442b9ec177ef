"""Turns events into Kafka records, and units into the state record that follows them. Pure; header rules: docs/events.md."""

from collections.abc import Mapping
from typing import NamedTuple

from agent.errors import AgentError
from agent.events.changes import lsn_text
from agent.front.outbox import OutboxEvent, event_id
from agent.publish.base import Headers
from agent.publish.grouping import Unit
from agent.publish.partition import partition
from agent.publish.state import StateRecord, TopicState


class KafkaRecord(NamedTuple):
    """One record as `Producer.send` takes it."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: Headers


class Records:
    """The records of one recovery's epoch and partition counts."""

    def __init__(self, source_id: str, epoch: int, topics: Mapping[str, TopicState]) -> None:
        self._source_id = source_id
        self._epoch = ("sync.epoch", b"%d" % epoch)
        self._counts = {name: topic.partitions for name, topic in topics.items()}

    def of(self, event: OutboxEvent, unit: Unit) -> list[KafkaRecord]:
        """The event, and after a delete its tombstone in the same partition. Raises AgentError for a topic that is not configured."""
        count = self._counts.get(event.topic)
        if count is None:
            raise AgentError(detail=f"the outbox holds events of topic {event.topic}, which no [[resource]] has")
        place = partition(event.key, count)
        identity = event_id(self._source_id, event.commit_lsn, event.ordinal).encode()
        headers = [("sync.id", identity), ("sync.seq", b"%d" % event.seq), ("sync.generation", b"%d" % event.generation), self._epoch]
        if unit.part:
            headers += [("sync.part", b"%d" % unit.part), ("sync.last", b"1" if unit.last else b"0")]
        if event.header:
            headers.append(event.header)
        record = KafkaRecord(event.topic, place, event.key, event.value, headers)
        if not event.tombstone:
            return [record]
        return [record, KafkaRecord(event.topic, place, event.key, None, [("sync.of", identity)])]

    def after(self, state: StateRecord, unit: Unit) -> StateRecord:
        """The state once `unit` is published."""
        if unit.events:
            event = unit.events[-1]
            identity = event_id(self._source_id, event.commit_lsn, event.ordinal)
            state = state._replace(number=event.number, event=identity, part=0 if unit.last else unit.part)
        return state._replace(position=lsn_text(unit.position), time_us=unit.time_us) if unit.last else state


def with_offsets(state: StateRecord, offsets: Mapping[tuple[str, int], int]) -> StateRecord:
    """The state with the ends known by now."""
    topics = {
        name: topic._replace(offsets={number: max(end, offsets.get((name, number), 0)) for number, end in topic.offsets.items()})
        for name, topic in state.topics.items()
    }
    return state._replace(topics=topics)

"""Turns events into Kafka records, and units into the state record that follows them. Pure; header rules: docs/events.md."""

from collections.abc import Mapping
from typing import NamedTuple

from agent.connectors.position import position_text
from agent.outbox.frames import OutboxBoundary, OutboxEvent
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

    def __init__(
        self,
        source_id: str,
        epoch: int,
        topics: Mapping[str, TopicState],
        transaction_topic: str | None = None,
    ) -> None:
        self._source_id = source_id
        self._epoch = ("sync.epoch", b"%d" % epoch)
        self._transaction_topic = transaction_topic
        self._topics = dict(topics)
        self._lost = {name for name, topic in topics.items() if topic.lost}

    def unknown(self, unit: Unit) -> dict[str, int]:
        """Topics of the unit that must be looked at before it is published, with their generation: not met before, or begun anew after they were lost."""
        found = {event.topic: event.generation for event in unit.events}
        return {
            name: generation
            for name, generation in found.items()
            if name not in self._topics or self._begins(name, generation)
        }

    def _begins(self, name: str, generation: int) -> bool:
        return name in self._lost and not self._topics[name].passes_over(generation)

    def learn(self, topics: Mapping[str, TopicState]) -> None:
        """What was found out about topics."""
        self._topics.update(topics)
        self._lost = {name for name, topic in self._topics.items() if topic.lost}

    def of(self, event: OutboxEvent, unit: Unit) -> list[KafkaRecord]:
        """The event, and after a delete its tombstone in the same partition; nothing where the topic is lost. Every topic is known (`unknown`)."""
        if self._lost and event.topic in self._lost:
            return []
        count = self._topics[event.topic].partitions
        place = partition(event.key, count)
        identity = event.id(self._source_id).encode()
        headers = [
            ("sync.id", identity),
            ("sync.seq", b"%d" % event.seq),
            ("sync.generation", b"%d" % event.generation),
            self._epoch,
        ]
        if unit.part:
            headers += [
                ("sync.part", b"%d" % unit.part),
                ("sync.last", b"1" if unit.last else b"0"),
            ]
        if event.header:
            headers.append(event.header)
        record = KafkaRecord(event.topic, place, event.key, event.value, headers)
        if not event.tombstone:
            return [record]
        return [record, KafkaRecord(event.topic, place, event.key, None, [("sync.of", identity)])]

    def bounding(self, boundary: OutboxBoundary | None) -> list[KafkaRecord]:
        """The record of a transaction's begin or end, if there is one and it is still wanted; their topic has one partition."""
        topic = self._transaction_topic
        if boundary is None or topic is None:
            return []
        return [KafkaRecord(topic, 0, boundary.key, boundary.value, [])]

    def after(self, state: StateRecord, unit: Unit) -> StateRecord:
        """The state once `unit` is published."""
        if unit.events:
            event = unit.events[-1]
            identity = event.id(self._source_id)
            state = state._replace(
                number=event.number, event=identity, part=0 if unit.last else unit.part
            )
            newer = {
                e.topic: e.generation
                for e in unit.events
                if e.generation > state.topics[e.topic].generation
            }
            if newer:
                state = state._replace(
                    topics=state.topics
                    | {
                        name: state.topics[name]._replace(generation=number)
                        for name, number in newer.items()
                    }
                )
        return (
            state._replace(position=position_text(unit.position), time_us=unit.time_us)
            if unit.last
            else state
        )


def with_offsets(state: StateRecord, offsets: Mapping[tuple[str, int], int]) -> StateRecord:
    """The state with the ends known by now."""
    topics = {
        name: topic._replace(
            offsets={
                number: max(end, offsets.get((name, number), 0))
                for number, end in topic.offsets.items()
            }
        )
        for name, topic in state.topics.items()
    }
    return state._replace(topics=topics)

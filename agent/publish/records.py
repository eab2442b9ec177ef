"""Turns events into Kafka records, and units into the state record that follows them. Pure.

The rules of the headers are those of docs/events.md.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from agent.connectors.position import position_text
from agent.outbox.frames import OutboxBoundary, OutboxEvent
from agent.publish.base import Headers
from agent.publish.grouping import Unit
from agent.publish.partition import partition
from agent.publish.state import StateRecord, TopicState

# One record as `Producer.send` takes it: topic, partition, key, value, headers.
# A plain tuple is made many times faster than a named one.
KafkaRecord = tuple[str, int, bytes, bytes | None, Headers]


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

    def unchecked(self, unit: Unit) -> dict[str, int]:
        """Returns topics that must be checked before the unit is published, with their generation.

        Such a topic was not met before, or was lost and begins a new generation.
        """
        unchecked = {}
        generations = {event.topic: event.generation for event in unit.events}
        for name, generation in generations.items():
            if name not in self._topics or self._begins(name, generation):
                unchecked[name] = generation
        return unchecked

    def _begins(self, name: str, generation: int) -> bool:
        return name in self._lost and not self._topics[name].passes_over(generation)

    def update_topics(self, topics: Mapping[str, TopicState]) -> None:
        """Takes what was found of topics."""
        self._topics.update(topics)
        self._lost = {name for name, topic in self._topics.items() if topic.lost}

    def published(self, unit: Unit) -> list[OutboxEvent]:
        """Returns the events of a unit without those of lost topics."""
        if not self._lost:
            return unit.events
        return [event for event in unit.events if event.topic not in self._lost]

    def of(self, unit: Unit) -> Iterator[KafkaRecord]:
        """Yields the records of a unit: its begin, its events, its end.

        A delete is followed by its tombstone in the same partition. Nothing goes to lost topics.
        Every topic must have been checked (`unchecked`).
        """
        yield from self._bounding(unit.opening)
        common = self._common_headers(unit)

        for event in self.published(unit):
            name, key = event.topic, event.key
            number = partition(key, self._topics[name].partitions)
            identity = event.id(self._source_id).encode()
            headers = [
                ("sync.id", identity),
                ("sync.seq", b"%d" % event.seq),
                _generation(event.generation),
                *common,
            ]
            if event.header:
                headers.append(event.header)

            yield name, number, key, event.value, headers
            if event.tombstone:
                yield name, number, key, None, [("sync.of", identity)]

        yield from self._bounding(unit.closing)

    def _common_headers(self, unit: Unit) -> Headers:
        """The headers that all events of a unit have."""
        if not unit.part:
            return [self._epoch]
        part = ("sync.part", b"%d" % unit.part)
        last = ("sync.last", b"1" if unit.last else b"0")
        return [self._epoch, part, last]

    def _bounding(self, boundary: OutboxBoundary | None) -> list[KafkaRecord]:
        """The record of a transaction's begin or end, if there is one and it is wanted.

        The topic of transactions has one partition.
        """
        topic = self._transaction_topic
        if boundary is None or topic is None:
            return []
        return [(topic, 0, boundary.key, boundary.value, [])]

    def after(self, state: StateRecord, unit: Unit) -> StateRecord:
        """Returns the state once `unit` is published."""
        if unit.events:
            event = unit.events[-1]
            state = state._replace(
                number=event.number,
                event=event.id(self._source_id),
                part=0 if unit.last else unit.part,
                topics=_with_generations(state.topics, unit),
            )
        if unit.last:
            state = state._replace(position=position_text(unit.position), time_us=unit.time_us)
        return state


def _with_generations(topics: dict[str, TopicState], unit: Unit) -> dict[str, TopicState]:
    """The topics with the generations that the unit's events begin."""
    newer = {}
    for event in unit.events:
        if event.generation > topics[event.topic].generation:
            newer[event.topic] = topics[event.topic]._replace(generation=event.generation)
    return topics | newer if newer else topics


def with_offsets(state: StateRecord, offsets: Mapping[tuple[str, int], int]) -> StateRecord:
    """Returns the state with these ends, where they are later than those it has."""
    topics = dict(state.topics)
    for (name, number), end in offsets.items():
        topic = topics.get(name)
        if topic is not None and end > topic.offsets.get(number, end):
            topics[name] = topic._replace(offsets=topic.offsets | {number: end})
    return state._replace(topics=topics)


@lru_cache(maxsize=1024)
def _generation(generation: int) -> tuple[str, bytes]:
    """The header of a generation, of which there are few."""
    return "sync.generation", b"%d" % generation

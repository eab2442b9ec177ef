"""The in-memory twin of a Kafka cluster, for tests without a broker.

It knows fencing, aborted transactions, lost replies and outages.
"""

import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.errors import KafkaUnreachable, StateLost
from agent.publish.base import Headers, States, Tick, TopicDescription

Place = tuple[str, int]  # topic and partition


class MemoryRecord(NamedTuple):
    """A stored record; `transaction` is None for a control marker."""

    key: bytes
    value: bytes | None
    headers: Headers
    transaction: "MemoryTransaction | None"


@dataclass
class MemoryTransaction:
    """A transaction: where it is open, and where its end is written, and how it ended."""

    open: set[Place] = field(default_factory=set)
    ended: dict[Place, bool] = field(default_factory=dict)


class MemoryTopic:
    """The logs of a topic's partitions."""

    def __init__(self, partitions: int) -> None:
        self.id = str(uuid.uuid4())
        self.logs: list[list[MemoryRecord]] = [[] for _ in range(partitions)]


class MemoryCluster:
    """The cluster: topics, the youngest producer by transactional id, and switches of tests."""

    def __init__(self) -> None:
        self.topics: dict[str, MemoryTopic] = {}
        self.youngest: dict[str, MemoryProducer] = {}
        self.down = False  # nothing is answered
        self.lost_replies = 0  # so many commits take effect and are not answered
        self.lost_commits = 0  # so many commits neither take effect nor are answered
        self.losing: set[str] = set()  # topics that get no end of an abort (KAFKA-20734)
        self.losing_commits: set[str] = set()  # nor of a commit
        self._hanging: dict[str, list[MemoryTransaction]] = {}  # by transactional id

    def create(self, name: str, partitions: int = 1) -> None:
        """Creates a topic, also in place of one of the same name."""
        self.topics[name] = MemoryTopic(partitions)

    def committed(self, name: str) -> list[list[MemoryRecord]]:
        """Returns what a read_committed consumer has seen of each partition by now.

        That is up to the first open transaction, without aborted ones.
        """
        partitions = []
        for number, log in enumerate(self.topics[name].logs):
            records = _committed(log, (name, number))
            partitions.append(list(records))
        return partitions

    def end(
        self,
        transaction: MemoryTransaction,
        transactional_id: str,
        visible: bool,
    ) -> None:
        """Ends a transaction and writes its markers.

        Each marker ends in its partition whatever this producer has open there.
        """
        losing = self.losing_commits if visible else self.losing
        marker = MemoryRecord(b"", None, [], None)
        hanging = self._hanging.setdefault(transactional_id, [])
        hanging.append(transaction)

        for place in sorted(transaction.open):
            topic, partition = place
            if topic in losing:
                continue
            if topic in self.topics:
                log = self.topics[topic].logs[partition]
                log.append(marker)
            for each in hanging:
                if place in each.open:
                    each.open.remove(place)
                    each.ended[place] = visible

        still_open = [each for each in hanging if each.open]
        self._hanging[transactional_id] = still_open


def _committed(log: list[MemoryRecord], place: Place) -> Iterable[MemoryRecord]:
    """Yields the records of a partition that a read_committed consumer sees."""
    for record in log:
        if record.transaction is None:
            continue
        if place in record.transaction.open:
            return
        if record.transaction.ended[place]:
            yield record


def _held(log: list[MemoryRecord], place: Place) -> int | None:
    """Returns the offset of the first record of an open transaction."""
    for offset, record in enumerate(log):
        transaction = record.transaction
        if transaction is not None and place in transaction.open:
            return offset
    return None


def _last_value(records: Iterable[MemoryRecord], key: bytes) -> bytes | None:
    """Returns the value of the last record with a key; None where there is none."""
    value = None
    for record in records:
        if record.key == key:
            value = record.value
    return value


class MemoryProducer:
    """agent.publish.base.Producer on a MemoryCluster."""

    def __init__(self, cluster: MemoryCluster, transactional_id: str) -> None:
        self.offsets: dict[Place, int] = {}
        self.outstanding = 0
        self._cluster = cluster
        self._id = transactional_id
        self._transaction: MemoryTransaction | None = None
        self._abandoned = False
        older = cluster.youngest.get(transactional_id)
        cluster.youngest[transactional_id] = self
        if older is not None:
            older.fence()

    def fence(self) -> None:
        """Aborts the open transaction: a younger producer has come."""
        if self._transaction is not None:
            self._cluster.end(self._transaction, self._id, False)
            self._transaction = None

    def begin(self) -> None:
        """See Producer."""
        assert self._transaction is None, "a transaction is open"
        self._check()
        self._transaction = MemoryTransaction()

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes | None,
        headers: Headers,
    ) -> None:
        """See Producer."""
        self._check()
        assert self._transaction is not None, "no transaction is open"
        if topic not in self._cluster.topics:
            raise KafkaUnreachable(address="memory", reason=f"no topic {topic}")
        place = topic, partition
        log = self._cluster.topics[topic].logs[partition]
        end = len(log)
        if end < self.offsets.get(place, 0):
            reason = f"topic {topic} went back to offset {end}"
            raise KafkaUnreachable(address="memory", reason=reason)
        log.append(MemoryRecord(key, value, headers, self._transaction))
        self._transaction.open.add(place)
        self.offsets[place] = end + 1

    def drain(self, outstanding: int, deadline: float) -> bool:
        """See Producer."""
        self._check()
        return True

    def commit(self, deadline: float) -> None:
        """See Producer."""
        self._check()
        assert self._transaction is not None, "no transaction is open"
        if self._cluster.lost_commits:
            self._cluster.lost_commits -= 1
            raise KafkaUnreachable(address="memory", reason="the commit was lost")
        self._cluster.end(self._transaction, self._id, True)
        self._transaction = None
        if self._cluster.lost_replies:
            self._cluster.lost_replies -= 1
            raise KafkaUnreachable(address="memory", reason="the reply was lost")

    def abandon(self) -> None:
        """See Producer."""
        self._abandoned = True

    def _check(self) -> None:
        assert not self._abandoned, "the producer was abandoned"
        if self._cluster.down:
            raise KafkaUnreachable(address="memory", reason="down")
        if self._cluster.youngest[self._id] is not self:
            raise KafkaUnreachable(address="memory", reason="fenced")


class MemoryBroker:
    """agent.publish.base.Broker on a MemoryCluster."""

    def __init__(
        self,
        cluster: MemoryCluster,
        state_topic: str,
        agent: str,
        tick: Tick,
    ) -> None:
        self._cluster = cluster
        self._state_topic = state_topic
        self._agent = agent
        self._tick = tick

    def _check(self, deadline: float) -> None:
        self._tick()
        if self._cluster.down or time.monotonic() >= deadline:
            raise KafkaUnreachable(address="memory", reason="down")

    def open(self, deadline: float) -> MemoryProducer:
        """See Broker."""
        self._check(deadline)
        return MemoryProducer(self._cluster, self._agent)

    def states(self, deadline: float) -> States:
        """See Broker."""
        self._check(deadline)
        if self._state_topic not in self._cluster.topics:
            raise StateLost(topic=self._state_topic)
        key = self._agent.encode()
        records = self._cluster.committed(self._state_topic)[0]
        visible = _last_value(records, key)

        log = self._cluster.topics[self._state_topic].logs[0]
        held = _held(log, (self._state_topic, 0))
        unended = None
        if held is not None:
            unended = _last_value(log[held:], key)
        return States(visible, unended)

    def topics(self, names: Iterable[str], deadline: float) -> dict[str, TopicDescription | None]:
        """See Broker."""
        self._check(deadline)
        return {name: self._describe(name) for name in names}

    def finish(self, places: Iterable[tuple[str, int]], deadline: float) -> None:
        """See Broker."""
        self.open(deadline)
        transaction = MemoryTransaction(set(places))
        self._cluster.end(transaction, self._agent, True)

    def holds(
        self,
        topic: str,
        found: TopicDescription,
        known: Mapping[int, int],
        deadline: float,
    ) -> bool:
        """See Broker."""
        self._check(deadline)
        for number, log in enumerate(self._cluster.topics[topic].logs):
            after_known = log[known.get(number, 0) :]
            records = _committed(after_known, (topic, number))
            if list(records):
                return True
        return False

    def _describe(self, name: str) -> TopicDescription | None:
        topic = self._cluster.topics.get(name)
        if topic is None:
            return None
        ends = {}
        held = {}
        for number, log in enumerate(topic.logs):
            ends[number] = len(log)
            first_open = _held(log, (name, number))
            if first_open is not None:
                held[number] = first_open
        return TopicDescription(topic.id, len(topic.logs), ends, held=held)

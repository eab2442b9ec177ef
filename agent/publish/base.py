"""The contract that every Kafka client of the publisher keeps.

It has two parts: one transactional producer at a time, and what recovery reads.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

Headers = list[tuple[str, bytes]]
# Called at least twice a second while an implementation waits; what it raises ends the wait
Tick = Callable[[], None]


class TopicDescription(NamedTuple):
    """A topic as the cluster has it now."""

    id: str  # changes when a topic is deleted and created again
    partitions: int
    ends: Mapping[int, int]  # partition -> offset after its last record, committed or not
    # max.message.bytes and the like; empty where they may not be read (right DescribeConfigs)
    settings: Mapping[str, str] = {}
    # Partition -> offset of the first record of an open transaction, where there is one
    held: Mapping[int, int] = {}


# By name; None for one that does not exist
Descriptions = dict[str, TopicDescription | None]


class States(NamedTuple):
    """The records of this agent at the end of its state topic."""

    visible: bytes | None  # the last committed one; None when there is none
    hanging: bytes | None = None  # one after it, whose transaction hangs


class Producer(Protocol):
    """One transactional producer, initialised.

    Every older one with the same transactional id is fenced, and its open transaction aborted.

    Order: records of one partition are stored in the order of `send`. Duplicates: none within the
    life of one producer; the client's own repeats are idempotent. Who commits: the caller, by
    `commit`; nothing is visible to a read_committed consumer before.

    Crash-only (docs/decisions, crash-only producer): after any error, or an end that is not known,
    the producer is abandoned and a new one opened; the state record of the last visible
    transaction tells what holds. There is no abort.

    `deadline` is a value of `time.monotonic()`; no method outlives it by more than a second.
    Raises KafkaUnreachable or LoginRefused (try again with a new producer) and KafkaRefused (halt).
    """

    # (topic, partition) -> offset after the last record of ours known to be stored
    offsets: dict[tuple[str, int], int]
    outstanding: int  # bytes given to `send` that are not known to be stored

    def begin(self) -> None:
        """Starts a transaction."""

    def send(
        self, topic: str, partition: int, key: bytes, value: bytes | None, headers: Headers
    ) -> None:
        """Hands a record over and returns; a record with value None is a tombstone.

        A failure is raised here or by a later call.
        """

    def drain(self, outstanding: int, deadline: float) -> bool:
        """Waits until at most `outstanding` bytes are not known to be stored.

        Returns False when the deadline came first. Raises KafkaUnreachable also when a partition
        went back to lower offsets: its topic is another one.
        """

    def commit(self, deadline: float) -> None:
        """Makes everything since `begin` visible. When it raises, the outcome is unknown."""

    def abandon(self) -> None:
        """Ends the producer at once. Never raises.

        What is open is aborted by the next `open`, or by the cluster's time-out.
        """


class Broker(Protocol):
    """One Kafka cluster as one agent sees it. Errors and deadlines as for Producer."""

    def open(self, deadline: float) -> Producer:
        """Opens a new producer under this agent's transactional id.

        When it returns, no transaction of an older producer is open.
        """

    def states(self, deadline: float) -> States:
        """Reads what stands at the end of the state topic.

        Call it after `open`, so that a transaction without end can only be one that hangs. It has
        read as far as the topic's read_uncommitted end, or it raises KafkaUnreachable. Raises
        HangingTransaction when a stranger's transaction is open, StateLost without the topic.
        """

    def topics(self, names: Iterable[str], deadline: float) -> Descriptions:
        """Describes each topic, None for one that does not exist. Never creates one."""

    def finish(self, places: Iterable[tuple[str, int]], deadline: float) -> None:
        """Commits an empty transaction in these partitions, and fences the producer in use.

        An end that was lost there (KAFKA-20734) has come then.
        """

    def holds(
        self, topic: str, found: TopicDescription, known: Mapping[int, int], deadline: float
    ) -> bool:
        """Tells whether a read_committed consumer finds a record in the topic.

        It looks from the offsets `known` on (partition -> offset), else from the beginning. True
        also where there may be one and the topic may not be read.
        """

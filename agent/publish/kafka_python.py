"""Keeps the publisher's contract with kafka-python.

The client is tuned and tamed as measured. What is done with its private parts has no public way
(docs/decisions/crash-only-producer.md).
"""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

import kafka.producer.kafka as kafka_module
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAuthorizationFailedError, for_code
from kafka.net.compat import KafkaNetClient
from kafka.protocol.consumer.offsets import IsolationLevel, OffsetSpec
from kafka.structs import TopicPartition

from agent.config import KafkaSettings
from agent.errors import HangingTransaction, KafkaUnreachable, StateLost
from agent.messages import phrase
from agent.publish.base import Descriptions, Headers, Producer, States, Tick, TopicDescription
from agent.publish.connection import (
    addresses,
    client_settings,
    closing_client,
    new_attempt,
    our_error,
    passes,
    refused_login,
)
from agent.publish.record_batch import (
    RecordBatch,
    Sending,
    fail_as_one,
    hand_over,
    never_split,
)
from agent.publish.waiting import PAUSE, Worker, bounded, patiently

T = TypeVar("T")
RECORD_BYTES = 64  # counted for each record beside key and value
BATCH_BYTES = 262_144
_HANGS = 3.0  # seconds after which an end that has not arrived does not come
# Records of the state topic read at first; ten times as many at each further attempt
_NEAR_END = 200
_UNKNOWN_TOPIC = 3  # error codes of the protocol
# Of a consumer that reads on its own, once
_READING: dict[str, Any] = {
    "enable_auto_commit": False,
    "allow_auto_create_topics": False,
    "auto_offset_reset": "earliest",
    "metrics_enabled": False,
}


def producer_settings(settings: KafkaSettings, transactional_id: str) -> dict[str, Any]:
    """Returns the settings of the transactional producer.

    The times keep the proportions that were tried against faults (10, 8 and 5 s).
    """
    timeout = int(settings.transaction_timeout_seconds * 1000)
    return client_settings(settings) | {
        "transactional_id": transactional_id,
        "enable_idempotence": True,
        "acks": "all",
        "compression_type": "zstd",
        "batch_size": min(BATCH_BYTES, settings.max_event_bytes),
        "linger_ms": 0,  # what is handed over shall go
        "max_request_size": max(1_048_576, settings.max_event_bytes + 65_536),
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
        "retry_backoff_ms": 5,
        "transaction_timeout_ms": timeout,
        "delivery_timeout_ms": timeout * 8 // 10,
        "request_timeout_ms": timeout // 2,
        "max_block_ms": timeout * 8 // 10,
    }


class KafkaPythonProducer:
    """agent.publish.base.Producer with one KafkaProducer. Made by KafkaPython.open only."""

    def __init__(
        self, settings: KafkaSettings, transactional_id: str, tick: Tick, deadline: float
    ) -> None:
        self.offsets: dict[tuple[str, int], int] = {}
        self.outstanding = 0
        self._settings = settings
        self._tick = tick
        self._batch_bytes = min(BATCH_BYTES, settings.max_event_bytes)
        self._filling: dict[tuple[str, int], RecordBatch] = {}
        self._sending: deque[Sending] = deque()  # in the order handed over
        self._known: set[str] = set()  # topics of which the client knows the partitions
        self._client: Any = None
        self._net: KafkaNetClient | None = None
        self._abandoned = False
        new_attempt()
        self._worker = Worker(self._watch)
        try:
            self._call(
                lambda: self._connect(transactional_id, deadline),
                deadline,
                f"transactional id {transactional_id}",
            )
        except BaseException:
            self.abandon()
            raise

    def _connect(self, transactional_id: str, deadline: float) -> None:
        # Its __del__ replaces it for the whole process
        kafka_module.log = logging.getLogger(kafka_module.__name__)
        options = producer_settings(self._settings, transactional_id)
        options["bootstrap_timeout_ms"] = _bootstrap(deadline)
        try:
            self._client = KafkaProducer(**options, kafka_client=self._make_net)
            # Never a new epoch by itself: the transaction would be gone without an error, and a
            # clone would be fenced in turn.
            manager = self._client._transaction_manager  # noqa: SLF001 - no public way
            manager._supports_epoch_bump = lambda: False  # noqa: SLF001 - no public way
            never_split(self._client)
            fail_as_one(self._client)
            if not self._abandoned:
                self._client.init_transactions()
        finally:
            if self._abandoned or self._client is None:
                self._tear_down()

    def _watch(self) -> None:
        """Ends the connecting with the first refusal of a login.

        The client would try it again and again, which locks accounts.
        """
        if self._client is None and (refused := refused_login(self._settings)):
            raise refused
        self._tick()

    def _make_net(self, **config: Any) -> KafkaNetClient:
        self._net = KafkaNetClient(**config)
        return self._net

    def begin(self) -> None:
        """See Producer."""
        self._guard(self._client.begin_transaction)

    def send(
        self, topic: str, partition: int, key: bytes, value: bytes | None, headers: Headers
    ) -> None:
        """See Producer."""
        place = (topic, partition)
        size = len(key) + len(value or b"") + RECORD_BYTES
        batch = self._filling.get(place)
        if batch is not None and batch.size + size > self._batch_bytes:
            self._hand_over(place)
            batch = None
        if batch is None:
            self._know(topic)
            batch = self._filling[place] = RecordBatch()

        batch.add(key, value, headers, size)
        self.outstanding += size

    def _know(self, topic: str) -> None:
        """Has the client ask for the partitions of a topic, once."""
        if topic not in self._known:
            self._guard(lambda: self._client.partitions_for(topic), f"topic {topic}")
            self._known.add(topic)

    def _hand_over(self, place: tuple[str, int]) -> None:
        """Gives the client the batch of one partition."""
        batch = self._filling.pop(place)
        self._sending.append(self._guard(lambda: hand_over(self._client, place, batch)))

    def _hand_over_all(self) -> None:
        for place in list(self._filling):
            self._hand_over(place)

    def drain(self, outstanding: int, deadline: float) -> bool:
        """See Producer."""
        if self.outstanding > outstanding:
            self._hand_over_all()
        while self._sending:
            oldest = self._sending[0]
            if not oldest.is_done:
                if self.outstanding <= outstanding:
                    return True
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                if not oldest.wait(min(left, PAUSE)):
                    self._tick()
                    continue
            self._stored(oldest)
            self._sending.popleft()
            self.outstanding -= oldest.size
        return True

    def _stored(self, batch: Sending) -> None:
        topic = batch.place[0]
        end = self._guard(batch.end, f"topic {topic}")
        if end is None:
            return
        if end <= self.offsets.get(batch.place, 0):
            raise KafkaUnreachable(
                address=addresses(self._settings),
                reason=phrase(
                    "topic {topic} went back to offset {offset}", topic=topic, offset=end
                ),
            )
        self.offsets[batch.place] = end

    def commit(self, deadline: float) -> None:
        """See Producer. The client's own commit has no time-out: it runs in a thread under ours."""
        self._hand_over_all()
        self._call(self._client.commit_transaction, deadline)
        self._guard(lambda: self.drain(0, deadline))

    def commit_empty(self, places: Iterable[tuple[str, int]], deadline: float) -> None:
        """Commits a transaction of its own in these partitions, without records."""
        self.begin()
        manager = self._client._transaction_manager  # noqa: SLF001 - no public way
        for topic, partition in places:
            place = TopicPartition(topic, partition)
            self._guard(partial(manager.maybe_add_partition_to_transaction, place))
        self.commit(deadline)

    def abandon(self) -> None:
        """See Producer."""
        if self._abandoned:
            return
        self._abandoned = True
        self._worker.close()
        if self._client is not None:
            self._tear_down()
        elif self._net is not None:
            # The constructor still runs in its thread: it is made to give up, and tears down itself
            with contextlib.suppress(Exception):
                self._net._manager.close()  # noqa: SLF001 - no public way

    def _tear_down(self) -> None:
        """Ends the client, and fails its pending results by hand.

        There is no other way that neither blocks nor leaves its thread alive.
        """
        client = self._client
        with contextlib.suppress(Exception):
            if client is not None:
                client._sender.force_close()  # noqa: SLF001 - no public way
                client._sender.join(1)  # noqa: SLF001 - no public way
                transactions = client._transaction_manager  # noqa: SLF001 - no public way
                transactions.authentication_failed(KafkaError("abandoned"))
                client.close(0)
            elif self._net is not None:
                self._net.close()
        self._filling.clear()
        self._sending.clear()

    def _call(self, work: Callable[[], T], deadline: float, what: str = "") -> T:
        return self._guard(lambda: self._worker.call(work, deadline), what)

    def _guard(self, work: Callable[[], T], what: str = "") -> T:
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - it costs a new producer, never the process
            raise our_error(error, self._settings, what) from None


class KafkaPython:
    """agent.publish.base.Broker with kafka-python.

    Each reading method makes a connection of its own, so that it depends on nothing before it.
    """

    def __init__(self, settings: KafkaSettings, state_topic: str, agent: str, tick: Tick) -> None:
        self._settings = settings
        self._state_topic = state_topic
        self._agent = agent
        self._tick = tick

    def open(self, deadline: float) -> Producer:
        """See Broker."""
        return KafkaPythonProducer(self._settings, self._agent, self._tick, deadline)

    def states(self, deadline: float) -> States:
        """See Broker."""
        return self._bounded(lambda: self._states(deadline), deadline, f"topic {self._state_topic}")

    def strangers(self, deadline: float) -> list[str]:
        """Returns keys of other agents' records near the end of the state topic.

        There must be none.
        """
        found = self._bounded(
            lambda: self._last_states(self._settled(deadline), deadline),
            deadline,
            f"topic {self._state_topic}",
        )
        return sorted(key.decode(errors="replace") for key in found if key != self._agent.encode())

    def topics(self, names: Iterable[str], deadline: float) -> Descriptions:
        """See Broker."""
        return self._bounded(lambda: self._topics(list(names), deadline), deadline)

    def finish(self, places: Iterable[tuple[str, int]], deadline: float) -> None:
        """See Broker."""
        producer = KafkaPythonProducer(self._settings, self._agent, self._tick, deadline)
        try:
            producer.commit_empty(places, deadline)
        finally:
            producer.abandon()

    def holds(
        self, topic: str, found: TopicDescription, known: Mapping[int, int], deadline: float
    ) -> bool:
        """See Broker."""
        goals = {}
        for number, end in {**found.ends, **found.held}.items():
            if end > known.get(number, 0):
                goals[TopicPartition(topic, number)] = end
        if not goals:
            return False
        return self._bounded(
            lambda: self._holds(goals, known, deadline), deadline, f"topic {topic}"
        )

    def _holds(
        self, goals: Mapping[TopicPartition, int], known: Mapping[int, int], deadline: float
    ) -> bool:
        """Whether there is a visible record before any of these offsets.

        Ends of transactions, which a topic may hold besides, are none.
        """
        try:
            with self._consumer("read_committed", deadline) as consumer:
                consumer.assign(list(goals))
                for place, first in consumer.beginning_offsets(list(goals)).items():
                    consumer.seek(place, max(first, known.get(place.partition, 0)))
                while not _has_come_to(consumer, goals):
                    if any(consumer.poll(timeout_ms=20, max_records=1).values()):
                        return True
                    if time.monotonic() >= deadline:
                        raise KafkaUnreachable(
                            address=addresses(self._settings),
                            reason=phrase("a topic cannot be read"),
                        )
        except TopicAuthorizationFailedError:
            return True
        return False

    def _consumer(self, isolation: str, deadline: float) -> AbstractContextManager[Any]:
        options = self._options(deadline) | _READING
        return closing_client(KafkaConsumer, **options, isolation_level=isolation)

    def _bounded(self, work: Callable[[], T], deadline: float, what: str = "") -> T:
        try:
            return patiently(
                lambda: bounded(work, deadline, self._tick), deadline, self._tick, passes
            )
        except Exception as error:  # noqa: BLE001 - clients raise anything
            raise our_error(error, self._settings, what) from None

    def _options(self, deadline: float) -> dict[str, Any]:
        return client_settings(self._settings) | {"bootstrap_timeout_ms": _bootstrap(deadline)}

    def _topics(self, names: list[str], deadline: float) -> Descriptions:
        descriptions: Descriptions = dict.fromkeys(names)
        with closing_client(KafkaAdminClient, **self._options(deadline)) as admin:
            existing = []
            for metadata in admin.describe_topics(names):
                if _exists(metadata):
                    existing.append(metadata)
            if not existing:
                return descriptions

            wanted: dict[TopicPartition, Any] = {}
            for metadata in existing:
                wanted |= dict.fromkeys(_places(metadata), OffsetSpec.LATEST)
            ends = admin.list_partition_offsets(wanted)
            stable = admin.list_partition_offsets(wanted, IsolationLevel.READ_COMMITTED)
            configured = _settings(admin, [metadata["name"] for metadata in existing])

        for metadata in existing:
            name = metadata["name"]
            settings = configured.get(name, {})
            descriptions[name] = _description(metadata, ends, stable, settings)
        return descriptions

    def _settled(self, deadline: float) -> TopicDescription:
        """The state topic once the ends of transactions have had their time to arrive."""
        hangs_at = time.monotonic() + _HANGS
        while True:
            described = self._topics([self._state_topic], deadline)[self._state_topic]
            if described is None or described.partitions != 1:
                raise StateLost(topic=self._state_topic)
            if not described.held or time.monotonic() >= hangs_at:
                return described

    def _states(self, deadline: float) -> States:
        described, mine = self._settled(deadline), self._agent.encode()
        visible = self._last_states(described, deadline).get(mine)
        if not described.held:
            return States(visible)
        hanging = self._read(
            "read_uncommitted", described.held[0], described.ends[0], deadline
        ).get(mine)
        if hanging is None:
            raise HangingTransaction(topics=self._state_topic)
        return States(visible, hanging)

    def _last_states(
        self, described: TopicDescription, deadline: float
    ) -> dict[bytes, bytes | None]:
        """The last visible record of each key, at least of ours."""
        goal, distance = described.held.get(0, described.ends[0]), _NEAR_END
        while True:
            start = max(0, goal - distance)
            found = self._read("read_committed", start, goal, deadline)
            if self._agent.encode() in found or start == 0:
                return found
            distance *= 10

    def _read(
        self, isolation: str, start: int, goal: int, deadline: float
    ) -> dict[bytes, bytes | None]:
        """The last record of each key in the state topic from `start` to `goal`."""
        place = TopicPartition(self._state_topic, 0)
        found: dict[bytes, bytes | None] = {}
        with self._consumer(isolation, deadline) as consumer:
            consumer.assign([place])
            consumer.seek(place, start)
            while not _has_come_to(consumer, {place: goal}):
                if time.monotonic() >= deadline:
                    raise KafkaUnreachable(
                        address=addresses(self._settings),
                        reason=phrase("{topic} cannot be read to its end", topic=self._state_topic),
                    )
                for record in consumer.poll(timeout_ms=20).get(place, ()):
                    if record.offset < goal:
                        found[record.key] = record.value
        return found


def _bootstrap(deadline: float) -> int:
    """Milliseconds a client may try to connect.

    It gives up before we do, and closes what it has opened.
    """
    return max(1, int((deadline - time.monotonic()) * 900))


def _has_come_to(consumer: Any, goals: Mapping[TopicPartition, int]) -> bool:
    """Whether a consumer has read each partition up to its offset."""
    return all(
        (consumer.position(place, timeout_ms=1000) or 0) >= goal for place, goal in goals.items()
    )


def _exists(metadata: Mapping[str, Any]) -> bool:
    """Whether the cluster's metadata are of a topic that exists. Raises what else they say."""
    if metadata["error_code"] == _UNKNOWN_TOPIC:
        return False
    if metadata["error_code"]:
        raise for_code(metadata["error_code"])
    return True


def _places(metadata: Mapping[str, Any]) -> list[TopicPartition]:
    count = len(metadata["partitions"])
    return [TopicPartition(metadata["name"], number) for number in range(count)]


def _description(
    metadata: Mapping[str, Any],
    ends: Mapping[TopicPartition, Any],
    stable: Mapping[TopicPartition, Any],
    settings: Mapping[str, str],
) -> TopicDescription:
    """A topic from its metadata and from offsets of all topics: the ends, and the stable ones."""
    places = _places(metadata)
    offsets, held = {}, {}
    for place in places:
        offsets[place.partition] = ends[place].offset
        if stable[place].offset < ends[place].offset:
            held[place.partition] = stable[place].offset
    return TopicDescription(str(metadata["topic_id"]), len(places), offsets, settings, held)


def _settings(admin: Any, names: list[str]) -> dict[str, dict[str, str]]:
    """The settings of topics, by name."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found = admin.describe_configs(resources, config_filter="all").get("topic", {})
    settings = {}
    for name, values in found.items():
        settings[name] = {key: setting["value"] for key, setting in values.items()}
    return settings

"""The independent judge: what a read_committed consumer of another client sees."""

import uuid
from typing import NamedTuple, cast

from confluent_kafka import Consumer, Message, TopicPartition

from tests.waiting import eventually


class Seen(NamedTuple):
    """A visible record."""

    partition: int
    key: bytes
    value: bytes | None
    headers: dict[str, str]


class Judge:
    """Reads topics from their beginning, for as long as asked."""

    def __init__(self, bootstrap: str, *topics: str) -> None:
        options = {
            "bootstrap.servers": bootstrap,
            "group.id": uuid.uuid4().hex,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
        self._consumer = Consumer(options | {"log_level": 0})
        self.seen: dict[str, list[Seen]] = {topic: [] for topic in topics}
        places = []
        for topic in topics:
            metadata = self._consumer.list_topics(topic, timeout=20).topics[topic]
            places += [TopicPartition(topic, number, 0) for number in metadata.partitions]
        self._consumer.assign(places)

    def poll(self) -> None:
        """Takes over what is there."""
        while messages := self._consumer.consume(1000, timeout=0.3):
            for message in messages:
                error = message.error()
                assert error is None or error.retriable() or error.code() < 0, error
                if error is None:
                    self.seen[str(message.topic())].append(_seen(message))

    def events(self, topic: str) -> list[Seen]:
        """The records that are no tombstones."""
        return [record for record in self.seen[topic] if record.value is not None]

    def wait_for(self, counts: dict[str, int], timeout: float = 60) -> None:
        """Waits until each topic has so many events."""

        def there() -> bool:
            self.poll()
            return all(len(self.events(topic)) >= count for topic, count in counts.items())

        eventually(there, timeout, f"events {counts}")

    def verdict(self, expected: dict[str, list[tuple[str, int]]], timeout: float = 60) -> None:
        """Asserts that every event came once, with seq gapless and order kept per partition.

        A tombstone comes right after its delete, and a key stays in one partition.
        """
        self.wait_for({topic: len(events) for topic, events in expected.items()}, timeout)
        self.poll()
        for topic, events in expected.items():
            got = [
                (record.headers["sync.id"], int(record.headers["sync.seq"]))
                for record in self.events(topic)
            ]
            assert sorted(got, key=lambda pair: pair[1]) == events, (
                f"{topic}: {len(got)} events, expected {len(events)}"
            )
            self._order(topic)

    def _order(self, topic: str) -> None:
        places: dict[bytes, int] = {}
        for number in {record.partition for record in self.seen[topic]}:
            records = [record for record in self.seen[topic] if record.partition == number]
            seqs = [
                int(record.headers["sync.seq"]) for record in records if record.value is not None
            ]
            assert seqs == sorted(seqs)
            for before, record in zip([None, *records], records, strict=False):
                assert places.setdefault(record.key, number) == number
                if record.value is None:
                    assert (
                        before is not None
                        and before.value is not None
                        and b'"op":"d"' in before.value
                    )
                    assert (
                        record.headers == {"sync.of": before.headers["sync.id"]}
                        and record.key == before.key
                    )

    def close(self) -> None:
        """Ends the consumer."""
        self._consumer.close()


def _seen(message: Message) -> Seen:
    headers = {
        str(name): bytes(value).decode()
        for name, value in cast("list[tuple[str, bytes]]", message.headers() or [])
    }
    return Seen(message.partition() or 0, bytes(message.key() or b""), message.value(), headers)

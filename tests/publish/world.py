"""A front end and a cluster in memory, and publishers between them."""

import contextlib
from pathlib import Path
from typing import Any

from agent.publish.memory import MemoryBroker, MemoryCluster, MemoryProducer
from agent.publish.relay import Relay
from agent.publish.state import StateRecord, loads
from agent.service.control import Control
from tests.publish.fronts import OutboxFront, settings_for


class World:
    """A front end, a cluster, and as many publishers as the test starts one after the other."""

    def __init__(self, path: Path, **kafka: Any) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.settings = settings_for("memory:1", "p", path, **kafka)
        self.front = OutboxFront(self.settings)
        self.cluster = MemoryCluster()
        for topic in self.front.expected:
            self.cluster.create(topic, 3)
        if self.settings.transaction_topic:
            self.cluster.create(self.settings.transaction_topic)
        self.cluster.create(self.settings.state_topic)
        self.write_state(StateRecord(self.front.agent, 0, "init", 0, "", "", 0, 0, {}))

    def write_state(self, record: StateRecord, agent: str = "") -> None:
        """Another producer writes a state record."""
        producer = MemoryProducer(self.cluster, agent or self.front.agent)
        producer.begin()
        producer.send(self.settings.state_topic, 0, self.front.agent.encode(), record.dumps(), [])
        producer.commit(0)

    def relay(self, control: Control, nonce: str = "nonce-1") -> Relay:
        """A publisher."""
        topic, front = self.settings.state_topic, self.front
        return Relay(
            self.settings.kafka,
            self.settings.topics,
            control,
            nonce,
            front.reader(),
            lambda agent, tick: MemoryBroker(self.cluster, topic, agent, tick),
        )

    def run(self, nonce: str = "nonce-1") -> None:
        """A publisher in this thread, until it waits or ends."""
        with contextlib.closing(Control.alone("publish", nonce)) as control:
            self.relay(control, nonce).run()

    def state(self) -> StateRecord:
        """The last visible record."""
        value = self.cluster.committed(self.settings.state_topic)[0][-1].value
        assert value is not None
        return loads(value)

    def published(self) -> dict[str, list[tuple[str, int]]]:
        """Id and seq of every visible event, by topic and seq."""
        found: dict[str, list[tuple[str, int]]] = {}
        for topic in self.front.expected:
            logs = self.cluster.committed(topic) if topic in self.cluster.topics else []
            events = [dict(r.headers) for log in logs for r in log if r.value is not None]
            found[topic] = sorted(
                ((h["sync.id"].decode(), int(h["sync.seq"])) for h in events),
                key=lambda pair: pair[1],
            )
        return found

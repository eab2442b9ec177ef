"""Runs three small Kafka nodes, each broker and controller.

Any of them may die; then another one leads the partitions that it led.
"""

import base64
import functools
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka.admin import AdminClient

from tests.services.kafka import java
from tests.services.processes import HOST, ServerProcess, Workspace, free_port, run
from tests.waiting import eventually

NODES = (1, 2, 3)
JVM = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-Djava.awt.headless=true")
TRANSACTIONS = (
    "__transaction_state"  # of one partition, so that its leader coordinates every transaction
)
SETTINGS: Mapping[str, str | int] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "min.insync.replicas": 2,
    "default.replication.factor": 3,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 3,
    "transaction.state.log.min.isr": 2,
    "transaction.state.log.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "broker.session.timeout.ms": 3000,  # until another takes the lead
    "broker.heartbeat.interval.ms": 500,
    "auto.create.topics.enable": "false",
}


class KafkaCluster:
    """The nodes on loopback; `close` removes everything."""

    def __init__(self) -> None:
        self._workspace = Workspace("cluster")
        # Of the broker, of the controller
        self._ports = {node: (free_port(), free_port()) for node in NODES}
        self._processes: dict[int, ServerProcess] = {}
        self.servers = [f"{HOST}:{broker}" for broker, _ in self._ports.values()]
        self.bootstrap = ",".join(self.servers)

    @functools.cached_property
    def admin(self) -> AdminClient:
        """The administration client."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def __enter__(self) -> Self:
        # Never "-..."
        cluster = base64.urlsafe_b64encode(b"\x00" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        try:
            for node in NODES:
                self._write_properties(node)
                run(
                    [
                        *java("-Xmx256m"),
                        "kafka.tools.StorageTool",
                        "format",
                        "-t",
                        cluster,
                        "-c",
                        self._properties(node),
                    ],
                    cwd=self._workspace.path,
                )
                self._boot(node)
            self._wait_for(len(NODES))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kills all and removes the directory."""
        for process in self._processes.values():
            process.kill()
        self._workspace.close()

    def leader(self, topic: str, partition: int = 0) -> int:
        """Returns the node that leads a partition; waits while none does."""
        return eventually(
            lambda: max(
                0,
                self.admin.list_topics(topic, timeout=5).topics[topic].partitions[partition].leader,
            ),
            60,
            f"{topic} is led",
        )

    def kill9(self, node: int) -> None:
        """Kills one."""
        self._processes[node].kill()

    def start_again(self, node: int) -> None:
        """Starts the killed one and waits until all belong together again."""
        self._boot(node)
        self._wait_for(len(NODES))

    def _wait_for(self, nodes: int) -> None:
        def answer() -> bool:
            for process in self._processes.values():
                process.check()
            return len(self.admin.list_topics(timeout=2).brokers) == nodes

        eventually(answer, 120, f"{nodes} nodes answer")

    def _properties(self, node: int) -> Path:
        return self._workspace.path / f"{node}.properties"

    def _write_properties(self, node: int) -> None:
        broker, controller = self._ports[node]
        own = {
            "node.id": node,
            "controller.quorum.voters": ",".join(
                f"{other}@{HOST}:{port}" for other, (_, port) in self._ports.items()
            ),
            "listeners": f"PLAINTEXT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{broker}",
            "log.dirs": self._workspace.path / f"data{node}",
        }
        self._properties(node).write_text(
            "".join(f"{name}={value}\n" for name, value in {**SETTINGS, **own}.items())
        )

    def _boot(self, node: int) -> None:
        options = java(*JVM, f"-Dkafka.logs.dir={self._workspace.path}")
        self._processes[node] = ServerProcess(
            [*options, "kafka.Kafka", str(self._properties(node))],
            self._workspace.path / f"{node}.log",
        )

"""Tests a cluster of three brokers that loses the ones that lead.

Whoever leads then, each event is there once.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_process import Installation
from tests.checker.unit import LEDGER, RESIDENTS
from tests.checker.writer import Writer
from tests.services.kafka_cluster import TRANSACTIONS, KafkaCluster
from tests.waiting import eventually


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    """Three brokers; a test leaves them running."""
    with KafkaCluster() as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "led"), [("kafka-python", "transactions"), ("librdkafka", "states")]
)
def test_the_lead_changes(
    client: str, led: str, cluster: KafkaCluster, database: str, topic_prefix: str, tmp_path: Path
) -> None:
    """A broker is killed while events are on their way.

    It is the one that coordinates the transactions, or the one that leads the state topic.
    """
    kafka = {"bootstrap_servers": cluster.servers, "client": client, "replication_factor": 3}
    place = Installation(
        tmp_path,
        database,
        cluster.bootstrap,
        topic_prefix,
        tables=[RESIDENTS, LEDGER],
        sections={"kafka": kafka},
    ).install()
    topic = TRANSACTIONS if led == "transactions" else place.state_topic
    with place.start() as agent, Writer(database, 7, place.tables) as writer:
        agent.wait_ready()
        writer.run(10)
        eventually(place.caught_up, 60, "events are published", 0.2)
        leader = cluster.leader(topic)
        writer.run(20)
        cluster.kill9(leader)
        writer.run(20)
        verdict = place.verdict()
        assert cluster.leader(topic) != leader
        cluster.start_again(leader)
    assert verdict.equal, f"{verdict}\n{agent.log[-3000:]}"

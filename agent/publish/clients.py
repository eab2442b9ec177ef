"""Which Kafka client publishes: the one that kafka.client names."""

from agent.config import KafkaSettings
from agent.publish.base import Tick
from agent.publish.kafka_python import KafkaPython


def cluster(kafka: KafkaSettings, state_topic: str, agent: str, tick: Tick) -> KafkaPython:
    """Returns the cluster as the agent with this transactional id sees it; connects nothing."""
    given = (kafka, state_topic, agent, tick)
    if kafka.client == "librdkafka":
        # The package is an extra, and takes memory
        from agent.publish.librdkafka import Librdkafka  # noqa: PLC0415

        return Librdkafka(*given)
    return KafkaPython(*given)

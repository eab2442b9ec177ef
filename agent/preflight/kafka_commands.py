"""The commands a Kafka administrator runs: for a topic that is missing or has a wrong setting."""

from agent.config import KafkaSettings, Topics
from agent.publish.topics import wanted


def create_topic(kafka: KafkaSettings, topics: Topics, name: str) -> str:
    """Creates a topic as `init --apply` would."""
    options = wanted(kafka, topics)[name]
    configs = " ".join(f"--config {key}={value}" for key, value in options["configs"].items())
    partitions, replicas = options["num_partitions"], options["replication_factor"]
    counts = f"--partitions {partitions} --replication-factor {replicas}"
    return f"{_topics(kafka)} --create --topic {name} {counts} {configs}"


def set_topic(kafka: KafkaSettings, topics: Topics, name: str) -> str:
    """Gives an existing topic the settings `init --apply` would create it with."""
    options = wanted(kafka, topics)[name]
    configs = ",".join(f"{key}={value}" for key, value in options["configs"].items())
    return (
        f"kafka-configs.sh --bootstrap-server {_server(kafka)} --alter "
        f"--entity-type topics --entity-name {name} --add-config {configs}"
    )


def delete_topic(kafka: KafkaSettings, name: str) -> str:
    """Deletes a topic with all its events."""
    return f"{_topics(kafka)} --delete --topic {name}"


def _topics(kafka: KafkaSettings) -> str:
    return f"kafka-topics.sh --bootstrap-server {_server(kafka)}"


def _server(kafka: KafkaSettings) -> str:
    return kafka.bootstrap_servers[0]


def allow_reading(kafka: KafkaSettings, name: str) -> str:
    """Lets the agent's user see a topic's settings."""
    user = kafka.sasl.user if kafka.sasl else "ANONYMOUS"
    return (
        f"kafka-acls.sh --bootstrap-server {_server(kafka)} --add "
        f"--allow-principal User:{user} --operation DescribeConfigs --topic {name}"
    )

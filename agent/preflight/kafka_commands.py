"""The commands a Kafka administrator runs: for a topic that is missing or has a wrong setting."""

from agent.config import Settings
from agent.publish.topics import wanted


def create_topic(settings: Settings, name: str) -> str:
    """Creates a topic as `init --apply` would."""
    options = wanted(settings.kafka, settings.topics)[name]
    configs = " ".join(f"--config {key}={value}" for key, value in options["configs"].items())
    partitions, replicas = options["num_partitions"], options["replication_factor"]
    counts = f"--partitions {partitions} --replication-factor {replicas}"
    return f"{_topics(settings)} --create --topic {name} {counts} {configs}"


def set_topic(settings: Settings, name: str) -> str:
    """Gives an existing topic the settings `init --apply` would create it with."""
    configs = ",".join(
        f"{key}={value}"
        for key, value in wanted(settings.kafka, settings.topics)[name]["configs"].items()
    )
    return (
        f"kafka-configs.sh --bootstrap-server {_server(settings)} --alter "
        f"--entity-type topics --entity-name {name} --add-config {configs}"
    )


def delete_topic(settings: Settings, name: str) -> str:
    """Deletes a topic with all its events."""
    return f"{_topics(settings)} --delete --topic {name}"


def _topics(settings: Settings) -> str:
    return f"kafka-topics.sh --bootstrap-server {_server(settings)}"


def _server(settings: Settings) -> str:
    return settings.kafka.bootstrap_servers[0]


def allow_reading(settings: Settings, name: str) -> str:
    """Lets the agent's user see a topic's settings."""
    user = settings.kafka.sasl.user if settings.kafka.sasl else "ANONYMOUS"
    return (
        f"kafka-acls.sh --bootstrap-server {_server(settings)} --add "
        f"--allow-principal User:{user} --operation DescribeConfigs --topic {name}"
    )

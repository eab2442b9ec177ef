"""How Debezium is set up: as it is, and as its documentation tunes it.

Nobody is served by an opponent with a handicap, so every setting stands here.
"""

import psycopg

from tests.services.connect import ConnectWorker, Properties

HEAP = "2g"

# Larger batches and queues, which its documentation names for throughput
_BATCH = "8192"
SOURCE: Properties = {
    "max.batch.size": _BATCH,
    "max.queue.size": "32768",
    "poll.interval.ms": "50",
}
SINK: Properties = {
    "schema.evolution": "none",
    "collection.name.format": "bench",
    "batch.size": "5000",
    "consumer.override.max.poll.records": _BATCH,
    "consumer.override.fetch.min.bytes": "65536",
}
WORKER: Properties = {
    "connector.client.config.override.policy": "All",
    "producer.batch.size": "262144",
    "producer.linger.ms": "20",
}

# The sink on PostgreSQL: multi-row inserts, and as many tasks as there are partitions
UNNEST: Properties = {"dialect.postgres.unnest.insert.enabled": "true"}
TASKS: Properties = {**UNNEST, "tasks.max": "4"}

# The source for latency: it looks often, and its producer waits for nothing
PROMPT: Properties = {
    "poll.interval.ms": "10",
    "max.batch.size": "2048",
    "max.queue.size": "8192",
}
PROMPT_WORKER: Properties = {**WORKER, "producer.linger.ms": "0"}


def streams(connect: ConnectWorker, source: str, slot: str) -> bool:
    """Tells whether Debezium reads its slot."""
    connect.check()
    with psycopg.connect(source) as connection:
        found = connection.execute(
            "SELECT active FROM pg_replication_slots WHERE slot_name = %s", [slot]
        ).fetchone()
    return found == (True,)

"""An agent of 0.1.0 goes on as this version: nothing is lost, published twice or copied again."""

import json
import sqlite3
import uuid
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer, TopicCollection
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # not re-exported for mypy
from psycopg.conninfo import conninfo_to_dict

from tests.agent_process import Installation, front_url
from tests.checker.unit import UnitTable
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.mariadb import execute
from tests.services.postgres import PostgresAddress
from tests.upgrade.leave import messages
from tests.upgrade.left import Left
from tests.waiting import eventually

TABLE = UnitTable(
    "person",
    "居民",
    '("编号" bigint PRIMARY KEY, "姓名" text NOT NULL, "余额" numeric(16,2))',
    {"编号": lambda _: ""},
    {"姓名": lambda _: "", "余额": lambda _: ""},
)
EX_CONFIG = 78
PUBLISHED, WAITING, FURTHER = 5, 3, 2  # events
# What the front end of that day knows of the business database
KNOWN = {
    "system_id": "SELECT system_identifier::text FROM pg_control_system()",
    "publication": """SELECT concat_ws(':', p.oid, p.xmin, r.oid, r.xmin)
        FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid""",
    "storage": """SELECT c.oid || ':' || c.relfilenode FROM pg_class c WHERE relname = '居民'""",
}
NEWER = (
    """INSERT INTO "业务"."居民" VALUES (7, '后来', 1)""",
    """UPDATE "业务"."居民" SET "余额" = 2 WHERE "编号" = 6""",
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mariadb"])
def test_an_agent_of_the_released_version_goes_on(
    kind: str,
    request: pytest.FixtureRequest,
    postgres18: PostgresAddress,
    kafka: KafkaAddress,
    tmp_path: Path,
) -> None:
    """Its `status` and `check` work before the first start, too; and it can go back."""
    left = Left(kind)
    with ExitStack() as stack:
        source = stack.enter_context(fresh_database(postgres18))
        front = None
        if kind == "postgres":
            front = stack.enter_context(fresh_database(postgres18))
        if kind == "mariadb":
            front = request.getfixturevalue("mariadb_database")
        place = Installation(tmp_path, source, kafka.bootstrap, left.agent, [TABLE], front)
        give_front(place, left, follow(place, left), request)
        give_topics(place, left, kafka)
        configure(place, left)

        assert place.status()["tables"][0]["state"] == "live"
        checked = place.command("check", expect=EX_CONFIG).stdout
        assert "errors: 1," in checked, checked  # the test server sets no limit to its log
        assert "SLOT_LIMIT" in checked
        with place.start() as agent:
            agent.wait_ready()
            with psycopg.connect(source, autocommit=True) as connection:
                for statement in NEWER:
                    connection.execute(statement.encode())
            verdict = place.verdict()
            assert verdict.equal, f"{verdict}\n{agent.log[-3000:]}"
            assert verdict.events == PUBLISHED + WAITING + FURTHER
            assert "reconcile_begins" not in agent.log
            agent.stop()

        assert "Nothing is changed." in place.command("downgrade", "--to", "0.1.0").stdout
        assert "version" in last_record(place)
        place.command("downgrade", "--to", "0.1.0", "--apply")
        assert last_record(place).keys() == left.record.keys()
        with place.start() as agent:
            agent.wait_ready()
            verdict = place.verdict()
            assert verdict.equal, f"{verdict}\n{agent.log[-3000:]}"
            assert verdict.events == PUBLISHED + WAITING + FURTHER


def last_record(place: Installation) -> dict[str, object]:
    """The last state record in Kafka."""
    record: dict[str, object] = json.loads(
        json.loads(messages(place.bootstrap, place.state_topic)[-1])["value"]
    )
    return record


def follow(place: Installation, left: Left) -> dict[str, object]:
    """Makes the business database and a slot, behind the positions of that day.

    Returns what the front end of that day knows of them.
    """
    with psycopg.connect(place.source, autocommit=True) as connection:
        for statement in left.statements("source.sql", {}):
            connection.execute(statement.encode())
        connection.execute(
            f"CREATE PUBLICATION {place.slot} FOR TABLE 业务.居民"
            " WITH (publish_via_partition_root = true)".encode()
        )
        behind = "SELECT pg_current_wal_insert_lsn() > '0/9000000'"

        def reached() -> bool:
            connection.execute("SELECT pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")
            return connection.execute(behind).fetchone() == (True,)

        eventually(reached, what="the log is past that of the released version")
        made = "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, 'pgoutput')"
        known: dict[str, object] = {}
        (known["position"],) = connection.execute(made, [place.slot]).fetchone() or ("",)
        for name, question in KNOWN.items():
            (known[name],) = connection.execute(question.encode()).fetchone() or ("",)
    return known


def give_front(
    place: Installation, left: Left, known: dict[str, object], request: pytest.FixtureRequest
) -> None:
    """Puts the front end of that day in its place."""
    statements = left.statements("front.sql", known)
    if left.kind == "sqlite":
        place.front_file.parent.mkdir(parents=True)
        with sqlite3.connect(place.front_file) as file:
            file.executescript(";\n".join(statements) + ";")
        file.close()
    elif left.kind == "postgres":
        with psycopg.connect(str(place.front), autocommit=True) as connection:
            connection.execute(";\n".join(statements).encode())
    else:
        server = request.getfixturevalue("mariadb_server")
        database = str(place.front).rpartition("/")[2]
        for statement in statements:
            execute(server.url.set(database=database), statement)


def give_topics(place: Installation, left: Left, kafka: KafkaAddress) -> None:
    """Fills the topics as they were; the record names the topics and offsets of today."""
    topic, record = f"{place.name}.person", left.record
    settings = {"cleanup.policy": "compact", "min.insync.replicas": "1"}
    topics = [NewTopic(topic, 1, 1), NewTopic(place.state_topic, 1, 1, config=settings)]
    for made in kafka.admin.create_topics(topics).values():
        made.result()
    producer = Producer({"bootstrap.servers": place.bootstrap})
    for one in left.events:
        key, value = one["key"].encode(), one["value"].encode()
        producer.produce(topic, value, key, partition=0, headers=one["headers"])
    producer.flush()
    record["topics"][topic]["id"] = topic_id(kafka, topic)
    record["topics"][topic]["offsets"] = {"0": len(left.events)}
    value = json.dumps(record).encode()
    producer.produce(place.state_topic, value, record["agent"].encode(), partition=0)
    producer.flush()


def topic_id(kafka: KafkaAddress, topic: str) -> str:
    """The id that the cluster gave a topic, as records have it."""
    (found,) = kafka.admin.describe_topics(TopicCollection([topic])).values()
    given = found.result().topic_id
    number = (given.get_most_significant_bits() & (2**64 - 1)) << 64
    number |= given.get_least_significant_bits() & (2**64 - 1)
    return str(uuid.UUID(int=number))


def configure(place: Installation, left: Left) -> None:
    """Writes the configuration of that day for the servers of today."""
    given = conninfo_to_dict(place.source)
    values = {
        "host": given["host"],
        "port": given["port"],
        "database": given["dbname"],
        "user": given["user"],
        "directory": place.directory,
        "bootstrap": place.bootstrap,
        "listen": place.listen,
        "front": front_url(place.front) if place.front else "",
    }
    place.config.write_text(left.text("agent.toml", values), encoding="utf-8")

"""Tests bootstrap servers of which one answers; the others say nothing, refuse or are no brokers.

Both clients begin with that one, and it is reported.
"""

import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import kafka.errors
import pytest
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # not re-exported for mypy

from agent.config import Settings
from agent.errors import ClockWrong, TopicLimit
from agent.preflight.kafka_checks import check_kafka
from agent.publish.base import Producer
from agent.publish.bootstrap import answering
from agent.publish.clients import cluster
from agent.publish.connection import our_error, passes
from agent.publish.waiting import patiently
from tests.services.kafka import KafkaAddress
from tests.services.processes import HOST, free_port
from tests.waiting import PATIENCE

CLIENTS = ("kafka-python", "librdkafka")
SOON = 60.0  # seconds; a client that waits for the silent one takes 75 and more


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with closing(socket.create_server((HOST, 0))) as listener:
        yield f"{HOST}:{listener.getsockname()[1]}"


def settings(folder: Path, client: str, prefix: str, *servers: str) -> Settings:
    """An agent's, with these bootstrap servers."""
    return Settings.model_validate(
        {
            "name": prefix,
            "state_directory": str(folder),
            "source": {"host": HOST, "database": "d", "user": "u"},
            "kafka": {"bootstrap_servers": list(servers), "prefix": prefix, "client": client},
            "resource": [{"name": "person", "table": "public.person", "columns": ["id"]}],
        }
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_a_silent_server_holds_nothing_up(
    client: str,
    silent: str,
    kafka: KafkaAddress,
    topic_prefix: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is named once in the log, and a warning of `check`; so is one where nothing listens."""
    monkeypatch.setenv("SYNC_AGENT_LANG", "en")
    nothing = f"{HOST}:{free_port()}"
    given = settings(tmp_path, client, topic_prefix, silent, nothing, kafka.bootstrap)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "agent.publish.bootstrap"):
        for _ in range(2):
            broker = cluster(given.kafka, given.state_topic, str(uuid.uuid4()), lambda: None)
            producer = broker.open(time.monotonic() + 2 * SOON)
            assert broker.topics(["x"], time.monotonic() + SOON) == {"x": None}
            producer.abandon()
    assert time.monotonic() - began < SOON
    told = [r.getMessage() for r in caplog.records if r.name == "agent.publish.bootstrap"]
    assert told == [f"kafka_server_silent server={silent}"]
    found = [
        finding
        for finding in check_kafka(given.kafka, given.topics, "")
        if finding.code == "KAFKA_NETWORK"
    ]
    assert time.monotonic() - began < 2 * SOON
    assert [(finding.level, silent in finding.message) for finding in found] == [
        ("ok", True),
        ("warning", True),
        ("warning", False),
        ("ok", False),
    ]
    assert "Nothing listens" in found[2].fix


def test_where_none_answers_all_are_tried(silent: str, tmp_path: Path) -> None:
    """One alone is not asked beforehand."""
    assert answering(settings(tmp_path, CLIENTS[0], "p", silent).kafka) == [silent]
    nothing = f"{HOST}:{free_port()}"
    assert answering(settings(tmp_path, CLIENTS[0], "p", nothing, silent).kafka) == [
        nothing,
        silent,
    ]


@pytest.mark.parametrize("records", [1, 3])
@pytest.mark.parametrize("client", CLIENTS)
def test_kafka_refuses_records_for_their_time_or_size(
    client: str, records: int, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> None:
    """A clock that is wrong and a topic that takes less than it should have each its own name."""
    given = settings(tmp_path, client, topic_prefix, kafka.bootstrap)
    narrow = {
        f"{topic_prefix}.old": ({"message.timestamp.before.max.ms": "0"}, ClockWrong),
        f"{topic_prefix}.small": ({"max.message.bytes": "1000"}, TopicLimit),
    }
    made = [NewTopic(name, 1, 1, config=config) for name, (config, _) in narrow.items()]
    for future in kafka.admin.create_topics(made, operation_timeout=20).values():
        future.result(PATIENCE)
    for topic, (_, kind) in narrow.items():
        broker = cluster(given.kafka, given.state_topic, str(uuid.uuid4()), lambda: None)
        producer = broker.open(time.monotonic() + SOON)
        producer.begin()
        with pytest.raises(kind):
            sent(producer, topic, records)
        producer.abandon()


def sent(producer: Producer, topic: str, records: int) -> None:
    """Sends records in one batch, which cannot be compressed, until they are stored."""
    for _ in range(records):
        producer.send(topic, 0, b"k", os.urandom(5000), [])
    producer.drain(0, time.monotonic() + SOON)


def test_what_passes_by_itself_is_waited_for(tmp_path: Path) -> None:
    """A broker's own word that it cannot answer yet, and no other error; until the deadline."""
    kafka_settings = settings(tmp_path, CLIENTS[0], "p", "h:1").kafka
    yet = [kafka.errors.for_code(code)() for code in (3, 5, 6, 14, 15)]
    assert all(map(passes, yet))
    never = [kafka.errors.for_code(29)(), kafka.errors.KafkaConnectionError(), TimeoutError()]
    assert not any(map(passes, never))
    answers = [*yet[:2], None]

    def work() -> str:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return "done"

    assert patiently(work, time.monotonic() + 10, lambda: None, passes) == "done"
    answers = [yet[0]]
    with pytest.raises(kafka.errors.UnknownTopicOrPartitionError):
        patiently(work, time.monotonic(), lambda: None, passes)
    assert isinstance(our_error(kafka.errors.for_code(32)(), kafka_settings), ClockWrong)

"""Tests that the programs of docs/consumers.md, as they stand there, keep an exact copy.

They do so through kill -9 and aborted transactions.
"""

import json
import re
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # the package does not re-export it for mypy

from tests.services.kafka import KafkaAddress
from tests.services.processes import dying_with_parent
from tests.waiting import PATIENCE, eventually

PAGE = (Path(__file__).parent.parent / "docs" / "consumers.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"With ([\w-]+):\n\n```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("client", "program"), PROGRAMS, ids=[client for client, _ in PROGRAMS])
def test_a_program_of_the_docs(
    client: str, program: str, kafka: KafkaAddress, tmp_path: Path
) -> None:
    """A copy follows creates, updates, and deletes with tombstones.

    What was aborted is not seen; after kill -9 it goes on where it was.
    """
    topic, file, code = f"t{uuid.uuid4().hex[:12]}", tmp_path / "copy.db", tmp_path / f"{client}.py"
    code.write_text(program, encoding="utf-8")
    kafka.admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(PATIENCE)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    written(producer, topic, [("c", n) for n in range(40)] + [("u", n) for n in range(0, 40, 2)])
    written(producer, topic, [("d", 39), ("u", 1)], commit=False)
    with running(code, kafka.bootstrap, topic, file):
        eventually(
            lambda: copied(file) == {n: "u" if n % 2 == 0 else "c" for n in range(40)},
            what="the first rows are copied",
        )
    written(producer, topic, [("d", n) for n in range(20)] + [("r", 5), ("c", 50)])
    with running(code, kafka.bootstrap, topic, file):
        expected = {n: "u" if n % 2 == 0 else "c" for n in range(20, 40)} | {5: "r", 50: "c"}
        eventually(lambda: copied(file) == expected, what="the later rows are copied")


def written(
    producer: Producer, topic: str, events: list[tuple[str, int]], commit: bool = True
) -> None:
    """One Kafka transaction of events."""
    producer.begin_transaction()
    for op, number in events:
        key = json.dumps({"id": number})
        after = None if op == "d" else {"id": number, "op": op}
        producer.produce(topic, json.dumps({"before": None, "after": after, "op": op}), key)
        if op == "d":
            producer.produce(topic, None, key)
    producer.flush()
    producer.commit_transaction() if commit else producer.abort_transaction()


@contextmanager
def running(code: Path, *arguments: str | Path) -> Iterator[None]:
    """The program, killed in the end."""
    process = subprocess.Popen(
        [sys.executable, code, *arguments],
        preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - see there
    )
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def copied(file: Path) -> dict[int, str]:
    """Returns what the copy holds: number -> operation that wrote it."""
    with closing(sqlite3.connect(file, timeout=10)) as connection:
        rows = connection.execute("SELECT key, row FROM rows").fetchall()
    assert all(json.loads(key) == {"id": json.loads(row)["id"]} for key, row in rows)
    return {json.loads(row)["id"]: json.loads(row)["op"] for _, row in rows}

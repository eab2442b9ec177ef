"""Lets a released version work with its own test tools, and writes down what it leaves.

See `make.py`.

It is killed while events wait in its outbox. A folder per kind then holds the front end as SQL, the
configuration, the rows of the business database, and the events and the state record in Kafka. What
belongs to the servers of that day stands there as `{name}`, to be filled in by a test.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Consumer, TopicPartition
from psycopg.conninfo import conninfo_to_dict

from tests.agent_process import Installation
from tests.checker.front import at_front
from tests.checker.unit import UnitTable
from tests.services.kafka import kafka
from tests.services.mariadb import connected, mariadb
from tests.services.postgres import postgres
from tests.waiting import eventually

TABLE = UnitTable(
    "person",
    "居民",
    '("编号" bigint PRIMARY KEY, "姓名" text NOT NULL, "余额" numeric(16,2))',
    {"编号": lambda _: ""},
    {"姓名": lambda _: "", "余额": lambda _: ""},
)
PUBLISHED = """
INSERT INTO "业务"."居民" SELECT n, '姓名' || n, n + 0.5 FROM generate_series(1, 5) n
"""
WAITING = (
    """UPDATE "业务"."居民" SET "姓名" = '改' WHERE "编号" = 1""",
    """DELETE FROM "业务"."居民" WHERE "编号" = 2""",
    """INSERT INTO "业务"."居民" VALUES (6, '新', NULL)""",
)
ROWS = """
SELECT format('INSERT INTO "业务"."居民" VALUES (%L, %L, %L);', "编号", "姓名", "余额")
FROM "业务"."居民" ORDER BY 1
"""


def leave(kind: str, made: Path) -> None:
    """Lets the agent work, kills it, and writes down what is left."""
    with ExitStack() as stack:
        source = stack.enter_context(postgres(18)).dsn()
        front = None
        if kind == "postgres":
            front = stack.enter_context(postgres(15)).dsn()
        if kind == "mariadb":
            front = stack.enter_context(stack.enter_context(mariadb()).fresh_database())
        broker = stack.enter_context(kafka()).bootstrap
        directory = Path(tempfile.mkdtemp(dir="/tmp"))
        stack.callback(shutil.rmtree, directory)
        place = Installation(directory, source, broker, f"old{kind}", [TABLE], front)
        place.sections = {"kafka": {"partitions": 1}}
        rows = work(place, stack)
        (made / "source.sql").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        (made / "front.sql").write_text(of_front(kind, place), encoding="utf-8")
        (made / "agent.toml").write_text(of_configuration(place), encoding="utf-8")
        events = messages(broker, f"{place.name}.person")
        (made / "events.jsonl").write_text("".join(f"{event}\n" for event in events), "utf-8")
        record = json.loads(messages(broker, place.state_topic)[-1])["value"]
        (made / "record.json").write_text(f"{record}\n", encoding="utf-8")


def work(place: Installation, stack: ExitStack) -> list[str]:
    """Publishes some events and leaves some in the outbox. Returns the source as SQL."""
    agent = place.install().start()
    stack.callback(agent.kill9)
    agent.wait_ready()
    with psycopg.connect(place.source, autocommit=True) as connection:
        connection.execute(PUBLISHED)
        eventually(place.caught_up, 60, "all is published", 0.5)
        os.kill(agent.child("publish"), signal.SIGSTOP)
        for statement in WAITING:
            connection.execute(statement.encode())
        place.applied()
        agent.kill9()
        rows = [str(row[0]) for row in connection.execute(ROWS)]
    return ['CREATE SCHEMA "业务";', f'CREATE TABLE "业务"."居民" {TABLE.ddl};', *rows]


def of_front(kind: str, place: Installation) -> str:
    """The front end as SQL."""
    state = "SELECT system_id, position FROM sync_agent_state"
    system_id, position = at_front(place.places.front, state)[0]
    if kind == "sqlite":
        with closing(sqlite3.connect(place.front_file)) as file:
            text = "\n".join(file.iterdump())
    elif kind == "postgres":
        text = dumped_postgres(str(place.front))
    else:
        text = "\n".join(dumped_mariadb(str(place.front)))
    (parts,) = at_front(place.places.front, "SELECT parts FROM sync_agent_fingerprint")[0]
    for name in ("publication", "storage"):  # object ids of that server
        text = text.replace(json.loads(parts)[name], "{" + name + "}")
    text = text.replace(f"'{system_id}'", "'{system_id}'").replace(f"'{position}'", "'{position}'")
    return text + "\n"


def dumped_postgres(front: str) -> str:
    """What pg_dump says, without settings and comments."""
    program = "/usr/lib/postgresql/15/bin/pg_dump"
    command = [program, "--inserts", "--no-owner", "--no-privileges", "-d", front]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    left_out = ("--", "SET ", "SELECT pg_catalog.set_config", "\\")
    lines = done.stdout.splitlines()
    return "\n".join(line for line in lines if line and not line.startswith(left_out))


def dumped_mariadb(front: str) -> list[str]:
    """Each table and its rows, as statements."""
    found = []
    with connected(front) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES")
        for (table,) in cursor.fetchall():
            cursor.execute(f"SHOW CREATE TABLE `{table}`")
            found.append(f"{cursor.fetchone()[1]};")
            cursor.execute(f"SELECT * FROM `{table}`")
            for row in cursor.fetchall():
                values = ", ".join(connection.escape(value) for value in row)
                found.append(f"INSERT INTO `{table}` VALUES ({values});")
    return found


def of_configuration(place: Installation) -> str:
    """The configuration with what a test fills in."""
    given = conninfo_to_dict(place.source)
    text = place.config.read_text(encoding="utf-8")
    for value, name in (
        (f'host = "{given["host"]}"', 'host = "{host}"'),
        (f"port = {given['port']}", "port = {port}"),
        (f'database = "{given["dbname"]}"', 'database = "{database}"'),
        (f'user = "{place.name}"', 'user = "{user}"'),
        (str(place.directory), "{directory}"),
        (place.bootstrap, "{bootstrap}"),
        (f":{place.listen}", ":{listen}"),
    ):
        text = text.replace(value, name)
    lines = ['url = "{front}"' if line.startswith("url = ") else line for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def messages(bootstrap: str, topic: str) -> list[str]:
    """What a reader of committed records finds in a topic, each message as JSON."""
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "group.id": "upgrade",
        "enable.partition.eof": True,
    }
    consumer, found = Consumer(settings), []
    consumer.assign([TopicPartition(topic, 0, 0)])
    while (message := consumer.poll(30)) is not None and message.error() is None:
        key, value = message.key(), message.value()
        headers: Any = message.headers() or []
        read = {
            "key": None if key is None else bytes(key).decode(),
            "value": None if value is None else bytes(value).decode(),
            "headers": {name: bytes(text).decode() for name, text in headers},
        }
        found.append(json.dumps(read, ensure_ascii=False))
    consumer.close()
    return found


if __name__ == "__main__":
    leave(sys.argv[1], Path(sys.argv[2]))

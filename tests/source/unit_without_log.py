"""A unit whose database has no log that the agent reads, its agent, and the life of its table."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from tests.agent_process import Agent, Stage, in_this_process
from tests.checker import replay
from tests.services.kafka import KafkaAddress
from tests.services.processes import HOST, free_port
from tests.source.databases import Place
from tests.waiting import eventually

TIMES = {
    "sqlite": "DATETIME",
    "mariadb": "DATETIME(3)",
    "mysql": "DATETIME(3)",
    "mysql8": "DATETIME(3)",
    "postgresql": "TIMESTAMP(3)",
    "psycopg2": "TIMESTAMP(3)",
    "firebird": "TIMESTAMP",
}
CONFIG = """
name = "unit"
state_directory = "{folder}"
[source]
url = "{url}"
{source}
[kafka]
bootstrap_servers = ["{kafka}"]
prefix = "{prefix}"
[service]
listen = "{host}:{port}"
[[resource]]
name = "permit"
table = "permit"
columns = ["id", "holder", "amount"]
{resource}
"""

Rows = dict[int, tuple[str, int]]


class Unit:
    """A business database, its agent, and the life of its table."""

    def __init__(
        self,
        place: Place,
        kafka: KafkaAddress,
        prefix: str,
        folder: Path,
        source: str,
        resource: str = "",
    ) -> None:
        """`source` and `resource` are further lines of these sections."""
        self._place = place
        self._kafka = kafka
        self._topic = f"{prefix}.permit"
        self._folder = folder
        self.port = free_port()
        self._random = random.Random(1)
        self.config = folder / "unit.toml"
        text = CONFIG.format(
            folder=folder,
            url=place.url.render_as_string(hide_password=False),
            source=source,
            resource=resource,
            kafka=kafka.bootstrap,
            prefix=prefix,
            host=HOST,
            port=self.port,
        )
        self.config.write_text(text, encoding="utf-8")
        place.execute(
            "CREATE TABLE permit (id INTEGER NOT NULL PRIMARY KEY, holder VARCHAR(40), "
            f"amount INTEGER, changed {TIMES[place.kind]}, pending INTEGER DEFAULT 1)",
            "CREATE INDEX permit_changed ON permit (changed, id)",
            "CREATE INDEX permit_pending ON permit (pending, id)",
        )

    def command(self, *arguments: str) -> str:
        """Runs a command that succeeds."""
        done = in_this_process(self.config, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> Agent:
        """Starts the service."""
        return Agent(self.config, self._folder / "agent.log", self.port)

    def config_of_host(self, name: str) -> tuple[Path, int]:
        """Writes the configuration of one of two hosts in a folder of its own; returns its port."""
        folder, port = self._folder / name, free_port()
        folder.mkdir()
        text = self.config.read_text(encoding="utf-8")
        text = text.replace(str(self._folder), str(folder)).replace(f":{self.port}", f":{port}")
        config = folder / self.config.name
        config.write_text(text.replace("[service]", "[service]\nstandby = true"), encoding="utf-8")
        return config, port

    def write(self, changes: int) -> None:
        """Inserts, updates and deletes rows of a few keys."""
        for _ in range(changes):
            key = self._random.randrange(40)
            statements = [f"DELETE FROM permit WHERE id = {key}"]
            if self._random.random() < 0.8:
                now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:23]
                amount = self._random.randrange(1000)
                values = f"({key}, '持证人 {amount}', {amount}, '{now}')"
                columns = "(id, holder, amount, changed)"
                statements.append(f"INSERT INTO permit {columns} VALUES {values}")
            self._place.execute(*statements)

    @property
    def business(self) -> Rows:
        """The rows that are shared."""
        with self._place.open() as connection:
            found = connection.exec_driver_sql("SELECT id, holder, amount FROM permit").all()
        return {key: (holder, amount) for key, holder, amount in found}

    @property
    def front_file(self) -> Path:
        """The front end."""
        return self._folder / "unit" / "front.db"

    @property
    def front(self) -> Rows:
        """The front-end table."""
        with closing(sqlite3.connect(self.front_file)) as connection:
            found = connection.execute("SELECT id, holder, amount FROM permit")
            return {key: (holder, amount) for key, holder, amount in found}

    def events(self) -> list[tuple[int, str, Any]]:
        """Key, operation and row of each event that a subscriber sees."""
        found = []
        for message in replay.messages(self._kafka.bootstrap, [self._topic]):
            if message.value() is not None:
                value = orjson.loads(message.value() or b"")
                key = orjson.loads(message.key() or b"")["id"]
                found.append((key, value["op"], value["after"]))
        return found


def check_equal_whatever_dies(unit: Unit, at_the_end: Callable[[], object]) -> None:
    """Kills service and single processes while rows change; no event may come twice.

    `at_the_end` is done before the front end has to equal the source.
    """
    unit.write(30)
    unit.command("init", "--apply")
    stages: list[Stage | None] = [None, "capture", "publish"]
    for stage in stages:
        with unit.start() as agent:
            agent.wait_ready()
            unit.write(20)
            if stage is not None:
                agent.kill9_child(stage)
                agent.wait_ready()
                unit.write(20)

    with unit.start() as agent:
        agent.wait_ready()
        unit.write(20)
        at_the_end()
        eventually(lambda: unit.front == unit.business, what="the front end equals the source")
        unit.command("verify", "permit")
        agent.stop()
    check_events(unit)


def check_events(unit: Unit) -> None:
    """Checks that the events give the rows of the business database, and that each tells some."""
    rows: Rows = {}
    for key, op, after in unit.events():
        before = rows.pop(key, None)
        if after is not None:
            rows[key] = (after["holder"], after["amount"])
            assert before != rows[key], "an event tells nothing new"
        else:
            assert op == "d"
            assert before is not None, "a delete of a row that is not there"
    assert rows == unit.business

"""Makes a front end for the publisher's tests.

These are the agent's own tables in a SQLite file, filled as the capture process fills them.
"""

import json
import random
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine, Integer, func, insert, select, update

from agent.config import (
    FrontSettings,
    KafkaSettings,
    PostgresSettings,
    ResourceSettings,
    Settings,
)
from agent.front.base import Batch
from agent.front.schema import VERSION, AgentTables
from agent.front.sqlite.session import sqlite_engine
from agent.outbox.frames import BatchWriter, event_id
from agent.outbox.reader import Reader

SOURCE_ID = "system/1/biz/slot"
Transaction = list[tuple[str, int, str]]  # table, key, operation


def settings_for(
    bootstrap: str,
    prefix: str,
    directory: Path,
    tables: tuple[str, ...] = ("orders", "items"),
    **kafka: object,
) -> Settings:
    """Settings of an agent whose front end is `directory`/front.db."""
    return Settings(
        name="unit1",
        state_directory=str(directory),
        source=PostgresSettings(host="localhost", database="biz", user="agent"),
        front=FrontSettings(url=f"sqlite:///{directory / 'front.db'}"),
        kafka=KafkaSettings.model_validate(
            {"bootstrap_servers": [bootstrap], "prefix": prefix, **kafka}
        ),
        resource=[ResourceSettings(name=table, table=table, columns=["id"]) for table in tables],
    )


class OutboxFront:
    """The capture process's side: counters, outbox and position, written in one transaction."""

    def __init__(self, settings: Settings, nonce: str = "nonce-1") -> None:
        self.settings = settings
        self.path = Path(settings.front.url.removeprefix("sqlite:///"))
        self.engine: Engine = sqlite_engine(settings.front.url, 20)
        self._engines = [self.engine]
        self.agent = str(uuid.uuid4())
        self.seqs = dict.fromkeys((settings.topic(resource) for resource in settings.resource), 0)
        self.generations = dict.fromkeys(self.seqs, 1)
        self.lsn = 1000
        # Topic -> (event id, seq)
        self.expected: dict[str, list[tuple[str, int]]] = {topic: [] for topic in self.seqs}
        self.own = AgentTables(settings.agent)
        self.own.metadata.create_all(self.engine)
        self._writer = BatchWriter(0, 0)
        with self.engine.begin() as connection:
            row = {
                "id": 1,
                "agent_uuid": self.agent,
                "agent_name": "unit1",
                "source_id": SOURCE_ID,
                "identity": "{}",
                "token": "",
                "version": VERSION,
            }
            row |= {
                "epoch": 1,
                "nonce": nonce,
                "initialised": 1,
                "position": "0/0",
                "position_time_us": 0,
            }
            row |= {
                "commit_position": "",
                "commit_transaction": 0,
                "commit_time_us": 0,
                "number": 0,
                "batch": 0,
            }
            connection.execute(insert(self.own.state).values(**row))
            connection.execute(
                insert(self.own.published).values(
                    id=1, number=0, event_id="", batch=0, position="", time_us=0
                )
            )
            for resource in settings.resource:
                topic = settings.topic(resource)
                given = {"name": resource.name, "topic": topic, "state": "live", "generation": 1}
                others = {
                    column.name: 0 if isinstance(column.type, Integer) else ""
                    for column in self.own.resource.columns
                    if not column.nullable
                }
                connection.execute(insert(self.own.resource).values(**others | given))

    def reader(self) -> Reader:
        """The publisher's view."""
        self._engines.append(
            sqlite_engine(self.settings.front.url, 20).execution_options(reader=True)
        )
        return Reader(self._engines[-1], self.settings.agent)

    def clone(self, directory: Path, nonce: str) -> Settings:
        """Copies the front end's file as a cloned machine would have it, and returns its settings.

        It is opened there by a service of its own.
        """
        directory.mkdir()
        url = f"sqlite:///{directory / 'front.db'}"
        with (
            closing(sqlite3.connect(self.path)) as source,
            closing(sqlite3.connect(directory / "front.db")) as target,
        ):
            source.backup(target)
            target.execute(
                "UPDATE sync_agent_unit1_state SET epoch = epoch + 1, nonce = ?", [nonce]
            )
            target.commit()
        front = self.settings.front.model_copy(update={"url": url})
        return self.settings.model_copy(update={"state_directory": str(directory), "front": front})

    def close(self) -> None:
        """Closes its files."""
        for engine in self._engines:
            engine.dispose()

    def begin_anew(self, table: str) -> None:
        """Begins a new generation of a table's topic.

        What was expected of the old one is expected no more.
        """
        topic = f"{self.settings.kafka.prefix}.{table}"
        self.generations[topic] += 1
        self.seqs[topic], self.expected[topic] = 0, []
        with self.engine.begin() as connection:
            connection.execute(
                update(self.own.resource)
                .where(self.own.resource.c.name == table)
                .values(generation=self.generations[topic], state="live")
            )

    def published(self, number: int, event: str) -> None:
        """Sets the publisher's mark.

        Its events were not written by this object and are gone from the outbox.
        """
        self._writer = BatchWriter(number, self._writer.batch)
        with self.engine.begin() as connection:
            connection.execute(update(self.own.published).values(number=number, event_id=event))
            connection.execute(update(self.own.state).values(number=number))

    def suspensions(self) -> list[tuple[str, str]]:
        """Tables the publisher wants suspended, with the code."""
        with self.engine.connect() as connection:
            rows = connection.execute(
                select(self.own.requests.c.resource, self.own.requests.c.report).where(
                    self.own.requests.c.kind == "suspend"
                )
            ).all()
        return [(name, json.loads(report)["code"]) for name, report in rows]

    def suspend(self, table: str) -> None:
        """What the capture process does then."""
        with self.engine.begin() as connection:
            connection.execute(
                update(self.own.resource)
                .where(self.own.resource.c.name == table)
                .values(state="suspended")
            )

    def opened_again(self, nonce: str) -> None:
        """What a capture process does first: the next epoch, its service's nonce."""
        with self.engine.begin() as connection:
            connection.execute(
                update(self.own.state).values(epoch=self.own.state.c.epoch + 1, nonce=nonce)
            )

    def write(
        self, transactions: list[Transaction], size: int = 40, heartbeat: bool = False
    ) -> None:
        """One front-end transaction with these source transactions."""
        batches: list[Batch] = []
        for changes in transactions:
            self.lsn += 100
            self._writer.begin(7, self.lsn, self.lsn)
            for ordinal, (table, key, operation) in enumerate(changes):
                if not ordinal and self.settings.kafka.transactions:
                    self._writer.boundary(True, b"%d" % self.lsn, b"BEGIN")
                self._event(table, key, operation, ordinal, size)
                if self._writer.full and (batch := self._writer.take()):
                    batches.append(batch)
            if changes and self.settings.kafka.transactions:
                self._writer.boundary(False, b"%d" % self.lsn, b"END")
            self._writer.commit(self.lsn + 50)
        if heartbeat:
            self.lsn += 100
            self._writer.heartbeat(self.lsn, self.lsn)
        if batch := self._writer.take():
            batches.append(batch)
        self._store(batches)

    def _event(self, table: str, key: int, operation: str, ordinal: int, size: int) -> None:
        topic = f"{self.settings.kafka.prefix}.{table}"
        self.seqs[topic] += 1
        value = b'{"before":null,"after":{"id":%d,"t":"%b"},"op":"%b","ts_ms":1}' % (
            key,
            random.randbytes(size // 2).hex().encode(),
            operation.encode(),
        )
        self._writer.event(
            topic,
            self.generations[topic],
            self.seqs[topic],
            b'{"id":%d}' % key,
            value,
            tombstone=operation == "d",
        )
        self.expected[topic].append(
            (event_id(SOURCE_ID, self.lsn, self.lsn, ordinal), self.seqs[topic])
        )

    def _store(self, batches: list[Batch]) -> None:
        with self.engine.begin() as connection:
            for batch in batches:
                for part, at in enumerate(range(0, len(batch.payload), 1 << 20)):
                    chunk = batch.payload[at : at + (1 << 20)]
                    connection.execute(
                        insert(self.own.outbox).values(
                            **batch._asdict()
                            | {"part": part, "payload": chunk, "time_us": self.lsn}
                        )
                    )
            values = {
                "number": self._writer.number,
                "batch": self._writer.batch,
                "position": f"0/{self.lsn + 50:X}",
                "position_time_us": self.lsn,
            }
            connection.execute(update(self.own.state).values(**values))

    @property
    def last(self) -> int:
        """Number of the last event."""
        return self._writer.number

    def outbox_rows(self) -> int:
        """How many rows the outbox still has."""
        with self.engine.connect() as connection:
            return connection.execute(
                select(func.count()).select_from(self.own.outbox)
            ).scalar_one()


def workload(seed: int, transactions: int, largest: int = 5) -> list[Transaction]:
    """Source transactions over two tables and few keys."""
    chance = random.Random(seed)
    return [
        [
            (chance.choice(("orders", "items")), chance.randrange(20), chance.choice("cuud"))
            for _ in range(chance.randint(1, largest))
        ]
        for _ in range(transactions)
    ]

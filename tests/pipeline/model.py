"""Defines a small source: two tables, transactions written by hand or at random.

It knows what front end and topics must hold afterwards.
"""

from collections.abc import Iterable

import orjson

from agent.capture.loop import Capture
from agent.config import ResourceSettings, Settings
from agent.connectors.changes import (
    Begin,
    Change,
    Column,
    Commit,
    Heartbeat,
    Message,
    Relation,
    Truncate,
)
from agent.connectors.memory import MemorySource
from agent.connectors.position import position_number
from agent.connectors.table import SourceColumn, SourceTable
from agent.front.base import Progress, Stored
from agent.front.durable import Durable, empty_store
from agent.front.memory import MemoryFront
from agent.outbox.frames import OutboxBoundary, OutboxEvent, frames
from agent.service.control import Control
from agent.values import column_types as v
from agent.values.rows import Row

COLUMNS = ("id", "state", "big", "hidden")

# What `init` has stored of the source: the settings name one of PostgreSQL
IDENTITY = {"system_id": "1", "timeline": 1, "slot": "slot", "publication": ""}


def relation(table: str, identity: str = "d") -> Relation:
    """A table of four columns with the key id."""
    types = (v.INT8, v.TEXT, v.TEXT, v.TEXT)
    return Relation(
        hash(table) % 10_000,
        "app",
        table,
        identity,
        tuple(Column(c, t, -1, c == "id") for c, t in zip(COLUMNS, types, strict=True)),
    )


def catalogued(table: str, identity: str = "d") -> SourceTable:
    """The same table in the catalogue."""
    columns = tuple(
        SourceColumn(
            c,
            v.INT8 if c == "id" else v.TEXT,
            v.INT8 if c == "id" else v.TEXT,
            "text",
            True,
            c == "id",
            "",
        )
        for c in COLUMNS
    )
    return SourceTable(
        1, "app", table, columns, ("id",), identity, deferrable=table.startswith("deferred")
    )


PLAIN, FULL, FILTERED, DEFERRED = (
    relation("plain"),
    relation("full", "f"),
    relation("filtered"),
    relation("deferred", "f"),
)
RELATIONS = {
    "plain": PLAIN,
    "full": FULL,
    "filtered": FILTERED,
    "deferred": DEFERRED,
    "deferred_filtered": relation("deferred_filtered", "f"),
}


def settings(**kafka: object) -> Settings:
    """Returns a resource of each kind; `hidden` is listed nowhere.

    The filtered ones share rows in state open only. Rows of the deferred ones may share a key.
    """
    resources = [
        ResourceSettings(name=name, table=f"app.{name}", columns=["id", "state", "big"])
        for name in RELATIONS
    ]
    kept = {"column": "state", "is_in": ["open"]}
    return Settings.model_validate(
        {
            "name": "unit",
            "source": {"host": "nowhere", "database": "biz", "user": "u", "slot": "slot"},
            "kafka": {"bootstrap_servers": ["nowhere:1"], "prefix": "p", **kafka},
            "resource": [
                r.model_dump() | ({"filter": [kept]} if r.name.endswith("filtered") else {})
                for r in resources
            ],
        }
    )


def transaction(
    number: int, *changes: tuple[Relation, str, Row | None, Row | None] | Truncate
) -> list[Message]:
    """Returns one source transaction; `number` gives positions and xid.

    A change is (relation, op, old, new).
    """
    lsn = number * 1000
    messages: list[Message] = [Begin(number, lsn + 900, number * 1_000_000)]
    for n, change in enumerate(changes):
        if isinstance(change, Truncate):
            messages.append(change)
        else:
            table, op, old, new = change
            messages.append(Change(table, op, old, new, table.identity == "f", lsn + n, 100))
    return [*messages, Commit(number, lsn + 999, number * 1_000_000)]


def heartbeat(number: int) -> list[Message]:
    """A sign of life between transactions."""
    return [Heartbeat(number * 1000 + 500, number * 1_000_000)]


class Bench:
    """Source, front end and capture on the in-memory twins."""

    def __init__(self, **kafka: object) -> None:
        self.settings = settings(**kafka)
        self.source = MemorySource(
            {("app", name): catalogued(name, RELATIONS[name].identity) for name in RELATIONS}
        )
        topics = {name: f"p.{name}" for name in RELATIONS}
        self.durable: Durable = empty_store(topics, list(RELATIONS), identity=IDENTITY)
        self.control: Control

    def run(self, log: Iterable[list[Message]] = ()) -> "Bench":
        """Appends to the log and captures until all of it is applied."""
        self.source.log.extend(log)
        return self.capture(StopWhenIdle(self))

    def capture(self, front: "StopWhenIdle") -> "Bench":
        """Runs the capture loop on a front until it stops itself."""
        Capture(self.settings, self.source, front, self.control).run()
        self.control.close()
        return self

    def table(self, name: str) -> dict[str, tuple[str | None, ...]]:
        """The front-end table: key -> the other columns."""
        return {key[0]: row[1:] for key, row in self.durable.tables[name].items()}

    def events(self, name: str) -> list[OutboxEvent]:
        """The events of a topic in outbox order."""
        return [
            f
            for batch in self.durable.outbox
            for f in frames(batch)
            if isinstance(f, OutboxEvent) and f.topic == f"p.{name}"
        ]

    def boundaries(self) -> list[OutboxBoundary]:
        """The records of begins and ends in outbox order."""
        return [
            f
            for batch in self.durable.outbox
            for f in frames(batch)
            if isinstance(f, OutboxBoundary)
        ]

    def told(self, name: str) -> list[tuple[str, object]]:
        """(op, key) of each event of a topic."""
        return [(orjson.loads(e.value)["op"], orjson.loads(e.key)["id"]) for e in self.events(name)]


class StopWhenIdle(MemoryFront):
    """Ends the capture once the log is worked off.

    That is after the commit that reaches its end, or when nothing new is left.
    """

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.durable)
        self.bench = bench
        bench.control = Control.alone()
        bench.durable.holder = None  # the one before may have crashed

    def silent_since(self) -> float | None:
        """Memory answers at once."""
        return None

    def commit(self, progress: Progress) -> None:
        """Commits; stops at the end of the log."""
        super().commit(progress)
        self._stop_at_end()

    def open(self, nonce: str) -> Stored:
        """Opens; stops at once if the log holds nothing new."""
        stored = super().open(nonce)
        self._stop_at_end()
        return stored

    def _stop_at_end(self) -> None:
        if not self.bench.source.log:
            return self.bench.control.stop()
        last = self.bench.source.log[-1][-1]
        assert isinstance(last, Commit | Heartbeat)
        if position_number(self.durable.stored.position) >= last.position:
            self.bench.control.stop()
        return None

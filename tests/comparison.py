"""An independent judge: reads source, front end and topics with clients of its own, and says whether they hold the same rows and each event once.

Rows are compared in the forms events carry (docs/events.md), computed here anew; nothing is imported from `agent`. The source must be at rest.
"""

import json
import sqlite3
import time
import uuid
from base64 import b64encode
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, LiteralString, NamedTuple

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from psycopg import sql

Row = tuple[Any, ...]  # shared columns in order, in the form an event carries
Key = tuple[Any, ...]
Front = Path | str  # a SQLite file, or the conninfo of a PostgreSQL database

SHOWN = 5  # differences told at the most
SILENCE = 30.0  # seconds without a record or an end after which reading the topics fails
SESSION = "-c TimeZone=UTC -c DateStyle=ISO,YMD -c IntervalStyle=iso_8601 -c extra_float_digits=3 -c bytea_output=hex"
BOOL, BYTEA, DATE, TIMESTAMP, TIMESTAMPTZ = 16, 17, 1082, 1114, 1184
INTEGERS, FLOATS, TIMES = (20, 21, 23), (700, 701), (DATE, TIMESTAMP, TIMESTAMPTZ)


class SharedTable(NamedTuple):
    """What the judge must know of a shared table."""

    topic: str
    schema: str
    table: str
    columns: Mapping[str, str]  # source column -> its name in front end and events, in order
    key: tuple[str, ...]  # source columns
    front: str  # table in the front end
    condition: sql.Composable = sql.SQL("true")  # which source rows are shared
    deleted: str | None = None  # front-end column that marks a deleted row

    @property
    def names(self) -> list[str]:
        """The shared columns under their new names."""
        return list(self.columns.values())

    @property
    def key_places(self) -> list[int]:
        """Where the key's columns stand within a row."""
        return [list(self.columns).index(column) for column in self.key]


@dataclass
class Verdict:
    """What the judge has found. `first` holds the first few of `found` differences."""

    rows: int = 0
    events: int = 0
    missing: int = 0
    duplicates: int = 0
    found: int = 0
    first: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing at all speaks against the agent."""
        return not (self.missing or self.duplicates or self.found)

    def differs(self, table: SharedTable, key: object, column: str, what: str) -> None:
        """Notes a difference."""
        self.found += 1
        if len(self.first) < SHOWN:
            self.first.append(f"{table.topic} key {_short(key)} {column}: {what}")

    def __str__(self) -> str:
        counts = f"source = front-end = topics: {self.rows} rows, {self.events} events, {self.missing} missing, {self.duplicates} duplicate"
        if self.equal:
            return f"VERIFIED {counts}"
        return "\n  ".join([f"DIFFERENT {counts}, {self.found} differences", *self.first])


class Places(NamedTuple):
    """Where the sides are."""

    source: str  # a conninfo that may read the shared tables
    front: Front
    bootstrap: str | None  # None: the topics are left out

    def stored(self, table: SharedTable, types: Mapping[str, int]) -> dict[str, Iterator[tuple[Key, Row]]]:
        """The rows of the two databases."""
        return {"source": source_rows(self.source, table, types), "front end": front_rows(self.front, table, types)}

    def whole(self, table: SharedTable, types: Mapping[str, int], wanted: set[Key]) -> dict[str, Mapping[Key, Row]]:
        """The wanted rows of every side, read once more and kept whole."""
        sides: dict[str, Mapping[Key, Row]] = {side: {key: row for key, row in rows if key in wanted} for side, rows in self.stored(table, types).items()}
        if self.bootstrap is not None:
            replay = Replay([table], {table.topic: types}, Verdict(), wanted)
            replay.read(self.bootstrap)
            sides["topic"] = replay.kept
        return sides


def compare(places: Places, tables: Sequence[SharedTable]) -> Verdict:
    """The verdict over all tables."""
    verdict = Verdict()
    types = {table.topic: column_types(places.source, table) for table in tables}
    replay = Replay(tables, types, verdict)
    if places.bootstrap is not None:
        replay.read(places.bootstrap)
    for table in tables:
        sides = {side: {key: digest(row) for key, row in rows} for side, rows in places.stored(table, types[table.topic]).items()}
        if places.bootstrap is not None:
            sides["topic"] = {key: last.row for key, last in replay.last[table.topic].items() if last.row is not None}
        verdict.rows += len(sides["source"])
        verdict.missing += sum(len(sides["source"].keys() - rows.keys()) for rows in sides.values())
        keys = [key for key in dict.fromkeys(key for rows in sides.values() for key in rows) if len({rows.get(key) for rows in sides.values()}) > 1]
        if keys:
            _name_differences(table, keys, places.whole(table, types[table.topic], set(keys[:SHOWN])), verdict)
    return verdict


def _name_differences(table: SharedTable, keys: Sequence[Key], sides: Mapping[str, Mapping[Key, Row]], verdict: Verdict) -> None:
    """Says of the first few keys in which column they differ, and counts the others."""
    verdict.found += len(keys[SHOWN:])
    for key in keys[:SHOWN]:
        rows = {side: found[key] for side, found in sides.items() if key in found}
        if len(rows) < len(sides):
            verdict.differs(table, key, "row", f"only in {', '.join(rows) or 'none at the second look'}")
            continue
        for name, *values in zip(table.names, *rows.values(), strict=True):
            if len(set(map(repr, values))) > 1:
                verdict.differs(table, key, name, ", ".join(f"{side} {_short(value)}" for side, value in zip(rows, values, strict=True)))
                break


def digest(row: Row) -> bytes:
    """A row, in eight bytes."""
    return blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}... ({len(text)} characters)"


# ---- forms of values


def form(type_oid: int, value: Any) -> Any:
    """The form an event carries, from PostgreSQL's text (as `::text` gives it) or from what SQLite holds. What does not fit stays as it is."""
    if value is None:
        return None
    if type_oid == BOOL:
        return {"true": True, "false": False, 1: True, 0: False}.get(value, value)
    if type_oid in INTEGERS:
        return int(value)
    if type_oid in FLOATS:
        return value if value in ("NaN", "Infinity", "-Infinity") else float(value) + 0.0
    if type_oid == BYTEA:
        data = bytes.fromhex(value[2:]) if isinstance(value, str) else value
        return b64encode(data).decode()
    return moment(value, type_oid == TIMESTAMPTZ) if type_oid in TIMES else value


def moment(text: str, zoned: bool) -> str:
    """ISO 8601 of a date or time; years that have no four digits as expanded years."""
    if text.endswith("infinity"):
        return text
    year_text, rest = text.removesuffix(" BC").split("-", 1)
    year = 1 - int(year_text) if text.endswith(" BC") else int(year_text)
    written = f"{year:04d}" if 1 <= year <= 9999 else f"{year:+07d}"
    rest = rest.replace(" ", "T", 1)
    return f"{written}-{rest.removesuffix('+00') + 'Z' if zoned else rest}"


# ---- source and front end


def column_types(source: str, table: SharedTable) -> dict[str, int]:
    """Type of each shared column, by its new name."""
    query = sql.SQL("SELECT {} FROM {} LIMIT 0").format(_names(table.columns), sql.Identifier(table.schema, table.table))
    with psycopg.connect(source) as connection:
        description = connection.execute(query).description or []
    return dict(zip(table.names, [column.type_code for column in description], strict=True))


def source_rows(source: str, table: SharedTable, types: Mapping[str, int]) -> Iterator[tuple[Key, Row]]:
    """Every shared row of the source."""
    query = sql.SQL("SELECT {} FROM {} WHERE {}")
    relation = sql.Identifier(table.schema, table.table)
    return _postgres_rows(source, table, types, query.format(_names(table.columns, "::text"), relation, table.condition))


def front_rows(front: Front, table: SharedTable, types: Mapping[str, int]) -> Iterator[tuple[Key, Row]]:
    """Every row of the front end that is not marked as deleted."""
    if isinstance(front, Path):
        return _sqlite_rows(front, table, types)
    query = sql.SQL("SELECT {} FROM {} WHERE {}")
    live = sql.SQL("{} = 0").format(sql.Identifier(table.deleted)) if table.deleted else sql.SQL("true")
    return _postgres_rows(front, table, types, query.format(_names(table.names, "::text"), sql.Identifier(*table.front.split(".")), live))


def _names(names: Iterable[str], cast: LiteralString = "") -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) + sql.SQL(cast) for name in names)


def _postgres_rows(conninfo: str, table: SharedTable, types: Mapping[str, int], query: sql.Composed) -> Iterator[tuple[Key, Row]]:
    oids, places = [types[name] for name in table.names], table.key_places
    with psycopg.connect(conninfo, options=SESSION) as connection, connection.cursor("judge") as cursor:
        cursor.itersize = 10_000
        for texts in cursor.execute(query):
            row = tuple(map(form, oids, texts))
            yield tuple([row[place] for place in places]), row


def _sqlite_rows(path: Path, table: SharedTable, types: Mapping[str, int]) -> Iterator[tuple[Key, Row]]:
    oids, places = [types[name] for name in table.names], table.key_places
    condition = f"{_quoted(table.deleted)} = 0" if table.deleted else "true"
    columns = ", ".join(map(_quoted, table.names))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for values in connection.execute(f"SELECT {columns} FROM {_quoted(table.front)} WHERE {condition}"):
            row = tuple(map(form, oids, values))
            yield tuple([row[place] for place in places]), row


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# ---- topics


class Last(NamedTuple):
    """The last state of a key in its topic; `row` is None after a delete."""

    partition: int
    row: bytes | None


class Replay:
    """The topics from beginning to end: what stands under each key, and whether each event came once, in order, with its tombstone."""

    def __init__(self, tables: Sequence[SharedTable], types: Mapping[str, Mapping[str, int]], verdict: Verdict, wanted: Collection[Key] = ()) -> None:
        self._tables = {table.topic: table for table in tables}
        self._types = types
        self._verdict = verdict
        self._wanted = wanted
        self.last: dict[str, dict[Key, Last]] = {table.topic: {} for table in tables}
        self.kept: dict[Key, Row] = {}  # rows of the wanted keys
        self._ids: set[bytes] = set()
        self._seqs: dict[tuple[str, int], set[int]] = defaultdict(set)  # by topic and generation
        self._newest: dict[tuple[str, int, int], int] = {}  # seq by topic, partition and generation
        self._owed: dict[tuple[str, int], tuple[bytes, bytes]] = {}  # (key, id) of the delete whose tombstone must come next

    def read(self, bootstrap: str) -> None:
        """Reads everything visible to a read_committed consumer."""
        for message in messages(bootstrap, list(self._tables)):
            self._take(message)
        for (topic, partition), (key, _) in self._owed.items():
            self._verdict.differs(self._tables[topic], key, "tombstone", f"missing at the end of partition {partition}")
        for seqs in self._seqs.values():
            self._verdict.missing += max(seqs) - len(seqs)

    def _take(self, message: Message) -> None:
        topic, partition = str(message.topic()), message.partition() or 0
        table, headers = self._tables[topic], _headers(message)
        key, value = bytes(message.key() or b""), message.value()
        owed = self._owed.pop((topic, partition), None)
        if value is None:
            if owed != (key, headers.get("sync.of")):
                self._verdict.differs(table, key, "tombstone", "does not follow its delete")
            return
        if owed is not None:
            self._verdict.differs(table, owed[0], "tombstone", "does not follow the delete")
        self._verdict.events += 1
        self._count(table, partition, key, headers)
        event = json.loads(value)
        self._apply(table, partition, json.loads(key), event)
        if event["op"] == "d":
            self._owed[topic, partition] = key, headers["sync.id"]

    def _count(self, table: SharedTable, partition: int, key: bytes, headers: Mapping[str, bytes]) -> None:
        """Identity and number of an event: unique, and rising within its partition."""
        identity, generation, seq = bytes.fromhex(headers["sync.id"].decode()), int(headers["sync.generation"]), int(headers["sync.seq"])
        seen = self._seqs[table.topic, generation]
        if identity in self._ids or seq in seen:
            self._verdict.duplicates += 1
            self._verdict.differs(table, key, "sync.id", f"seq {seq} came before")
        self._ids.add(identity)
        seen.add(seq)
        if seq <= self._newest.get((table.topic, partition, generation), 0):
            self._verdict.differs(table, key, "sync.seq", f"{seq} comes after a higher one")
        self._newest[table.topic, partition, generation] = seq

    def _apply(self, table: SharedTable, partition: int, key_object: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """The event's effect on its key, which must fit what the key held."""
        types, last = self._types[table.topic], self.last[table.topic]
        key_names = [table.columns[column] for column in table.key]
        key = tuple(_number(types[name], value) for name, value in key_object.items() if name in types)
        if list(key_object) != key_names:
            self._verdict.differs(table, key, "key", f"is made of {list(key_object)}")
        before = last.get(key)
        if before is not None and before.partition != partition:
            self._verdict.differs(table, key, "partition", f"{partition}, before it was {before.partition}")
        stands = before is not None and before.row is not None
        if stands != (event["op"] in "ud"):
            self._verdict.differs(table, key, "op", f"{event['op']} of a row that {'exists' if stands else 'does not exist'}")
        row = self._row(table, key, event["after"]) if event["op"] != "d" else None
        last[key] = Last(partition, None if row is None else digest(row))
        if key in self._wanted:
            self.kept.pop(key, None)
            if row is not None:
                self.kept[key] = row

    def _row(self, table: SharedTable, key: Key, after: Mapping[str, Any]) -> Row:
        if list(after) != table.names:
            self._verdict.differs(table, key, "columns", f"are {list(after)}")
        types = self._types[table.topic]
        row = tuple(_number(types[name], after.get(name)) for name in table.names)
        if tuple([row[place] for place in table.key_places]) != key:
            self._verdict.differs(table, key, "key", "differs from the row's")
        return row


def _headers(message: Message) -> dict[str, bytes]:
    headers = message.headers() or []
    assert isinstance(headers, list)
    return {name: value if isinstance(value, bytes) else str(value).encode() for name, value in headers}


def _number(type_oid: int, value: Any) -> Any:
    """A JSON number of a float column may look like an integer."""
    return float(value) + 0.0 if type_oid in FLOATS and isinstance(value, int | float) else value


def messages(bootstrap: str, topics: Sequence[str]) -> Iterator[Message]:
    """Every record of the topics that is visible to a read_committed consumer, partition by partition in order."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"judge-{uuid.uuid4().hex}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    with closing(consumer):
        found = consumer.list_topics(timeout=SILENCE).topics
        waiting = {(topic, partition) for topic in topics for partition in found[topic].partitions}
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in waiting])
        last = time.monotonic()
        while waiting:
            received = consumer.consume(1000, timeout=0.2)  # returns when it has as many, or after the time
            last = time.monotonic() if received else last
            if time.monotonic() - last > SILENCE:
                raise TimeoutError(f"nothing more from {len(waiting)} partitions")
            for message in received:
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    waiting.discard((str(message.topic()), message.partition() or 0))
                elif not error.retriable():
                    raise KafkaException(error)

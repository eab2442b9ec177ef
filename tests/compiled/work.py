"""What an event passes in memory, from the bytes of the stream to Kafka's records: no servers."""

from collections.abc import Mapping, Sequence

from agent.capture.applier import Applier
from agent.config import KafkaSettings, ResourceSettings
from agent.connectors.changes import Column, Message, Relation
from agent.connectors.mysql.event_types import TABLE_MAP
from agent.connectors.mysql.gtids import GtidSet
from agent.connectors.mysql.log_place import LogPlace
from agent.connectors.mysql.transactions import Transactions
from agent.connectors.postgres.origin import PostgresOrigin
from agent.connectors.postgres.pgoutput import Decoder
from agent.connectors.table import SourceColumn, SourceTable
from agent.front.base import Batch, Written
from agent.front.durable import empty_store
from agent.front.memory import MemoryFront
from agent.publish.grouping import Grouper, Pace
from agent.publish.record_batch import RecordBatch
from agent.publish.records import Records
from agent.publish.state import TopicState
from agent.resource import Resource, Target
from agent.values import column_types as v
from agent.values.rows import Key, Row
from tests.unit import encoder, log_encoder

TRANSACTION = 100  # rows
COMMIT = 2000  # rows
_MANY = 1 << 60

TYPES = {
    "id": v.INT8,
    "name": v.TEXT,
    "number": v.VARCHAR,
    "district": v.VARCHAR,
    "address": v.TEXT,
    "balance": v.NUMERIC,
    "valid": v.BOOL,
    "born": v.TIMESTAMPTZ,
    "changed": v.TIMESTAMPTZ,
    "version": v.INT4,
}
# A table of ten columns, about 400 bytes a row as JSON: that of `bench.table`
RELATION = Relation(
    1,
    "app",
    "bench",
    "d",
    tuple(Column(name, oid, -1, name == "id") for name, oid in TYPES.items()),
)


def row(number: int) -> Row:
    """Returns a row of the table."""
    return (
        str(number),
        f"张三{number}",
        f"{number:018d}",
        "310105",
        "长宁区" + f"{number:032x}" * 5,
        f"{number / 7:.2f}",
        "ft"[number % 2],
        f"1970-01-{1 + number % 28:02d} 01:00:00+00",
        f"2026-01-{1 + number % 28:02d} 01:02:03+00",
        str(number % 100),
    )


def stream(rows: int) -> list[tuple[bytes, int]]:
    """Returns the messages of the stream, each with its position."""
    messages = [(encoder.relation(RELATION), 0)]
    for first in range(0, rows, TRANSACTION):
        end = (first + TRANSACTION) * 1000
        messages.append((encoder.begin(first + 1, end - 1, end), first * 1000))
        for number in range(first, first + TRANSACTION):
            messages.append((encoder.insert(RELATION.oid, row(number)), number * 1000))
        messages.append((encoder.commit(end - 1, end, end), end))
    return messages


EVENT = 20  # rows of an event of the binary log, which holds 8 kB by default
CHARSETS = {log_encoder.UTF8MB4: "utf8mb4"}


def log(rows: int) -> list[bytes]:
    """Returns the same rows as events of the binary log."""
    described = log_encoder.description(1, "app", "bench", log_encoder.BENCH)
    found = []
    for first in range(0, rows, TRANSACTION):
        parts = [log_encoder.event(TABLE_MAP, described)]
        for start in range(first, first + TRANSACTION, EVENT):
            packed = [log_encoder.bench_row(number) for number in range(start, start + EVENT)]
            body = log_encoder.row_event(log_encoder.WRITE_ROWS, 1, len(TYPES), packed)
            parts.append(log_encoder.event(log_encoder.WRITE_ROWS, body))
        found += log_encoder.transaction(bytes(16), first // TRANSACTION + 1, *parts)
    return found


def read_log(log: Sequence[bytes], relation: Relation = RELATION) -> list[Message]:
    """Reads the events of a log, each with its checksum, of which one table is shared."""
    followed = {(relation.schema, relation.table): relation}
    place = LogPlace(GtidSet())
    transactions = Transactions(followed, CHARSETS, place, 0, checked=True)
    messages: list[Message] = []
    for raw in log:
        messages += transactions.read(raw)
    return messages


class NoFront(MemoryFront):
    """A front end that keeps nothing but the outbox."""

    def __init__(self) -> None:
        super().__init__(empty_store({"bench": "p.bench"}, ["bench"]))
        self.batches: list[Batch] = []

    def begin(self) -> None:
        """Begins nothing."""

    def write(
        self,
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
        most: int = 0,
    ) -> dict[Key, str]:
        """Writes nothing."""
        return {}

    def store(self, batch: Batch, time_us: int) -> None:
        """Keeps the batch."""
        self.batches.append(batch)


def resource(kafka: KafkaSettings) -> Resource:
    """Returns the shared table."""
    columns = tuple(
        SourceColumn(name, oid, oid, "", True, name == "id", "") for name, oid in TYPES.items()
    )
    settings = ResourceSettings(name="bench", table="app.bench", columns=list(TYPES))
    table = SourceTable(RELATION.oid, "app", "bench", columns, ("id",), "d")
    return Resource(settings, kafka, table, PostgresOrigin("unit", "biz", "app", "bench"))


def decode(messages: list[tuple[bytes, int]]) -> list[Message]:
    """Decodes the stream."""
    decoder = Decoder()
    decoded = []
    for data, position in messages:
        message = decoder.decode(data, position)
        if message is not None:
            decoded.append(message)
    return decoded


def apply(decoded: list[Message]) -> list[Batch]:
    """Makes rows and events of the messages, and returns the outbox."""
    front = NoFront()
    kafka = KafkaSettings(bootstrap_servers=["nowhere:1"], prefix="p")
    applier = Applier(front, [resource(kafka)], front.open("nonce"), kafka)
    for number, message in enumerate(decoded, start=1):
        applier.take(message)
        if number % (COMMIT // TRANSACTION * (TRANSACTION + 2)) == 0:
            applier.progress()
    applier.progress()
    return front.batches


def publish(batches: Sequence[Batch]) -> list[RecordBatch]:
    """Makes Kafka's records of the outbox, and returns them by partition."""
    records = Records("source", 1, {"p.bench": TopicState("id", 1, 4, {})})
    units = Grouper(0, 0, 0, Pace(_MANY, _MANY, 1.0))
    filling = [RecordBatch() for _ in range(4)]
    for batch in batches:
        for unit in units.units(batch):
            for _, partition, key, value, headers in records.of(unit):
                filling[partition].add(key, value, headers, len(key))
    return filling

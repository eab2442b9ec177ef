"""The targets: each takes any bytes, and raises only for a fault of the product."""

import json
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from agent.config import Settings, load
from agent.connectors.changes import Column, Relation
from agent.connectors.plain_origin import PlainOrigin
from agent.connectors.postgres.pgoutput import Decoder
from agent.connectors.table import SourceColumn, SourceTable
from agent.errors import ConfigInvalid, ProtocolViolated
from agent.front.base import Batch
from agent.outbox.frames import BatchWriter, frames, unpacked
from agent.publish.state import InvalidState, StateRecord, TopicState, loads
from agent.resource import Resource
from agent.service.health import HealthServer
from agent.service.metrics import Metrics
from agent.values.column_types import BYTEA, DATE, FLOAT8, INT8, TEXT, TIMESTAMPTZ, UUID
from tests.unit import encoder, recorded_logs

ROOT = Path(__file__).parent.parent.parent
RELATION = Relation(
    7, "业务", "t", "d", (Column("id", INT8, -1, True), Column("note", TEXT, -1, False))
)
KEY_TYPES = (INT8, TEXT, DATE, TIMESTAMPTZ, BYTEA, UUID, FLOAT8)


@cache
def _file() -> Path:
    return Path(tempfile.mkdtemp(prefix="sync-agent-fuzz-")) / "agent.toml"


def config(data: bytes) -> None:
    """A configuration file loads, or all that is wrong with it is told."""
    _file().write_bytes(data)
    with suppress(ConfigInvalid):
        load(_file())


def pgoutput(data: bytes) -> None:
    """Messages of the source, each behind its length: understood or refused."""
    decoder = Decoder()
    decoder.decode(encoder.relation(RELATION), 0)
    for message in _parts(data):
        with suppress(ProtocolViolated):
            decoder.decode(message, 1)


def binary_log(data: bytes) -> None:
    """Events of a binary log, each behind its length and without its checksum: rows, or refused.

    The first byte says of which server it is.
    """
    kind: recorded_logs.Kind = "mysql9" if data[:1] == b"\1" else "mariadb"
    with suppress(*recorded_logs.NAMED):
        recorded_logs.read(kind, map(recorded_logs.summed, _parts(data[1:])))


def _parts(data: bytes) -> Iterator[bytes]:
    """Yields what stands behind each length."""
    while len(data) > 2:
        (length,) = struct.unpack_from(">H", data)
        yield data[2 : 2 + length]
        data = data[2 + length :]


def outbox(data: bytes) -> None:
    """A stored batch: read to its end, or refused with ValueError."""
    with suppress(ValueError):
        list(frames(Batch(1, 1, 0, unpacked(data))))


def state(data: bytes) -> None:
    """Reads a state record of Kafka.

    It is understood, and then the same when written again; or it raises InvalidState.
    """
    with suppress(InvalidState):
        record = loads(data)
        assert loads(record.dumps()) == record


@cache
def _keyed() -> Resource:
    columns = tuple(
        SourceColumn(f"c{i}", oid, oid, "text", builtin=True, not_null=True, generated="")
        for i, oid in enumerate(KEY_TYPES)
    )
    names = [column.name for column in columns]
    settings = Settings.model_validate(
        {
            "name": "a", "source": {"host": "h", "database": "d", "user": "u"},
            "kafka": {"bootstrap_servers": ["h:1"], "prefix": "p"},
            "resource": [{"name": "t", "table": "t", "columns": names}],
        }
    )  # fmt: skip
    table = SourceTable(1, "public", "t", columns, tuple(names), "d")
    origin = PlainOrigin("fuzz", "p", "d", "public", "t")
    return Resource(settings.resource[0], settings.kafka, table, origin)


def key(data: bytes) -> None:
    """A key in a topic: its text is found and gives the same key again, or None."""
    text = data.decode("utf-8", errors="ignore")
    found = _keyed().key_of_kafka(text)
    assert found is None or _keyed().kafka_key(found) == text.encode()


@cache
def _server() -> HealthServer:
    server = HealthServer("127.0.0.1:0", "fuzz", Metrics("fuzz", ["t"]))
    server.__enter__()
    return server


def http(data: bytes) -> None:
    """Whatever is sent to the health endpoint, it answers the next one who asks properly."""
    address = ("127.0.0.1", _server().port)
    with socket.create_connection(address, 5) as connection, suppress(ConnectionError):
        connection.sendall(data)
        with suppress(OSError):  # the server has ended it already
            connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    with socket.create_connection(address, 5) as connection:
        connection.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
        assert connection.recv(12).startswith(b"HTTP/1.0 ")


def _long(message: bytes) -> bytes:
    return struct.pack(">H", len(message)) + message


def _batch() -> bytes:
    writer = BatchWriter(0, 0)
    writer.begin(7, 8, 9)
    writer.boundary(True, b"k", b"v")
    writer.event("p.t", 1, 1, b'{"id":1}', b"{}", tombstone=True, new_key=b'{"id":2}')
    writer.commit(9)
    writer.heartbeat(10, 11)
    batch = writer.take()
    assert batch is not None
    return batch.payload


def _stream() -> bytes:
    messages = (
        encoder.begin(5, 6, 10**15),
        encoder.insert(7, ("1", "张")),
        encoder.update(7, ("1", None), ("2", None)),
        encoder.commit(6, 7, 10**15),
    )
    return b"".join(map(_long, messages))


def _log(kind: recorded_logs.Kind) -> bytes:
    events = [event[: -recorded_logs.SUM] for event in recorded_logs.events_of(kind)]
    number = recorded_logs.KINDS.index(kind)
    return bytes((number,)) + b"".join(map(_long, events))


RECORD = StateRecord("a", 1, "n", 2, "e", "0/10", 3, 0, {"p.t": TopicState("id", 1, 1, {0: 5}, {})})
Target = Callable[[bytes], None]
TARGETS: dict[str, tuple[Target, tuple[bytes, ...]]] = {
    "config": (
        config,
        (
            (ROOT / "config" / "agent.example.toml").read_bytes(),
            b'[[resource]]\nname = "a"',
            b"resource = 1\n[kafka]\nsasl = []",
            b"[[front]]\nurl = 5",
        ),
    ),
    "pgoutput": (pgoutput, (_stream(), _long(encoder.relation(RELATION)))),
    "binary_log": (binary_log, tuple(map(_log, recorded_logs.KINDS))),
    "outbox": (outbox, (_batch(), b"\x28\xb5\x2f\xfd\x20\x03\x19\x00\x00abc")),
    "state": (state, (RECORD.dumps(), b"{}", b"[1]")),
    "key": (
        key,
        (
            json.dumps(
                {
                    f"c{i}": value
                    for i, value in enumerate(
                        (1, "a", "2026-01-01", "2026-01-01T00:00:00Z", "AAA=", "u", 1.5)
                    )
                }
            ).encode(),
            b'{"c0":1}',
        ),
    ),
    "http": (
        http,
        (
            b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /-/ready HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"GET /" + b"a" * 70000,
        ),
    ),
}

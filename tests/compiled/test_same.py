"""Both builds say the same of the same bytes, right or wrong: messages, outbox, records, errors."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.connectors.changes import Column, Relation
from agent.connectors.mysql import event_types
from agent.connectors.mysql import table_map as types
from agent.connectors.table import Criterion
from agent.outbox.frames import unpacked
from agent.values import column_types as v
from agent.values.column_types import Element, Type
from agent.values.rows import UNCHANGED, Row
from tests.compiled.work import RELATION, apply, decode, log, stream
from tests.services.companion import companion
from tests.unit import encoder, log_encoder

TYPES = (
    v.BOOL,
    v.BYTEA,
    v.INT2,
    v.INT8,
    v.TEXT,
    v.FLOAT4,
    v.FLOAT8,
    v.NUMERIC,
    v.MONEY,
    v.DATE,
    v.TIMESTAMP,
    v.TIMESTAMPTZ,
    v.TIMETZ,
    v.JSONB,
)
# What a server may send for one of these types, and what no server would
TEXTS = st.one_of(
    st.sampled_from(
        ["t", "f", "NaN", "Infinity", "-Infinity", "infinity", "-0", "1.50", "\\x00ff", "\\x", "{}"]
    ),
    st.sampled_from(["2026-01-02", "0044-03-15 BC", "12026-01-02 03:04:05+00", "03:04:05+08"]),
    st.sampled_from(["2026-01-02 03:04:05.6+00", "$1,234.56", "{1,NULL}", '{"a,b",{c}}', "[0:1]"]),
    st.integers(-(2**70), 2**70).map(str),
    st.text(max_size=12),
)
OUTBOX = unpacked(apply(decode(stream(100)[:5]))[0].payload)
VALUES = st.one_of(TEXTS, st.none(), st.just(UNCHANGED))


class Worker:
    """A process of one build."""

    def __init__(self, build: str, folder: str) -> None:
        environment = os.environ | {"PYTHONPATH": folder, "PYTHONHASHSEED": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.compiled.worker"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._asks, self._answers = process, process.stdin, process.stdout
        assert pickle.load(self._answers) == build

    def ask(self, name: str, *values: object) -> Any:
        """Returns what it answers."""
        pickle.dump((name, values), self._asks)
        self._asks.flush()
        return pickle.load(self._answers)

    def end(self) -> None:
        """Ends it."""
        self._process.communicate()


class Both:
    """A process of each build."""

    def __init__(self) -> None:
        self.workers = [Worker("pure", ""), Worker("compiled", str(companion()))]

    def same(self, name: str, *values: object) -> Any:
        """Asks both the same; returns the one answer they have."""
        pure, compiled = (worker.ask(name, *values) for worker in self.workers)
        assert compiled == pure
        return pure

    def end(self) -> None:
        """Ends both."""
        for worker in self.workers:
            worker.end()


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """A process of each build, for all tests here."""
    both = Both()
    yield both
    both.end()


def examples(count: int) -> settings:
    """So many examples; the processes are shared, and need not be fresh for each."""
    return settings(max_examples=count, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def tables(draw: st.DrawFn) -> Relation:
    """A table with the key `id`, its other columns of any types."""
    oids = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))
    columns = [Column("id", draw(st.sampled_from((v.INT8, v.TEXT))), -1, True)]
    columns += [Column(f"c{n}", oid, -1, False) for n, oid in enumerate(oids)]
    return Relation(1, "app", "table", draw(st.sampled_from("df")), tuple(columns))


@st.composite
def streams(draw: st.DrawFn, relation: Relation) -> list[tuple[bytes, int]]:
    """Transactions of changes of a table, some of them damaged."""
    further = len(relation.columns) - 1
    others = st.lists(VALUES, min_size=further, max_size=further)
    keys = st.sampled_from(("1", "2", "3"))
    full = relation.identity == "f"

    def row() -> Row:
        return (draw(keys), *draw(others))

    def old() -> Row:
        return row() if full else (draw(keys), *[None] * further)

    kind = b"O" if full else b"K"
    messages = [encoder.relation(relation)]
    for number in range(draw(st.integers(1, 4))):
        messages.append(encoder.begin(number + 1, number * 1000 + 900, number * 10**6))
        for _ in range(draw(st.integers(0, 5))):
            op = draw(st.sampled_from("IIUUUDT"))
            if op == "I":
                messages.append(encoder.insert(1, row()))
            elif op == "U":
                before = old() if full or draw(st.booleans()) else None
                messages.append(encoder.update(1, before, row(), kind))
            elif op == "D":
                messages.append(encoder.delete(1, old(), kind))
            else:
                messages.append(encoder.truncate([1]))
        messages.append(encoder.commit(number * 1000 + 900, number * 1000 + 999, number * 10**6))
    if draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(messages) - 1))
        messages[place] = draw(damaged(messages[place]))
    return [(data, place * 100) for place, data in enumerate(messages)]


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The same bytes cut, with a byte changed, or with further ones."""
    place = draw(st.integers(0, max(len(data) - 1, 0)))
    middle = draw(st.one_of(st.just(b""), st.binary(min_size=1, max_size=3)))
    rest = draw(st.sampled_from((data[place + 1 :], data[place:], b"")))
    return data[:place] + middle + rest


@examples(200)
@given(data=st.data())
def test_streams(both: Both, data: st.DataObject) -> None:
    """The bytes of the stream give the same rows, outbox and records, or the same error."""
    relation = data.draw(tables())
    wire = data.draw(streams(relation))
    kafka = {
        "before": data.draw(st.sampled_from(("key", "complete"))),
        "value_format": data.draw(st.sampled_from(("json", "json-schema"))),
        "transactions": data.draw(st.booleans()),
    }
    kept = []
    if data.draw(st.booleans()):
        texts = frozenset(data.draw(st.lists(TEXTS, max_size=3)))
        kept.append(Criterion("c0", data.draw(st.booleans()), texts))
    both.same("decoded", wire)
    both.same("events", wire, relation, kafka, kept)


def octets(size: int) -> st.SearchStrategy[bytes]:
    """Any value of a type whose values have so many bytes."""
    return st.binary(min_size=size, max_size=size)


def sized(length_bytes: int, longest: int = 20) -> st.SearchStrategy[bytes]:
    """Any value of a type whose values have their length before them."""
    written = st.one_of(st.text(max_size=8).map(str.encode), st.binary(max_size=longest))
    return written.map(lambda raw: len(raw).to_bytes(length_bytes, "little") + raw)


# Types of the binary log with their metadata, and their values
LOGGED: Sequence[tuple[int, bytes, st.SearchStrategy[bytes]]] = (
    (types.TINY, b"", octets(1)),
    (types.LONGLONG, b"", octets(8)),
    (types.FLOAT, b"\4", octets(4)),
    (types.DOUBLE, b"\x08", octets(8)),
    (types.NEWDECIMAL, b"\x0a\3", octets(6)),
    (types.YEAR, b"", octets(1)),
    (types.DATE, b"", octets(3)),
    (types.DATETIME2, b"\6", octets(8)),
    (types.TIMESTAMP2, b"\3", octets(6)),
    (types.TIME2, b"\0", octets(3)),
    (types.BIT, b"\1\1", octets(2)),
    (types.VARCHAR, b"\x50\0", sized(1)),
    (types.BLOB, b"\2", sized(2)),
    (types.JSON, b"\4", sized(4)),
    (types.GEOMETRY, b"\4", sized(4)),
    (types.VECTOR, b"\4", sized(4)),
)


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[bytes], Relation]:
    """Transactions of changes of a table in the binary log, some of them damaged."""
    chosen = draw(st.lists(st.sampled_from(LOGGED), min_size=1, max_size=4))
    names = ["id", *(f"c{n}" for n in range(len(chosen)))]
    described = [log_encoder.Described("id", types.LONG)]
    values = [octets(4)]
    for name, (kind, metadata, value) in zip(names[1:], chosen, strict=True):
        described.append(log_encoder.Described(name, kind, metadata))
        values.append(value)
    wanted = [name for name in names if draw(st.integers(0, 4))]
    columns = [Column(name, v.TEXT, -1, name == "id") for name in wanted]
    relation = Relation(1, "app", "table", "f", tuple(columns))

    def row() -> bytes:
        nullable = (st.one_of(st.none(), value) for value in values[1:])
        return log_encoder.packed_row([draw(values[0]), *map(draw, nullable)])

    def part(kind: int, body: bytes) -> bytes:
        if not draw(st.integers(0, 12)):
            body = draw(damaged(body))
        return log_encoder.event(kind, body)

    found: list[bytes] = []
    for number in range(draw(st.integers(1, 3))):
        body = log_encoder.description(1, "app", "table", described)
        parts = [part(event_types.TABLE_MAP, body)]
        for kind in draw(st.lists(st.sampled_from((30, 31, 32)), max_size=3)):
            count = draw(st.integers(1, 2)) * (2 if kind == log_encoder.UPDATE_ROWS else 1)
            rows = [row() for _ in range(count)]
            parts.append(part(kind, log_encoder.row_event(kind, 1, len(names), rows)))
        found += log_encoder.transaction(bytes(16), number + 1, *parts)
    return found, relation


@examples(200)
@given(drawn=logs())
def test_logs(both: Both, drawn: tuple[list[bytes], Relation]) -> None:
    """The events of a binary log give the same messages, or the same error."""
    both.same("logged", *drawn)


@examples(200)
@given(data=st.data())
def test_outbox(both: Both, data: st.DataObject) -> None:
    """A batch gives the same frames, or the same error."""
    payload = OUTBOX
    for _ in range(data.draw(st.integers(0, 3))):
        payload = data.draw(damaged(payload))
    both.same("outbox", payload)


@examples(500)
@given(
    text=TEXTS,
    oid=st.sampled_from(TYPES),
    elements=st.lists(st.sampled_from(TYPES).map(Element), max_size=2),
    places=st.integers(0, 3),
)
def test_forms(both: Both, text: str, oid: int, elements: list[Element], places: int) -> None:
    """A value has the same JSON, or the same error."""
    both.same("form", Type(oid, "", True, tuple(elements), places), text)


@examples(200)
@given(
    key=st.binary(max_size=40),
    count=st.integers(1, 100),
    number=st.integers(-(2**31), 2**63 - 1),
)
def test_numbers(both: Both, key: bytes, count: int, number: int) -> None:
    """A key has the same partition, a number the same bytes."""
    both.same("numbers", key, count, number)


def test_the_questions_have_answers(both: Both) -> None:
    """Comparing errors alone would show nothing: a right stream gives rows, events and records."""
    relation = Relation(
        1, "app", "table", "d", (Column("id", v.INT8, -1, True), Column("c0", v.TEXT, -1, False))
    )
    messages = [
        encoder.relation(relation),
        encoder.begin(1, 900, 10**6),
        encoder.insert(1, ("1", "a")),
        encoder.commit(900, 999, 10**6),
    ]
    wire = [(data, place) for place, data in enumerate(messages)]
    kafka: dict[str, object] = {}
    tables, payloads, records = both.same("events", wire, relation, kafka, [])
    assert "('1', 'a')" in tables
    assert b'"after":{"id":1,"c0":"a"}' in payloads[0]
    assert any(b"sync.id" in batch for batch in records)
    assert "OutboxEvent" in both.same("outbox", OUTBOX)
    assert "'000000000000000099'" in both.same("logged", log(100), RELATION)

"""Answers in one build what the differential test asks both: a process of its own for each.

Question and answer are pickled. An answer is what came out, made of bytes and texts, or the error.
"""

import pickle
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from agent import BUILD
from agent.capture.applier import Applier
from agent.config import KafkaSettings, ResourceSettings
from agent.connectors.changes import Relation
from agent.connectors.postgres.origin import PostgresOrigin
from agent.connectors.table import SourceColumn, SourceTable
from agent.errors import AgentError, Internal
from agent.front.base import Batch
from agent.front.durable import empty_store
from agent.front.memory import MemoryFront
from agent.outbox.frames import frames, unpacked
from agent.publish.partition import partition
from agent.publish.record_batch import varint
from agent.resource import Resource
from agent.values import connect, forms
from agent.values.column_types import Type
from tests.compiled.work import decode, publish, read_log

Stream = Sequence[tuple[bytes, int]]


def decoded(stream: Stream) -> str:
    """Returns the messages of a stream."""
    return repr(decode(list(stream)))


def events(stream: Stream, relation: Relation, kafka: dict[str, Any], kept: list[Any]) -> Any:
    """Returns rows, outbox and records that come of a stream. `kept`: the filter's conditions."""
    settings = KafkaSettings(bootstrap_servers=["nowhere:1"], prefix="p", **kafka)
    names = [column.name for column in relation.columns]
    columns = tuple(
        SourceColumn(c.name, c.type_oid, c.type_oid, "", True, c.identity, "")
        for c in relation.columns
    )
    table = SourceTable(1, relation.schema, relation.table, columns, (names[0],), relation.identity)
    shared = ResourceSettings(name="bench", table="app.table", columns=names)
    origin = PostgresOrigin("unit", "biz", relation.schema, relation.table)
    resource = Resource(shared, settings, table, origin, kept)

    front = MemoryFront(empty_store({"bench": "p.bench"}, [resource.target.name]))
    applier = Applier(front, [resource], front.open("nonce"), settings)
    for message in decode(list(stream)):
        applier.take(message)
    front.commit(applier.progress())

    outbox = front.durable.outbox
    return (
        repr(front.durable.tables),
        [unpacked(batch.payload) for batch in outbox],
        [bytes(batch.records) for batch in publish(outbox)],
    )


def logged(log: Sequence[bytes], relation: Relation) -> str:
    """Returns the messages of a binary log."""
    return repr(read_log(log, relation))


def outbox(payload: bytes) -> str:
    """Returns the frames of a batch."""
    return repr(list(frames(Batch(7, 1, 0, payload))))


def form(column: Type, text: str) -> list[bytes]:
    """Returns the JSON of a value in both formats."""
    written = []
    for of in (forms.form, connect.form):
        write = of(column)
        written.append(orjson.dumps(text if write is None else write(text)))
    return written


def numbers(key: bytes, count: int, number: int) -> tuple[int, bytes]:
    """Returns the partition of a key, and a number in variable length."""
    return partition(key, count), varint(number)


QUESTIONS: dict[str, Callable[..., Any]] = {
    question.__name__: question for question in (decoded, logged, events, outbox, form, numbers)
}


def told(error: Exception) -> tuple[str, str]:
    """Returns the type of an error, and its text where that is the agent's own.

    Python's own errors, and what nobody foresaw, have other words and places in compiled code.
    """
    own = isinstance(error, AgentError) and not isinstance(error, Internal)
    return type(error).__name__, str(error) if own else ""


def main() -> None:
    """Says which build this is, then answers until the questions end."""
    time.time_ns = lambda: 1_700_000_000_123_456_789
    answers = sys.stdout.buffer
    pickle.dump(BUILD, answers)
    answers.flush()
    while True:
        try:
            name, values = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: Any
        try:
            answer = QUESTIONS[name](*values)
        except Exception as error:  # noqa: BLE001 - errors are compared, whatever they are
            answer = told(error)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()

"""Replays the topics from beginning to end with read_committed.

They are read with another client than the agent's.
"""

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from tests.checker.copies import Number
from tests.checker.table import Key, Row, SharedTable, digest
from tests.checker.values import ValueType, from_json
from tests.checker.verdict import Verdict

WITHOUT_LOG = ("polling", "trigger")  # sources whose events have no place in a log
BINARY_LOGS = ("mysql", "mariadb")
SILENCE = 30.0  # seconds without a record or an end after which reading the topics fails


class Last(NamedTuple):
    """The last state of a key in its topic; `row` is None after a delete."""

    partition: int
    row: bytes | None


class Event(NamedTuple):
    """A record that has a value."""

    partition: int
    key: bytes
    key_object: Mapping[str, Any]
    identity: bytes
    generation: int
    seq: int
    epoch: int  # of the agent's run
    logged: bool  # the source has a log
    read: bool  # by a copy or a repair, not streamed
    commit: int | None  # counts up with the source's transactions; None: nothing says it
    place: int | None  # of the change in the log; None: the row was read, or there is no log
    source: tuple[str, str]  # schema and table
    op: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    def repeats(self, before: Last | None, now: Last) -> bool:
        """Tells whether a look tells again what its key holds already.

        A log may: it has updates that change nothing.
        """
        return not self.logged and not self.read and before is not None and before.row == now.row

    @classmethod
    def of(cls, message: Message, headers: Mapping[str, bytes]) -> "Event":
        """Returns what a record says.

        Raises KeyError, TypeError or ValueError for one that is no event.
        """
        key, value = bytes(message.key() or b""), json.loads(message.value() or b"")
        source = value["source"]
        read = source["snapshot"] == "incremental"
        logged = source["connector"] not in WITHOUT_LOG
        commit, place = in_log(source)
        return cls(
            partition=message.partition() or 0,
            key=key,
            key_object=dict(json.loads(key)),
            identity=bytes.fromhex(headers["sync.id"].decode()),
            generation=int(headers["sync.generation"]),
            seq=int(headers["sync.seq"]),
            epoch=int(headers["sync.epoch"]),
            logged=logged,
            read=read,
            commit=commit,
            place=place,
            source=(source.get("schema", ""), source["table"]),
            op=value["op"],
            before=None if value["before"] is None else dict(value["before"]),
            after=None if value["after"] is None else dict(value["after"]),
        )


def in_log(source: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Returns what a source block says of the transaction and of the change: see Event."""
    read = source["snapshot"] == "incremental"
    if source["connector"] in BINARY_LOGS:
        if read:
            return None, None
        file = int(source["file"].rpartition(".")[2])
        commit = file << 40 | int(source["pos"])
        return commit, commit << 24 | int(source["row"])
    if source["connector"] in WITHOUT_LOG:
        return None, None
    return int(json.loads(source["sequence"])[0]), None if read else int(source["lsn"])


class Replay:
    """Knows what stands under each key, and judges the events.

    Each must come once (O4), in order (O5), from an agent that was not replaced (O9), fit what was
    there, and have its tombstone (O3).
    """

    def __init__(
        self,
        tables: Sequence[SharedTable],
        types: Mapping[str, Mapping[str, ValueType]],
        verdict: Verdict,
        wanted: Collection[Key] = (),
        copied: Mapping[str, Number] = {},  # see Copies.until
    ) -> None:
        self._tables = {table.topic: table for table in tables}
        self._types = types
        self._verdict = verdict
        self._wanted = wanted
        self.last: dict[str, dict[Key, Last]] = {table.topic: {} for table in tables}
        self.kept: dict[Key, Row] = {}  # rows of the wanted keys
        self._ids: set[bytes] = set()
        # Of the source: a replay that gives them new ids is no better for it
        self._changes: set[bytes] = set()
        self._seqs: dict[tuple[str, int], set[int]] = defaultdict(set)  # by topic and generation
        self._epochs: dict[tuple[str, int], int] = {}  # the newest by topic and partition
        self._newest: dict[
            tuple[str, int], tuple[int, int, int]
        ] = {}  # generation, seq, commit order by topic and partition
        # By topic, generation and seq up to which its table is known to have been copied
        self._copied = dict(copied)
        self._misfits: dict[str, list[tuple[tuple[int, int], Key, str, str]]] = defaultdict(list)
        self._owed: dict[
            tuple[str, int], tuple[bytes, bytes]
        ] = {}  # (key, id) of the delete whose tombstone must come next

    def rows(self, topic: str) -> dict[Key, bytes]:
        """Returns the rows that stand at the end, as digests."""
        return {key: last.row for key, last in self.last[topic].items() if last.row is not None}

    def read(self, bootstrap: str, options: Mapping[str, str] | None = None) -> None:
        """Reads everything visible to a read_committed consumer."""
        for message in messages(bootstrap, list(self._tables), options):
            self.take(message)
        self.end()

    def take(self, message: Message) -> None:
        """Takes the next record of its partition."""
        topic, partition = str(message.topic()), message.partition() or 0
        table, headers = self._tables[topic], headers_of(message)
        key, value = bytes(message.key() or b""), message.value()
        owed = self._owed.pop((topic, partition), None)
        if value is None:
            if owed != (key, headers.get("sync.of")):
                self._verdict.differs(table, key, "tombstone", "does not follow its delete", "O3")
            return
        if owed is not None:
            self._verdict.differs(table, owed[0], "tombstone", "does not follow the delete", "O3")
        try:
            event = Event.of(message, headers)
        except (KeyError, TypeError, ValueError):
            self._verdict.differs(
                table,
                key,
                "record",
                f"at offset {message.offset()} of partition {partition} is no event",
                "O4",
            )
            return
        self._verdict.events += 1
        self._count(table, event)
        self._apply(table, event)
        if event.op == "d":
            self._owed[topic, partition] = key, headers["sync.id"]

    def end(self) -> None:
        """Ends the replay: there is no further record, and what is owed is missing."""
        for (topic, partition), (key, _) in self._owed.items():
            self._verdict.differs(
                self._tables[topic],
                key,
                "tombstone",
                f"missing at the end of partition {partition}",
                "O3",
            )
        for topic, misfits in self._misfits.items():
            for number, misfit_key, column, what in misfits:
                if number > self._copied.get(topic, (0, 0)):
                    self._verdict.differs(self._tables[topic], misfit_key, column, what, "O3")
        for (topic, generation), seqs in self._seqs.items():
            missing = max(seqs) - len(seqs)
            if missing:
                first = next(seq for seq in range(1, max(seqs)) if seq not in seqs)
                self._verdict.missing += missing
                self._verdict.differs(
                    self._tables[topic],
                    None,
                    "sync.seq",
                    f"generation {generation} lacks {missing} numbers, the first is {first}",
                    "O4",
                )

    def _count(self, table: SharedTable, event: Event) -> None:
        """Counts identity and number of an event.

        The number is unique, and rises within its partition together with the order of commits.
        """
        seen = self._seqs[table.topic, event.generation]
        change = digest((table.topic, event.key, event.place, event.op))
        if event.identity in self._ids or event.seq in seen or event.seq < 1:
            self._duplicate(table, event, "sync.id", "id or number")
        elif event.place is not None and change in self._changes:
            self._duplicate(table, event, "source", "change, under another id,")
        self._ids.add(event.identity)
        self._changes.add(change)
        seen.add(event.seq)
        place = table.topic, event.partition
        if event.epoch < self._epochs.get(place, 0):
            self._verdict.differs(
                table,
                event.key,
                "sync.epoch",
                f"{event.epoch} comes after {self._epochs[place]}",
                "O9",
            )
        self._epochs[place] = max(event.epoch, self._epochs.get(place, 0))
        generation, seq, commit = self._newest.get((table.topic, event.partition), (0, 0, 0))
        if (event.generation, event.seq) <= (generation, seq):
            self._verdict.differs(
                table, event.key, "sync.seq", f"{event.seq} comes after {seq}", "O5"
            )
        if event.commit is not None and event.commit < commit:
            self._verdict.differs(
                table,
                event.key,
                "source",
                f"seq {event.seq} is of an earlier commit than seq {seq}",
                "O5",
            )
        newest = commit if event.commit is None else event.commit
        self._newest[table.topic, event.partition] = event.generation, event.seq, newest

    def _duplicate(self, table: SharedTable, event: Event, column: str, what: str) -> None:
        self._verdict.duplicates += 1
        self._verdict.differs(
            table, event.key, column, f"seq {event.seq}: the {what} came before", "O4"
        )

    def _apply(self, table: SharedTable, event: Event) -> None:
        """Applies the event to its key; it must fit what the key held."""
        types, last, op = self._types[table.topic], self.last[table.topic], event.op
        key = tuple(
            from_json(types[name], value)
            for name, value in event.key_object.items()
            if name in types
        )
        if list(event.key_object) != table.key_names:
            self._verdict.differs(table, key, "key", f"is made of {list(event.key_object)}", "O3")
        if event.source != (table.schema, table.table):
            self._verdict.differs(table, key, "source.table", "is another table's", "O3")
        before = last.get(key)
        if before is not None and before.partition != event.partition:
            self._verdict.differs(
                table,
                key,
                "partition",
                f"{event.partition}, before it was {before.partition}",
                "O5",
            )
        stands = before is not None and before.row is not None
        if event.read:
            self._copied[table.topic] = max(
                self._copied.get(table.topic, (0, 0)), (event.generation, event.seq)
            )
        if op not in (("r", "u", "d") if event.read else ("c", "u", "d")):
            self._verdict.differs(
                table,
                key,
                "op",
                f"{op} of a row that was {'read' if event.read else 'streamed'}",
                "O3",
            )
        elif not event.read and stands != (op in "ud"):
            self._misfit(
                table,
                event,
                key,
                "op",
                f"{op} of a row that {'exists' if stands else 'does not exist'}",
            )
        self._check_before(table, key, event, before.row if before is not None else None)
        row = self._row(table, key, event.after or {}) if op != "d" else None
        last[key] = Last(event.partition, None if row is None else digest(row))
        if event.repeats(before, last[key]):
            self._duplicate(table, event, "after", "row")
        if key in self._wanted:
            self.kept.pop(key, None)
            if row is not None:
                self.kept[key] = row

    def _check_before(
        self, table: SharedTable, key: Key, event: Event, stood: bytes | None
    ) -> None:
        """Checks that `before` is null, the key (of a delete), or the whole row as it was."""
        before, op = event.before, event.op
        if before is None:
            right = op != "d"
        elif list(before) == table.names:
            right = op in "ud" and digest(self._typed(table, before)) == stood
        else:
            right = op == "d" and before == event.key_object
        if not right:
            self._misfit(table, event, key, "before", f"of {op} is neither what stood nor the key")

    def _misfit(self, table: SharedTable, event: Event, key: Key, column: str, what: str) -> None:
        """Notes an event that does not fit what its key held.

        It is a fault, unless the table was being copied, as it was at least until the last row that
        was read.
        """
        self._misfits[table.topic].append(((event.generation, event.seq), key, column, what))

    def _row(self, table: SharedTable, key: Key, after: Mapping[str, Any]) -> Row:
        if list(after) != table.names:
            self._verdict.differs(table, key, "columns", f"are {list(after)}", "O3")
        row = self._typed(table, after)
        if tuple([row[place] for place in table.key_places]) != key:
            self._verdict.differs(table, key, "key", "differs from the row's", "O3")
        return row

    def _typed(self, table: SharedTable, values: Mapping[str, Any]) -> Row:
        types = self._types[table.topic]
        return tuple(from_json(types[name], values.get(name)) for name in table.names)


def headers_of(message: Message) -> dict[str, bytes]:
    """Returns the headers of a record."""
    headers = message.headers() or []
    assert isinstance(headers, list)
    return {
        name: value if isinstance(value, bytes) else str(value).encode() for name, value in headers
    }


def read_committed(bootstrap: str) -> dict[str, Any]:
    """Returns settings of a consumer that belongs to nobody and sees what is committed."""
    return {
        "bootstrap.servers": bootstrap,
        "group.id": f"judge-{uuid.uuid4().hex}",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "log_level": 0,
    }


def messages(
    bootstrap: str, topics: Sequence[str], options: Mapping[str, str] | None = None
) -> Iterator[Message]:
    """Yields every record that a read_committed consumer sees, partition by partition in order.

    `options` are the client's (TLS, login).
    """
    consumer = Consumer(
        {**(options or {}), **read_committed(bootstrap), "enable.partition.eof": True}
    )
    with closing(consumer):
        found = consumer.list_topics(timeout=SILENCE).topics
        absent = [topic for topic in topics if topic not in found]
        if absent:
            raise LookupError(f"there is no topic {', '.join(absent)} at {bootstrap}")
        waiting = {(topic, partition) for topic in topics for partition in found[topic].partitions}
        consumer.assign(
            [TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in waiting]
        )
        last = time.monotonic()
        while waiting:
            # Returns when it has as many, or after the time
            received = consumer.consume(1000, timeout=0.2)
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

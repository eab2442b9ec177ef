"""Tests that the judge finds each kind of damage, and names its oracle.

A judge that has never said no proves nothing.
"""

import json
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # the package does not re-export it for mypy

from tests.agent_process import Installation
from tests.checker import SharedTable, Verdict, compare
from tests.checker.__main__ import DIFFERENT, EQUAL, USAGE, main
from tests.checker.acks import STORED, AckSampler
from tests.checker.commits import watched
from tests.checker.configuration import shared_tables
from tests.checker.front import own
from tests.checker.journal import Intent, Journal, Outcome, read_journal
from tests.checker.prefix import PrefixReader
from tests.checker.replay import headers_of, messages
from tests.checker.unit import JOURNALED, LEDGER, TABLES
from tests.checker.workload import Workload
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresAddress
from tests.waiting import PATIENCE, eventually

TRANSACTIONS = 500
AUDIT_LOG = next(table for table in TABLES if table.identity == "FULL")


class Scene(NamedTuple):
    """What an agent has left behind after a workload; it is stopped."""

    place: Installation
    journal: Path
    acks: AckSampler
    prefix: PrefixReader
    outcomes: dict[Outcome, int]
    kafka: KafkaAddress
    events: list["Record"]  # of the table whose events hold whole old rows

    @property
    def full(self) -> SharedTable:
        """The table whose events hold whole old rows."""
        return next(table for table in self.place.judged if table.table == AUDIT_LOG.name)

    def judge_events(self, records: Sequence["Record"]) -> Verdict:
        """Returns the verdict on the table's rows and these records, in a topic of their own."""
        topic = f"{self.full.topic}.{uuid.uuid4().hex[:8]}"
        for future in self.kafka.admin.create_topics([NewTopic(topic, 3, 1)]).values():
            future.result(PATIENCE)
        producer = Producer(
            {"bootstrap.servers": self.place.bootstrap, "linger.ms": 5, "log_level": 0}
        )
        for record in records:
            producer.produce(
                topic,
                record.value,
                record.key,
                record.partition,
                headers=list(record.headers.items()),
            )
        assert producer.flush(30) == 0
        return compare(self.place.places, [self.full._replace(topic=topic)])


class Record(NamedTuple):
    """A record of a topic."""

    partition: int
    key: bytes
    value: bytes | None
    headers: dict[str, bytes]

    @classmethod
    def of(cls, message: Message) -> "Record":
        """Returns what was read."""
        return cls(
            message.partition() or 0,
            bytes(message.key() or b""),
            message.value(),
            headers_of(message),
        )

    @property
    def op(self) -> str:
        """Its kind; a tombstone has none."""
        return str(json.loads(self.value)["op"]) if self.value is not None else ""

    @property
    def seq(self) -> int:
        """Its number; a tombstone has none."""
        return int(self.headers.get("sync.seq", b"0"))

    def with_headers(self, **values: str) -> "Record":
        """With other headers: `seq="1"` is sync.seq."""
        return self._replace(
            headers=self.headers
            | {f"sync.{name}": value.encode() for name, value in values.items()}
        )

    def with_value(self, part: str, change: Callable[[dict[str, object]], object]) -> "Record":
        """With another part of the value."""
        value = json.loads(self.value or b"")
        value[part] = change(value[part])
        return self._replace(value=json.dumps(value, ensure_ascii=False).encode())


@pytest.fixture(scope="module")
def scene(
    postgres18: PostgresAddress, kafka: KafkaAddress, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """One for all tests; who damages it, damages a copy."""
    with fresh_database(postgres18) as source:
        folder = tmp_path_factory.mktemp("judged")
        place = Installation(
            folder, source, kafka.bootstrap, f"judged{uuid.uuid4().hex[:8]}", tables=JOURNALED
        ).install()
        acks = AckSampler(source, place.slot, place.front_file)
        prefix = PrefixReader(place.front_file)
        workload = Workload(source, 20261124, folder / "journal", big=500, open_seconds=0.2)
        with place.start() as agent, watched(source, f"judge_{place.name}") as order:
            agent.wait_ready()
            with acks, prefix, workload:
                eventually(
                    lambda: workload.transactions >= TRANSACTIONS, 60, "the workload has worked"
                )
            eventually(place.caught_up, 60, "all events are published", 0.2)
            agent.stop()
            prefix.settle(order.read())
        events = [
            Record.of(message)
            for message in messages(kafka.bootstrap, [f"{place.name}.{AUDIT_LOG.resource}"])
        ]
        yield Scene(place, folder / "journal", acks, prefix, dict(workload.outcomes), kafka, events)


@pytest.fixture
def front(scene: Scene, tmp_path: Path) -> Path:
    """Returns a copy of the front end, to be damaged."""
    with (
        closing(sqlite3.connect(scene.place.front_file)) as original,
        closing(sqlite3.connect(tmp_path / "front.db")) as copy,
    ):
        original.backup(copy)
    return tmp_path / "front.db"


def damage(front: Path, statement: str) -> None:
    """One statement that changes one row."""
    with closing(sqlite3.connect(front)) as connection, connection:
        assert connection.execute(statement).rowcount == 1


def judge(scene: Scene, front: Path, journal: Path | None = None) -> Verdict:
    """Returns the verdict on a front end, without the topics."""
    return compare(
        scene.place.places._replace(front=front, bootstrap=None), scene.place.judged, journal
    )


# ---- nothing wrong


def test_an_agent_at_its_work_is_verified(scene: Scene) -> None:
    """All oracles agree, and each of them has seen something."""
    verdict = compare(scene.place.places, scene.place.judged, scene.journal)
    scene.acks.report(verdict)
    scene.prefix.report(verdict)
    assert verdict.equal, verdict
    assert (
        str(verdict)
        == f"VERIFIED source = front-end = topics: {verdict.rows} rows, {verdict.events} events, "
        "0 missing, 0 duplicate"
    )
    assert min(scene.acks.samples, scene.prefix.samples) > 10
    assert scene.outcomes["ok"] > TRANSACTIONS / 2
    assert scene.outcomes["failed"] > TRANSACTIONS / 50
    assert sum(scene.outcomes.values()) == len(read_journal(scene.journal)) >= TRANSACTIONS


def test_an_untouched_copy_of_a_topic_is_right(scene: Scene) -> None:
    """The damages below are found because of what was changed, not because of the copy."""
    verdict = scene.judge_events(scene.events)
    assert verdict.equal, verdict
    assert {record.op for record in scene.events} == {"c", "u", "d", ""}


# ---- O1


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            """DELETE FROM "居民" WHERE rowid = (SELECT min(rowid) FROM "居民")""",
            "row: only in source",
        ),
        (
            """UPDATE "居民" SET "姓名" = "姓名" || ' '
            WHERE rowid = (SELECT min(rowid) FROM "居民")""",
            "姓名: source '",
        ),
        (
            """UPDATE "订单明细" SET "品名" = NULL WHERE rowid =
            (SELECT min(rowid) FROM "订单明细" WHERE "品名" != '' AND ex_deleted = 0)""",
            "品名: source '",
        ),
        (
            """UPDATE "订单明细" SET ex_deleted = 0
            WHERE rowid = (SELECT min(rowid) FROM "订单明细" WHERE ex_deleted = 1)""",
            "row: only in front end",
        ),
        (
            """UPDATE "企业" SET "统一社会信用代码" = "统一社会信用代码" || ' x'
            WHERE rowid = (SELECT min(rowid) FROM "企业")""",
            "row: only in source",
        ),
    ],
    ids=["deleted", "changed", "emptied", "not deleted", "other key"],
)
def test_a_damaged_front_end(statement: str, told: str, scene: Scene, front: Path) -> None:
    """O1, with table, key and column."""
    damage(front, statement)
    verdict = judge(scene, front)
    assert set(verdict.oracles) == {"O1"}, verdict
    assert told in "\n".join(verdict.first), verdict
    assert str(verdict).startswith("DIFFERENT")


def test_only_the_first_differences_are_told(scene: Scene, front: Path) -> None:
    """All are counted."""
    with closing(sqlite3.connect(front)) as connection, connection:
        rows = connection.execute('DELETE FROM "居民"').rowcount
    verdict = judge(scene, front)
    assert (verdict.found, verdict.missing, len(verdict.first)) == (rows, rows, 5)


# ---- O3, O4, O5


def last(records: Sequence[Record], *ops: str) -> int:
    """Returns where the last event of these kinds stands."""
    return max(place for place, record in enumerate(records) if record.op in ops)


def twice(records: list[Record]) -> None:
    records.append(records[last(records, "u")])


def twice_under_another_name(records: list[Record]) -> None:
    """As a producer would that makes random ids and a new number for each attempt."""
    newest = max(record.seq for record in records)
    records.append(
        records[last(records, "c", "u")].with_headers(id=uuid.uuid4().hex, seq=str(newest + 1))
    )


def gap(records: list[Record]) -> None:
    place = max(range(len(records)), key=lambda place: records[place].seq)
    records[place] = records[place].with_headers(seq=str(records[place].seq + 1))


def late_start(records: list[Record]) -> None:
    records[:] = [
        record.with_headers(seq=str(record.seq + 1)) if record.value is not None else record
        for record in records
    ]


def lost_event(records: list[Record]) -> None:
    """Not the newest one: nothing comes after it that would show the gap (O3 finds its row)."""
    newest = max(record.seq for record in records)
    del records[
        max(
            place
            for place, record in enumerate(records)
            if record.op in ("c", "u") and record.seq < newest
        )
    ]


def no_tombstone(records: list[Record]) -> None:
    del records[last(records, "")]


def tombstone_of_another(records: list[Record]) -> None:
    records[last(records, "")] = records[last(records, "")].with_headers(of=uuid.uuid4().hex)


def late_tombstone(records: list[Record]) -> None:
    records.append(
        records.pop(next(place for place, record in enumerate(records) if record.op == ""))
    )


def other_value(records: list[Record]) -> None:
    place = newest_of_a_row(records)
    records[place] = records[place].with_value("after", lambda after: after | {"ActorName": "别人"})


def other_before(records: list[Record]) -> None:
    records[last(records, "u")] = records[last(records, "u")].with_value(
        "before", lambda before: before | {"ActorName": "别人"}
    )


def without_a_column(records: list[Record]) -> None:
    place = newest_of_a_row(records)
    records[place] = records[place].with_value(
        "after", lambda after: {name: value for name, value in after.items() if name != "ActorName"}
    )


def other_partition(records: list[Record]) -> None:
    place = newest_of_a_row(records)
    records.append(records.pop(place)._replace(partition=(records[place].partition + 1) % 3))


def other_order(records: list[Record]) -> None:
    """Two events of one partition change places."""
    updates = [place for place, record in enumerate(records) if record.op == "u"]
    one, other = next(
        pair
        for pair in combinations(updates, 2)
        if records[pair[0]].partition == records[pair[1]].partition
    )
    records[one], records[other] = records[other], records[one]


def of_a_stranger(records: list[Record]) -> None:
    records.append(records[0]._replace(headers={}))


def newest_of_a_row(records: list[Record]) -> int:
    """Where the last event of a row stands that exists at the end and had several events."""
    newest = {record.key: place for place, record in enumerate(records)}
    return next(place for place in newest.values() if records[place].op == "u")


def of_an_older_run(records: list[Record]) -> None:
    """As of a publisher that was replaced and not kept out."""
    newest = last(records, "c", "u", "d")
    for place, record in enumerate(records[:newest]):
        if record.value is not None:
            records[place] = record.with_headers(epoch="2")


DAMAGES = [
    (twice, {"O4"}),
    (twice_under_another_name, {"O4"}),
    (gap, {"O4"}),
    (late_start, {"O4"}),
    (lost_event, {"O4"}),
    (no_tombstone, {"O3"}),
    (tombstone_of_another, {"O3"}),
    (late_tombstone, {"O3"}),
    (other_value, {"O3"}),
    (other_before, {"O3"}),
    (without_a_column, {"O3"}),
    (other_partition, {"O5"}),
    (other_order, {"O5"}),
    (of_a_stranger, {"O4"}),
    (of_an_older_run, {"O9"}),
]


@pytest.mark.parametrize(
    ("change", "oracles"), DAMAGES, ids=lambda value: getattr(value, "__name__", None)
)
def test_damaged_topics(
    change: Callable[[list[Record]], None], oracles: set[str], scene: Scene
) -> None:
    """The oracle in charge speaks up; others may, too."""
    records = list(scene.events)
    change(records)
    verdict = scene.judge_events(records)
    assert oracles <= set(verdict.oracles), verdict
    assert not verdict.equal
    if change in (
        gap,
        late_start,
        of_a_stranger,
        no_tombstone,
        tombstone_of_another,
        late_tombstone,
        other_value,
        other_before,
    ):
        assert set(verdict.oracles) == oracles, verdict


def test_a_lost_end_of_a_topic_is_found(scene: Scene) -> None:
    """Numbers alone cannot tell: what stands at the end differs from the source."""
    newest = max(record.seq for record in scene.events)
    lost = {record.headers["sync.id"] for record in scene.events if record.seq > newest - 20}
    kept = [
        record
        for record in scene.events
        if not lost & {record.headers.get("sync.id"), record.headers.get("sync.of")}
    ]
    verdict = scene.judge_events(kept)
    assert set(verdict.oracles) == {"O3"}, verdict


# ---- O7


def test_the_journal_against_the_ledger(scene: Scene, front: Path, tmp_path: Path) -> None:
    """O7 speaks for four transactions of the journal.

    They are an 'ok' that has not signed, a 'failed' that has, an 'unknown' that has signed at the
    source only, and one that signed for something else.
    """
    by_outcome: dict[Outcome, Intent] = {
        intent.outcome: intent for intent in read_journal(scene.journal).values()
    }
    ok, failed = by_outcome["ok"], by_outcome["failed"]
    for txn, outcome in ((failed.txn, "ok"), (ok.txn, "failed")):
        journal = tmp_path / f"{outcome}.journal"
        shutil.copy(scene.journal, journal)
        with Journal(journal) as more:
            more.outcome(txn, outcome)  # type: ignore[arg-type]
        verdict = judge(scene, front, journal)
        assert verdict.oracles == {"O7": 2}, verdict  # source and front end
        assert f"key ({txn},)" in verdict.first[0]
    other = tmp_path / "other.journal"
    with Journal(other) as journal_file:
        journal_file.intent(ok._replace(digest="0" * 32))
    verdict = judge(scene, front, other)
    assert "is not what was meant" in verdict.first[0], verdict
    lost = tmp_path / "lost.journal"
    with Journal(lost) as journal_file:
        journal_file.intent(ok)  # its outcome was never written
    assert judge(scene, front, lost).equal
    damage(front, f'DELETE FROM "{LEDGER.name}" WHERE txn_no = {ok.txn}')
    verdict = judge(scene, front, lost)
    assert verdict.oracles == {"O1": 1, "O7": 1}, verdict


# ---- O8


def test_a_slot_past_the_stored_position(scene: Scene, front: Path) -> None:
    """O8, for as long as it lasts."""
    damage(front, own(front, "UPDATE sync_agent_state SET position = '0/1'"))
    acks = AckSampler(scene.place.source, scene.place.slot, front)
    with acks:
        eventually(lambda: acks.samples >= 10, what="ten samples")
    acks.report(verdict := Verdict())
    assert verdict.oracles == {"O8": acks.samples}, verdict
    assert len(verdict.first) == 5


@pytest.mark.parametrize("missing", ["slot", "front end", "lock"])
def test_nothing_sampled_is_no_proof(
    missing: str, scene: Scene, front: Path, tmp_path: Path
) -> None:
    """O8 also when nothing could be seen, and the sampler lives on."""
    acks = AckSampler(
        scene.place.source,
        "absent" if missing == "slot" else scene.place.slot,
        tmp_path / "none" if missing == "front end" else front,
    )
    with closing(sqlite3.connect(front, isolation_level=None)) as other:
        if missing == "lock":
            acks._position = own(front, STORED)  # looking it up would wait for the lock
            other.execute("PRAGMA journal_mode = DELETE")
            other.execute("BEGIN EXCLUSIVE")
        acks.sample()
        acks.sample()
        acks.stop()
    acks.report(verdict := Verdict())
    assert (acks.samples, acks.skipped, verdict.oracles) == (0, 2, {"O8": 1})


# ---- the command


def arguments(scene: Scene, front: Path) -> list[str]:
    """Returns the command line for a front end."""
    place = scene.place
    given = {
        "source": place.source,
        "front": front,
        "bootstrap": place.bootstrap,
        "config": place.config,
        "journal": scene.journal,
        "wait": 0,
    }
    return [f"--{name}={value}" for name, value in given.items()]


def test_the_command_says_equal_different_or_why_not(
    scene: Scene, front: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 0, 1, 2; what it must know it takes from the agent's configuration."""
    assert main(arguments(scene, front)) == EQUAL
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith("VERIFIED source = front-end = topics: ")
    )
    damage(front, """DELETE FROM "文书" WHERE rowid = (SELECT min(rowid) FROM "文书")""")
    assert main(arguments(scene, front)) == DIFFERENT
    assert "O1" in capsys.readouterr().out
    assert main(arguments(scene, Path("/nowhere/front.db"))) == USAGE
    assert main([*arguments(scene, front), "--config=/nowhere.toml"]) == USAGE
    with pytest.raises(SystemExit) as end:
        main(["--source=x"])
    assert end.value.code == USAGE


def test_the_configuration_gives_what_the_tests_know(scene: Scene) -> None:
    """Columns, keys, names, topics, technical columns."""
    found = shared_tables(scene.place.config, scene.place.source)
    assert [
        table._replace(condition=judged.condition)
        for table, judged in zip(found, scene.place.judged, strict=True)
    ] == scene.place.judged

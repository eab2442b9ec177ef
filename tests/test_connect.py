"""Tests that Debezium's own JDBC sink, unmodified, keeps a table from our topics.

The topics have begin and end of transactions, and whole old rows.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.agent_process import Installation
from tests.checker.inputs import one_of
from tests.checker.unit import SCHEMA, UnitTable, create_tables
from tests.publish.consumer import Judge, Seen
from tests.services.connect import ConnectWorker, jdbc_sink
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresAddress
from tests.waiting import eventually

MADE, PREPARED = "made", "prepared"
COLUMNS = """ ("编号" bigint PRIMARY KEY, "姓名" text, "valid" boolean, "small" smallint,
    "middle" integer, "single" real, "double" float8, "raw" bytea, "uid" uuid, "doc" json,
    "tags" jsonb, "at" timestamptz, "born" date, "local" timestamp, "clock" time,
    "amount" numeric, "span" interval, "address" inet)"""
NAMES = (
    "姓名",
    "valid",
    "small",
    "middle",
    "single",
    "double",
    "raw",
    "uid",
    "doc",
    "tags",
    "at",
    "born",
    "local",
    "clock",
    "amount",
    "span",
    "address",
)
FORMS: tuple[LiteralString, ...] = (
    "bigint", "text", "boolean", "smallint", "integer", "real", "float8", "bytea", "uuid", "json",
    "jsonb", "timestamptz", "date", "timestamp", "time", "numeric", "interval", "inet",
)  # fmt: skip
# What the sink makes of each type, in the order of the columns.
TYPES = (
    "bigint text boolean smallint integer real double_precision bytea uuid json jsonb "
    "timestamp_with_time_zone text text text text text text"
)
TABLES = [
    UnitTable(
        resource, resource, COLUMNS, {"编号": one_of("1")}, {name: one_of("") for name in NAMES}
    )
    for resource in (MADE, PREPARED)
]
SETTINGS = {"value_format": "json-schema", "before": "complete", "transactions": True}
FIRST = """INSERT INTO {} SELECT
    n, '张三' || n, n % 2 = 0, n, n * 1000, n / 8.0, n / 3.0,
    decode(md5(n::text), 'hex'), md5(n::text)::uuid,
    json_build_object('a', n), jsonb_build_object('b', n),
    timestamptz '2026-01-01 00:00:00.000001+08' + n * interval '1 day',
    date '1900-01-01' + n,
    timestamp '2026-01-01 01:02:03.4' + n * interval '1 hour',
    time '00:00' + n * interval '1 s',
    n / 7.0, n * interval '90 s', '10.0.0.1'
    FROM generate_series(1, 200) n"""
ODD = """INSERT INTO {} ("编号") VALUES (-1);
        INSERT INTO {}
        ("编号", "姓名", valid, small, middle, single, double, raw, uid, doc, tags, at) VALUES
        (-2, '', NULL, -32768, -2147483648, 'Infinity', '-Infinity', '',
         NULL, '[1.0, "é" ]', '"\\"x\\""', 'infinity'),
        (-3, E'a\\tb\\\\\\n"', true, 32767, 2147483647, 3.4028235e38, 5e-324, '\\x00ff',
         NULL, 'null', 'null', '0044-03-15 00:00:00+00 BC'),
        (-4, '𠮷', false, 0, 0, 1.17549435e-38, 1.7976931348623157e308, NULL,
         NULL, NULL, NULL, '12026-01-01 00:00:00+00')"""
ODDER = """UPDATE "业务".prepared SET "born" = 'infinity', "local" = '-infinity',
    "amount" = 'NaN', "clock" = '24:00', "span" = '-1 year 2 days' WHERE "编号" = -1;
    UPDATE "业务".prepared SET
    "amount" = 123456789012345678901234567890.000100, "address" = '::1/64' WHERE "编号" = -2"""
WORKLOAD = (
    'UPDATE {} SET "姓名" = "姓名" || \' 改\', "amount" = "amount" * 2 WHERE "编号" % 3 = 0',
    'UPDATE {} SET "编号" = "编号" + 1000 WHERE "编号" BETWEEN 20 AND 60',
    'DELETE FROM {} WHERE "编号" % 5 = 0',
    # The new keys are free again.
    'UPDATE {} SET "编号" = "编号" - 981 WHERE "编号" BETWEEN 1001 AND 1039',
    'INSERT INTO {} ("编号", "姓名") VALUES (5, \'again\'), (10, NULL)',
    'DELETE FROM {} WHERE "编号" = 5',
    ODDER,
)


@pytest.fixture
def target(postgres18: PostgresAddress) -> Iterator[str]:
    """Yields the database the sinks write to."""
    with fresh_database(postgres18) as conninfo:
        yield conninfo


def test_debezium_jdbc_sink(
    database: str, target: str, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> None:
    """Copied rows, inserts, updates, changes of key, deletes and tombstones arrive.

    One table is made by the sink, and one by hand with every type.
    """
    place = Installation(
        tmp_path,
        database,
        kafka.bootstrap,
        topic_prefix,
        tables=TABLES,
        sections={"kafka": SETTINGS},
    )
    create_tables(database, TABLES)
    changes(database, FIRST)  # these are copied, the others streamed
    place.write_config()
    place.init()
    made, prepared = (
        sql.Identifier(f"{topic_prefix}_{MADE}"),
        sql.Identifier(f"{topic_prefix}_{PREPARED}"),
    )
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE TABLE {}").format(prepared) + sql.SQL(COLUMNS))
    sinks = [
        jdbc_sink(MADE, f"{topic_prefix}.{MADE}", target, **{"schema.evolution": "basic"}),
        jdbc_sink(PREPARED, f"{topic_prefix}.{PREPARED}", target, **{"schema.evolution": "none"}),
    ]
    with place.start(), ConnectWorker(kafka.bootstrap, sinks) as worker:
        changes(database, ODD, *WORKLOAD)

        def equal() -> bool:
            worker.check()
            assert rows(target, prepared) == rows(database, sql.Identifier(SCHEMA, PREPARED)), (
                worker.log[-3000:]
            )
            assert rows(target, made) == rows(database, sql.Identifier(SCHEMA, MADE)), worker.log[
                -3000:
            ]
            return True

        eventually(equal, 60, "the sinks' tables are equal to the source's", 0.5)
        assert types(target, f"{topic_prefix}_{MADE}") == TYPES.split()
        place.caught_up()
    judge = Judge(
        kafka.bootstrap, *(f"{topic_prefix}.{name}" for name in (MADE, PREPARED, "transaction"))
    )
    judge.poll()
    told_whole(judge, topic_prefix)
    told_with_old_rows(judge.events(f"{topic_prefix}.{PREPARED}"))
    judge.close()


def changes(database: str, *statements: str) -> None:
    """Each statement on both tables in one transaction."""
    with psycopg.connect(database, autocommit=True) as unit:
        for statement in statements:
            unit.execute(
                ";".join(
                    statement.replace("{}", sql.Identifier(SCHEMA, name).as_string())
                    for name in (MADE, PREPARED)
                ).encode()
            )


def rows(conninfo: str, table: sql.Identifier) -> list[tuple[str | None, ...]]:
    """Returns a table's rows as PostgreSQL's text, whatever type the sink has given a column.

    A zone of its own makes a difference of zones visible.
    """
    columns = [
        sql.SQL("{}::{}::text").format(sql.Identifier(name), sql.SQL(form))
        for name, form in zip(("编号", *NAMES), FORMS, strict=True)
    ]
    with psycopg.connect(
        conninfo, options="-c TimeZone=Asia/Shanghai -c extra_float_digits=3"
    ) as connection:
        return connection.execute(
            sql.SQL("SELECT {} FROM {} ORDER BY 1").format(sql.SQL(", ").join(columns), table)
        ).fetchall()


def types(conninfo: str, table: str) -> list[str]:
    """Returns the types of a table's columns in the order of ours."""
    with psycopg.connect(conninfo) as connection:
        found: dict[str, str] = dict(
            connection.execute(
                "SELECT column_name, data_type FROM information_schema.columns "
                "WHERE table_name = %s",
                [table],
            ).fetchall()
        )
    return [found[name].replace(" ", "_") for name in ("编号", *NAMES)]


def told_whole(judge: Judge, prefix: str) -> None:
    """Asserts that each transaction has one BEGIN and one END with the numbers of its events.

    Each event has its place.
    """
    payloads = {
        topic: [json.loads(record.value or b"")["payload"] for record in judge.events(topic)]
        for topic in judge.seen
    }
    marks = payloads[f"{prefix}.transaction"]
    begun, ended = (
        [mark for mark in marks if mark["status"] == status] for status in ("BEGIN", "END")
    )
    assert [mark["id"] for mark in begun] == [mark["id"] for mark in ended]
    for end in ended:
        assert end["event_count"] == sum(
            counted["event_count"] for counted in end["data_collections"]
        )
        places: dict[int, str] = {}
        for counted in end["data_collections"]:
            schema, name = counted["data_collection"].split(".")
            blocks = [
                p["transaction"]
                for p in payloads[f"{prefix}.{name}"]
                if p["transaction"] and p["transaction"]["id"] == end["id"]
            ]
            assert schema == SCHEMA
            assert sorted(block["data_collection_order"] for block in blocks) == list(
                range(1, counted["event_count"] + 1)
            )
            places |= {block["total_order"]: name for block in blocks}
        assert sorted(places) == list(range(1, end["event_count"] + 1))
    assert sum(end["event_count"] for end in ended) == sum(
        p["transaction"] is not None
        for topic in (MADE, PREPARED)
        for p in payloads[f"{prefix}.{topic}"]
    )
    assert len(ended) == 1 + len(WORKLOAD)


def told_with_old_rows(events: list[Seen]) -> None:
    """Asserts that every update and delete has the whole row before it.

    That is the row as the event before it of that key has left it; a delete of a row not copied yet
    has its key.
    """
    known: dict[bytes, object] = {}
    for record in sorted(events, key=lambda record: int(record.headers["sync.seq"])):
        payload = json.loads(record.value or b"")["payload"]
        unseen = json.loads(record.key)["payload"] if payload["op"] == "d" else None
        assert payload["before"] == (known.get(record.key) or unseen), payload
        known[record.key] = payload["after"]

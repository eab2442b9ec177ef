"""Tests the parts of the judge and its workload: journal, filters, value forms, writers' plans."""

import json
from pathlib import Path

import psycopg
import pytest

from tests.checker.configuration import condition
from tests.checker.journal import Intent, Journal, read_journal
from tests.checker.plan import ENABLED, WEIGHTS, Planner
from tests.checker.unit import JOURNALED, TABLES, create_tables
from tests.checker.values import ValueType, form, from_json
from tests.checker.workload import Workload
from tests.waiting import eventually


def test_a_torn_line_says_nothing(tmp_path: Path) -> None:
    """The journal of a workload that was killed in the middle of a line is read, and goes on."""
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.intent(Intent(1, 0, 1, "d"))
        journal.outcome(1, "ok")
        journal.intent(Intent(2, 0, 1, "d"))
    with path.open("ab") as file:
        file.write(b'{"txn": 2, "outc')
    assert [intent.outcome for intent in read_journal(path).values()] == ["ok", "unknown"]
    with Journal(path) as journal:
        journal.outcome(2, "failed")
    assert [intent.outcome for intent in read_journal(path).values()] == ["ok", "failed"]


def test_filters_mean_what_the_configuration_says(database: str) -> None:
    """is_in, not_in and is_null, on what PostgreSQL writes."""
    values = (
        "(VALUES (1, true, 'a  '::char(3)), (2, false, NULL), (3, NULL, 'b')) "
        "AS rows (n, flag, code)"
    )
    cases: list[tuple[dict[str, object], list[int]]] = [
        ({"column": "flag", "is_in": [True]}, [1]),
        ({"column": "flag", "not_in": [True]}, [2, 3]),
        ({"column": "code", "is_in": ["a  ", "'"]}, [1]),
        ({"column": "code", "is_null": True}, [2]),
        ({"column": "n", "is_in": [1, 3]}, [1, 3]),
    ]
    with psycopg.connect(database) as connection:
        for test, expected in cases:
            query = (
                f"SELECT n FROM {values} WHERE ".encode()
                + condition([test, {"column": "n", "is_null": False}]).as_bytes()
            )
            assert [n for (n,) in connection.execute(query)] == expected, test


@pytest.mark.parametrize(
    ("oid", "stored", "expected"),
    [
        (16, "t", True), (16, 0, False), (20, "7", 7), (20, 5.5, 5.5), (20, "x", "x"),
        (701, "-0", 0.0), (701, "NaN", "NaN"), (17, "\\x00ff", "AP8="), (17, b"\0\xff", "AP8="),
        (1082, "0044-03-15 BC", "-000043-03-15"),
        (1184, "2026-01-01 00:00:00+00", "2026-01-01T00:00:00Z"),
        (25, "7", "7"), (790, "-$1,234.50", "-1234.50"), (1266, "10:15:04+08", "10:15:04+08:00"),
        (1266, "10:15:04.5-03:30", "10:15:04.5-03:30"),
    ],
)  # fmt: skip
def test_forms(oid: int, stored: object, expected: object) -> None:
    """From PostgreSQL's text and from SQLite; what does not fit its type stays, and so differs."""
    assert repr(form(ValueType(oid), stored)) == repr(expected)


@pytest.mark.parametrize(
    ("held", "text", "expected"),
    [
        (ValueType(23), "{}", ()), (ValueType(23), "{1,NULL,-3}", (1, None, -3)),
        (ValueType(23), "{{1,2},{3,4}}", ((1, 2), (3, 4))),
        (ValueType(23), "[0:1]={1,2}", "[0:1]={1,2}"), (ValueType(701), "{1,NaN}", (1.0, "NaN")),
        (ValueType(16), "{t,f}", (True, False)),
        (ValueType(25), '{"a,b","",NULL,"NULL","\\"\\\\"}', ("a,b", "", None, "NULL", '"\\')),
        (ValueType(603, None, ";"), "{(1,1),(0,0);(2,2),(0,0)}", ("(1,1),(0,0)", "(2,2),(0,0)")),
        (ValueType(1007, ValueType(23)), '{"{1,2}",NULL}', ((1, 2), None)),
        (ValueType(23), "{1,", "{1,"), (ValueType(23), "{1}}", "{1}}"),
    ],
)  # fmt: skip
def test_arrays(held: ValueType, text: str, expected: object) -> None:
    """Nested by dimension, or by domains over arrays; JSON gives the same back."""
    kind = ValueType(0, held)
    assert repr(form(kind, text)) == repr(expected)
    if isinstance(expected, tuple):
        assert repr(from_json(kind, json.loads(json.dumps(expected)))) == repr(expected)


# ---- the workload


def test_the_workload_outlives_its_connections(database: str, tmp_path: Path) -> None:
    """Sessions are ended while they work.

    The journal is true to the ledger, and the numbers go on in a second run.
    """
    create_tables(database, JOURNALED)
    path = tmp_path / "journal"
    for _ in range(2):
        with (
            Workload(database, 5, path, writers=4, big=10, open_seconds=0.05) as workload,
            psycopg.connect(database, autocommit=True) as connection,
        ):
            for turn in range(1, 6):
                eventually(lambda turn=turn: workload.transactions > turn * 20, what="it goes on")  # type: ignore[misc]
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid != pg_backend_pid()"
                )
    entries = read_journal(path)
    with psycopg.connect(database) as connection:
        signed = {txn for (txn,) in connection.execute('SELECT txn_no FROM "业务"."流水"')}
    assert {txn for txn, intent in entries.items() if intent.outcome == "ok"} <= signed
    assert not signed & {txn for txn, intent in entries.items() if intent.outcome == "failed"}
    assert signed <= set(entries)


def test_a_seed_means_the_same_in_every_run() -> None:
    """Each writer has its own transactions; all kinds occur that are switched on, and no other."""
    one, again, other = Planner(1, 0, TABLES), Planner(1, 0, TABLES), Planner(1, 1, TABLES)
    plans = [one.plan() for _ in range(1500)]
    assert [plan.digest for plan in plans[:50]] == [again.plan().digest for _ in range(50)]
    assert plans[0].digest != other.plan().digest
    assert {plan.kind for plan in plans} == ENABLED


def test_what_is_switched_off_stands_ready(database: str, tmp_path: Path) -> None:
    """DDL: the source takes it among all the others; nothing that was prepared is left behind."""
    create_tables(database, JOURNALED)
    kinds = dict.fromkeys(WEIGHTS)
    with Workload(
        database, 6, tmp_path / "journal", writers=2, kinds=kinds, big=10, open_seconds=0.01
    ) as workload:
        eventually(lambda: workload.transactions > 300, what="it has worked")
    assert workload.outcomes["ok"] > 150
    with psycopg.connect(database) as connection:
        assert (
            connection.execute(
                "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
            ).fetchall()
            == []
        )

"""Tests a front end that refuses some rows, on the real loop, applier and reconciler.

Only these differ, each is noted, and every event comes.
"""

import zlib
from collections.abc import Iterable

import orjson
import pytest

from agent.connectors.changes import Message
from agent.resource import FrontRow, Target
from agent.values.rows import Key
from tests.pipeline.handover import HandOver
from tests.pipeline.model import FILTERED, PLAIN, Bench, StopWhenIdle, transaction

SCHEDULES = 40
TABLES = ("plain", "filtered", "deferred", "deferred_filtered")


def moody(target: Target, key: Key, row: FrontRow | None) -> str | None:
    """Refuses about every fourth row, and deletes of one key."""
    if row is None:
        return "no delete" if key == ("3",) else None
    return "no row" if zlib.crc32(repr(row).encode()) % 4 == 0 else None


def run(seed: int, table: str, asked: str) -> HandOver:
    """One schedule against such a front end, to its end."""
    hand_over = HandOver(seed, table, seed % 2 == 0, asked)
    hand_over.front.refuses = moody
    return hand_over.run()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("asked", ["", "verify", "reconcile", "retry", "republish"])
def test_only_rows_that_are_noted_differ(table: str, asked: str) -> None:
    """Whatever the schedule, the subscriber has what the source has.

    The front end has all of it but the rows noted.
    """
    noted = 0
    for seed in range(SCHEDULES):
        hand_over = run(seed, table, asked)
        expected, stands = hand_over.expected(), hand_over.durable.tables[table]
        keys = expected.keys() | stands.keys()
        differing = {key for key in keys if expected.get(key) != stands.get(key)}
        assert hand_over.durable.suspended == {}, f"seed {seed}"
        assert hand_over.subscriber() == expected, f"seed {seed}"
        assert set(hand_over.durable.refused.get(table, {})) == differing, f"seed {seed}"
        noted += len(differing)
    assert noted > 10


def work(bench: Bench, log: Iterable[list[Message]], *refused: str) -> None:
    """Works a log off while rows in these states are refused."""
    front = StopWhenIdle(bench)

    def reason(target: Target, key: Key, row: FrontRow | None) -> str | None:
        return "23514" if row is not None and row[1] in refused else None

    front.refuses = reason
    bench.source.log.extend(log)
    bench.capture(front)


def test_a_refused_row_is_told_noted_and_healed() -> None:
    """Others of its set are written, and `before` is never the front end's older row.

    The next good change and a delete take the note away.
    """
    bench = Bench(before="complete")
    rows = [(PLAIN, "I", None, (key, "good", "B", "x")) for key in "123"]
    work(bench, [transaction(1, *rows)])
    changed = [(PLAIN, "U", None, (key, "bad", "C", "x")) for key in "12"]
    fine = (PLAIN, "U", None, ("3", "fine", "C", "x"))
    work(bench, [transaction(2, *changed, fine)], "bad")
    assert bench.table("plain") == {"1": ("good", "B"), "2": ("good", "B"), "3": ("fine", "C")}
    assert set(bench.durable.refused["plain"]) == {("1",), ("2",)}

    healed = (PLAIN, "U", None, ("1", "well", "D", "x"))
    work(bench, [transaction(3, healed, (PLAIN, "D", ("2", None, None, None), None))])
    assert bench.table("plain") == {"1": ("well", "D"), "3": ("fine", "C")}
    assert bench.durable.refused["plain"] == {}
    last = [orjson.loads(event.value) for event in bench.events("plain")][-2:]
    assert [(value["op"], value["before"]) for value in last] == [("c", None), ("d", {"id": 2})]


def test_a_filtered_key_has_what_was_told() -> None:
    """A refused row was published, so it gets its delete.

    A row that left the filter while it was refused gets none twice.
    """
    bench = Bench()
    shared, draft = ("1", "open", "B", "x"), ("1", "draft", "B", "x")
    work(bench, [transaction(1, (FILTERED, "I", None, shared))], "open")
    assert bench.table("filtered") == {}
    work(bench, [transaction(2, (FILTERED, "U", None, draft))])
    work(bench, [transaction(3, (FILTERED, "D", ("1", None, None, None), None))])
    assert bench.told("filtered") == [("c", 1), ("d", 1)]
    assert bench.durable.refused["filtered"] == {}


@pytest.mark.parametrize(("most", "suspended"), [(2, False), (1, True), (0, True)])
def test_more_than_allowed_suspend_the_table(most: int, suspended: bool) -> None:
    """With the reason of a row; nothing of the transaction stays."""
    bench = Bench()
    front = bench.settings.front.model_copy(update={"max_refused_rows": most})
    bench.settings = bench.settings.model_copy(update={"front": front})
    rows = [(PLAIN, "I", None, (key, "bad" if key != "3" else "ok", "B", "x")) for key in "123"]
    work(bench, [transaction(1, *rows)], "bad")
    assert bench.durable.suspended == ({"plain": "ROW_REFUSED"} if suspended else {})
    assert bench.table("plain") == ({} if suspended else {"3": ("ok", "B")})

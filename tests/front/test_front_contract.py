"""The contract of `Front`, against every implementation."""

import json

import pytest
from sqlalchemy import select

from agent.errors import AnotherAgent, Retry, TableChanged
from agent.events.changes import Snapshot
from agent.front.base import Front, Written
from agent.front.memory import MemoryFront
from agent.front.outbox import Batch
from agent.front.schema import applied
from agent.front.store import SqlFront
from agent.resource import FrontRow, Key
from tests.front.conftest import PLAIN, SOFT, WORDS, Fronts, fetch, gone, progress, put, write

ROW: FrontRow = (
    "1", "张三\t'\"\\ 𠮷\n", "12345678901234567890.0123456789", "t", "2024-02-29", "2024-02-29 12:00:00.000001+00", "1.5", "\\x00ff", '{"a": 1}', "ab   ",
)  # fmt: skip
NULLS: FrontRow = ("2", *[None] * 9)


def test_rows_come_back_as_they_went_in(front: Front) -> None:
    """Every value form survives the front end; NULL stays NULL."""
    special: FrontRow = ("3", "", "0.0000000000", "f", "infinity", "-infinity", "NaN", "\\x", "[]", "     ")
    write(front, PLAIN, {("1",): put(ROW), ("2",): put(NULLS), ("3",): put(special)})
    assert fetch(front, PLAIN, ("1",), ("2",), ("3",), ("4",)) == {("1",): ROW, ("2",): NULLS, ("3",): special}


def test_one_transaction_holds_rows_outbox_and_position(fronts: Fronts, front: Front) -> None:
    """A rollback leaves nothing of rows, outbox, counters; a commit leaves all."""
    front.begin()
    front.write(PLAIN, {("1",): put(ROW)}, 1)
    front.store(Batch(1, 1, 1, b"payload"), 5)
    front.rollback()
    assert fetch(front, PLAIN, ("1",)) == {}
    front.begin()
    front.write(PLAIN, {("1",): put(ROW)}, 1)
    front.store(Batch(1, 1, 1, b"payload"), 5)
    front.commit(progress("0/20", number=1, batch=1, seqs={PLAIN.resource: (1, 5)}, xids=(7, 8)))
    front.close()
    stored = fronts.new().open("again")
    assert (stored.position, stored.number, stored.batch, stored.resources[PLAIN.resource].seq) == ("0/20", 1, 1, 1)
    assert stored.commit == ("0/20", 9, 5)


def test_a_crash_leaves_the_last_commit(fronts: Fronts) -> None:
    """An open transaction is gone when its front is closed without a commit."""
    front = fronts.new()
    front.open("nonce")
    front.begin()
    front.write(PLAIN, {("1",): put(ROW)}, 1)
    front.close()
    again = fronts.new()
    assert again.open("nonce").position == "0/10"
    assert fetch(again, PLAIN, ("1",)) == {}
    again.close()


def test_deletes_come_before_upserts_and_the_last_state_wins(front: Front) -> None:
    """A key given up and taken again in one set holds the new row; a delete of nothing is no error."""
    write(front, PLAIN, {("1",): put(ROW), ("2",): put(NULLS)})
    write(front, PLAIN, {("1",): gone(), ("2",): put(("2", *ROW[1:])), ("9",): gone()})
    assert fetch(front, PLAIN, ("1",), ("2",), ("9",)) == {("2",): ("2", *ROW[1:])}


def test_keys_are_bytewise(front: Front) -> None:
    """Case, trailing space, accent, width and 4-byte characters make different keys."""
    words: list[str] = ["A", "a", "a ", "à", "Ａ", "𠮷", "𠀀", "", "%s", '"']
    write(front, WORDS, {(word, "1"): put((word, "1")) for word in words})
    assert set(fetch(front, WORDS, *((word, "1") for word in words))) == {(word, "1") for word in words}


def test_many_rows_in_one_set(front: Front) -> None:
    """Sets larger than any look-up or statement bound."""
    rows: dict[Key, Written] = {(f"w{n}", str(n)): put((f"w{n}", str(n))) for n in range(3000)}
    write(front, WORDS, rows)
    assert len(fetch(front, WORDS, *rows)) == 3000
    write(front, WORDS, dict.fromkeys(rows, gone()))
    assert fetch(front, WORDS, *rows) == {}


def test_first_keys_pages_through_a_table(front: Front) -> None:
    """A TRUNCATE can be worked off in pages."""
    write(front, WORDS, {(w, "1"): put((w, "1")) for w in "cab"})
    front.begin()
    assert front.first_keys(WORDS, 2) == [("a", "1"), ("b", "1")]
    front.write(WORDS, {("a", "1"): gone(), ("b", "1"): gone()}, 1)
    assert front.first_keys(WORDS, 2) == [("c", "1")]
    front.rollback()


def test_a_second_agent_is_kept_out(fronts: Fronts, front: Front) -> None:
    """Two agents never hold one front end; after the first has gone the second may."""
    second = fronts.new()
    with pytest.raises(AnotherAgent) as refused:
        second.open("other")
    assert refused.value.exit_code == 75
    front.close()
    second.open("other")
    second.close()


def test_each_opening_raises_the_epoch(fronts: Fronts, front: Front) -> None:
    """The epoch tells this opening from all before it."""
    front.close()
    again = fronts.new()
    first = again.open("a").epoch
    assert again.open("b").epoch == first + 1
    again.close()


def test_a_suspension_is_stored_and_leaves_the_others_live(fronts: Fronts, front: Front) -> None:
    """Only the table named stands still."""
    front.suspend(TableChanged(resource=WORDS.resource, table="app.words", change="column x does not exist"))
    front.close()
    states = fronts.new().open("again").resources
    assert (states[WORDS.resource].state, states[PLAIN.resource].state) == ("suspended", "live")


def test_applied_transactions_are_forgotten_once_visible(fronts: Fronts, front: Front) -> None:
    """Those a new snapshot sees go, with the commit that carries the call; an id of 32 bits means the one nearest to xmax."""
    snapshot = Snapshot((1 << 32) + 11, frozenset({(1 << 32) + 9}))
    for batch, xids in ((32, (0xFFFFFFF0, 5)), (48, (9, 10)), (64, (11,))):
        front.begin()
        front.begin()  # once more changes nothing
        front.store(Batch(batch, 1, 0, b"x"), 5)
        front.commit(progress(f"0/{batch:X}", batch=batch, xids=xids))
    front.begin()
    front.prune(snapshot)
    front.commit(progress("0/50", batch=65))
    assert kept_xids(fronts, front) == [[9, 10], [11]]


def kept_xids(fronts: Fronts, front: Front) -> list[list[int]]:
    """The applied transactions the front end still knows, by batch."""
    if isinstance(front, MemoryFront):
        return [list(xids) for xids in front.durable.xids]
    assert isinstance(front, SqlFront)
    front.close()
    with front.engine.connect() as connection:
        rows = connection.execute(select(applied.c.xids).order_by(applied.c.batch)).scalars().all()
    return [json.loads(row) for row in rows]


def test_nobody_waits_for_an_answer_between_statements(front: Front) -> None:
    """silent_since is None while no statement is open."""
    write(front, PLAIN, {("1",): put(ROW)})
    assert front.silent_since() is None


def test_soft_delete_marks_the_row(fronts: Fronts) -> None:
    """A deleted row stays, marked; it counts as absent, and comes back when its key is inserted again."""
    if fronts.kind == "memory":
        return  # the twin keeps no technical columns
    front = fronts.new()
    front.open("nonce")
    write(front, SOFT, {("1",): put(("1", "一"), seq=1), ("2",): put(("2", "二"), seq=2)})
    write(front, SOFT, {("1",): gone(seq=3), ("7",): gone(seq=4)})
    assert fetch(front, SOFT, ("1",), ("2",)) == {("2",): ("2", "二")}
    front.begin()
    assert front.first_keys(SOFT, 10) == [("2",)]
    front.rollback()
    write(front, SOFT, {("1",): put(("1", "三"), seq=5)})
    assert fetch(front, SOFT, ("1",)) == {("1",): ("1", "三")}
    front.close()


def test_statements_need_an_open_front(fronts: Fronts) -> None:
    """A front that is not open says so with a retry, whatever was asked."""
    with pytest.raises(Retry):
        fronts.new().fetch(PLAIN, [("1",)])

"""The contract of `Front`, against every implementation."""

import json
from random import randbytes

import pytest
from sqlalchemy import insert, select

from agent.connectors.postgres.snapshot import Snapshot
from agent.errors import AnotherAgent, Retry, TableChanged
from agent.front.base import Batch, Copy, Front, Request, Stored, Written
from agent.front.mariadb.front import MariaDbFront
from agent.front.memory import MemoryFront
from agent.front.store import SqlFront
from agent.resource import FrontRow
from agent.values.lines import line_of
from agent.values.rows import Key
from tests.front.conftest import PLAIN, SOFT, WORDS, Fronts, fetch, gone, progress, put, write

ROW: FrontRow = (
    "1", "张三\t'\"\\ 𠮷\n", "12345678901234567890.0123456789", "t", "2024-02-29",
    "2024-02-29 12:00:00.000001+00", "1.5", "\\x00ff", '{"a": 1}', "ab   ",
)  # fmt: skip
NULLS: FrontRow = ("2", *[None] * 9)


def test_rows_come_back_as_they_went_in(front: Front) -> None:
    """Every value form survives the front end; NULL stays NULL."""
    special: FrontRow = (
        "3",
        "",
        "0.0000000000",
        "f",
        "infinity",
        "-infinity",
        "NaN",
        "\\x",
        "[]",
        "     ",
    )
    if isinstance(front, MariaDbFront):  # whose own types refuse such values
        special = (*special[:4], "0001-01-01", "9999-12-31 23:59:59+00", "-1.5e-300", *special[7:])
    write(front, PLAIN, {("1",): put(ROW), ("2",): put(NULLS), ("3",): put(special)})
    assert fetch(front, PLAIN, ("1",), ("2",), ("3",), ("4",)) == {
        ("1",): ROW,
        ("2",): NULLS,
        ("3",): special,
    }


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
    front.commit(
        progress("0/20", number=1, batch=1, seqs={PLAIN.resource: (1, 5)}, transactions=(7, 8))
    )
    front.close()
    stored = fronts.new().open("again")
    assert (stored.position, stored.number, stored.batch, stored.resources[PLAIN.resource].seq) == (
        "0/20",
        1,
        1,
        1,
    )
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
    """A key given up and taken again in one set holds the new row.

    A delete of nothing is no error.
    """
    write(front, PLAIN, {("1",): put(ROW), ("2",): put(NULLS)})
    write(front, PLAIN, {("1",): gone(), ("2",): put(("2", *ROW[1:])), ("9",): gone()})
    assert fetch(front, PLAIN, ("1",), ("2",), ("9",)) == {("2",): ("2", *ROW[1:])}


def test_what_a_transaction_keeps_is_gone_with_it(front: Front) -> None:
    """Texts by key are kept while a source transaction is under way.

    They are replaced, taken out and forgotten; a rollback forgets as well.
    """
    front.begin()
    front.keep_shared_keys(PLAIN.resource, {("1",): "[1]", ("2",): "[2]", ('张"三', "x"): "[3]"})
    front.keep_shared_keys(PLAIN.resource, {("1",): "[11]", ("2",): "", ("9",): ""})
    front.keep_shared_keys(WORDS.resource, {("1",): "[other]"})
    assert front.shared_keys(PLAIN.resource, [("1",), ("2",), ('张"三', "x"), ("9",)]) == {
        ("1",): "[11]",
        ('张"三', "x"): "[3]",
    }
    front.forget_shared_keys(PLAIN.resource)
    assert front.shared_keys(PLAIN.resource, [("1",)]) == {}
    assert front.shared_keys(WORDS.resource, [("1",)]) == {("1",): "[other]"}
    front.rollback()
    front.begin()
    assert front.shared_keys(WORDS.resource, [("1",)]) == {}
    front.rollback()


def test_keys_that_are_withheld_are_kept(fronts: Fronts, front: Front) -> None:
    """With the commit, and read at the next opening; released ones are gone."""
    front.begin()
    front.withhold(PLAIN.resource, {("1",): False, ("张", "\\"): True, ("3",): True}, [])
    front.withhold(PLAIN.resource, {("1",): True}, [("3",), ("9",)])
    front.commit(progress("0/20"))
    front.close()
    stored = fronts.new().open("again")
    assert stored.withheld[PLAIN.resource] == {("1",): True, ("张", "\\"): True}


def test_a_new_generation_outlives_suspensions(fronts: Fronts, front: Front) -> None:
    """Numbers of generations begin at 1.

    Whatever makes the table begin again, its rows are published again until its copy has ended.
    """
    name = PLAIN.resource
    front.begin_generation(name, Copy(republish=True))
    front.suspend(TableChanged(resource=name, table="t", change="c"))
    front.start_copy(name, Copy(allow_deletes=True))
    front.close()
    other = fronts.new()
    stored = other.open("once more")
    assert (
        stored.resources[name].generation,
        stored.resources[name].seq,
        stored.resources[name].state,
    ) == (2, 0, "copying")
    assert stored.copies[name] == Copy(allow_deletes=True, republish=True)
    other.begin()
    other.set_state(name, "live", None)
    other.commit(progress("0/20"))
    other.start_copy(name, Copy())
    other.close()
    assert fronts.new().open("at last").copies[name] == Copy()


def test_keys_are_bytewise(front: Front) -> None:
    """Case, trailing space, accent, width and 4-byte characters make different keys."""
    words: list[str] = ["A", "a", "a ", "à", "Ａ", "𠮷", "𠀀", "", "%s", '"']
    write(front, WORDS, {(word, "1"): put((word, "1")) for word in words})
    assert set(fetch(front, WORDS, *((word, "1") for word in words))) == {
        (word, "1") for word in words
    }


def test_many_rows_in_one_set(front: Front) -> None:
    """Sets larger than any look-up or statement bound."""
    rows: dict[Key, Written] = {(f"w{n}", str(n)): put((f"w{n}", str(n))) for n in range(3000)}
    write(front, WORDS, rows)
    assert len(fetch(front, WORDS, *rows)) == 3000
    write(front, WORDS, dict.fromkeys(rows, gone()))
    assert fetch(front, WORDS, *rows) == {}


def test_rows_can_be_added_where_none_stand(front: Front) -> None:
    """As they went in, also beside others and many at once; they ride in the open transaction."""
    write(front, PLAIN, {("9",): put(("9", *ROW[1:]))})
    rows: dict[Key, Written] = {("1",): put(ROW), ("2",): put(NULLS)}
    front.begin()
    front.insert(PLAIN, rows, 1)
    front.rollback()
    assert fetch(front, PLAIN, ("1",), ("2",), ("9",)) == {("9",): ("9", *ROW[1:])}
    many: dict[Key, Written] = {
        (f"w{n}\t\\", str(n)): put((f"w{n}\t\\", str(n))) for n in range(3000)
    }
    front.begin()
    front.insert(PLAIN, rows, 1)
    front.insert(WORDS, many, 1)
    front.insert(WORDS, {}, 1)
    front.commit(progress("0/20"))
    assert fetch(front, PLAIN, ("1",), ("2",), ("9",)) == {
        ("1",): ROW,
        ("2",): NULLS,
        ("9",): ("9", *ROW[1:]),
    }
    assert fetch(front, WORDS, *many) == {key: written.row for key, written in many.items()}


def test_keys_can_be_worked_off_from_the_beginning(front: Front) -> None:
    """A TRUNCATE deletes the first keys again and again."""
    write(front, WORDS, {(w, "1"): put((w, "1")) for w in "cab"})
    front.begin()
    assert front.keys_after(WORDS, None, 2) == [("a", "1"), ("b", "1")]
    front.write(WORDS, {("a", "1"): gone(), ("b", "1"): gone()}, 1)
    assert front.keys_after(WORDS, None, 2) == [("c", "1")]
    front.rollback()


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_keys_come_in_pages_each_once(front: Front, limit: int) -> None:
    """Keys come past the last key of the page before, in the front end's own order.

    None comes twice, and none is left out.
    """
    rows: dict[Key, Written] = {
        (word, number): put((word, number))
        for word in ("", "a", "A", "a ", "𠮷", "%s", "'\\")
        for number in ("-1", "2", "10")
    }
    write(front, WORDS, rows)
    found: list[Key] = []
    front.begin()
    while page := front.keys_after(WORDS, found[-1] if found else None, limit):
        assert len(page) <= limit
        found += page
    front.rollback()
    assert sorted(found) == sorted(rows)


def test_rows_between_two_keys_come_as_lines(front: Front) -> None:
    """Rows come in the order of numbers, past the first key and up to the last.

    They are the bytes a source's page holds.
    """
    if isinstance(front, MemoryFront):
        front.ordered = True
    front.check(PLAIN)
    assert front.same_order(PLAIN)
    rows: dict[Key, FrontRow] = {
        (key,): (key, *ROW[1:]) if int(key) % 2 else (key, *NULLS[1:])
        for key in ("-2", "-1", "1", "2", "9", "10", "100")
    }
    write(front, PLAIN, {key: put(row) for key, row in rows.items()})
    front.begin()
    for after, upto, wanted in (
        (None, None, ("-2", "-1", "1", "2", "9", "10", "100")),
        (("1",), None, ("2", "9", "10", "100")),
        (None, ("2",), ("-2", "-1", "1", "2")),
        (("-2",), ("9",), ("-1", "1", "2", "9")),
        (("3",), ("8",), ()),
    ):
        assert sorted(front.lines(PLAIN, after, upto)) == sorted(
            line_of(rows[key,]) for key in wanted
        )
    front.rollback()


def test_texts_are_never_in_the_sources_order(front: Front) -> None:
    """A collation decides there, and nobody knows which."""
    front.check(WORDS)
    assert not front.same_order(WORDS)


def test_rows_are_counted_in_and_out_of_a_transaction(front: Front) -> None:
    """The open transaction's own rows count; outside of one the question leaves none open."""
    assert front.count(WORDS) == 0
    write(front, WORDS, {(w, "1"): put((w, "1")) for w in "abc"})
    assert front.count(WORDS) == 3
    assert not isinstance(front, SqlFront) or not front.connection.in_transaction()
    front.begin()
    front.write(WORDS, {("a", "1"): gone()}, 1)
    assert front.count(WORDS) == 2
    front.rollback()
    assert front.count(WORDS) == 3


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


# ---- copies, holes, fingerprints, requests

COPY = Copy("extras", ("张三\t'", "1"), "7", 8, 9, 10, 11, 12, 13, 14, allow_deletes=True)


def test_init_leaves_every_table_to_be_copied(fronts: Fronts) -> None:
    """From the beginning: nothing is stored of a copy that has not begun."""
    stored = reopened(fronts)
    assert {state.state for state in stored.resources.values()} == {"copying"}
    assert (stored.copies, set().union(*stored.holes.values())) == ({}, set())


def test_state_and_progress_of_a_copy_ride_with_the_rows(fronts: Fronts, front: Front) -> None:
    """A rollback leaves what was.

    A commit keeps the mark as it came, and a table that is live has no copy.
    """
    front.begin()
    front.set_state(WORDS.resource, "copying", COPY)
    front.rollback()
    front.begin()
    front.set_state(PLAIN.resource, "copying", COPY)
    front.set_state(WORDS.resource, "live", None)
    front.commit(progress("0/20"))
    front.close()
    stored = reopened(fronts)
    assert stored.copies == {PLAIN.resource: COPY}
    assert (stored.resources[PLAIN.resource].state, stored.resources[WORDS.resource].state) == (
        "copying",
        "live",
    )


def test_a_copy_can_be_started_whatever_the_table_was(fronts: Fronts, front: Front) -> None:
    """A copy of a suspended or live table starts in a transaction of its own.

    What was stored of an earlier copy is replaced.
    """
    front.suspend(
        TableChanged(resource=WORDS.resource, table="app.words", change="column x does not exist")
    )
    front.start_copy(WORDS.resource, COPY)
    front.start_copy(WORDS.resource, Copy(allow_deletes=True))
    front.begin()
    front.rollback()
    front.close()
    stored = reopened(fronts)
    assert (stored.resources[WORDS.resource].state, stored.copies) == (
        "copying",
        {WORDS.resource: Copy(allow_deletes=True)},
    )


def test_holes_ride_with_the_rows(fronts: Fronts, front: Front) -> None:
    """Holes have keys of any length and content.

    Noted twice they are one, filled they are gone; a rollback changes nothing.
    """
    long, quoted = ("x" * 5_000, "1"), ("'\\\n𠮷", "2")
    front.begin()
    front.note_holes(WORDS.resource, [long, quoted, ("a", "1")], [])
    front.note_holes(PLAIN.resource, [("1",)], [])
    front.commit(progress("0/20"))
    front.begin()
    front.note_holes(WORDS.resource, [("lost", "1")], [long])
    front.rollback()
    front.begin()
    front.note_holes(WORDS.resource, [quoted, ("b", "1")], [("a", "1"), ("never noted", "1")])
    front.note_holes(PLAIN.resource, [], [])
    front.commit(progress("0/30"))
    front.close()
    holes = reopened(fronts).holes
    assert {name: set(keys) for name, keys in holes.items() if keys} == {
        WORDS.resource: {long, quoted, ("b", "1")},
        PLAIN.resource: {("1",)},
    }


def test_a_suspension_is_stored_and_leaves_the_others_alone(fronts: Fronts, front: Front) -> None:
    """Only the table named stands still.

    Its copy and its holes are forgotten, since all of it will be read again.
    """
    front.begin()
    for one in (WORDS, PLAIN):
        front.set_state(one.resource, "copying", COPY)
        front.note_holes(one.resource, [("1",)], [])
    front.commit(progress("0/20"))
    front.suspend(
        TableChanged(resource=WORDS.resource, table="app.words", change="column x does not exist")
    )
    front.close()
    stored = reopened(fronts)
    assert (stored.resources[WORDS.resource].state, stored.resources[PLAIN.resource].state) == (
        "suspended",
        "copying",
    )
    assert stored.copies == {PLAIN.resource: COPY}
    assert {name: set(keys) for name, keys in stored.holes.items() if keys} == {
        PLAIN.resource: {("1",)}
    }


def test_fingerprints_are_kept_alone_or_with_the_rows(fronts: Fronts, front: Front) -> None:
    """Outside of a transaction at once, inside one with it; the last one counts."""
    front.keep_fingerprint(WORDS.resource, {"columns": "old"})
    front.keep_fingerprint(WORDS.resource, {"columns": '{"名称": "1"}'})
    front.begin()
    front.keep_fingerprint(WORDS.resource, {"columns": "rolled back"})
    front.keep_fingerprint(PLAIN.resource, {"columns": "rolled back"})
    front.rollback()
    front.begin()
    front.keep_fingerprint(SOFT.resource, {"columns": "committed"})
    front.commit(progress("0/20"))
    front.close()
    assert reopened(fronts).fingerprints == {
        WORDS.resource: {"columns": '{"名称": "1"}'},
        SOFT.resource: {"columns": "committed"},
    }


def test_requests_are_answered_until_they_are_done(front: Front) -> None:
    """Requests come oldest first.

    One that is running is still to be answered, one that is done or failed is not, and one that is
    withdrawn is reported.
    """
    first, second, third = (
        Request(f"id{n}", kind, WORDS.resource, n == 2)
        for n, kind in enumerate(("verify", "reconcile", "suspend"), 1)
    )
    third = third._replace(values={"code": "TOPIC_LOST", "values": {"topic": "主题"}})
    for request, asked_us in ((second, 20), (first, 10), (third, 30)):
        ask(front, request, asked_us)
    assert front.requests() == [first, second, third]
    assert front.answer(first.id, "running", {"rows": 1})
    assert front.requests() == [first._replace(running=True), second, third]
    assert front.answer(
        first.id, "done", {"rows": 2, "differences": [{"kind": "missing", "key": "张三"}]}
    )
    front.begin()
    assert front.answer(second.id, "failed", {"state": "suspended"})
    assert not front.answer("withdrawn", "done", {})
    front.rollback()
    assert front.requests() == [second, third]
    front.begin()
    assert front.answer(second.id, "failed", {"state": "suspended"})
    front.commit(progress("0/20"))
    assert front.requests() == [third]
    assert answered(front, first.id) == (
        "done",
        {"rows": 2, "differences": [{"kind": "missing", "key": "张三"}]},
    )
    assert answered(front, second.id) == ("failed", {"state": "suspended"})


def test_the_outbox_is_weighed(front: Front) -> None:
    """All of it, however it is cut into parts and packed: this is what fills the disk."""
    assert front.outbox_bytes() == 0
    for number, size in ((1, 10), (2, 2_500_000)):
        front.begin()
        front.store(Batch(number, number, number, randbytes(size)), 5)  # which nothing can pack
        front.commit(progress("0/20", number=number, batch=number))
    assert 2_500_010 <= front.outbox_bytes() <= 2_501_000
    assert not isinstance(front, SqlFront) or not front.connection.in_transaction()


def reopened(fronts: Fronts) -> Stored:
    """Returns what another process finds, after the front was closed."""
    again = fronts.new()
    stored = again.open("again")
    again.close()
    return stored


def ask(front: Front, request: Request, asked_us: int) -> None:
    """Asks the service something, as a command does beside it."""
    if isinstance(front, MemoryFront):
        both = {**front.durable.requests, request.id: (request, "asked", {"asked_us": asked_us})}
        front.durable.requests = dict(
            sorted(both.items(), key=lambda item: int(item[1][2]["asked_us"]))
        )
        return
    assert isinstance(front, SqlFront)
    with front.engine.begin() as connection:
        values = {
            "id": request.id,
            "kind": request.kind,
            "resource": request.resource,
            "allow_deletes": int(request.allow_deletes),
        }
        report = json.dumps(request.values, ensure_ascii=False)
        connection.execute(
            insert(front.own.requests).values(
                **values, state="asked", report=report, asked_us=asked_us
            )
        )


def answered(front: Front, request: str) -> tuple[str, object]:
    """State and report as the asker reads them."""
    if isinstance(front, MemoryFront):
        _, state, report = front.durable.requests[request]
        return state, report
    assert isinstance(front, SqlFront)
    with front.engine.connect() as connection:
        row = connection.execute(
            select(front.own.requests.c.state, front.own.requests.c.report).where(
                front.own.requests.c.id == request
            )
        ).one()
    return str(row[0]), json.loads(row[1])


def test_applied_transactions_are_forgotten_once_visible(fronts: Fronts, front: Front) -> None:
    """Those that a new snapshot sees go, with the commit that carries the call.

    An id of 32 bits means the one nearest to xmax.
    """
    snapshot = Snapshot((1 << 32) + 11, frozenset({(1 << 32) + 9}))
    for batch, xids in ((32, (0xFFFFFFF0, 5)), (48, (9, 10)), (64, (11,))):
        front.begin()
        front.begin()  # once more changes nothing
        front.store(Batch(batch, 1, 0, b"x"), 5)
        front.commit(progress(f"0/{batch:X}", batch=batch, transactions=xids))
    front.begin()
    front.prune(snapshot)
    front.commit(progress("0/50", batch=65))
    assert kept_xids(fronts, front) == [[9, 10], [11]]


def kept_xids(fronts: Fronts, front: Front) -> list[list[int]]:
    """Returns the applied transactions the front end still knows, by batch."""
    if isinstance(front, MemoryFront):
        return [list(xids) for xids in front.durable.transactions]
    assert isinstance(front, SqlFront)
    front.close()
    with front.engine.connect() as connection:
        rows = (
            connection.execute(
                select(front.own.applied.c.transactions).order_by(front.own.applied.c.batch)
            )
            .scalars()
            .all()
        )
    return [json.loads(row) for row in rows]


def test_nobody_waits_for_an_answer_between_statements(front: Front) -> None:
    """silent_since is None while no statement is open."""
    write(front, PLAIN, {("1",): put(ROW)})
    assert front.silent_since() is None


def test_soft_delete_marks_the_row(fronts: Fronts) -> None:
    """A deleted row stays, marked.

    It counts as absent, and comes back when its key is inserted again.
    """
    if fronts.kind == "memory":
        return  # the twin keeps no technical columns
    front = fronts.new()
    front.open("nonce")
    write(front, SOFT, {("1",): put(("1", "一"), seq=1), ("2",): put(("2", "二"), seq=2)})
    write(front, SOFT, {("1",): gone(seq=3), ("7",): gone(seq=4)})
    assert fetch(front, SOFT, ("1",), ("2",)) == {("2",): ("2", "二")}
    front.check(SOFT)
    front.begin()
    assert front.keys_after(SOFT, None, 10) == [("2",)]
    assert front.same_order(SOFT)
    assert front.lines(SOFT, None, None) == ["2\t二".encode()]
    assert front.count(SOFT) == 1
    front.rollback()
    write(front, SOFT, {("1",): put(("1", "三"), seq=5)})
    assert fetch(front, SOFT, ("1",)) == {("1",): ("1", "三")}
    front.close()


def test_statements_need_an_open_front(fronts: Fronts) -> None:
    """A front that is not open says so with a retry, whatever was asked."""
    front = fronts.new()
    for statement in (
        lambda: front.fetch(PLAIN, [("1",)]),
        lambda: front.keys_after(PLAIN, None, 1),
        lambda: front.lines(PLAIN, None, None),
        lambda: front.set_state(PLAIN.resource, "live", None),
        lambda: front.note_holes(PLAIN.resource, [("1",)], []),
    ):
        with pytest.raises(Retry):
            statement()

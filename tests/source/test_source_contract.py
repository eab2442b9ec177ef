"""The contract of Source (agent/connectors/base.py), for every kind of source: order, restarts, acknowledgement."""

import pytest

from agent.events.changes import Change, Commit, Heartbeat, Truncate, lsn_number
from tests.source.reading import Business, read_commits, read_until, silent_never, stored_after, transactions
from tests.waiting import eventually

INSERT = "INSERT INTO orders VALUES ({0}, 'order {0}')"
QUOTED = '"订单 ""Q"""'


def test_transactions_come_whole_and_in_order(business: Business) -> None:
    """One after the other, each with its changes in the order they were made."""
    source = business.source()
    source.open(business.initial(), silent_never)
    for number in range(1, 4):
        business.transaction(INSERT.format(number), f"UPDATE orders SET note = 'changed' WHERE id = {number}", f"DELETE FROM orders WHERE id = {number}")
    got = read_commits(source, 3)
    assert [[(op, new and new[0]) for op, _, new in one.rows] for one in got] == [[("I", n), ("U", n), ("D", None)] for n in ("1", "2", "3")]
    assert len({one.xid for one in got}) == 3


@pytest.mark.parametrize("confirmed", ["nothing", "everything", "the one before"])
def test_a_restart_delivers_what_is_not_stored_exactly_once(business: Business, confirmed: str) -> None:
    """At each point, whatever of it was acknowledged: the rest comes whole and once, nothing before it."""
    stored = business.initial()
    for number in range(1, 6):
        business.transaction(INSERT.format(number), INSERT.format(number + 100))
    before = stored
    for taken in range(6):
        source = business.source()
        source.open(stored, silent_never)
        messages = read_until(source, lambda so_far, left=5 - taken: sum(isinstance(m, Commit) for m in so_far) >= left)  # type: ignore[misc]
        rows = [[new[0] for _, _, new in one.rows if new] for one in transactions(messages)]
        assert rows == [[str(n), str(n + 100)] for n in range(taken + 1, 6)]
        ends = [place for place, message in enumerate(messages) if isinstance(message, Commit)]
        before, stored = stored, stored_after(stored, messages[: ends[0] + 1] if ends else messages)
        if confirmed != "nothing":
            source.acknowledge(lsn_number((stored if confirmed == "everything" else before).position))
        source.close()


def test_a_restart_amid_a_transaction_delivers_it_again_whole(business: Business) -> None:
    """A transaction not stored begins anew, however much of it was read."""
    business.transaction(INSERT.format(1), INSERT.format(2), INSERT.format(3))
    source = business.source()
    source.open(business.initial(), silent_never)
    eventually(lambda: any(isinstance(message, Change) for message in source.read(0.05)), what="a change comes")
    source.close()
    source.open(business.initial(), silent_never)
    (again,) = read_commits(source, 1)
    assert len(again.rows) == 3


def test_only_what_was_given_is_acknowledged(business: Business) -> None:
    """Reading acknowledges nothing; `acknowledge` moves the server's mark at once, and not a byte further."""
    source = business.source()
    start = business.acknowledged()
    source.open(business.initial(), silent_never)
    for number in range(1, 5):
        business.transaction(INSERT.format(number))
    got = read_commits(source, 4)
    assert business.acknowledged() == start
    for one in got[:3]:
        source.acknowledge(one.position)
        eventually(lambda reached=one.position: business.acknowledged() == reached, what="the server knows")  # type: ignore[misc]
    source.acknowledge(got[0].position)  # an older one changes nothing
    source.acknowledge(got[2].position)
    list(source.read(0.3))
    source.close()
    assert business.acknowledged() == got[2].position


def test_a_heartbeat_moves_the_position_of_a_quiet_database(business: Business) -> None:
    """`tend` writes it, no table is touched, and it comes between transactions."""
    source = business.source()
    source.open(business.initial(), silent_never)
    source.tend()
    messages = read_until(source, lambda so_far: any(isinstance(m, Heartbeat) for m in so_far))
    assert transactions(messages) == []
    (beat,) = [message for message in messages if isinstance(message, Heartbeat)]
    assert beat.position > lsn_number(business.initial().position)
    source.acknowledge(beat.position)
    eventually(lambda: business.acknowledged() == beat.position, what="the server knows")
    business.transaction(INSERT.format(1))
    source.close()
    source.open(stored_after(business.initial(), messages), silent_never)
    (after,) = transactions(read_until(source, lambda so_far: any(isinstance(m, Commit) for m in so_far)))
    assert after.rows == [("I", None, ("1", "order 1"))]


def test_what_was_rolled_back_is_never_seen(business: Business) -> None:
    """Neither a transaction that failed nor what was undone to a savepoint."""
    source = business.source()
    source.open(business.initial(), silent_never)
    business.transaction(INSERT.format(1), "ROLLBACK")
    undone = ("SAVEPOINT s", INSERT.format(3), "ROLLBACK TO s")
    business.transaction(INSERT.format(2), *undone, "SAVEPOINT kept", INSERT.format(4), "RELEASE kept", INSERT.format(5))
    (got,) = read_commits(source, 1)
    assert [new[0] for _, _, new in got.rows if new] == ["2", "4", "5"]


def test_truncate_of_two_tables_is_one_message(business: Business) -> None:
    """It names both, in a transaction with other changes around it."""
    source = business.source()
    source.open(business.initial(), silent_never)
    business.transaction(INSERT.format(1), f"TRUNCATE orders, {QUOTED}, other", INSERT.format(2))
    (got,) = read_commits(source, 1)
    before, truncate, after = got.changes
    assert isinstance(truncate, Truncate)
    assert {relation.table for relation in truncate.relations} == {"orders", '订单 "Q"'}
    assert all(isinstance(change, Change) and change.op == "I" for change in (before, after))


def test_identifiers_of_any_spelling(business: Business) -> None:
    """Chinese, quotes, capitals: names come as they are."""
    source = business.source()
    source.open(business.initial(), silent_never)
    business.transaction(f"INSERT INTO {QUOTED} (\"Größe 尺寸\", id) VALUES ('大号 ''x''', 1)")
    ((change,),) = [one.changes for one in read_commits(source, 1)]
    assert isinstance(change, Change)
    assert (change.relation.schema, change.relation.table) == ("public", '订单 "Q"')
    assert [column.name for column in change.relation.columns] == ["id", "Größe 尺寸"]
    assert change.new == ("1", "大号 'x'")


def test_a_table_not_published_is_never_seen(business: Business) -> None:
    """Only what is published comes, also out of a mixed transaction."""
    source = business.source()
    source.open(business.initial(), silent_never)
    business.transaction("INSERT INTO other VALUES (1)")
    business.transaction("INSERT INTO other VALUES (2)", INSERT.format(1))
    tables = {change.relation.table for one in read_commits(source, 1) for change in one.changes if isinstance(change, Change)}
    tables |= {change.relation.table for one in transactions(list(source.read(0.1))) for change in one.changes if isinstance(change, Change)}
    assert tables == {"orders"}


def test_what_every_snapshot_sees_and_the_lag(business: Business) -> None:
    """`tend` tells about once a second below which xid all is visible; the lag is what was written past the acknowledged position."""
    source = business.source()
    source.open(business.initial(), silent_never)
    business.transaction(*[INSERT.format(number) for number in range(500)])
    (got,) = read_commits(source, 1)
    floor = eventually(source.tend, what="the floor is told")
    assert floor > got.xid
    assert source.tend() is None
    assert source.lag_bytes() > 0
    source.acknowledge(got.position)
    lag = source.lag_bytes()
    eventually(lambda: source.tend() is not None and source.lag_bytes() < lag, what="the lag is smaller")


def test_close_may_be_called_at_any_time(business: Business) -> None:
    """Before open, twice, and between reads; a new open begins again."""
    source = business.source()
    source.close()
    source.open(business.initial(), silent_never)
    source.close()
    source.close()
    business.transaction(INSERT.format(1))
    source.open(business.initial(), silent_never)
    assert len(read_commits(source, 1)) == 1

"""The contract of Source (agent/connectors/base.py), for every kind of source: order, restarts, acknowledgement."""

import pytest

from agent.errors import SourceUnreachable
from agent.events.changes import Change, Commit, Heartbeat, Message, Truncate, lsn_number
from tests.source.reading import Business, read_commits, read_until, silent_never, stored_after, transactions
from tests.waiting import eventually


def commits(messages: list[Message]) -> int:
    """How many transactions are complete."""
    return sum(isinstance(message, Commit) for message in messages)


def test_transactions_come_whole_and_in_order(business: Business) -> None:
    """One after the other, each with its changes in the order they were made."""
    source = business.source()
    source.open(business.initial(), silent_never)
    for number in range(1, 4):
        business.commit(f"I{number}", f"U{number}", f"D{number}")
    got = read_commits(source, 3)
    assert [one.rows for one in got] == [[("I", None, (n, f"order {n}")), ("U", None, (n, "changed")), ("D", (n, None), None)] for n in ("1", "2", "3")]
    assert len({one.xid for one in got}) == 3


@pytest.mark.parametrize("confirmed", ["nothing", "everything", "the one before"])
def test_a_restart_delivers_what_is_not_stored_exactly_once(business: Business, confirmed: str) -> None:
    """At each point, whatever of it was acknowledged: the rest comes whole and once, nothing before it."""
    stored = before = business.initial()
    for number in range(1, 6):
        business.commit(f"I{number}", f"I{number + 100}")
    for taken in range(6):
        source = business.source()
        source.open(stored, silent_never)
        messages = read_until(source, lambda so_far, left=5 - taken: commits(so_far) >= left)  # type: ignore[misc]
        rows = [[new[0] for _, _, new in one.rows if new] for one in transactions(messages)]
        assert rows == [[str(n), str(n + 100)] for n in range(taken + 1, 6)]
        ends = [place for place, message in enumerate(messages) if isinstance(message, Commit)]
        before, stored = stored, stored_after(stored, messages[: ends[0] + 1] if ends else messages)
        if confirmed != "nothing":
            source.acknowledge(lsn_number((stored if confirmed == "everything" else before).position))
        source.close()


def test_a_restart_amid_a_transaction_delivers_it_again_whole(business: Business) -> None:
    """A transaction not stored begins anew, however much of it was read."""
    business.commit("I1", "I2", "I3")
    source = business.source()
    source.open(business.initial(), silent_never)
    eventually(lambda: any(isinstance(message, Change) for message in source.read(0.05)), what="a change comes")
    source.close()
    source.open(business.initial(), silent_never)
    (again,) = read_commits(source, 1)
    assert len(again.rows) == 3


def test_only_what_was_given_is_acknowledged(business: Business) -> None:
    """Reading acknowledges nothing; `acknowledge` moves the server's mark at once, not a byte further and never back."""
    source = business.source()
    start = business.acknowledged()
    source.open(business.initial(), silent_never)
    for number in range(1, 5):
        business.commit(f"I{number}")
    got = read_commits(source, 4)
    assert business.acknowledged() == start
    for one in got[:3]:
        source.acknowledge(one.position)
        eventually(lambda reached=one.position: business.acknowledged() == reached, what="the server knows")  # type: ignore[misc]
    source.acknowledge(got[0].position)
    list(source.read(0.3))
    source.close()
    assert business.acknowledged() == got[2].position


def test_a_heartbeat_moves_the_position_of_a_quiet_database(business: Business) -> None:
    """It comes between transactions, can be acknowledged, and a restart at it goes on behind it."""
    source = business.source()
    source.open(business.initial(), silent_never)
    business.beat(source)
    messages = read_until(source, lambda so_far: any(isinstance(m, Heartbeat) for m in so_far))
    assert transactions(messages) == []
    (beat,) = [message for message in messages if isinstance(message, Heartbeat)]
    assert beat.position > lsn_number(business.initial().position)
    source.acknowledge(beat.position)
    eventually(lambda: business.acknowledged() == beat.position, what="the server knows")
    business.commit("I1")
    source.close()
    source.open(stored_after(business.initial(), messages), silent_never)
    messages = read_until(source, lambda so_far: commits(so_far) > 0)
    assert not any(isinstance(message, Heartbeat) for message in messages)
    assert transactions(messages)[0].rows == [("I", None, ("1", "order 1"))]


def test_truncate_stands_among_the_changes(business: Business) -> None:
    """In the place it had in its transaction."""
    source = business.source()
    source.open(business.initial(), silent_never)
    business.commit("I1", "T", "I2")
    ((first, truncate, last),) = [one.changes for one in read_commits(source, 1)]
    assert isinstance(truncate, Truncate)
    assert [relation.table for relation in truncate.relations] == ["orders"]
    assert all(isinstance(change, Change) and change.op == "I" for change in (first, last))


def test_a_read_with_nothing_to_deliver_ends(business: Business) -> None:
    """An idle source gives the loop its time to tend and to stop."""
    source = business.source()
    source.open(business.initial(), silent_never)
    assert [message for _ in range(3) for message in source.read(0.01)] == []


def test_close_may_be_called_at_any_time(business: Business) -> None:
    """Before open, twice, and between reads; nothing is read then, and a new open begins again."""
    source = business.source()
    source.close()
    with pytest.raises(SourceUnreachable):
        list(source.read(0.01))
    source.open(business.initial(), silent_never)
    source.close()
    source.close()
    business.commit("I1")
    with pytest.raises(SourceUnreachable):
        list(source.read(0.01))
    source.open(business.initial(), silent_never)
    assert len(read_commits(source, 1)) == 1

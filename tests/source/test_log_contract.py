"""The contract of Source (agent/connectors/base.py) for sources that deliver what happened: a log.

Order, restarts, acknowledgement, and what a page shows of the stream. What every source keeps
stands in tests/source/test_page_contract.py.
"""

import pytest

from agent.connectors.changes import (
    Begin,
    Change,
    Commit,
    Heartbeat,
    HighPosition,
    Message,
    Truncate,
)
from agent.connectors.position import position_number
from agent.errors import SourceUnreachable
from agent.values.rows import Row
from tests.source.reading import (
    Business,
    NumberedBusiness,
    asking,
    awaited,
    page_of,
    read_commits,
    read_until,
    rows_of,
    silent_never,
    stored_after,
    transactions,
)
from tests.waiting import eventually, never


def commits(messages: list[Message]) -> int:
    """Returns how many transactions are complete."""
    return sum(isinstance(message, Commit) for message in messages)


RowChange = tuple[str, Row | None, Row | None]  # operation, the row before it, and after it


def inserted(number: str) -> RowChange:
    """Returns the insert of a row."""
    return "I", None, (number, f"order {number}")


def updated(business: Business, number: str) -> RowChange:
    """Returns the first update of a row."""
    before = (number, f"order {number}") if business.whole_rows else None
    return "U", before, (number, "changed")


def deleted(business: Business, number: str, note: str) -> RowChange:
    """Returns the delete of a row with this note."""
    return "D", (number, note if business.whole_rows else None), None


def test_transactions_come_whole_and_in_order(business: Business) -> None:
    """One after the other, each with its changes in the order they were made."""
    source = business.source()
    source.open(business.initial(), silent_never)
    for number in range(1, 4):
        business.commit(f"I{number}", f"U{number}", f"D{number}")
    got = read_commits(source, 3)
    assert [one.rows for one in got] == [
        [inserted(n), updated(business, n), deleted(business, n, "changed")]
        for n in ("1", "2", "3")
    ]
    assert len({one.transaction for one in got}) == 3


@pytest.mark.parametrize("confirmed", ["nothing", "everything", "the one before"])
def test_a_restart_delivers_what_is_not_stored_exactly_once(
    business: Business, confirmed: str
) -> None:
    """At each point, whatever of it was acknowledged, the rest comes whole and once.

    Nothing before that point comes.
    """
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
            source.acknowledge(
                position_number((stored if confirmed == "everything" else before).position)
            )
        source.close()


def test_a_restart_amid_a_transaction_delivers_it_again_whole(business: Business) -> None:
    """A transaction not stored begins anew, however much of it was read."""
    business.commit("I1", "I2", "I3")
    source = business.source()
    source.open(business.initial(), silent_never)
    eventually(
        lambda: any(isinstance(message, Change) for message in source.read(0.05)),
        what="a change comes",
    )
    source.close()
    source.open(business.initial(), silent_never)
    (again,) = read_commits(source, 1)
    assert len(again.rows) == 3


def test_only_what_was_given_is_acknowledged(numbered: NumberedBusiness) -> None:
    """Reading acknowledges nothing.

    `acknowledge` moves the server's mark at once, not a byte further and never back.
    """
    source = numbered.source()
    start = numbered.acknowledged()
    source.open(numbered.initial(), silent_never)
    for number in range(1, 5):
        numbered.commit(f"I{number}")
    got = read_commits(source, 4)
    assert numbered.acknowledged() == start
    for one in got[:3]:
        source.acknowledge(one.position)
        eventually(
            lambda reached=one.position: numbered.acknowledged() == reached,  # type: ignore[misc]
            what="the server knows",
        )
    source.acknowledge(got[0].position)
    list(source.read(0.3))
    source.close()
    assert numbered.acknowledged() == got[2].position


def test_a_heartbeat_can_be_acknowledged(numbered: NumberedBusiness) -> None:
    """A quiet database lets go of its log, which others may write."""
    source = numbered.source()
    source.open(numbered.initial(), silent_never)
    numbered.beat(source)
    messages = read_until(source, lambda so_far: any(isinstance(m, Heartbeat) for m in so_far))
    (beat,) = [message for message in messages if isinstance(message, Heartbeat)]
    source.acknowledge(beat.position)
    eventually(lambda: numbered.acknowledged() == beat.position, what="the server knows")


def test_a_heartbeat_moves_the_position_of_a_quiet_database(business: Business) -> None:
    """It comes between transactions, and a restart at it goes on behind it."""
    source = business.source()
    source.open(business.initial(), silent_never)
    business.beat(source)
    messages = read_until(source, lambda so_far: any(isinstance(m, Heartbeat) for m in so_far))
    assert transactions(messages) == []
    (beat,) = [message for message in messages if isinstance(message, Heartbeat)]
    assert beat.position > position_number(business.initial().position)
    source.acknowledge(beat.position)
    business.commit("I1")
    source.close()
    source.open(stored_after(business.initial(), messages), silent_never)
    messages = read_until(source, lambda so_far: commits(so_far) > 0)
    assert not any(isinstance(message, Heartbeat) for message in messages)
    assert transactions(messages)[0].rows == [("I", None, ("1", "order 1"))]


def test_truncate_stands_among_the_changes(business: Business) -> None:
    """In the place it had among them."""
    source = business.source()
    source.open(business.initial(), silent_never)
    business.commit("I1", "T", "I2")

    def complete(so_far: list[Message]) -> bool:
        found = sum(isinstance(message, Change | Truncate) for message in so_far)
        return found == 3 and isinstance(so_far[-1], Commit)

    got = transactions(read_until(source, complete))
    first, truncate, last = [change for one in got for change in one.changes]
    assert isinstance(truncate, Truncate)
    assert [relation.table for relation in truncate.relations] == ["orders"]
    assert all(isinstance(change, Change) and change.op == "I" for change in (first, last))


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


# ---- pages beside the stream


def test_everything_a_page_shows_is_delivered_before_its_high_position(business: Business) -> None:
    """The high position is alone in a transaction of its own.

    What comes behind it may or may not be in the page.
    """
    business.commit("I1", "I2", "I3")
    source = business.source()
    source.open(business.initial(), silent_never)
    business.commit("U2", "D3")
    page, messages = page_of(source, asking(source, limit=10))
    assert sorted(rows_of(page)) == [("1", "order 1"), ("2", "changed")]
    assert (page.limit, page.more) == (10, False)
    place = messages.index(
        HighPosition(next(m.token for m in messages if isinstance(m, HighPosition)))
    )
    assert isinstance(messages[place - 1], Begin)
    assert isinstance(messages[place + 1], Commit)
    assert [one.rows for one in transactions(messages[: place - 1])] == [
        [inserted(n) for n in ("1", "2", "3")],
        [updated(business, "2"), deleted(business, "3", "order 3")],
    ]


@pytest.mark.parametrize("awaits", ["the transaction", "all that run"])
def test_a_page_waits_for_what_it_must_see(numbered: NumberedBusiness, awaits: str) -> None:
    """There is no page and no high position while the snapshot would not show a transaction.

    Then there are both, with its rows.
    """
    numbered.commit("I1")
    source = numbered.source()
    source.open(numbered.initial(), silent_never)
    with numbered.hanging("I2") as running:
        ask = (
            asking(source, limit=10, must_see=[running])
            if awaits == "the transaction"
            else asking(source, limit=10, barrier=source.barrier())
        )
        source.ask(ask)
        messages: list[Message] = []

        def comes() -> bool:
            messages.extend(source.read(0.05))
            return source.page() is not None or HighPosition(ask.token) in messages

        never(comes, 0.7, "a page comes")
    page, _ = awaited(source, ask)
    assert sorted(rows_of(page)) == [("1", "order 1"), ("2", "order 2")]


def test_a_page_that_replaces_another_comes_alone(numbered: NumberedBusiness) -> None:
    """The one before it waited for a transaction; its high position never says anything."""
    numbered.commit("I1")
    source = numbered.source()
    source.open(numbered.initial(), silent_never)
    with numbered.hanging("I2") as running:
        source.ask(asking(source, limit=10, must_see=[running]))
        page, _ = page_of(source, asking(source, limit=10))
    assert rows_of(page) == [("1", "order 1")]


def test_what_changes_rows_is_no_change_of_the_catalogue(business: Business) -> None:
    """The fingerprint stays the same."""
    business.commit(*(f"I{n}" for n in range(1, 13)))
    source = business.source()
    source.open(business.initial(), silent_never)
    before = source.fingerprints()
    business.commit("I20", "U1", "D2")
    assert source.fingerprints() == before

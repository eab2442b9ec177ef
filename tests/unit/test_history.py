"""Tests checks A and B: every way a server or its history may not fit.

Nothing is accepted twice or from a fork.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.connectors.changes import Begin, Change, Commit, Heartbeat, Message, Relation
from agent.connectors.position import position_text
from agent.connectors.postgres.history import Resumption, Server, check_server
from agent.connectors.resume import CommitMark, Resume
from agent.errors import (
    AgentError,
    DuplicateAgent,
    FrontReplaced,
    SlotAdvanced,
    SlotBusy,
    SlotLost,
    SlotMissing,
    SourceForked,
    SourceNotPrimary,
    SourcePromoted,
    SourceReplaced,
)

FITTING = Server(
    system_id="7001",
    timeline=1,
    flushed=5_000,
    in_recovery=False,
    slot_exists=True,
    confirmed=900,
    active_pid=None,
    wal_status="reserved",
    conflict="",
)
STORED = Resume(
    position_text(1_000),
    CommitMark(position_text(1_000), 77, 5),
    {"system_id": "7001", "timeline": 1, "slot": "slot"},
)
TABLE = Relation(1, "public", "t", "d", ())


@pytest.mark.parametrize(
    "server",
    [
        FITTING,
        FITTING._replace(confirmed=1_000, flushed=1_000),
        FITTING._replace(confirmed=0),
        FITTING._replace(wal_status="extended"),
        FITTING._replace(wal_status="unreserved"),
    ],
)
def test_a_server_that_fits_passes(server: Server) -> None:
    """A slot at or before the stored position, whose log is still there."""
    check_server(server, STORED, "here")


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"in_recovery": True}, SourceNotPrimary, "here"),
        ({"system_id": "7002"}, SourceReplaced, "system identifier was 7001, is 7002"),
        ({"timeline": 2}, SourcePromoted, "timeline was 1, is 2"),
        ({"slot_exists": False}, SlotMissing, "slot"),
        ({"wal_status": "lost"}, SlotLost, "wal_status is lost"),
        ({"conflict": "wal_removed"}, SlotLost, "wal_removed"),
        ({"confirmed": 1_001}, SlotAdvanced, "0/3E9"),
        ({"flushed": 999}, SourceForked, "0/3E7"),
        ({"active_pid": 4711}, SlotBusy, "4711"),
        # what tells more comes first
        (
            {"in_recovery": True, "system_id": "7002", "slot_exists": False},
            SourceNotPrimary,
            "here",
        ),
        ({"system_id": "7002", "slot_exists": False}, SourceReplaced, "7002"),
        ({"wal_status": "lost", "confirmed": 1_001}, SlotLost, "lost"),
        # To drop a slot that somebody reads would take it from them
        (
            {"confirmed": 1_001, "active_pid": 4711, "reader": "10.0.0.9"},
            DuplicateAgent,
            "10.0.0.9",
        ),
        ({"flushed": 999, "active_pid": 4711}, DuplicateAgent, "4711"),
        ({"slot_exists": False, "elsewhere": "test"}, FrontReplaced, "database test"),
    ],
)
def test_a_server_that_does_not_fit_is_named(
    changes: dict[str, object], error: type[AgentError], named: str
) -> None:
    """Each check has its own error, and says what differs."""
    with pytest.raises(error) as caught:
        check_server(FITTING._replace(**changes), STORED, "here")  # type: ignore[arg-type]
    assert named in caught.value.text("en")
    caught.value.advice("zh_CN")


class Logged(NamedTuple):
    """A transaction in a server's log, or (`xid` 0) a heartbeat, which stands at its start."""

    start: int  # of its commit record
    end: int
    transaction: int
    time_us: int
    changes: int


def _log(steps: list[tuple[int, int, bool, int, int]], start: int, xid: int) -> list[Logged]:
    """Returns a log from the distances between its records."""
    log = []
    for gap, length, beats, time_us, changes in steps:
        start += gap
        log.append(Logged(start, start + length, 0 if beats else xid, time_us, changes))
        start += length
        xid += 1
    return log


steps = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(1, 3), st.booleans(), st.integers(0, 3), st.integers(0, 3)
    ),
    max_size=10,
)


def sent(log: list[Logged], confirmed: int) -> Iterator[Message]:
    """Yields what a server sends that goes on at `confirmed`."""
    for one in log:
        if one.start < confirmed:
            continue
        if not one.transaction:
            yield Heartbeat(one.start, one.time_us)
            continue
        yield Begin(one.transaction, one.start, one.time_us)
        for lsn in range(one.changes):
            yield Change(TABLE, "I", None, (str(one.transaction),), False, lsn, 1)
        yield Commit(one.transaction, one.end, one.time_us)


def stop_points(log: list[Logged]) -> list[int]:
    """Positions an agent may have stored, or confirmed: the start and everything it was given."""
    return sorted({100, *[one.end if one.transaction else one.start for one in log]})


def stored_at(log: list[Logged], position: int) -> Resume:
    """Returns what an agent has stored that applied everything up to `position`."""
    applied = [one for one in log if one.transaction and one.end <= position]
    mark = (
        CommitMark(position_text(applied[-1].end), applied[-1].transaction, applied[-1].time_us)
        if applied
        else CommitMark("", 0, 0)
    )
    return STORED._replace(position=position_text(position), commit=mark)


def accepted(log: list[Logged], stored: Resume, confirmed: int) -> list[Message]:
    """Returns what gets through."""
    resumption = Resumption(stored, confirmed)
    return [message for message in sent(log, confirmed) if resumption.accept(message)]


@given(st.data(), steps)
def test_each_transaction_is_accepted_once_whatever_the_restart_point(
    data: st.DataObject, walk: list[tuple[int, int, bool, int, int]]
) -> None:
    """In the same history what lies after the stored position comes whole and once.

    Nothing before it comes, however much is sent again.
    """
    log = _log(walk, 100, 500)
    position = data.draw(st.sampled_from(stop_points(log)))
    confirmed = data.draw(
        st.sampled_from([point for point in stop_points(log) if point <= position])
    )
    got = accepted(log, stored_at(log, position), confirmed)
    new = [
        one
        for one in log
        if (
            one.end > position and one.start >= position
            if one.transaction
            else one.start > position
        )
    ]
    assert got == list(sent(new, 0))
    assert {m.transaction for m in got if isinstance(m, Commit)} == {
        one.transaction for one in log if one.transaction and one.end > position
    }


@given(st.data(), steps)
def test_a_run_of_restarts_accepts_everything_once(
    data: st.DataObject, walk: list[tuple[int, int, bool, int, int]]
) -> None:
    """An agent killed again and again takes each transaction once, in order.

    Its confirmations arrive late.
    """
    log = _log(walk, 100, 500)
    position = confirmed = 100
    taken: list[int] = []
    for _ in range(data.draw(st.integers(1, 4))):
        got = accepted(log, stored_at(log, position), confirmed)
        ends = [m.position for m in got if isinstance(m, Commit | Heartbeat)]
        kept = data.draw(st.integers(0, len(ends)))
        if kept:
            taken += [
                m.transaction for m in got if isinstance(m, Commit) and m.position <= ends[kept - 1]
            ]
            position = ends[kept - 1]
        confirmed = data.draw(
            st.sampled_from([point for point in stop_points(log) if confirmed <= point <= position])
        )
    taken += [
        m.transaction
        for m in accepted(log, stored_at(log, position), confirmed)
        if isinstance(m, Commit)
    ]
    assert taken == [one.transaction for one in log if one.transaction]


@given(st.data(), steps, steps)
def test_nothing_of_a_fork_is_accepted(
    data: st.DataObject,
    walk: list[tuple[int, int, bool, int, int]],
    other: list[tuple[int, int, bool, int, int]],
) -> None:
    """A server was restored to before the last applied commit.

    The agent halts before the first message of the other history gets through.
    """
    log = _log(walk, 100, 500)
    position = data.draw(st.sampled_from(stop_points(log)))
    stored = stored_at(log, position)
    assume(stored.commit.position)
    last = next(one for one in log if one.transaction == stored.commit.transaction)
    # The restored copy ends before the last applied commit
    fork = data.draw(st.integers(0, log.index(last)))
    shared, start = log[:fork], log[fork - 1].end if fork else 100
    confirmed = data.draw(
        st.sampled_from([point for point in stop_points(shared) if point <= position])
    )
    forked = shared + _log(other, start, data.draw(st.sampled_from([500 + fork, 900])))
    assume(
        not any(
            (one.end, one.transaction, one.time_us) == (last.end, last.transaction, last.time_us)
            for one in forked
        )
    )
    resumption = Resumption(stored, confirmed)
    halted = False
    for message in sent(forked, confirmed):
        try:
            assert not resumption.accept(message), f"{message} of another history was accepted"
        except SourceForked as error:
            assert position_text(last.end) in error.text("en")
            halted = True
            break
    reaches = any((one.end if one.transaction else one.start) > position for one in forked)
    assert halted or not reaches


def test_a_commit_where_only_heartbeats_were_is_another_history() -> None:
    """The copy was restored from an idle time.

    Its first commit ends before the stored position, where the original had none.
    """
    log = [Logged(40, 50, 500, 0, 1), Logged(200, 200, 0, 0, 0)]
    resumption = Resumption(stored_at(log, 200), confirmed=100)
    resumption.accept(Begin(501, 150, 0))
    with pytest.raises(SourceForked):
        resumption.accept(Commit(501, 155, 0))


def test_the_first_start_expects_nothing_again() -> None:
    """After init nothing was applied: the first transaction is simply new."""
    fresh = STORED._replace(position=position_text(100), commit=CommitMark("", 0, 0))
    log = [Logged(100, 110, 1, 0, 2)]
    assert accepted(log, fresh, 100) == list(sent(log, 0))

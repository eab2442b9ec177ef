"""Tests what is acknowledged, and when.

It is never past what is durable, always in time, and never in a server's way.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.connectors.postgres.acknowledgement import (
    ASK_AFTER,
    FRONT_SILENCE,
    PEER_SILENCE,
    SHUTDOWN_WINDOW,
    Acknowledgement,
    Status,
)

INTERVAL = 20.0
TICK = 0.25  # how often the timer is looked at
MOMENT = 0.01  # by which the timer looks later than it could


class Connection(RuleBasedStateMachine):
    """Draws any order of commits, keepalives, bytes and waiting.

    The timer is used as the wire uses it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.durable = 500
        self.machine = Acknowledgement(self.durable, INTERVAL, self.now)
        self.sent_at = self.now
        self.sent = 0
        self.heard_at = self.now
        self.asked_at = float("-inf")
        self.shutdown_unanswered = False

    def send(self, status: Status | None) -> None:
        """Every status that leaves is looked at here."""
        if status is None:
            return
        assert status.position <= self.durable, "acknowledged what the front end has not stored"
        assert status.position >= self.sent, "the acknowledgement went back"
        assert status.position == self.durable, "an old position although a newer one is durable"
        self.sent, self.sent_at = status.position, self.now

    @rule(step=st.integers(0, 1_000))
    def commit(self, step: int) -> None:
        """The front end commits: it is told at once if it moves the position, else not at all."""
        position = self.durable - 100 + step
        moves = max(position, self.durable) > self.sent
        self.durable = max(position, self.durable)
        status = self.machine.durable(position, self.now)
        assert (status is not None) == moves
        self.send(status)

    @rule(asked=st.booleans())
    def keepalive(self, asked: bool) -> None:
        """Lets a keepalive come.

        Two questions within a second mean shutdown, which is answered only if there is news.
        """
        news = self.durable > self.sent
        status, shutting_down = self.machine.keepalive(asked, self.now)
        assert shutting_down == (asked and self.now - self.asked_at < SHUTDOWN_WINDOW)
        assert (status is not None) == (asked and (news or not shutting_down))
        if asked:
            self.asked_at = self.now
        self.send(status)

    @rule()
    def bytes_come(self) -> None:
        """Bytes of any kind."""
        self.machine.heard(self.now)
        self.heard_at = self.now

    @rule(ticks=st.integers(1, 200))
    def time_passes(self, ticks: int) -> None:
        """The timer is looked at every quarter of a second, read or not."""
        for _ in range(ticks):
            self.now += TICK
            status = self.machine.due(self.now)
            if status is not None:
                assert status.ask == (self.now - self.heard_at > ASK_AFTER)
            self.send(status)
            assert self.now - self.sent_at < INTERVAL, "no status update within the interval"

    @invariant()
    def knows_what_is_durable(self) -> None:
        """Nothing is forgotten."""
        assert self.machine.position == self.durable

    @invariant()
    def gives_up_a_silent_peer_only(self) -> None:
        """After 25 s without a byte, not before."""
        assert bool(self.machine.give_up(None, self.now)) == (
            self.now - self.heard_at > PEER_SILENCE
        )


TestConnection = Connection.TestCase


def test_a_silent_server_is_asked_before_it_is_given_up() -> None:
    """From 8 s of silence on each update asks, several times before 25 s; an answer ends it."""
    machine, asked = Acknowledgement(1, INTERVAL, 0.0), []
    now = 0.0
    while not machine.give_up(None, now):
        now += TICK
        status = machine.due(now)
        if status is not None and status.ask:
            asked.append(now)
    assert now == PEER_SILENCE + TICK
    assert asked[0] <= ASK_AFTER + TICK
    assert len(asked) >= 5
    machine.heard(now)
    assert not machine.give_up(None, now)
    assert machine.due(now) is None


@given(
    st.sampled_from([0.25, 2 / 3, 20.0]),
    st.lists(st.floats(0.01, 12.0), max_size=30),
    st.floats(0.0, 60.0),
)
def test_a_timer_that_sleeps_until_its_next_time_misses_nothing(
    interval: float, gaps: list[float], silent_at: float
) -> None:
    """Whenever bytes come, and whenever the front end falls silent, which wakes nobody."""
    machine = Acknowledgement(1, interval, 0.0)
    arrivals = [sum(gaps[: number + 1]) for number in range(len(gaps))]
    heard_at = updated_at = now = 0.0
    front_silent_since = None
    reason = ""
    while not reason:
        now = machine.next_time(front_silent_since) + MOMENT
        while arrivals and arrivals[0] <= now:
            heard_at = arrivals.pop(0)
            machine.heard(heard_at)
        front_silent_since = silent_at if silent_at <= now else None

        reason = machine.give_up(front_silent_since, now)
        if machine.due(now) is not None:
            assert now - updated_at <= interval + 2 * MOMENT
            updated_at = now
        assert now - updated_at < interval + MOMENT
    ends_at = min(silent_at + FRONT_SILENCE, heard_at + PEER_SILENCE)
    assert ends_at < now <= ends_at + 2 * MOMENT


@pytest.mark.parametrize("interval", [0.25, 2 / 3, 20.0])
def test_updates_go_out_within_the_interval(interval: float) -> None:
    """Whatever wal_sender_timeout is; not more often either."""
    machine, sent = Acknowledgement(1, interval, 0.0), []
    for tick in range(1, 1_000):
        now = tick * 0.05
        machine.heard(now)
        if machine.due(now) is not None:
            sent.append(now)
    gaps = [later - earlier for earlier, later in zip([0.0, *sent], sent, strict=False)]
    assert gaps
    assert all(interval - 1e-9 <= gap <= interval + 0.05 + 1e-9 for gap in gaps)


def test_a_commit_counts_as_an_update() -> None:
    """The timer starts again with each status that leaves."""
    machine = Acknowledgement(1, INTERVAL, 0.0)
    machine.heard(35.0)
    assert machine.durable(2, 19.0) == Status(2, ask=False)
    assert machine.due(21.0) is None
    assert machine.due(39.0) == Status(2, ask=False)


def test_two_questions_within_a_second_are_a_shutdown() -> None:
    """The first is answered; the second tells of the end to confirm.

    What is new is confirmed as soon as it is durable.
    """
    machine = Acknowledgement(10, INTERVAL, 0.0)
    assert machine.keepalive(reply_asked=True, now=5.0) == (Status(10, ask=False), False)
    assert machine.keepalive(reply_asked=False, now=5.05) == (None, False)
    assert machine.keepalive(reply_asked=True, now=5.1) == (None, True)
    assert machine.durable(99, 5.2) == Status(99, ask=False)
    assert machine.keepalive(reply_asked=True, now=5.3) == (None, True)


def test_questions_a_second_apart_are_no_shutdown() -> None:
    """A server that asks at half its time-out is only careful."""
    machine = Acknowledgement(10, INTERVAL, 0.0)
    for now in (1.0, 1.0 + SHUTDOWN_WINDOW, 1.0 + 2 * SHUTDOWN_WINDOW):
        assert machine.keepalive(reply_asked=True, now=now) == (Status(10, ask=False), False)


@given(st.floats(0, 1e6), st.floats(0, 60))
def test_a_front_end_silent_for_30_s_gives_the_connection_up(since: float, open_for: float) -> None:
    """Not before; an answered question does not count."""
    now = since + open_for
    machine = Acknowledgement(1, INTERVAL, now)
    assert ("front end" in machine.give_up(since, now)) == (now - since > FRONT_SILENCE)
    assert not machine.give_up(None, now)

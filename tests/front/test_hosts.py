"""Tests a pair of hosts at the front end: lock, signs of life, and who may take over when."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import update

from agent.capture.standby import Standby
from agent.errors import AgentError, AnotherAgent
from agent.front.hosts import Host, Hosts
from agent.front.mariadb.front import MariaDbFront
from agent.front.postgres.front import PostgresFront
from agent.front.store import SqlFront
from agent.service.control import Control
from tests.front.conftest import IDENTITY, progress
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds between hosts takes a part of one."""
    monkeypatch.setattr("agent.capture.standby._LOOK", 0.1)
    monkeypatch.setattr("agent.capture.standby._FREE", 0.3)
    monkeypatch.setattr("agent.capture.lease.RENEWAL", 0.2)
    monkeypatch.setattr("agent.front.postgres.front._LOCK_PATIENCE", 0.5)
    monkeypatch.setattr("agent.front.mariadb.front._LOCK_PATIENCE", 1)


@pytest.fixture(params=["postgres", "mariadb"])
def new(request: pytest.FixtureRequest) -> Any:
    """Returns what makes a front end of the agent, as another host would."""
    kind = PostgresFront if request.param == "postgres" else MariaDbFront
    url = request.getfixturevalue(f"{request.param}_url")
    kind(url, None, 5.0, "unit").initialise(IDENTITY, {"words": "unit.words"})
    return lambda: kind(url, None, 5.0, "unit")


class Member:
    """One host of a pair, without a source: it opens the front end through its part."""

    def __init__(self, front: SqlFront, nonce: str) -> None:
        self.front = front
        self.control = Control.alone(nonce=nonce)
        self.standby = Standby(front, self.control)
        self.epoch = 0
        self.errors: list[AgentError] = []

    def opens(self) -> "Member":
        """Opens at once."""
        stored = self.standby.open()
        assert stored is not None
        self.epoch = stored.epoch
        return self

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Stands by in a thread meanwhile; afterwards it is active."""

        def wait() -> None:
            try:
                self.opens()
            except AgentError as error:
                self.errors.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        try:
            yield
            thread.join(120)
        finally:
            self.control.stop()
            thread.join(120)
        assert not self.errors
        assert self.epoch

    def leaves(self) -> None:
        """Gives its place up in good order."""
        self.front.close()
        self.standby.leave()

    def ends(self) -> None:
        """Leaves, and is not needed any more."""
        self.leaves()
        self.control.close()


def hosts(front: SqlFront) -> list[Host]:
    """Returns what is noted of the hosts."""
    with front.reading() as connection:
        return Hosts(front.own.hosts).all(connection)


def roles(front: SqlFront) -> list[str]:
    """Returns the roles of the hosts that live."""
    return sorted(host.role for host in hosts(front) if host.lives)


def stands_still(front: SqlFront, nonce: str) -> None:
    """Has a service been silent for a minute, by the clock of the server."""
    table = front.own.hosts
    with front.engine.begin() as connection:
        before = {"seen_us": table.c.seen_us - 60_000_000}
        connection.execute(update(table).where(table.c.nonce == nonce).values(before))


def test_a_free_front_end_is_taken_at_once_and_handed_over_in_the_end(new: Any) -> None:
    first, second = Member(new(), "first").opens(), Member(new(), "second")
    with second.waiting():
        eventually(lambda: roles(first.front) == ["active", "standby"], what="both are noted")
        eventually(lambda: first.standby.gauges["agent_standbys"] == 1, what="the other is seen")
        assert not second.standby.is_active
        first.ends()
    assert (first.epoch, second.epoch) == (1, 2)
    assert [host.nonce for host in hosts(second.front)] == ["second"]
    second.ends()
    assert hosts(second.front) == []


def test_the_place_of_a_host_that_stands_still_is_taken(new: Any) -> None:
    """The server ends its session: it can commit nothing, and finds that another is there."""
    first, second = new(), Member(new(), "second")
    first.host = "still"
    first.open("first")
    first.begin()
    with second.waiting():
        eventually(lambda: roles(first) == ["active", "standby"], what="both are noted")
        stands_still(first, "first")
    with pytest.raises(AgentError):
        first.commit(progress("0/20"))
    first.close()
    with pytest.raises(AnotherAgent):
        first.open("first")
    second.front.begin()
    second.front.commit(progress("0/30"))
    second.ends()


def test_who_was_active_does_not_stand_by(new: Any) -> None:
    """It ends, for its service has a publisher. Between two attempts its place is kept."""
    first, second = Member(new(), "first").opens(), Member(new(), "second")
    eventually(lambda: hosts(first.front)[0].lease, what="the active one gives signs of life")
    first.front.close()
    with second.front.reading() as connection:
        for _ in range(2):
            assert not second.standby._look(connection)
            second.standby._free_at = min(second.standby._free_at, 0.0)
    assert first.opens().epoch == 2

    first.leaves()
    second.opens()
    with pytest.raises(AnotherAgent):
        first.opens()
    first.ends()
    second.ends()


def test_a_session_that_the_silent_host_has_not_noted_is_left_alone(new: Any) -> None:
    """Whoever is just opening holds the lock before it has noted itself."""
    first, second, third = new(), Member(new(), "second"), new()
    first.host = "gone"
    first.open("first")
    first.close()
    stands_still(first, "first")
    with third.engine.connect() as connection:
        third.lock(connection)
        with second.front.reading() as looking:
            assert not second.standby._look(looking)
        assert third.holder(connection) == third.session(connection)
    assert second.opens().epoch == 2
    second.ends()

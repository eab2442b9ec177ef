"""What polling costs a business database: bounded rows, two connections, and figures of both."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from agent.connectors.polling.inspection import inspect
from agent.connectors.polling.pace import Pace
from agent.connectors.polling.setup import PollingSetup
from agent.service import metrics
from tests.source.databases import Place, place_of
from tests.source.looking import Follower
from tests.source.reading import silent_never


class Seconds:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place_of("sqlite", request, tmp_path) as made:
        made.execute("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, note TEXT, n INTEGER)")
        made.execute("CREATE INDEX t_n ON t (n, id)")
        yield made


@pytest.fixture
def follower(place: Place) -> Iterator[Follower]:
    """A table that was looked at, and has twelve rows since."""
    made = Follower(place, {"mode": "sequence", "column": "n"}, every="1h", rows_per_second=5)
    made.look()
    numbers = ", ".join([f"({number}, 'note', {number})" for number in range(12)])
    place.execute(f"INSERT INTO t VALUES {numbers}")
    yield made
    made.source.close()


def test_a_bound_has_rows_wait() -> None:
    """What is read earlier than it may be is waited for, however often."""
    seconds = Seconds()
    pace = Pace(10, seconds)
    assert pace.limit(1000) == 10
    assert pace.rest() == 0
    pace.read(10)
    pace.read(5)
    assert pace.rest() == 1.5
    seconds.now = 1.5
    assert pace.rest() == 0
    # Nothing is saved up
    seconds.now = 100
    pace.read(10)
    assert pace.rest() == 1


def test_without_a_bound_nothing_waits() -> None:
    pace = Pace(None)
    pace.read(1_000_000)
    assert pace.rest() == 0
    assert pace.limit(1000) == 1000


def test_looks_and_pages_keep_the_pace(follower: Follower) -> None:
    """No second has more than five rows, whoever reads them."""
    seconds = Seconds()
    source = follower.source
    source._pace = Pace(5, seconds)
    source._look_at = 0.0
    delivered = []
    for second in range(4):
        seconds.now = second
        follower.take()
        follower.take()
        delivered.append(follower.delivered)
    assert delivered == [5, 10, 12, 12]

    seconds.now = 10
    follower.ask(100)
    follower.take()
    page = source.page()
    assert page is not None
    assert (len(page.lines), page.limit, page.more) == (5, 5, True)
    follower.ask(100)
    follower.take()
    assert source.page() is None


def test_a_comparison_counts_no_rows(follower: Follower) -> None:
    """Rows may go unseen while pages are read, so that a number would prove nothing."""
    follower.source._pace = Pace(None)
    follower.ask(100, counted=(), settled=True)
    follower.take()
    page = follower.source.page()
    assert page is not None
    assert page.total is None
    follower.ask(100, counted=())
    follower.take()
    page = follower.source.page()
    assert page is not None
    assert page.total == 12


def test_two_connections_at_the_most(follower: Follower) -> None:
    """The service has one; a command has another one while it runs."""
    open_now: set[int] = set()
    most = []

    def opened(connection: Any, _record: object) -> None:
        open_now.add(id(connection))
        most.append(len(open_now))

    def closed(connection: Any, _record: object) -> None:
        open_now.discard(id(connection))

    event.listen(Pool, "connect", opened)
    event.listen(Pool, "close", closed)
    try:
        follower.crash()
        follower.take()
        follower.ask(100)
        follower.take()
        follower.source.fingerprints()
        follower.acknowledge()
        assert len(open_now) == 1
        inspect(follower.settings, follower.place.database)
        PollingSetup(follower.settings).status(())
        assert len(open_now) == 1
        assert max(most) == 2
    finally:
        event.remove(Pool, "connect", opened)
        event.remove(Pool, "close", closed)


def test_looks_are_measured(follower: Follower) -> None:
    """Looks, their rows and seconds, and how old it is what is known."""
    follower.source._pace = Pace(None)
    follower.source.counts()
    before = int(time.time())
    follower.look()
    assert follower.source.counts() == {
        (metrics.POLL_LOOKS,): 1,
        (metrics.POLL_ROWS, "r"): 12,
    }
    assert follower.source.counts() == {}
    gauges = follower.source.gauges()
    assert gauges[metrics.POLL_QUIET] == 0
    assert gauges[metrics.POLL_SECONDS] > 0
    assert gauges[f"{metrics.POLL_COMPLETE}/r"] >= before


def test_the_next_look_is_due_by_the_interval(follower: Follower) -> None:
    """Also where the last one has not read all: then it is late. None is due at a suspended one."""
    name = f"{metrics.POLL_DUE}/r"
    before = time.time()
    follower.look()
    due = follower.source.gauges()[name]
    assert before + 3600 <= due <= time.time() + 3600

    follower.source._pace = Pace(5, Seconds())
    follower.source._look_at = 0.0
    follower.take()
    assert follower.source.gauges()[name] == due

    follower.source.open(follower.stored._replace(suspended=["r"]), silent_never)
    assert follower.source.gauges()[name] == 0
    follower.source.open(follower.stored, silent_never)
    assert before <= follower.source.gauges()[name] <= time.time()


def test_a_look_in_parts_counts_once(follower: Follower) -> None:
    """What is known is as old as the beginning of the look."""
    seconds = Seconds()
    follower.source._pace = Pace(5, seconds)
    follower.source.counts()
    follower.source._look_at = 0.0
    before = follower.source.gauges()[f"{metrics.POLL_COMPLETE}/r"]
    follower.take()
    assert (metrics.POLL_LOOKS,) not in follower.source.counts()
    assert follower.source.gauges()[f"{metrics.POLL_COMPLETE}/r"] == before
    for second in (1, 2):
        seconds.now = second
        follower.take()
    assert follower.source.counts()[metrics.POLL_LOOKS,] == 1

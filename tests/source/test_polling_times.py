"""When tables are looked at, compared and left alone: by a clock that the tests set."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.config.times import next_time, quiet_until, times_of
from agent.connectors.polling.schedule import Comparisons, LookTimes
from agent.connectors.polling.setup import PollingSetup
from agent.service import metrics
from tests.source.databases import Place, place_of
from tests.source.looking import Follower

NOON = datetime(2024, 5, 1, 12, 0)  # noqa: DTZ001 - as a wall clock shows it; a Wednesday


def at(text: str) -> datetime:
    """A time of that day, or of the next one: `12:05` `+02:00`."""
    days = 1 if text.startswith("+") else 0
    hour, minute = map(int, text.removeprefix("+").split(":"))
    return NOON.replace(hour=hour, minute=minute) + timedelta(days=days)


# ---- expressions


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("12:00", "+12:00"),
        ("02:30", "+02:30"),
        ("*/5 * * * *", "12:05"),
        ("0 8-18/3 * * *", "14:00"),
        ("0 3 * * thu", "+03:00"),
    ],
)
def test_the_next_moment_lies_behind_the_present_one(text: str, then: str) -> None:
    assert next_time(times_of(text), NOON) == at(then)


@pytest.mark.parametrize("text", ["0 0 * * 1-5", "0 0 30 2 *", "61 * * * *", "a b c d e"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    """A day of the week as a number is another day in cron than in APScheduler."""
    with pytest.raises(ValueError, match=r"."):
        times_of(text)


# ---- looks by cron


def test_a_look_comes_due_once_at_its_moment() -> None:
    times = LookTimes("*/5 * * * *", NOON)
    assert times.seconds(NOON) == 300
    assert not times.due(at("12:04"))
    assert times.due(at("12:05"))
    assert not times.due(at("12:05"))
    # Several moments have passed, as when a look took long
    assert times.due(at("12:21"))
    assert not times.due(at("12:24"))


def test_a_clock_that_was_set_back_stops_no_looks() -> None:
    times = LookTimes("*/5 * * * *", NOON)
    assert times.due(at("12:05"))
    assert not times.due(at("09:01"))
    assert times.due(at("09:05"))


# ---- comparisons


def test_a_comparison_comes_due_once_even_if_the_agent_was_away() -> None:
    comparisons = Comparisons({"t": "02:00"})
    comparisons.open({}, NOON)
    assert comparisons.due(at("23:59")) == []
    assert comparisons.due(at("+02:00")) == ["t"]
    assert comparisons.due(at("+02:00")) == []

    later = Comparisons({"t": "02:00"})
    later.open(comparisons.compared, at("+12:00"))
    assert later.due(at("+12:00")) == []
    late = Comparisons({"t": "02:00"})
    late.open({"t": "2024-04-30 12:00"}, NOON)
    assert late.due(NOON) == ["t"]


def test_a_clock_that_was_set_back_brings_no_comparison_twice() -> None:
    comparisons = Comparisons({"t": "*/30 * * * *"})
    comparisons.open({}, NOON)
    assert comparisons.due(at("12:30")) == ["t"]
    assert comparisons.due(at("12:10")) == []
    assert comparisons.due(at("12:31")) == []
    assert comparisons.due(at("13:00")) == ["t"]


def test_a_clock_that_was_far_ahead_stops_no_comparison() -> None:
    comparisons = Comparisons({"t": "02:00"})
    comparisons.open({"t": "2099-01-01 02:00"}, NOON)
    assert comparisons.due(at("+02:00")) == ["t"]


# ---- quiet hours


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("08:29", None),
        ("08:30", "11:30"),
        ("11:29", "11:30"),
        ("11:30", None),
        ("21:59", None),
        ("22:00", "+06:00"),
        ("05:59", "06:00"),
        ("06:00", None),
    ],
)
def test_quiet_hours_end(now: str, until: str | None) -> None:
    """Over midnight, too."""
    found = quiet_until(["08:30-11:30", "22:00-06:00"], at(now))
    assert found == (None if until is None else at(until))


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place_of("sqlite", request, tmp_path) as made:
        made.execute("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, note TEXT, n INTEGER)")
        yield made


def follower_of(place: Place, **source: Any) -> Follower:
    """A table that was looked at once, at noon."""
    poll = {"mode": "sequence", "column": "n", "compare": "13:00"}
    follower = Follower(place, poll, **source)
    follower.now = NOON
    follower.crash()
    follower.take()
    place.execute("INSERT INTO t VALUES (1, 'one', 1)")
    return follower


def test_looks_come_by_cron(place: Place) -> None:
    """Not in between, however long."""
    follower = follower_of(place, cron="*/5 * * * *")
    for now, delivered in (("12:04", 0), ("12:05", 1), ("12:06", 1)):
        follower.now = at(now)
        follower.take()
        assert follower.delivered == delivered
    follower.source.close()


@pytest.mark.parametrize(
    ("source", "now", "minutes"),
    [
        ({"every": "1m"}, "12:00", 1),
        ({"every": "1m"}, "12:29", 91),
        ({"every": "1m", "quiet": ["12:30-14:00", "14:00-15:00"]}, "12:29", 151),
        ({"cron": "*/30 * * * *"}, "11:45", 15),
        ({"cron": "*/30 * * * *"}, "12:10", 110),
    ],
)
def test_no_look_is_due_in_quiet_hours(
    place: Place, source: dict[str, Any], now: str, minutes: int
) -> None:
    """Neither by the interval nor by the clock; what was due as they began is due as they end."""
    follower = follower_of(place, **{"quiet": ["12:30-14:00"], **source})
    name = f"{metrics.POLL_DUE}/r"
    follower.now = at(now)
    follower.crash()
    begun = time.time()
    follower.look()
    due = follower.source.gauges()[name]
    assert begun <= due - minutes * 60 <= time.time()

    follower.now = at("13:00")
    follower.take()
    assert follower.source.gauges()[name] >= max(due, time.time() + 59 * 60)
    follower.source.close()


def test_nothing_is_read_in_quiet_hours(place: Place) -> None:
    """No look, no page, no comparison; all of it comes when they are over."""
    follower = follower_of(place, every="1s", quiet=["12:30-14:00"])
    source = follower.source
    follower.now = at("13:10")
    assert source.comparisons(()) == []
    follower.ask(10)
    source._look_at = 0.0
    follower.take()
    assert follower.delivered == 0
    assert source.page() is None
    setup = PollingSetup(follower.settings, follower.clock)
    shown = setup.status(())
    assert shown.values["quiet_until"] == "14:00"
    assert "14:00" in shown.text

    follower.now = at("14:00")
    assert source.comparisons(()) == ["r"]
    assert source.comparisons(()) == []
    follower.take()
    assert follower.delivered == 1
    page = source.page()
    assert page is not None
    assert len(page.lines) == 1
    assert PollingSetup(follower.settings, follower.clock).status(()).values["quiet_until"] == ""
    source.close()

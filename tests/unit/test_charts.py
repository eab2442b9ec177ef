"""Tests the charts of the last 24 hours: what they say, their gaps, and how large they are."""

import re

import pytest

from agent.page import charts
from agent.service.history import MINUTES, Minute

NOW = 1_772_366_400.0
NEWEST = int(NOW // 60)


def minutes(first: int, last: int, lag: float | None = 4.0) -> list[Minute]:
    """Returns the minutes that begin so many minutes before now."""
    found = []
    for before in range(first, last - 1, -1):
        found.append(Minute(NEWEST - before, lag, before % 7, 0))
    return found


def lines(drawn: str) -> list[str]:
    """Returns the paths of the three charts, as they stand in order."""
    return re.findall(r'<path d="([^"]*)" class="line"', drawn)


def test_nothing_is_known_yet() -> None:
    drawn = charts.write([], NOW)
    assert drawn.count("no value yet") == 6
    assert lines(drawn) == ["", "", ""]
    assert "A gap" not in drawn


def test_a_day_is_a_line_of_240_points() -> None:
    drawn = charts.write(minutes(MINUTES - 1, 0), NOW)
    assert "now 4 s, lowest 4 s, highest 4 s" in drawn
    assert "now 0, lowest 0, highest 6" in drawn
    assert lines(drawn)[0] == "M0 93h240"
    assert len(drawn) < 8000
    assert "A gap" not in drawn


def test_a_gap_is_no_zero() -> None:
    """The service was off for two hours, and at another time it did not know its lag."""
    known = [*minutes(959, 840), *minutes(719, 360), *minutes(359, 0, None)]
    drawn = charts.write(known, NOW)
    lag, events, _ = lines(drawn)
    assert lag == "M80 93h20M120 93h60"
    assert events.startswith("M80 ")
    assert events.count("M") == 2
    assert "the service did not run: 120 minutes" in drawn
    assert "now 4 s" in drawn


def test_a_single_minute_can_be_seen() -> None:
    assert lines(charts.write(minutes(0, 0), NOW))[0] == "M239 93h1"


@pytest.mark.parametrize(
    ("lag", "edge", "height"),
    [(0.0, "60 s", 100), (61.0, "2 min", 49), (90_000.0, "2 days", 48), (3e6, "64 days", 46)],
)
def test_the_upper_edge_fits_the_highest_value(lag: float, edge: str, height: int) -> None:
    drawn = charts.write(minutes(5, 0, lag), NOW)
    assert f'<span class="edge" aria-hidden="true">{edge}</span>' in drawn
    assert lines(drawn)[0] == f"M239 {height}h1"


def test_each_chart_is_named_and_told() -> None:
    drawn = charts.write(minutes(5, 0), NOW)
    for name in ("lag", "events", "backlog"):
        assert f'role="img" aria-labelledby="{name}-title {name}-text"' in drawn
        assert f'<title id="{name}-title">' in drawn
        assert f'<desc id="{name}-text">' in drawn

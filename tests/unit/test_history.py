"""Tests what the agent keeps of the past for its status page."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from agent.service import metrics as names
from agent.service.history import DAYS, MINUTES, Exchange, History, Minute, day_of
from agent.service.metrics import Metrics
from agent.service.recorder import Recorder

NOON = time.mktime((2026, 3, 1, 12, 0, 0, 0, 0, -1))
DAY = 86_400
TODAY = day_of(NOON)


def test_the_past_outlives_a_restart(tmp_path: Path) -> None:
    """Today goes on where it was, and a minute in which the service began again is one."""
    before = History(tmp_path)
    before.applied("person", "c", 3, NOON)
    before.add("person", NOON, published=2, bytes=500)
    before.note(NOON, 1.5, 7)
    before.write()
    after = History(tmp_path)
    after.applied("person", "r", 2, NOON + 30)
    after.note(NOON + 30, None, 0)
    after.write()

    for history in (after, History(tmp_path)):
        known = Exchange(inserted=3, copied=2, published=2, bytes=500)
        assert history.today("person", NOON + 40) == known
        assert history.exchanges() == {(TODAY, "person"): known}
        assert history.last_event("person") == NOON + 30
        assert history.minutes(NOON + 40) == [Minute(int(NOON) // 60, None, 5, 0)]


def test_counts_begin_at_midnight() -> None:
    history = History()
    history.applied("person", "c", 2, NOON)
    assert history.today("person", NOON + DAY) == Exchange()
    history.applied("person", "d", 5, NOON + DAY)
    assert history.today("person", NOON + DAY) == Exchange(deleted=5)
    # The clock was ahead
    history.applied("person", "c", 1, NOON)
    assert history.today("person", NOON) == Exchange(inserted=3)
    assert history.exchanges(TODAY, TODAY) == {(TODAY, "person"): Exchange(inserted=3)}


def test_a_clock_that_is_put_back() -> None:
    """Each minute is there once, in order, as it was the second time; none is yet to come."""
    history = History()
    for number in (0, 1, 2, 0, 1):
        history.note(NOON + number * 60, float(number), 0)
    first = int(NOON) // 60
    assert [each.minute for each in history.minutes(NOON + 60)] == [first, first + 1]
    assert len(history.minutes(NOON + 120)) == 3


def test_days_are_those_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """23:30 in Shanghai is 15:30 in UTC."""
    late = 1_772_379_000.0
    days = []
    try:
        for zone in ("Asia/Shanghai", "UTC", "Asia/Tokyo"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            days.append(day_of(late))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert days == ["2026-03-01", "2026-03-01", "2026-03-02"]


def test_the_past_is_bounded(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number in range(DAYS + 3):
        history.applied("person", "c", 1, NOON + number * DAY)
        history.note(NOON + number * DAY, 1.5, 7)
        history.write()
    kept = sorted({day for day, _ in history.exchanges()})
    assert len(kept) == DAYS
    assert kept[0] == day_of(NOON + 3 * DAY)

    for number in range(MINUTES + 5):
        history.note(NOON + number * 60, 1.5, 7)
    history.write()
    with closing(sqlite3.connect(tmp_path / "history.db")) as file:
        assert file.execute("SELECT count(*) FROM minute").fetchone() == (MINUTES,)
    assert len(History(tmp_path).minutes(NOON + (MINUTES + 4) * 60)) == MINUTES


def test_what_waits_for_a_file_is_bounded_too(tmp_path: Path) -> None:
    (tmp_path / "history.db").mkdir()
    history = History(tmp_path)
    for number in range(DAYS + 3):
        history.applied("person", "c", 1, NOON + number * DAY)
        history.write()
    assert len(history.exchanges()) == DAYS
    (tmp_path / "history.db").rmdir()
    history.write()
    assert len(History(tmp_path).exchanges()) == DAYS


@pytest.mark.parametrize("content", [b"no database, but longer than its head " * 99, "old"])
def test_a_damaged_file_is_set_aside(
    tmp_path: Path, content: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    """So is one of another version. What was counted meanwhile is in the new one."""
    path = tmp_path / "history.db"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE minute (what TEXT)")
    history = History(tmp_path)
    history.applied("person", "c", 3, NOON)
    history.write()
    assert History(tmp_path).today("person", NOON) == Exchange(inserted=3)
    assert (tmp_path / "history.damaged").is_file()
    assert caplog.text.count("history_unusable") == 1


def test_a_folder_that_cannot_be_made_stops_nobody() -> None:
    history = History(Path("/proc/nobody-may"))
    history.applied("person", "c", 3, NOON)
    history.write()
    assert history.today("person", NOON) == Exchange(inserted=3)
    assert history.exchanges() == {(TODAY, "person"): Exchange(inserted=3)}


def test_a_file_that_another_program_holds_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agent.service.history._PATIENCE", 0.0)
    history = History(tmp_path)
    with closing(sqlite3.connect(tmp_path / "history.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        history.applied("person", "c", 3, NOON)
        history.note(NOON, 1.5, 7)
        history.write()
        history.write()
        assert history.exchanges() == {(TODAY, "person"): Exchange(inserted=3)}
    assert caplog.text.count("history_unusable") == 1
    history.applied("person", "c", 1, NOON)
    history.write()
    after = History(tmp_path)
    assert after.exchanges() == {(TODAY, "person"): Exchange(inserted=4)}
    assert after.minutes(NOON) == [Minute(int(NOON) // 60, 1.5, 3, 7)]


def test_what_the_processes_report_is_counted() -> None:
    """Rows fail when more are refused or withheld than before, not when a service begins."""
    metrics = Metrics("tax", ["person"])
    counters = {
        f"{names.EVENTS}/applied/person/u": 4,
        f"{names.EVENTS}/published/person/u": 3,
        f"{names.PUBLISHED_BYTES}/person": 900,
    }
    for refused in (5, 7, 6, 9):
        metrics.beat({f"{names.REFUSED}/person": refused}, {}, {})
    metrics.beat({}, counters, {})
    today = metrics.history.today("person", time.time())
    assert today == Exchange(updated=4, published=3, bytes=900, failed=5)


def test_a_beat_is_counted_whole() -> None:
    """Also what stands behind a counter without labels, or behind one that nobody knows."""
    metrics = Metrics("tax", ["person"])
    counters = {"agent_of_change": 1, names.POLL_LOOKS: 2, f"{names.EVENTS}/applied/person/r": 20}
    with pytest.raises(KeyError, match="agent_of_change"):
        metrics.beat({}, counters, {})
    assert metrics.history.today("person", time.time()) == Exchange(copied=20)
    assert metrics.registry.get_sample_value(names.POLL_LOOKS, {"agent": "tax"}) == 2


def test_the_recorder_notes_how_the_agent_is(tmp_path: Path) -> None:
    metrics = Metrics("tax", ["person"], history=History(tmp_path))
    recorder = Recorder(metrics)
    recorder.record(NOON)
    metrics.gauge(f"{names.LAST_COMMIT}/applied", NOON + 55)
    metrics.gauge(names.OUTBOX_EVENTS, 12)
    recorder.record(NOON + 60)
    minute = int(NOON) // 60
    expected = [Minute(minute, None, 0, 0), Minute(minute + 1, 5.0, 0, 12)]
    assert metrics.history.minutes(NOON + 60) == expected


def test_the_end_of_the_service_writes_what_was_counted(tmp_path: Path) -> None:
    metrics = Metrics("tax", ["person"], history=History(tmp_path))
    with Recorder(metrics):
        metrics.count(f"{names.EVENTS}/applied/person/c", 3)
    assert sum(each.applied for each in History(tmp_path).exchanges().values()) == 3

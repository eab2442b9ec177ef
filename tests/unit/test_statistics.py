"""Tests what the status page tells of the exchange: by days, by tables, and as CSV."""

import csv
import io
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.page import statistics_csv
from agent.page.markup import amount
from agent.service.history import DAYS as DAYS_KEPT
from agent.service.history import Exchange, Exchanges, day_of
from agent.service.metrics import Metrics
from tests.unit.pages import GONE, HOSTILE, answer, good_day, long_past, page, tables_of

DAY = 86_400
# Surrogates cannot be written as UTF-8
NAMES = st.text(st.characters(exclude_categories=["Cs"]))
DAYS = st.dates().map(lambda day: day.isoformat())
COUNTS = st.integers(0, 2**63 - 1)
EXCHANGES = st.builds(Exchange, *[COUNTS] * len(Exchange._fields))


def read(content: bytes) -> Exchanges:
    """Reads the file as one who was told the rule of the apostrophe."""
    assert content.startswith(b"\xef\xbb\xbf")
    header, *lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    assert tuple(header) == statistics_csv.HEADER
    found = {}
    for day, name, *counts in lines:
        found[day, name.removeprefix("'")] = Exchange(*map(int, counts))
    return found


@given(st.dictionaries(st.tuples(DAYS, NAMES), EXCHANGES, max_size=5))
def test_the_file_holds_what_was_exchanged(exchanges: Exchanges) -> None:
    assert read(statistics_csv.write(exchanges)) == exchanges


@given(NAMES)
def test_no_cell_is_a_formula(name: str) -> None:
    assert not statistics_csv.guarded(name).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_the_file_is_that_of_rfc_4180() -> None:
    exchanges = {
        ("2026-03-01", '人员,"甲"'): Exchange(inserted=1, bytes=20),
        ("2026-03-01", "=1+1"): Exchange(failed=3),
    }
    assert statistics_csv.write(exchanges).decode() == (
        "\ufeffday,table,inserted,updated,deleted,copied,published,bytes,failed\r\n"
        "2026-03-01,'=1+1,0,0,0,0,0,0,3\r\n"
        '2026-03-01,"人员,""甲""",1,0,0,0,0,20,0\r\n'
    )


def test_the_file_can_be_had() -> None:
    metrics = good_day(["person", "permit"])
    reply = answer(metrics, "/statistics.csv")
    assert reply is not None
    assert reply.kind == "text/csv; charset=utf-8; header=present"
    assert 'filename="sync-agent-tax-statistics.csv"' in reply.headers["Content-Disposition"]
    assert read(reply.body) == metrics.history.exchanges()


def test_days_are_shown_with_all_tables_together() -> None:
    now = time.time()
    metrics = Metrics("tax", ["person"])
    for before in range(9):
        metrics.history.add("person", now - before * DAY, inserted=1000, bytes=10)
        metrics.history.add(GONE, now - before * DAY, inserted=before, failed=2)
    seen = page(metrics)
    for before in range(9):
        day = day_of(now - before * DAY)
        assert (f'href="/en/statistics/{day}"' in seen) == (before < 7)
    assert '<td role="cell" data-label="new">1,006</td>' in seen
    assert 'href="/statistics.csv"' in seen


def test_a_day_is_shown_by_tables() -> None:
    """Also tables that are no longer shared; with links to the days beside it."""
    now = time.time()
    tables = tables_of(3)
    metrics = good_day(tables)
    day, before, after = (day_of(now - number * DAY) for number in (2, 3, 1))
    seen = page(metrics, f"/en/statistics/{day}")
    assert HOSTILE not in seen
    assert "&lt;script onload" in seen
    for text in (f"<h1>Exchanged on {day}</h1>", f"/en/statistics/{before}", "18 KiB"):
        assert text in seen
    assert f"/en/statistics/{after}" in seen
    assert "Nothing was exchanged." in page(metrics, "/en/statistics/1999-12-31")
    assert page(metrics, "/en/statistics/1999-1-1") == ""


def test_the_fullest_past_is_small(tmp_path: Path) -> None:
    """150 tables and 92 days."""
    now = time.time()
    metrics = good_day(tables_of(150))
    metrics.history = long_past(tmp_path, tables_of(150), now)
    assert (tmp_path / "history.db").stat().st_size < 2_000_000
    assert len(page(metrics)) < 130_000
    assert len(page(metrics, f"/en/statistics/{day_of(now)}")) < 90_000
    exchanges = metrics.history.exchanges()
    assert len(exchanges) == 150 * DAYS_KEPT
    assert len(statistics_csv.write(exchanges)) < 1_500_000


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1 KiB"),
        (2**30 * 3, "3 GiB"),
        (2**60, "1,048,576 TiB"),
    ],
)
def test_amounts(size: int, shown: str) -> None:
    assert amount(size) == shown

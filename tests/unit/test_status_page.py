"""Tests the status page as text: what it says, in which language, and that names are no HTML."""

import re
import time
from email.message import Message
from html.parser import HTMLParser

import pytest

from agent.cli import bundled
from agent.messages import speaking
from agent.page import runbook
from agent.page.overview import overview
from agent.page.site import Site
from agent.service import metrics as names
from agent.service import verdict
from agent.service.history import History
from agent.service.metrics import Metrics
from tests.unit.pages import HOSTILE, bad_day, good_day, page, tables_of

_VOID = {"meta", "link"}


class Text(HTMLParser):
    """The text of a page, its elements, and whether every one of them is closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.mark.parametrize("count", [3, 150])
@pytest.mark.parametrize("path", ["/en", "/zh"])
@pytest.mark.parametrize("day", [good_day, bad_day])
def test_names_are_no_html(day: object, path: str, count: int) -> None:
    assert callable(day)
    seen = Text(page(day(tables_of(count)), path))
    assert "script" not in seen.elements
    assert HOSTILE in seen.text
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    linked = [value or "" for name, value in seen.attributes if name in ("href", "src")]
    assert all(re.match(r"/(?!/)|#|data:,$", value) for value in linked)
    if count == 150:
        assert ("open", "open") not in seen.attributes


def test_a_good_day() -> None:
    seen = Text(page(good_day(tables_of(3)))).text
    assert "OK: 3 tables are live, everything is connected" in seen
    for text in ("1,239 new 5, changed 1,234", "nothing waits for Kafka", "3 s ago", "● flows"):
        assert text in seen
    assert "What is wrong" not in seen
    assert "Tables that are well (3)" in seen
    assert seen.count("○ nothing to do") == 2


def test_a_bad_day() -> None:
    """What is wrong is named with code, cause, time and next step; those tables come first."""
    content = page(bad_day(tables_of(150)))
    seen = Text(content).text
    for text in (
        "CRITICAL: the publisher has failed 57 times in a row: LOGIN_REFUSED",
        "→ Put the right password",
        "the service runs, but is not connected: kafka",
        f"{HOSTILE} is suspended (TOPIC_LOST)",
        "seen since",
        "12,345 events wait for Kafka, the oldest for 10 min",
        "✕ suspended",
        "■ stuck",
        "Tables that need a look (3)",
        "Tables that are well (147)",
    ):
        assert text in seen
    assert 'href="/en/runbook/LOGIN_REFUSED"' in content
    assert seen.index("need a look") < seen.index("that are well")


def test_a_log_given_up_shows_beside_what_capture_fails_with() -> None:
    metrics = bad_day(tables_of(3))
    metrics.gauge(f"{names.LOG_STATUS}/given_up", 1)
    for path, text in (
        ("/en", "is given up (SLOT_GIVEN_UP)"),
        ("/zh", "保留的日志（SLOT_GIVEN_UP）"),
    ):
        seen = Text(page(metrics, path)).text
        assert text in seen
        assert "LOGIN_REFUSED" in seen


def test_the_line_is_that_of_status() -> None:
    seen = overview("tax", bad_day(tables_of(3)), time.time())
    problems = [trouble.problem.code for trouble in seen.troubles]
    assert problems == ["STAGE_FAILING", "NOT_CONNECTED", "TABLE_SUSPENDED", "ROWS_WITHHELD"]
    assert seen.level == "critical"
    assert seen.line.startswith("CRITICAL: ")


@pytest.mark.parametrize(
    ("age", "word", "level"), [(3, "nothing to do", "ok"), (61, "stuck", "warning")]
)
def test_nothing_to_do_is_not_stuck(age: float, word: str, level: verdict.Level) -> None:
    """Heartbeats arrive where nobody writes; where they do not, nothing is known to flow."""
    metrics = good_day(["person", "permit"])
    metrics.history = History()
    metrics.gauge(f"{names.LAST_COMMIT}/applied", time.time() - age)
    seen = overview("tax", metrics, time.time())
    assert (seen.word, seen.level) == (word, level)
    assert [row.word for row in seen.rows] == [word, word]


def test_a_service_that_has_just_begun() -> None:
    seen = Text(page(Metrics("tax", ["person"]))).text
    for text in ("not taken up yet", "none yet", "never", "away since", "not connected: source"):
        assert text in seen


def test_who_stands_by_shows_for_whom() -> None:
    """The active one shows how many stand by, and that none does."""
    metrics = Metrics("tax", tables_of(3))
    metrics.standby("db1", 1_795_486_504.0)
    metrics.gauge(f"{names.CONNECTED}/frontend", 1)
    seen = Text(page(metrics)).text
    assert "OK: standby; active is db1 since 2026-11-24T02:15:04+00:00" in seen
    assert "The active host shows the tables." in seen
    assert "business database" not in seen
    assert "■ stuck" not in seen

    metrics = good_day(tables_of(3))
    metrics.gauge(names.STANDBYS, 1)
    assert "active; hosts that stand by: 1" in Text(page(metrics)).text
    metrics.gauge(names.STANDBYS, 0)
    assert "NO_STANDBY" in Text(page(metrics)).text


def test_tables_in_doubt_are_told() -> None:
    metrics = good_day(tables_of(3))
    metrics.gauge(names.DOUBTED, 2)
    assert "TABLES_DOUBTED 2 tables may differ" in Text(page(metrics)).text


def test_a_supervisor_that_stands_still_is_told() -> None:
    metrics = good_day(["person"])
    metrics.turned = time.monotonic() - 60
    assert "CRITICAL: the service runs, but is not ready" in page(metrics)


@pytest.mark.parametrize(
    ("path", "accepted", "lang"),
    [
        ("/", "", "en"),
        ("/", "zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
        ("/", "en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("/", "fr", "en"),
        ("/zh", "en", "zh-Hans"),
        ("/en?wall", "zh", "en"),
    ],
)
def test_language(path: str, accepted: str, lang: str) -> None:
    content = page(good_day(["person"]), path, accepted)
    assert f'<html lang="{lang}">' in content
    assert ("状态良好的表" in content) is (lang == "zh-Hans")
    assert ('http-equiv="refresh"' in content) is ("wall" in path)


def test_every_text_is_chinese_in_chinese() -> None:
    """What is left in Latin letters is names, codes and units."""
    metrics = bad_day(["permit", "person", "tax"])
    seen = Text(page(metrics, "/zh")).text
    words = set(re.findall(r"[A-Za-z]{3,}", seen))
    names_and_codes = {"tax", "permit", "person", "Kafka", "kafka", "sync", "English", "agent"}
    assert {word for word in words if word.islower()} <= names_and_codes | {"check", "republish"}


def test_nothing_comes_from_elsewhere() -> None:
    reply = Site("tax", good_day(["person"]), bundled.runbook).answer("/", Message())
    assert reply is not None
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert len(reply.body) < 20_000


def test_the_handbook_is_at_hand() -> None:
    metrics = good_day(["person"])
    assert "<h1>LOGIN_REFUSED</h1>" in page(metrics, "/en/runbook/LOGIN_REFUSED")
    chinese = page(metrics, "/zh/runbook/LOGIN_REFUSED")
    assert '<html lang="zh-Hans">' in chinese
    assert 'href="/en/runbook/LOGIN_REFUSED"' in chinese
    for path in ("/en/runbook/NO_SUCH_CODE", "/en/runbook/../x", "/fr", "/favicon.ico"):
        assert page(metrics, path) == ""


def test_a_runbook_text_is_written_as_html() -> None:
    text = "### CODE\n\nRun `a < b`, see [there](x.md).\n\n"
    text += "1. one\n   more\n2. **two**\n\n```sh\n# c\n```\n"
    assert runbook.shown(text) == (
        "<h1>CODE</h1><p>Run <code>a &lt; b</code>, see there.</p>"
        "<ol><li>one more</li><li><strong>two</strong></li></ol>"
        "<pre><code># c</code></pre>"
    )


def test_every_runbook_text_can_be_shown() -> None:
    codes = re.findall(r"^### ([A-Z_]+)$", bundled.text(bundled.RUNBOOK), re.MULTILINE)
    assert len(codes) > 50
    for lang in ("en", "zh_CN"):
        with speaking(lang):
            for code in codes:
                text = bundled.runbook(code)
                assert text is not None
                Text(runbook.shown(text))


def test_a_table_goes_on() -> None:
    """Its cause is forgotten, also when it is no longer shared."""
    metrics = bad_day(["permit", "person", "visit"])
    metrics.gauge(f"{names.TABLE_STATE}/permit/live", 1)
    assert metrics.suspensions == {}
    metrics.suspended("person", "TOPIC_LOST", {"stored by": "another version"})
    assert metrics.suspensions["person"].error.values == {"detail": "TOPIC_LOST"}
    metrics.set_tables(["permit"])
    assert metrics.suspensions == {}
    assert [name for name in metrics.values if "person" in name] == []

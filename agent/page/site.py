"""Answers browsers: which page, in which language, with which headers."""

import base64
import hashlib
import re
import time
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus
from pathlib import Path

from agent.messages import language, mark, speaking, translate
from agent.page import runbook, statistics, statistics_csv, status_page
from agent.page.markup import Markup, element, home, joined, sentence
from agent.page.overview import iso, overview
from agent.service.health import Reply
from agent.service.metrics import Metrics

_STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Nothing is loaded from anywhere, nothing is run, and no other page can frame this one
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_DIGEST}'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_LANGUAGES = {"zh": ("zh_CN", "zh-Hans", "中文"), "en": ("en", "en", "English")}
_PATH = re.compile(
    r"/(?P<language>zh|en)?"
    r"(?:/?runbook/(?P<code>[A-Za-z_]{1,60})|/?statistics/(?P<day>\d{4}-\d\d-\d\d))?/?"
)
_REFRESH = 30  # seconds between two loads of a page that hangs on a wall


class Site:
    """The pages of one agent; `find_runbook` returns the handbook's text of a code, or None."""

    def __init__(
        self, agent: str, metrics: Metrics, find_runbook: Callable[[str], str | None]
    ) -> None:
        self._agent, self._metrics = agent, metrics
        self._find_runbook = find_runbook

    def answer(self, path: str, headers: Message) -> Reply | None:
        """Answers a request; None where there is no such page."""
        path, _, query = path.partition("?")
        if path == statistics.CSV:
            return self._csv()
        wanted = _PATH.fullmatch(path)
        if wanted is None:
            return None

        chosen, code, day = wanted["language"], wanted["code"], wanted["day"]
        lang = _LANGUAGES[chosen][0] if chosen else _accepted(headers.get("Accept-Language", ""))
        with speaking(lang):
            if code:
                return self._runbook(code)
            if day:
                return self._day(day)
            return self._status(on_wall=query == "wall")

    def _status(self, *, on_wall: bool) -> Reply:
        seen = overview(self._agent, self._metrics, time.time())
        content = status_page.write(seen, lambda code: self._find_runbook(code) is not None)
        return self._page(seen.line, content, "", on_wall=on_wall)

    def _runbook(self, code: str) -> Reply | None:
        text = self._find_runbook(code)
        if text is None:
            return None
        content = element("article", runbook.shown(text))
        return self._page(code, content, f"/runbook/{code}", on_wall=False)

    def _day(self, day: str) -> Reply:
        history = self._metrics.history
        days = sorted(history.days())
        content = statistics.by_tables(day, history.exchanges(day, day), days)
        return self._page(day, content, f"/statistics/{day}", on_wall=False)

    def _csv(self) -> Reply:
        content = statistics_csv.write(self._metrics.history.exchanges())
        name = f"sync-agent-{self._agent}-statistics.csv"
        headers = {**_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
        return Reply(HTTPStatus.OK, "text/csv; charset=utf-8; header=present", content, headers)

    def _page(self, title: str, content: Markup, place: str, *, on_wall: bool) -> Reply:
        """Returns a whole page; `place` is its path below that of the language."""
        head = [
            Markup('<meta charset="utf-8">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup('<meta name="color-scheme" content="light dark">'),
            Markup('<link rel="icon" href="data:,">'),
            element("title", f"{self._agent} – {title}"),
            element("style", Markup(_STYLE)),
        ]
        if on_wall:
            head.append(Markup(f'<meta http-equiv="refresh" content="{_REFRESH}">'))
        skip = element("a", translate(mark("To the content")), href="#content", class_="skip")
        body = (
            skip,
            self._header(place),
            element("main", content, id="content", tabindex="-1"),
            _footer(place, on_wall=on_wall),
        )
        spoken = "zh-Hans" if language() == "zh_CN" else "en"
        page = element("html", element("head", *head), element("body", *body), lang=spoken)
        text = f"<!DOCTYPE html>\n{page}\n"
        return Reply(HTTPStatus.OK, "text/html; charset=utf-8", text.encode(), _HEADERS)

    def _header(self, place: str) -> Markup:
        name = translate(mark("Agent {agent}"), agent=self._agent)
        title: Markup = element("a", name, href=home())
        if not place:
            title = element("h1", name)

        links = []
        for path, (lang, tag, word) in _LANGUAGES.items():
            here = {"aria_current": "true"} if lang == language() else {}
            address = f"/{path}{place}"
            links.append(element("a", word, href=address, lang=tag, hreflang=tag, **here))
        label = translate(mark("Language"))
        return element("header", title, element("nav", *links, aria_label=label))


def _footer(place: str, *, on_wall: bool) -> Markup:
    now = time.time()
    local = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now))
    stamp = element("time", local, datetime=iso(now))
    said = sentence(mark("As of {time}, by the clock of this host."), stamp)
    parts = [element("p", said)]
    if not place:
        text = mark("Days begin at midnight by the clock of this host ({zone}).")
        parts.append(element("p", translate(text, zone=time.strftime("%Z, UTC%z"))))
        link = element(
            "a",
            translate(mark("For a wall: load again every 30 s")),
            href=f"{home()}?wall",
        )
        if on_wall:
            link = element("a", translate(mark("Do not load again")), href=home())
        parts.append(element("p", link, class_="screen"))
    return element("footer", joined(parts))


def _accepted(header: str) -> str:
    """Returns the language that a browser asks for first; that of the service where it asks none.

    Weights are given in falling order by every browser.
    """
    for part in header.lower().split(","):
        tag = part.split(";")[0].strip()
        if tag.startswith("zh"):
            return "zh_CN"
        if tag.startswith("en"):
            return "en"
    return language()

"""Writes what was exchanged: by days, and of one day by tables."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

from agent.messages import mark, translate
from agent.page import table
from agent.page.markup import Markup, amount, element, home, joined, number
from agent.service.history import DAYS, Exchange, Exchanges

CSV = "/statistics.csv"
_SHOWN_DAYS = 7
_COLUMNS = (
    mark("new"),
    mark("changed"),
    mark("deleted"),
    mark("copied"),
    mark("published"),
    mark("amount"),
    mark("rows failed"),
)


def by_days(days: Mapping[str, Exchange], today: str) -> Markup:
    """Returns the section of the last days, all tables together; each day leads to its own page."""
    first = date.fromisoformat(today) - timedelta(days=_SHOWN_DAYS - 1)
    rows = []
    for day in sorted(days, reverse=True):
        if first.isoformat() <= day <= today:
            link = element("a", day, href=f"{home()}/statistics/{day}")
            rows.append(_row(link, days[day]))
    title = translate(mark("Exchanged in the last {days} days"), days=_SHOWN_DAYS)
    parts = [element("h2", title, id="exchanged"), *_shown(mark("day"), rows, title)]
    return element("section", *parts, aria_labelledby="exchanged")


def by_tables(day: str, exchanges: Exchanges, days: Sequence[str]) -> Markup:
    """Returns what was exchanged on one day, by tables; `days` are those that there are."""
    rows = []
    for (_, name), exchange in sorted(exchanges.items()):
        rows.append(_row(name, exchange))
    title = translate(mark("Exchanged on {day}"), day=day)
    return joined(
        (
            element("h1", title),
            _neighbours(day, days),
            *_shown(mark("table"), rows, title),
        )
    )


def _row(heading: str, exchange: Exchange) -> list[str]:
    counts = exchange._asdict()
    size = amount(counts.pop("bytes"))
    row = [heading, *[number(count) for count in counts.values()]]
    row.insert(-1, size)
    return row


def _shown(heading: str, rows: Sequence[Sequence[str]], caption: str) -> Iterable[Markup]:
    if rows:
        headings = [translate(text) for text in (heading, *_COLUMNS)]
        yield table.write(headings, rows, caption, "numbers")
    else:
        yield element("p", translate(mark("Nothing was exchanged.")))
    text = translate(
        mark(
            "Published is what Kafka has made visible, with the amount of its keys and values. "
            "Failed are rows that a front-end table began to refuse, or that were too large for "
            "Kafka."
        )
    )
    yield element("p", text, class_="note")
    text = translate(mark("All tables and days, {days} at most, as CSV"), days=DAYS)
    yield element("p", element("a", text, href=CSV), class_="screen")


def _neighbours(day: str, days: Sequence[str]) -> Markup:
    """Returns links to the days before and after."""
    before = [other for other in days if other < day]
    after = [other for other in days if other > day]
    links = []
    if before:
        links.append(_link(f"← {max(before)}", max(before)))
    if after:
        links.append(_link(f"{min(after)} →", min(after)))
    links.append(element("a", translate(mark("Status page")), href=home()))
    return element("nav", *links, aria_label=translate(mark("Days")))


def _link(text: str, day: str) -> Markup:
    return element("a", text, href=f"{home()}/statistics/{day}")

"""Writes the status page."""

from collections.abc import Callable, Iterator, Sequence

from agent.messages import mark, translate
from agent.page import charts, statistics, table
from agent.page import overview as states
from agent.page.markup import (
    Markup,
    duration,
    element,
    home,
    joined,
    moment,
    number,
    sentence,
    with_code,
)
from agent.page.overview import Overview, Row, Trouble
from agent.service.history import day_of

_OPEN = 12  # so many tables that are well are shown unfolded
# A sign besides the colour: a shape that is told apart in grey, too
_SIGNS = {
    states.FLOWS: "●",
    states.IDLE: "○",
    states.COPYING: "◐",
    states.STUCK: "■",
    states.SUSPENDED: "✕",
    states.STARTING: "…",
}
_LEVELS = {"ok": "✓", "warning": "!", "critical": "✕", "unknown": "?"}
_KINDS = {
    states.FLOWS: "well",
    states.IDLE: "well",
    states.COPYING: "warn",
    states.STARTING: "warn",
}
_PEERS = {
    "source": mark("business database"),
    "frontend": mark("front end"),
    "kafka": mark("Kafka"),
}
_KINDS_OF_EVENTS = {
    "inserted": mark("new"),
    "updated": mark("changed"),
    "deleted": mark("deleted"),
    "copied": mark("copied"),
}
_HEADINGS = (
    mark("table"),
    mark("state"),
    mark("lag"),
    mark("events today"),
    mark("last event"),
    mark("last comparison"),
    mark("differences"),
    mark("rows withheld"),
    mark("rows refused"),
)


def write(seen: Overview, has_runbook: Callable[[str], bool]) -> Markup:
    """Returns the content of the page; `has_runbook` tells for which codes there is a text."""
    return joined(
        (
            _verdict(seen),
            _troubles(seen, has_runbook),
            _whole(seen),
            charts.write(seen.minutes, seen.time),
            _tables(seen),
            statistics.by_days(seen.days, day_of(seen.time)),
        )
    )


def _verdict(seen: Overview) -> Markup:
    sign = element("span", _LEVELS[seen.level], class_="sign", aria_hidden="true")
    return element("p", sign, " ", seen.line, class_=f"verdict {seen.level}", role="status")


def _troubles(seen: Overview, has_runbook: Callable[[str], bool]) -> Markup:
    if not seen.troubles:
        return Markup()
    items = [_trouble(trouble, seen.time, has_runbook) for trouble in seen.troubles]
    title = element("h2", translate(mark("What is wrong, and what to do")), id="wrong")
    return element(
        "section", title, element("ul", *items, class_="troubles"), aria_labelledby="wrong"
    )


def _trouble(trouble: Trouble, now: float, has_runbook: Callable[[str], bool]) -> Markup:
    problem = trouble.problem
    sign = element("span", _LEVELS[problem.level], class_="sign", aria_hidden="true")
    parts = [element("p", sign, " ", element("strong", trouble.code), " ", problem.text)]

    if trouble.since is not None:
        text = mark("seen since {time}, for {duration}")
        since = moment(trouble.since, now)
        said = sentence(text, since, duration=duration(max(0.0, now - trouble.since)))
        parts.append(element("p", said, class_="since"))
    if trouble.hint:
        parts.append(element("p", "→ ", with_code(trouble.hint), class_="hint"))
    if has_runbook(trouble.code):
        text = translate(mark("What the handbook says of {code}"), code=trouble.code)
        link = f"{home()}/runbook/{trouble.code}"
        parts.append(element("p", element("a", text, href=link)))
    return element("li", *parts, class_=problem.level)


def _whole(seen: Overview) -> Markup:
    """Returns what concerns the whole agent, as terms and values."""
    title = element("h2", translate(mark("The whole agent")), id="whole")
    facts = [_fact(name, value) for name, value in _facts(seen)]
    return element("section", title, element("dl", *facts), aria_labelledby="whole")


def _fact(name: str, value: str) -> Markup:
    return element("div", element("dt", name), element("dd", value))


def _facts(seen: Overview) -> Iterator[tuple[str, str]]:
    now = seen.time
    if seen.pair:
        yield translate(mark("this host")), seen.pair
    yield translate(mark("data")), _state(seen.word)

    age = None if seen.heartbeat is None else max(0.0, now - seen.heartbeat)
    heartbeat = translate(mark("none yet"))
    if age is not None:
        heartbeat = translate(mark("{duration} ago"), duration=duration(age))
    yield translate(mark("newest event or heartbeat")), heartbeat

    backlog = translate(mark("nothing waits for Kafka"))
    if seen.waiting:
        oldest = None if seen.oldest is None else max(0.0, now - seen.oldest)
        backlog = translate(
            mark("{count} events wait for Kafka, the oldest for {duration}"),
            count=number(seen.waiting),
            duration=duration(oldest),
        )
    yield translate(mark("backlog")), backlog

    events = sum(row.today.applied for row in seen.rows)
    yield translate(mark("events today")), number(events)
    for name, peer in seen.peers.items():
        text = mark("connected since {time}") if peer.connected else mark("away since {time}")
        sign = "● " if peer.connected else "✕ "
        kind = "well" if peer.connected else "bad"
        said = joined((sign, sentence(text, moment(peer.since, now))))
        yield translate(_PEERS[name]), element("span", said, class_=kind)


def _tables(seen: Overview) -> Markup:
    """Returns the tables that are not well, and the others, folded if they are many."""
    title = element("h2", translate(mark("Tables")), id="tables")
    parts = [title]
    ill = [row for row in seen.rows if not row.well]
    well = [row for row in seen.rows if row.well]
    if not seen.rows:
        parts.append(element("p", translate(mark("The active host shows the tables."))))
    if ill:
        text = translate(mark("Tables that need a look ({count})"), count=len(ill))
        parts.append(_table(ill, text, seen.time))
    if well:
        text = translate(mark("Tables that are well ({count})"), count=len(well))
        listed = _table(well, text, seen.time)
        summary = element("summary", text)
        if len(well) > _OPEN:
            parts.append(element("details", summary, listed))
        else:
            parts.append(element("details", summary, listed, open="open"))
    return element("section", *parts, aria_labelledby="tables")


def _table(rows: Sequence[Row], caption: str, now: float) -> Markup:
    headings = [translate(heading) for heading in _HEADINGS]
    return table.write(headings, [_row(row, now) for row in rows], caption)


def _row(row: Row, now: float) -> tuple[str, ...]:
    events = number(row.today.applied)
    by_kind = []
    for kind, word in _KINDS_OF_EVENTS.items():
        count = getattr(row.today, kind)
        if count:
            by_kind.append(f"{translate(word)} {number(count)}")
    if by_kind:
        small = element("small", ", ".join(by_kind))
        events = joined((events, " ", small))

    compared = moment(row.verified, now)
    if row.verified is None:
        compared = Markup(element("span", translate(mark("never"))))
    differences = "–" if row.verified is None else number(row.differences)
    return (
        row.name,
        _state(row.word),
        duration(row.lag),
        events,
        moment(row.last_event, now),
        compared,
        differences,
        number(row.withheld),
        number(row.refused),
    )


def _state(word: str) -> Markup:
    kind = _KINDS.get(word, "bad")
    sign = element("span", _SIGNS[word], aria_hidden="true")
    return element("span", sign, " ", translate(word), class_=kind)

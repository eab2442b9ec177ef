"""Draws the last 24 hours as SVG: lag, events and backlog."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from agent.messages import mark, translate
from agent.page.markup import Markup, duration, element, joined, number
from agent.service.history import MINUTES, Minute

_STEP = 6  # minutes that share a point, which is the highest of them
_POINTS = MINUTES // _STEP
_HEIGHT = 100  # of the drawing, in its own units
_LABELS = 5  # times of day below a chart
# The upper edge: the first of these that is not below any value, so that little stays little
_SECONDS = (60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400)
_COUNTS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)


class Chart(NamedTuple):
    """What one chart shows."""

    id: str
    title: str
    value: Callable[[Minute], float | None]  # None: not known
    shown: Callable[[float], str]
    edges: Sequence[int]


_CHARTS = (
    Chart("lag", mark("lag"), lambda minute: minute.lag, duration, _SECONDS),
    Chart(
        "events",
        mark("events per minute"),
        lambda minute: minute.events,
        lambda value: number(round(value)),
        _COUNTS,
    ),
    Chart(
        "backlog",
        mark("events that wait for Kafka"),
        lambda minute: minute.backlog,
        lambda value: number(round(value)),
        _COUNTS,
    ),
)


def write(minutes: Sequence[Minute], now: float) -> Markup:
    """Returns the charts of the minutes before `now`; a minute that is not there is a gap."""
    title = element("h2", translate(mark("The last 24 hours")), id="past")
    figures = [_figure(chart, minutes, now) for chart in _CHARTS]
    parts = [title, element("div", *figures, class_="charts")]
    missing = _missing(minutes)
    if missing:
        text = translate(
            mark("A gap is a time in which the service did not run: {minutes} minutes"),
            minutes=number(missing),
        )
        parts.append(element("p", text, class_="note"))
    return element("section", *parts, aria_labelledby="past")


def _missing(minutes: Sequence[Minute]) -> int:
    """Returns how many minutes are not there between the first and the last one."""
    if not minutes:
        return 0
    return minutes[-1].minute + 1 - minutes[0].minute - len(minutes)


def _figure(chart: Chart, minutes: Sequence[Minute], now: float) -> Markup:
    values: dict[int, float] = {}
    for minute in minutes:
        value = chart.value(minute)
        if value is not None:
            values[minute.minute] = value

    said = translate(mark("no value yet"))
    if values:
        said = translate(
            mark("now {now}, lowest {lowest}, highest {highest}"),
            now=chart.shown(values[max(values)]),
            lowest=chart.shown(min(values.values())),
            highest=chart.shown(max(values.values())),
        )
    name = translate(chart.title)
    caption = element("figcaption", element("strong", name), " ", said)
    edge = _edge(max(values.values(), default=0), chart.edges)
    scale = element("span", chart.shown(edge), class_="edge", aria_hidden="true")
    drawing = _drawing(chart.id, name, said, _points(values, edge, now))
    return element("figure", caption, scale, drawing, _times(now))


def _edge(highest: float, edges: Sequence[int]) -> float:
    """Returns the value at the upper edge of a chart."""
    for edge in edges:
        if highest <= edge:
            return edge
    edge = edges[-1]
    while edge < highest:
        edge *= 2
    return edge


def _points(values: dict[int, float], edge: float, now: float) -> list[int | None]:
    """Returns the heights from left to right; None where nothing is known."""
    first = int(now // 60) - MINUTES + 1
    highest: dict[int, float] = {}
    for minute, value in values.items():
        point = (minute - first) // _STEP
        highest[point] = max(value, highest.get(point, value))

    points: list[int | None] = []
    for point in range(_POINTS):
        height = None
        if point in highest:
            height = round(_HEIGHT * (1 - highest[point] / edge))
        points.append(height)
    return points


def _drawing(name: str, title: str, said: str, points: Sequence[int | None]) -> Markup:
    line, area = [], []
    for start, heights in _runs(points):
        steps = _steps(heights)
        line.append(f"M{start} {heights[0]}{steps}")
        area.append(f"M{start} {_HEIGHT}V{heights[0]}{steps}V{_HEIGHT}z")
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", said, id=f"{name}-text"),
        element("path", d="".join(area), class_="area"),
        element("path", d="".join(line), class_="line", vector_effect="non-scaling-stroke"),
        viewBox=f"0 0 {_POINTS} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_labelledby=f"{name}-title {name}-text",
    )


def _runs(points: Sequence[int | None]) -> Iterable[tuple[int, list[int]]]:
    """Yields what is drawn without a gap: where it begins, and its heights."""
    heights: list[int] = []
    for place, point in enumerate([*points, None]):
        if point is not None:
            heights.append(point)
        elif heights:
            yield place - len(heights), heights
            heights = []


def _steps(heights: Sequence[int]) -> str:
    """Returns a path from the left end of the first point to the right end of the last one."""
    parts, width, level = [], 0, heights[0]
    for height in heights:
        if height != level:
            parts.append(f"h{width}V{height}")
            width, level = 0, height
        width += 1
    return f"{''.join(parts)}h{width}"


def _times(now: float) -> Markup:
    """Returns the times of day below a chart, for the eye alone."""
    labels = []
    for place in range(_LABELS):
        before = (_LABELS - 1 - place) * MINUTES * 60 / (_LABELS - 1)
        labels.append(element("span", time.strftime("%H:%M", time.localtime(now - before))))
    return element("div", joined(labels), class_="times", aria_hidden="true")

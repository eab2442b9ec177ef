"""How a comparison of source and front end (对账) is told: progress while it runs, a table or plain data when it is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from agent.config import Settings
from agent.messages import mark, translate
from agent.requests import Answer

_HEADINGS = (
    mark("table"),
    mark("rows"),
    mark("equal"),
    mark("missing"),
    mark("different"),
    mark("extra"),
)
_KINDS = {"missing": mark("missing"), "different": mark("different"), "extra": mark("extra")}
STATES = {"live": mark("live"), "copying": mark("copying"), "suspended": mark("suspended")}
_COUNTS = ("rows", "equal", "missing", "different", "extra")


def report(answer: Answer, show_keys: bool) -> dict[str, Any]:
    """The result for one table, as plain data; keys are row values and shown on demand only. `state` is compared, or why it was not."""
    if answer.state == "failed":
        return {
            "resource": answer.resource,
            "state": answer.report["state"],
            **dict.fromkeys(_COUNTS),
            "source_rows": None,
            "front_rows": None,
            "differences": [],
        }
    found = answer.report
    named = [
        {"kind": d["kind"], "key": d["key"] if show_keys else d["hash"]}
        for d in found["differences"]
    ]
    source, front = found.get("counted") or (None, None)
    return {
        "resource": answer.resource,
        "state": "compared",
        **{name: found[name] for name in _COUNTS},
        "source_rows": source,
        "front_rows": front,
        "differences": named,
    }


def equal(found: dict[str, Any]) -> bool:
    """Whether a table was compared, no row differs, and both sides were counted and have as many rows as each other."""
    counted = found["source_rows"] is not None and found["source_rows"] == found["front_rows"]
    differs = found["missing"] or found["different"] or found["extra"]
    return found["state"] == "compared" and counted and not differs


def render(reports: list[dict[str, Any]]) -> Group:
    """The results as a table, and the first differences below it."""
    table = Table(*(translate(heading) for heading in _HEADINGS))
    for found in reports:
        counts = ["–" if found[name] is None else f"{found[name]:,}" for name in _COUNTS]
        table.add_row(found["resource"], *counts, style="green" if equal(found) else "bold red")
    lines = [
        Text(f"{found['resource']}: {translate(_KINDS[d['kind']])} {d['key']}")
        for found in reports
        for d in found["differences"]
    ]
    lines[:0] = [Text(_miscounted(found)) for found in reports if _counts_differ(found)]
    return Group(
        table, *(Text(_skipped(found)) for found in reports if found["state"] != "compared"), *lines
    )


def _counts_differ(found: dict[str, Any]) -> bool:
    return bool(found["source_rows"] != found["front_rows"])


def _miscounted(found: dict[str, Any]) -> str:
    text = mark(
        "{resource}: the business database has {source} rows to share, the front-end table {front}"
    )
    return translate(
        text,
        resource=found["resource"],
        source=f"{found['source_rows']:,}",
        front=f"{found['front_rows']:,}",
    )


def _skipped(found: dict[str, Any]) -> str:
    text = mark("{resource} was not compared: it is {state}; see `sync-agent status`")
    return translate(text, resource=found["resource"], state=translate(STATES[found["state"]]))


@contextmanager
def shown(settings: Settings, hidden: bool) -> Iterator[Callable[[Answer], None]]:
    """Progress on the terminal's stderr, one bar per table; nothing where nobody looks."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, disable=hidden or not console.is_terminal, transient=True
    ) as progress:
        bars = {
            resource.name: progress.add_task(resource.name, total=None, visible=False)
            for resource in settings.resource
        }

        def show(answer: Answer) -> None:
            rows = answer.report.get("rows", 0)
            progress.update(
                bars[answer.resource],
                completed=rows,
                total=max(answer.report.get("estimate", 0), rows) or None,
                visible=True,
            )

        yield show

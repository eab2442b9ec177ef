"""Shows a comparison of source and front end (对账).

That is progress while it runs, and a table or plain data when it is done.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from agent.cli.requests import Answer
from agent.messages import mark, translate
from agent.outbox.reader import Refusal

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
_REPAIRS = {"missing": "added", "different": "changed", "extra": "deleted"}
_COUNTS = ("rows", "equal", "missing", "different", "extra")


def report(answer: Answer, show_keys: bool, repair: bool) -> dict[str, Any]:
    """The result for one table, as plain data; keys are row values and shown on demand only.

    `state` is compared, or why it was not. `left`: rows that still differ after a repair (None:
    there was none, or nothing to repair). `refused`: how many of the rows that differ the front-end
    table is known to refuse. With `repair`, `repaired`
    counts what was done to the front-end table.
    """
    if answer.state == "failed":
        return {
            "resource": answer.resource,
            "state": answer.report["state"],
            **dict.fromkeys(_COUNTS),
            "source_rows": None,
            "front_rows": None,
            "refused": None,
            "left": None,
            "differences": [],
            "repaired": None,
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
        "refused": found.get("refused", 0),
        "left": found.get("left"),
        "differences": named,
        "repaired": {done: found[name] for name, done in _REPAIRS.items()} if repair else None,
    }


def equal(found: dict[str, Any]) -> bool:
    """Whether a table was compared, no row differs, and both sides have as many rows."""
    counted = found["source_rows"] is not None and found["source_rows"] == found["front_rows"]
    differs = found["missing"] or found["different"] or found["extra"]
    return found["state"] == "compared" and counted and not differs


def repaired(found: dict[str, Any]) -> bool:
    """Whether no row differs after a repair."""
    return found["state"] == "compared" and not found["left"]


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
    lines += [Text(_repaired(found)) for found in reports if found["repaired"] is not None]
    return Group(
        table,
        *(Text(_skipped(found)) for found in reports if found["state"] != "compared"),
        *(Text(line, style="bold red") for found in reports for line in _remaining(found)),
        *lines,
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


def _remaining(found: dict[str, Any]) -> Iterator[str]:
    """What a repair could not take away."""
    name = found["resource"]
    if found["left"]:
        text = mark("{resource}: {count} rows still differ after the repair")
        yield translate(text, resource=name, count=f"{found['left']:,}")
    if found["refused"]:
        text = mark(
            "{resource}: the front-end table refuses {count} of these rows; "
            "`sync-agent refused {resource}` says why"
        )
        yield translate(text, resource=name, count=f"{found['refused']:,}")


def _repaired(found: dict[str, Any]) -> str:
    """What `reconcile` has done to a table."""
    done = found["repaired"]
    if not any(done.values()):
        return translate(mark("{resource}: nothing was to repair"), resource=found["resource"])
    text = mark(
        "{resource}: repaired: {added} rows added, {changed} changed, "
        "{deleted} deleted in the front-end table; each is an event"
    )
    counts = {name: f"{count:,}" for name, count in done.items()}
    return translate(text, None, resource=found["resource"], **counts)


def _skipped(found: dict[str, Any]) -> str:
    text = mark("{resource} was not compared: it is {state}; see `sync-agent status`")
    return translate(text, resource=found["resource"], state=translate(STATES[found["state"]]))


def refusals(rows: Sequence[Refusal], show_keys: bool) -> list[dict[str, str]]:
    """Rows that a front-end table refuses, as plain data."""
    return [
        {
            "key": row.key if show_keys else hashlib.sha256(row.key.encode()).hexdigest()[:16],
            "code": row.code,
            "since": datetime.fromtimestamp(row.since_us / 1e6, UTC).isoformat(
                timespec="milliseconds"
            ),
        }
        for row in rows
    ]


def render_refusals(rows: list[dict[str, str]]) -> Table:
    """The same as a table."""
    table = Table(*(translate(heading) for heading in (mark("key"), mark("since"), mark("reason"))))
    for row in rows:
        since = datetime.fromisoformat(row["since"]).astimezone()
        table.add_row(row["key"], since.strftime("%Y-%m-%d %H:%M:%S"), row["code"])
    return table


@contextmanager
def shown(resources: Sequence[str], hidden: bool) -> Iterator[Callable[[Answer], None]]:
    """Progress on the terminal's stderr, one bar for each resource; nothing where nobody looks."""
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
        bars = {name: progress.add_task(name, total=None, visible=False) for name in resources}

        def show(answer: Answer) -> None:
            rows = answer.report.get("rows", 0)
            progress.update(
                bars[answer.resource],
                completed=rows,
                total=max(answer.report.get("estimate", 0), rows) or None,
                visible=True,
            )

        yield show

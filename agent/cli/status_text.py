"""Shows on the terminal what `status` has collected, in the user's language."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from agent.cli.comparison import STATES
from agent.cli.status import PATIENCE
from agent.front.sqlite.file import LOG_LARGE
from agent.messages import mark, translate
from agent.service.summary import stands_by
from agent.service.verdict import failing, peers_away

_STYLES = {"live": "green", "copying": "yellow"}
_HEADINGS = (
    mark("table"),
    mark("state"),
    mark("lag"),
    mark("last event"),
    mark("events"),
    mark("topic"),
)


def render(status: Mapping[str, Any]) -> Group:
    """Returns the tables, and below them the lines that concern the whole agent."""
    headings = [translate(heading) for heading in _HEADINGS]
    table = Table(*headings)
    for row in status["tables"]:
        state = row["state"]
        word = translate(STATES.get(state, mark("unknown")))
        style = _STYLES.get(state, "bold red")
        table.add_row(
            row["name"],
            Text(word, style=style),
            _seconds(row["lag_seconds"]),
            _local(row["last_event"]),
            f"{row['events']:,}",
            row["topic"],
        )
    lines: list[str] = []
    lines += _copies(status)
    lines += _withheld(status)
    lines += _refused(status)
    lines += _lines(status)
    texts = [Text(line) for line in lines]
    return Group(
        table,
        *texts,
        *trouble(status),
        *_suspended(status),
    )


def trouble(status: Mapping[str, Any]) -> list[Text]:
    """Returns what stages of the service fail with, or what has ended it."""
    found = []
    for stage, error in failing(status):
        heading = translate(
            mark("{stage} has failed {attempts} times in a row, since {time}"),
            stage=stage,
            attempts=f"{error['attempts']:,}",
            time=_local(error["since"]),
        )
        found.append(_red(heading, error))

    ended = status["ended"]
    if ended is not None:
        time = _local(ended["time"])
        heading = translate(mark("the service ended at {time}"), time=time)
        found.append(_red(heading, ended))
    return found


def _red(heading: str, error: Mapping[str, Any]) -> Text:
    return Text(f"{heading}\n{_with_hint(error)}", style="red")


def _with_hint(error: Mapping[str, Any]) -> str:
    """Returns code and reason of an error, and below them the next step."""
    return f"{error['code']}: {error['reason']}\n  → {error['hint']}"


def _copies(status: Mapping[str, Any]) -> Iterator[str]:
    """Yields how far each copying table is, and for whom the first page waits."""
    for row in status["tables"]:
        copy = row["copy"]
        if copy is None:
            continue
        yield translate(
            mark("{name}: {rows} of about {estimate} rows compared, {left} left"),
            name=row["name"],
            rows=f"{copy['rows']:,}",
            estimate=f"{copy['estimate']:,}",
            left=_seconds(copy["seconds_left"]),
        )

    for wait in status["source"]["waits"]:
        text = mark(
            "a copy waits for transaction of process {who} ({application}), "
            "open since {since}, {state}"
        )
        yield translate(text, **wait)


def _withheld(status: Mapping[str, Any]) -> Iterator[str]:
    """Yields of each table how many rows are too large for Kafka."""
    text = mark(
        "{name}: withheld: {count} rows too large for Kafka; "
        "raise the limits, then `sync-agent retry {name}`"
    )
    for row in status["tables"]:
        withheld = row["withheld"]
        if withheld:
            yield translate(text, name=row["name"], count=f"{withheld:,}")


def _refused(status: Mapping[str, Any]) -> Iterator[str]:
    """Yields of each table how many rows the front end refuses."""
    text = mark(
        "{name}: {count} rows refused by the front-end table; `sync-agent refused {name}` says why"
    )
    for row in status["tables"]:
        refused = row["refused"]
        if refused:
            yield translate(text, name=row["name"], count=f"{refused:,}")


def _lines(status: Mapping[str, Any]) -> Iterator[str]:
    service = _service(status["service"])
    yield translate(mark("service: {state}"), state=service)
    yield from _hosts(status["hosts"])
    yield translate(
        mark("front end: {lag} behind, at {position} ({time})"),
        lag=_seconds(status["lag_seconds"]),
        position=status["position"],
        time=_local(status["last_commit"]),
    )
    published = status["published"]
    yield translate(
        mark("published: {number} of {total} events"),
        number=f"{published['number']:,}",
        total=f"{published['of']:,}",
    )
    outbox = status["outbox"]
    yield translate(
        mark("outbox: {events} events, {bytes} bytes waiting"),
        events=f"{outbox['events']:,}",
        bytes=f"{outbox['bytes']:,}",
    )
    source = _source(status["source"])
    yield translate(mark("business database: {state}"), state=source)
    yield from _log(status["front"]["wal_bytes"])


def _log(wal: int | None) -> Iterator[str]:
    """Yields a line on a -wal of SQLite that cannot be emptied, as long as it is so."""
    if wal and wal > LOG_LARGE:
        text = mark(
            "front end: its -wal has grown to {size} MB; "
            "a program that reads for long keeps it (`sync-agent check`)"
        )
        yield translate(text, size=wal >> 20)


def _hosts(hosts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields what each host of a pair is, as the front end has it."""
    texts = {
        "active": mark("host {host}: active since {since}"),
        "standby": mark("host {host}: stands by since {since}"),
    }
    for host in hosts:
        text = texts[host["role"]]
        yield translate(text, host=host["host"], since=_local(host["since"]))


def _service(service: Mapping[str, Any]) -> str:
    if not service["running"]:
        return translate(mark("not running"))
    standby = service.get("standby")
    if standby is not None and service["ready"]:
        return stands_by(standby["active"], _local(standby["since"]))
    if service["ready"]:
        return translate(mark("running, everything connected"))
    away = peers_away(service)
    if not away:
        return translate(mark("running, but it does not get on"))
    return translate(mark("running, not connected: {peers}"), peers=away)


def _source(source: Mapping[str, Any]) -> str:
    if source["code"]:
        return _with_hint(source)
    if not source["reachable"]:
        return translate(mark("no answer within {seconds} s"), seconds=f"{PATIENCE:g}")
    return str(source["text"])


def _suspended(status: Mapping[str, Any]) -> list[Text]:
    """Returns why tables are suspended."""
    found = []
    for row in status["tables"]:
        if row["state"] == "suspended":
            found.append(Text(_with_hint(row), style="red"))
    return found


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f} s"


def _local(moment: str | None) -> str:
    if not moment:
        return "–"
    local = datetime.fromisoformat(moment).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S")

"""What `sync-agent status` shows: tables, positions and backlog from the front end, the slot from the source, the service from its endpoint."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from agent.cli.comparison import STATES
from agent.cli.verdict import failing
from agent.config import Settings
from agent.connectors.postgres import catalogue
from agent.connectors.postgres.session import connect, guarded
from agent.connectors.postgres.slot import WaitedFor, waited_for
from agent.errors import AgentError, Suspend, stored
from agent.front.base import PAGES, Copy
from agent.front.sqlite.file import LOG_LARGE, beside, size
from agent.messages import mark, translate
from agent.outbox.opening import open_reader
from agent.outbox.reader import Reader
from agent.service.health import asked
from agent.service.last_end import LastEnd

PATIENCE = 2.0  # seconds for each peer
T = TypeVar("T")
_STYLES = {"live": "green", "copying": "yellow"}
_HEADINGS = (
    mark("table"),
    mark("state"),
    mark("lag"),
    mark("last event"),
    mark("events"),
    mark("topic"),
)


def collect(settings: Settings) -> dict[str, Any]:
    """Everything `status` knows, as plain data: times as ISO 8601 in UTC, lags in seconds, None where there is nothing.

    Raises the errors of a front end that cannot be read (`without_front` tells the rest then) and NotInitialised; a source or
    service that does not answer is part of the answer.
    """
    reader = open_reader(settings)
    try:
        now = time.time()
        identity, published, rows, copies, withheld, refused = (
            reader.identity(),
            reader.published(),
            reader.resources(),
            reader.copies(),
            reader.withheld(),
            reader.refused(),
        )
        backlog = reader.backlog(published.number)
        waiting = {
            "events": backlog.events,
            "bytes": _bytes_waiting(reader, published.batch),
            "oldest": _moment(backlog.oldest_time_us),
        }
    finally:
        reader.engine.dispose()
    lag = _lag(now, identity.position_time_us)
    return {
        "agent": settings.agent,
        **without_front(settings),
        "position": identity.position,
        "last_commit": _moment(identity.position_time_us),
        "lag_seconds": lag,
        "outbox": waiting,
        "published": {
            "number": published.number,
            "of": identity.number,
            "position": published.position,
            "last_commit": _moment(published.time_us),
        },
        "front": {"wal_bytes": _log_bytes(settings)},
        "source": _source(settings, max((copy.horizon for copy in copies.values()), default=0)),
        "tables": [
            {
                **_table(settings, name, rows.get(name, {}), copies.get(name), lag),
                "withheld": withheld.get(name, 0),
                "refused": refused.get(name, 0),
            }
            for name in (resource.name for resource in settings.resource)
        ],
    }


def without_front(settings: Settings) -> dict[str, Any]:
    """What is known of the service also where the front end cannot be read: how its stages are, or how it ended."""
    answer = asked(settings.service.listen, settings.agent, PATIENCE)
    if answer is None:
        service = {"running": False, "ready": False, "checks": {}}
        return {"service": service, "stages": {}, "ended": _ended(settings)}
    stages = {name: _stage(stage) for name, stage in answer.get("stages", {}).items()}
    service = {"running": True, "ready": answer["ok"], "checks": answer["checks"]}
    return {"service": service, "stages": stages, "ended": None}


def _ended(settings: Settings) -> dict[str, Any] | None:
    """What ended the service, if it did not end cleanly."""
    end = LastEnd(settings.directory).read()
    if end is None:
        return None
    return {"stage": end.stage, "time": _moment(int(end.time * 1e6)), **_told(end.error)}


def _stage(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage as the service tells it, with its error in the user's language."""
    if stage["ok"]:
        return {"ok": True}
    error = stored(stage["code"], stage["values"])
    return {"ok": False, "since": stage["since"], "attempts": stage["attempts"], **_told(error)}


def _told(error: AgentError) -> dict[str, str]:
    """An error as every part of the status has it, in the user's language."""
    return {"code": error.code, "reason": error.text(), "hint": error.advice()}


def _table(
    settings: Settings, name: str, row: Mapping[str, Any], copy: Copy | None, lag: float | None
) -> dict[str, Any]:
    resource = next(resource for resource in settings.resource if resource.name == name)
    state = row.get("state", "unknown")
    copy = copy if state == "copying" else None
    cause = _suspension(row)
    return {
        "name": name,
        "source": f"{resource.schema_name}.{resource.table_name}",
        "target": resource.target_name,
        "topic": row.get("topic", settings.topic(resource)),
        "state": state,
        "code": row.get("code") or None,
        "reason": cause and cause.text(),
        "hint": cause and cause.advice(),
        "events": row.get("seq", 0),
        "last_event": _moment(row.get("event_time_us", 0)),
        "lag_seconds": lag if state == "live" else None,
        "copy": copy
        and {
            "phase": copy.phase,
            "rows": copy.rows,
            "estimate": copy.estimate,
            "begun": _moment(copy.began_us),
            "seconds_left": _left(copy),
        },
    }


def _left(copy: Copy) -> float | None:
    """Seconds a copy may still take at the pace it has had; None before there is one, or where the source has no statistics."""
    if copy.phase != PAGES or not copy.rows or copy.estimate <= copy.rows:
        return None
    return round((time.time() - copy.began_us / 1e6) * (copy.estimate - copy.rows) / copy.rows, 1)


def _suspension(row: Mapping[str, Any]) -> Suspend | None:
    """The error that suspended the table, so that it is told in the user's language."""
    kinds = {kind.code: kind for kind in Suspend.__subclasses__()}
    kind = kinds.get(row.get("code", ""))
    return kind(**json.loads(row["details"])) if kind else None


def _log_bytes(settings: Settings) -> int | None:
    """Bytes of the -wal beside a SQLite front end; None for another database."""
    url = make_url(settings.front_url)
    if url.get_backend_name() != "sqlite":
        return None
    return size(beside(Path(url.database or ""), "-wal"))


def _bytes_waiting(reader: Reader, batch: int) -> int:
    outbox = reader.own.outbox
    waiting = select(func.sum(func.length(outbox.c.payload))).where(outbox.c.batch > batch)
    with reader.engine.connect() as connection:
        return int(connection.execute(waiting).scalar_one() or 0)


def _source(settings: Settings, horizon: int) -> dict[str, Any]:
    """The slot as the business database has it, and the transactions a copy waits for; `reachable` false when it gives no answer in time."""
    answer = _in_time(lambda: _slot(settings, horizon))
    if answer is None or isinstance(answer, AgentError):
        nothing = {"code": None, "reason": None, "hint": None}
        return {
            "reachable": False,
            "slot": settings.slot,
            "exists": None,
            "active": None,
            "lag_bytes": None,
            "waits": [],
            **(nothing if answer is None else _told(answer)),
        }
    lag, waits = answer
    found = {
        "code": None,
        "reason": None,
        "hint": None,
        "exists": bool(lag),
        "active": lag[1] if lag else False,
        "lag_bytes": lag[0] if lag else None,
    }
    return {
        "reachable": True,
        "slot": settings.slot,
        **found,
        "waits": [wait._asdict() for wait in waits],
    }


def _slot(settings: Settings, horizon: int) -> tuple[tuple[Any, ...], list[WaitedFor]]:
    with guarded(settings.source), connect(settings.source) as connection:
        return catalogue.slot_lag(connection, settings.slot), waited_for(
            connection, horizon
        ) if horizon else []


def _in_time(ask: Callable[[], T]) -> T | AgentError | None:
    """The answer, or what was in its way; None when there is neither within PATIENCE: a peer that is frozen cannot hold us up."""
    answers: list[T | AgentError] = []

    def asking() -> None:
        try:
            answers.append(ask())
        except AgentError as error:
            answers.append(error)
        except (OSError, ValueError):
            return

    thread = threading.Thread(target=asking, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return answers[0] if answers else None


def _moment(time_us: int) -> str | None:
    return (
        datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds")
        if time_us
        else None
    )


def _lag(now: float, time_us: int) -> float | None:
    return round(max(0.0, now - time_us / 1e6), 3) if time_us else None


# ---- for the terminal ----


def render(status: dict[str, Any]) -> Group:
    """The status as a table with the lines that concern the whole agent below it, in the user's language."""
    table = Table(*(translate(heading) for heading in _HEADINGS))
    for row in status["tables"]:
        state = Text(
            translate(STATES.get(row["state"], mark("unknown"))),
            style=_STYLES.get(row["state"], "bold red"),
        )
        table.add_row(
            row["name"],
            state,
            _seconds(row["lag_seconds"]),
            _local(row["last_event"]),
            f"{row['events']:,}",
            row["topic"],
        )
    return Group(
        table,
        *(
            Text(line)
            for line in [*_copies(status), *_withheld(status), *_refused(status), *_lines(status)]
        ),
        *trouble(status),
        *_suspended(status),
    )


def trouble(status: dict[str, Any]) -> list[Text]:
    """What stages of the service fail with, or what has ended it."""
    found = []
    for stage, told in failing(status):
        text = mark("{stage} has failed {attempts} times in a row, since {time}")
        values = {"attempts": f"{told['attempts']:,}", "time": _local(told["since"])}
        found.append((translate(text, stage=stage, **values), told))
    ended = status["ended"]
    if ended is not None:
        text = mark("the service ended at {time}")
        found.append((translate(text, time=_local(ended["time"])), ended))
    return [
        Text(f"{heading}\n{told['code']}: {told['reason']}\n  → {told['hint']}", style="red")
        for heading, told in found
    ]


def _copies(status: dict[str, Any]) -> list[str]:
    """How far each copying table is, and whom the first page waits for."""
    lines = []
    for row in status["tables"]:
        copy = row["copy"]
        if copy is not None:
            values = {
                "name": row["name"],
                "rows": f"{copy['rows']:,}",
                "estimate": f"{copy['estimate']:,}",
                "left": _seconds(copy["seconds_left"]),
            }
            lines.append(
                translate(
                    mark("{name}: {rows} of about {estimate} rows compared, {left} left"), **values
                )
            )
    for wait in status["source"]["waits"]:
        text = mark(
            "a copy waits for transaction of process {who} ({application}), open since {since}, {state}"
        )
        lines.append(translate(text, **wait))
    return lines


def _withheld(status: dict[str, Any]) -> list[str]:
    """Rows that are too large for Kafka."""
    text = mark(
        "{name}: withheld: {count} rows too large for Kafka; raise the limits, then `sync-agent retry {name}`"
    )
    return [
        translate(text, name=row["name"], count=f"{row['withheld']:,}")
        for row in status["tables"]
        if row["withheld"]
    ]


def _refused(status: dict[str, Any]) -> list[str]:
    """Rows that front-end tables refuse."""
    text = mark(
        "{name}: {count} rows refused by the front-end table; `sync-agent refused {name}` says why"
    )
    return [
        translate(text, name=row["name"], count=f"{row['refused']:,}")
        for row in status["tables"]
        if row["refused"]
    ]


def _lines(status: dict[str, Any]) -> list[str]:
    outbox_, published, source = status["outbox"], status["published"], status["source"]
    return [
        translate(mark("service: {state}"), state=_service_text(status["service"])),
        translate(
            mark("front end: {lag} behind, at {position} ({time})"),
            lag=_seconds(status["lag_seconds"]),
            position=status["position"],
            time=_local(status["last_commit"]),
        ),
        translate(
            mark("published: {number} of {total} events"),
            number=f"{published['number']:,}",
            total=f"{published['of']:,}",
        ),
        translate(
            mark("outbox: {events} events, {bytes} bytes waiting"),
            events=f"{outbox_['events']:,}",
            bytes=f"{outbox_['bytes']:,}",
        ),
        translate(mark("business database: {state}"), state=_source_text(source)),
        *_log(status["front"]["wal_bytes"]),
    ]


def _log(wal: int | None) -> Iterator[str]:
    """A -wal of SQLite that cannot be emptied, as long as it is so."""
    if wal and wal > LOG_LARGE:
        text = mark(
            "front end: its -wal has grown to {size} MB; a program that reads for long keeps it (`sync-agent check`)"
        )
        yield translate(text, size=wal >> 20)


def _service_text(service: dict[str, Any]) -> str:
    if not service["running"]:
        return translate(mark("not running"))
    if service["ready"]:
        return translate(mark("running, everything connected"))
    away = ", ".join(name for name, check in service["checks"].items() if not check["ok"])
    if not away:
        return translate(mark("running, but it does not get on"))
    return translate(mark("running, not connected: {peers}"), peers=away)


def _source_text(source: dict[str, Any]) -> str:
    if source["code"]:
        return f"{source['code']}: {source['reason']}\n  → {source['hint']}"
    if not source["reachable"]:
        return translate(mark("no answer within {seconds} s"), seconds=f"{PATIENCE:g}")
    if not source["exists"]:
        return translate(mark("replication slot {slot} does not exist"), slot=source["slot"])
    return translate(
        mark("replication slot {slot} is {bytes} bytes behind"),
        slot=source["slot"],
        bytes=f"{source['lag_bytes'] or 0:,}",
    )


def _suspended(status: dict[str, Any]) -> list[Text]:
    return [
        Text(f"{row['code']}: {row['reason']}\n  → {row['hint']}", style="red")
        for row in status["tables"]
        if row["state"] == "suspended"
    ]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f} s"


def _local(moment: str | None) -> str:
    return (
        datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else "–"
    )

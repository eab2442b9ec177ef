"""What `sync-agent status` shows: tables, positions and backlog from the front end, the slot from the source, the service from its endpoint."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from rich.console import Group
from rich.table import Table
from rich.text import Text
from sqlalchemy import func, select

from agent.config import Settings
from agent.connectors.postgres.session import connect
from agent.errors import AgentError, Suspend
from agent.front.opening import open_reader
from agent.front.reader import Reader
from agent.front.schema import outbox
from agent.messages import mark, translate

PATIENCE = 2.0  # seconds for each peer
T = TypeVar("T")
_SLOT_LAG = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint, active FROM pg_replication_slots WHERE slot_name = %s"
_HEADINGS = (mark("table"), mark("state"), mark("lag"), mark("last event"), mark("events"), mark("topic"))
_STATES = {"live": mark("live"), "suspended": mark("suspended")}


def collect(settings: Settings) -> dict[str, Any]:
    """Everything `status` knows, as plain data: times as ISO 8601 in UTC, lags in seconds, None where there is nothing.

    Raises FrontUnreachable and NotInitialised; a source or service that does not answer is part of the answer.
    """
    reader = open_reader(settings)
    try:
        now = time.time()
        identity, published, rows = reader.identity(), reader.published(), reader.resources()
        backlog = reader.backlog(published.number)
        waiting = {"events": backlog.events, "bytes": _bytes_waiting(reader, published.batch), "oldest": _moment(backlog.oldest_time_us)}
    finally:
        reader.engine.dispose()
    lag = _lag(now, identity.position_time_us)
    return {
        "agent": settings.agent,
        "service": _service(settings),
        "position": identity.position,
        "last_commit": _moment(identity.position_time_us),
        "lag_seconds": lag,
        "outbox": waiting,
        "published": {"number": published.number, "of": identity.number, "position": published.position, "last_commit": _moment(published.time_us)},
        "source": _source(settings),
        "tables": [_table(settings, resource.name, rows.get(resource.name, {}), lag) for resource in settings.resource],
    }


def _table(settings: Settings, name: str, row: Mapping[str, Any], lag: float | None) -> dict[str, Any]:
    resource = next(resource for resource in settings.resource if resource.name == name)
    state = row.get("state", "unknown")
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
    }


def _suspension(row: Mapping[str, Any]) -> Suspend | None:
    """The error that suspended the table, so that it is told in the user's language."""
    kinds = {kind.code: kind for kind in Suspend.__subclasses__()}
    kind = kinds.get(row.get("code", ""))
    return kind(**json.loads(row["details"])) if kind else None


def _bytes_waiting(reader: Reader, batch: int) -> int:
    with reader.engine.connect() as connection:
        return int(connection.execute(select(func.sum(func.length(outbox.c.payload))).where(outbox.c.batch > batch)).scalar_one() or 0)


def _source(settings: Settings) -> dict[str, Any]:
    """The slot as the business database has it; `reachable` false when it gives no answer in time."""
    lag = _in_time(lambda: _slot(settings))
    if lag is None:
        return {"reachable": False, "slot": settings.slot, "exists": None, "active": None, "lag_bytes": None}
    return {"reachable": True, "slot": settings.slot, "exists": bool(lag), "active": lag[1] if lag else False, "lag_bytes": lag[0] if lag else None}


def _slot(settings: Settings) -> tuple[Any, ...]:
    with connect(settings.source) as connection:
        return connection.execute(_SLOT_LAG, (settings.slot,)).fetchone() or ()


def _service(settings: Settings) -> dict[str, Any]:
    """Whether `sync-agent run` is at work, by its own health endpoint."""
    answer = _in_time(lambda: _ready(settings.service.listen))
    if answer is None or answer.get("agent") != settings.agent:
        return {"running": False, "ready": False, "checks": {}}
    return {"running": True, "ready": answer["ok"], "checks": answer["checks"]}


def _ready(listen: str) -> dict[str, Any]:
    host, _, port = listen.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)
    try:
        connection.request("GET", "/-/ready")
        answer = json.loads(connection.getresponse().read())
        return answer if isinstance(answer, dict) else {}
    finally:
        connection.close()


def _in_time(ask: Callable[[], T]) -> T | None:
    """The answer, or None when there is none within PATIENCE; a peer that is frozen cannot hold us up."""
    answers: list[T] = []

    def asking() -> None:
        try:
            answers.append(ask())
        except (OSError, ValueError, http.client.HTTPException, psycopg.Error, AgentError):
            return

    thread = threading.Thread(target=asking, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return answers[0] if answers else None


def _moment(time_us: int) -> str | None:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds") if time_us else None


def _lag(now: float, time_us: int) -> float | None:
    return round(max(0.0, now - time_us / 1e6), 3) if time_us else None


# ---- for the terminal ----


def render(status: dict[str, Any]) -> Group:
    """The status as a table with the lines that concern the whole agent below it, in the user's language."""
    table = Table(*(translate(heading) for heading in _HEADINGS))
    for row in status["tables"]:
        state = Text(translate(_STATES.get(row["state"], mark("unknown"))), style="green" if row["state"] == "live" else "bold red")
        table.add_row(row["name"], state, _seconds(row["lag_seconds"]), _local(row["last_event"]), f"{row['events']:,}", row["topic"])
    return Group(table, *(Text(line) for line in _lines(status)), *_suspended(status))


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
        translate(mark("published: {number} of {total} events"), number=f"{published['number']:,}", total=f"{published['of']:,}"),
        translate(mark("outbox: {events} events, {bytes} bytes waiting"), events=f"{outbox_['events']:,}", bytes=f"{outbox_['bytes']:,}"),
        translate(mark("business database: {state}"), state=_source_text(source)),
    ]


def _service_text(service: dict[str, Any]) -> str:
    if not service["running"]:
        return translate(mark("not running"))
    if service["ready"]:
        return translate(mark("running, everything connected"))
    away = ", ".join(name for name, check in service["checks"].items() if not check["ok"])
    return translate(mark("running, not connected: {peers}"), peers=away)


def _source_text(source: dict[str, Any]) -> str:
    if not source["reachable"]:
        return translate(mark("no answer within {seconds} s"), seconds=f"{PATIENCE:g}")
    if not source["exists"]:
        return translate(mark("replication slot {slot} does not exist"), slot=source["slot"])
    return translate(mark("replication slot {slot} is {bytes} bytes behind"), slot=source["slot"], bytes=f"{source['lag_bytes'] or 0:,}")


def _suspended(status: dict[str, Any]) -> list[Text]:
    return [Text(f"{row['code']}: {row['reason']}\n  → {row['hint']}", style="red") for row in status["tables"] if row["state"] == "suspended"]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f} s"


def _local(moment: str | None) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else "–"

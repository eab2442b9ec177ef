"""Collects what `sync-agent status` shows.

Tables, positions and backlog come from the front end, the stream from the source, the service's
state from its endpoint.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from agent.config import ResourceSettings, ServiceSettings, Settings
from agent.connectors.opening import setup_of
from agent.connectors.setup import Setup
from agent.errors import AgentError, Suspend, stored
from agent.front.base import PAGES, Copy
from agent.front.hosts import Host
from agent.front.sqlite.file import beside, size
from agent.outbox.opening import reading
from agent.outbox.reader import Reader
from agent.service.health import asked
from agent.service.last_end import LastEnd

PATIENCE = 2.0  # seconds for each peer
T = TypeVar("T")
# What is shown of the source beside the data of `status --json`
_TEXTS = ("text", "trouble", "concern")


def collect(settings: Settings) -> dict[str, Any]:
    """Returns everything `status` knows: times as ISO 8601 in UTC, lags in seconds.

    None stands where there is nothing. A source or service that does not answer is part of it.
    Raises the errors of a front end that cannot be read (`without_front` tells the rest then)
    and NotInitialised.
    """
    with reading(settings.front, settings.agent) as reader:
        now = time.time()
        identity, published = reader.identity(), reader.published()
        rows, copies = reader.resources(), reader.copies()
        withheld, refused = reader.withheld(), reader.refused()
        backlog = reader.backlog(published.number)
        waiting_bytes = _bytes_waiting(reader, published.batch)
        hosts = reader.hosts() if settings.service.standby else []

    lag = _lag(now, identity.position_time_us)
    tables = []
    for resource in settings.resource:
        name = resource.name
        source = ".".join(filter(None, settings.source.place(resource.table)))
        row = {"topic": settings.topic(resource), **rows.get(name, {})}
        table = _table(resource, source, row, copies.get(name), lag)
        counts = {"withheld": withheld.get(name, 0), "refused": refused.get(name, 0)}
        tables.append(table | counts)
    barriers = [copy.barrier for copy in copies.values() if copy.barrier]
    return {
        "agent": settings.agent,
        **without_front(settings.service, settings.agent, settings.directory),
        "position": identity.position,
        "last_commit": _moment(identity.position_time_us),
        "lag_seconds": lag,
        "outbox": {
            "events": backlog.events,
            "bytes": waiting_bytes,
            "oldest": _moment(backlog.oldest_time_us),
        },
        "published": {
            "number": published.number,
            "of": identity.number,
            "position": published.position,
            "last_commit": _moment(published.time_us),
        },
        "front": {"wal_bytes": _log_bytes(settings.front.url)},
        "source": _source(setup_of(settings), barriers),
        "hosts": [_host(host) for host in hosts],
        "standbys": _standbys(hosts) if settings.service.standby else None,
        "tables": tables,
    }


def _host(host: Host) -> dict[str, str | None]:
    return {"host": host.name, "role": host.role, "since": _moment(host.since_us)}


def _standbys(hosts: Sequence[Host]) -> int | None:
    """Returns how many hosts stand by; None where none is active, which is told elsewhere."""
    roles = [host.role for host in hosts]
    return roles.count("standby") if "active" in roles else None


def plain(status: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the same as plain data, for `status --json`."""
    source = {name: value for name, value in status["source"].items() if name not in _TEXTS}
    return {**status, "source": source}


def without_front(service: ServiceSettings, agent: str, directory: Path) -> dict[str, Any]:
    """Returns what is known of the service also where the front end cannot be read.

    That is how its stages are, or how it ended, which the agent's `directory` says.
    """
    answer = asked(service.listen, agent, PATIENCE)
    if answer is None:
        away = {"running": False, "ready": False, "checks": {}}
        return {"service": away, "stages": {}, "ended": _ended(directory)}
    stages = {name: _stage(stage) for name, stage in answer.get("stages", {}).items()}
    running = {
        "running": True,
        "ready": answer["ok"],
        "checks": answer["checks"],
        "doubted_tables": answer.get("doubted_tables", 0),  # an older service does not say it
    }
    if "standby" in answer:
        running["standby"] = answer["standby"]
    return {"service": running, "stages": stages, "ended": None}


def _ended(directory: Path) -> dict[str, Any] | None:
    """Returns what ended the service, if it did not end cleanly."""
    end = LastEnd(directory).read()
    if end is None:
        return None
    return {"stage": end.stage, "time": _moment(int(end.time * 1e6)), **_described(end.error)}


def _stage(stage: dict[str, Any]) -> dict[str, Any]:
    """Returns a stage as the service has it, with its error in the user's language."""
    if stage["ok"]:
        return {"ok": True}
    error = stored(stage["code"], stage["values"])
    return {
        "ok": False,
        "since": stage["since"],
        "attempts": stage["attempts"],
        **_described(error),
    }


def _described(error: AgentError | None) -> dict[str, str | None]:
    """Returns an error as every part of the status has it, in the user's language."""
    if error is None:
        return {"code": None, "reason": None, "hint": None}
    return {"code": error.code, "reason": error.text(), "hint": error.advice()}


def _table(
    resource: ResourceSettings,
    source: str,
    row: Mapping[str, Any],
    copy: Copy | None,
    lag: float | None,
) -> dict[str, Any]:
    state = row.get("state", "unknown")
    cause = _suspension(row)
    return {
        "name": resource.name,
        "source": source,
        "target": resource.target_name,
        "topic": row["topic"],
        "state": state,
        "code": row.get("code") or None,
        "reason": cause and cause.text(),
        "hint": cause and cause.advice(),
        "events": row.get("seq", 0),
        "last_event": _moment(row.get("event_time_us", 0)),
        "lag_seconds": lag if state == "live" else None,
        "copy": _copy(copy) if copy is not None and state == "copying" else None,
    }


def _copy(copy: Copy) -> dict[str, Any]:
    return {
        "phase": copy.phase,
        "rows": copy.rows,
        "estimate": copy.estimate,
        "begun": _moment(copy.began_us),
        "seconds_left": _seconds_left(copy),
    }


def _seconds_left(copy: Copy) -> float | None:
    """Returns the seconds a copy may still take at the pace it has had.

    None before there is one, or where the source has no statistics.
    """
    if copy.phase != PAGES or not copy.rows or copy.estimate <= copy.rows:
        return None
    spent = time.time() - copy.began_us / 1e6
    return round(spent * (copy.estimate - copy.rows) / copy.rows, 1)


def _suspension(row: Mapping[str, Any]) -> Suspend | None:
    """Returns the error that suspended the table, so that it can be told in any language."""
    if not row.get("code"):
        return None
    error = stored(row["code"], json.loads(row["details"]))
    return error if isinstance(error, Suspend) else None


def _log_bytes(front_url: str) -> int | None:
    """Returns the bytes of the -wal beside a SQLite front end; None for another database."""
    url = make_url(front_url)
    if url.get_backend_name() != "sqlite":
        return None
    return size(beside(Path(url.database or ""), "-wal"))


def _bytes_waiting(reader: Reader, batch: int) -> int:
    """Returns the bytes of the outbox after a batch."""
    outbox = reader.own.outbox
    waiting = select(func.sum(func.length(outbox.c.payload))).where(outbox.c.batch > batch)
    with reader.engine.connect() as connection:
        return int(connection.execute(waiting).scalar_one() or 0)


def _source(setup: Setup, barriers: list[str]) -> dict[str, Any]:
    """Returns how the stream is, and the transactions for which copies wait.

    `reachable` is false where the source gives no answer in time.
    """
    answer = _in_time(lambda: setup.status(barriers))
    if answer is None or isinstance(answer, AgentError):
        return {
            "reachable": False,
            **setup.unknown(),
            "waits": [],
            **_described(answer),
            "text": None,
            "trouble": None,
            "concern": None,
        }
    return {
        "reachable": True,
        **answer.values,
        "waits": [wait._asdict() for wait in answer.waits],
        **_described(None),
        "text": answer.text,
        "trouble": answer.trouble,
        "concern": answer.concern,
    }


def _in_time(ask: Callable[[], T]) -> T | AgentError | None:
    """Returns the answer, or what was in its way.

    None when there is neither within PATIENCE: a peer that is frozen cannot hold us up.
    """
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
    """Returns a time in µs as text, None for 0."""
    if not time_us:
        return None
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds")


def _lag(now: float, time_us: int) -> float | None:
    return round(max(0.0, now - time_us / 1e6), 3) if time_us else None

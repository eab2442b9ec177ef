"""Puts together what the page shows, from what the supervisor has been told.

No database and no broker is asked: a page that needs no peer cannot hang on one, and what it says
is as old as the last report of the processes, which is a matter of seconds.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from agent.messages import mark, translate
from agent.service import metrics as names
from agent.service import verdict
from agent.service.health import LONGEST_TURN
from agent.service.history import Exchange, Minute
from agent.service.metrics import Failure, Metrics
from agent.service.verdict import Problem

_RECENT = 60.0  # seconds: who had an event since then is on the move
# How a table is: whether that is well, a sign, and the word
FLOWS = mark("flows")
IDLE = mark("nothing to do")
COPYING = mark("is being copied")
STUCK = mark("stuck")
SUSPENDED = mark("suspended")
STARTING = mark("not taken up yet")


class Row(NamedTuple):
    """One table. Times are Unix times, None where there is none."""

    name: str
    word: str
    lag: float | None  # seconds behind the business database
    today: Exchange
    last_event: float | None
    verified: float | None
    differences: int
    withheld: int
    refused: int

    @property
    def well(self) -> bool:
        """Whether nobody has to look at it."""
        lacks = self.differences + self.withheld + self.refused
        return self.word in (FLOWS, IDLE) and not lacks


class Trouble(NamedTuple):
    """One thing that is not as it should be, with its cause and the next step where known."""

    problem: Problem
    code: str  # whose runbook text helps
    since: float | None
    hint: str


class Overview(NamedTuple):
    """The whole agent at one moment."""

    agent: str
    time: float
    level: verdict.Level
    line: str
    word: str  # of the whole: FLOWS, IDLE or STUCK
    troubles: list[Trouble]
    rows: list[Row]  # those that are not well first
    peers: Mapping[str, names.Connection]
    heartbeat: float | None  # commit time of the newest event or heartbeat that was written
    published: float | None  # the same of what Kafka has
    waiting: int  # events in the outbox
    oldest: float | None  # commit time of the oldest that waits
    minutes: list[Minute]  # of the last 24 hours
    days: Mapping[str, Exchange]  # all tables together, by day
    pair: str  # what the host is in a pair; '' without one


def overview(agent: str, metrics: Metrics, now: float) -> Overview:
    """Returns how the agent is, in the language that is spoken."""
    values = dict(metrics.values)
    status = _status(metrics, values, now)
    problems = verdict.problems(status)
    heartbeat = values.get(f"{names.LAST_COMMIT}/applied") or None
    oldest = values.get(names.OUTBOX_OLDEST) or None

    stuck = _stuck(metrics, status, oldest, now)
    rows = []
    for name, state in _tables(metrics).items():
        rows.append(_row(name, state, metrics, values, status, now))
    rows.sort(key=lambda row: (row.well, row.name))

    moving = any(row.word in (FLOWS, COPYING) for row in rows)
    word = IDLE
    if stuck:
        word = STUCK
    elif moving:
        word = FLOWS
    return Overview(
        agent,
        now,
        verdict.level(problems),
        verdict.line(problems, len(rows), verdict.standby(status)),
        word,
        [_trouble(problem, metrics) for problem in problems],
        rows,
        _peers(metrics),
        heartbeat,
        values.get(f"{names.LAST_COMMIT}/published") or None,
        int(values.get(names.OUTBOX_EVENTS, 0)),
        oldest,
        metrics.history.minutes(now),
        metrics.history.days(),
        _pair(status),
    )


def _tables(metrics: Metrics) -> dict[str, str]:
    """Returns the state of each table; none while another host is active, which knows them."""
    return {} if metrics.stands_by_for else dict(metrics.states)


def _peers(metrics: Metrics) -> dict[str, names.Connection]:
    """Returns the peers; who stands by needs the front end alone."""
    peers = dict(metrics.connections)
    return {"frontend": peers["frontend"]} if metrics.stands_by_for else peers


def _pair(status: Mapping[str, Any]) -> str:
    """Says what the host is in a pair; '' without one."""
    if status["standbys"] is None:
        return verdict.standby(status)
    return translate(mark("active; hosts that stand by: {count}"), count=status["standbys"])


def _status(metrics: Metrics, values: Mapping[str, float], now: float) -> dict[str, Any]:
    """Returns what is known, in the form that `status` collects and the verdict is made of.

    The business database is not asked: that the agent cannot read it is told by capture.
    """
    peers = _peers(metrics)
    stages = {name: _stage(failure) for name, failure in dict(metrics.failures).items()}
    connected = all(peer.connected for peer in peers.values())
    lives = time.monotonic() - metrics.turned < LONGEST_TURN
    ready = connected and lives and all(stage["ok"] for stage in stages.values())

    tables = []
    suspensions = dict(metrics.suspensions)
    for name, state in _tables(metrics).items():
        cause = suspensions.get(name)
        code = cause.error.code if cause else ""
        withheld = int(values.get(f"{names.WITHHELD}/{name}", 0))
        tables.append({"name": name, "state": state, "code": code, "withheld": withheld})

    applied = values.get(f"{names.LAST_COMMIT}/applied")
    return {
        "service": {
            "running": True,
            "ready": ready,
            "checks": {
                name: {"ok": peer.connected, "since": iso(peer.since)}
                for name, peer in peers.items()
            },
            "standby": _standby(metrics),
            "doubted_tables": int(values.get(names.DOUBTED, 0)),
        },
        "stages": stages,
        "ended": None,
        "source": {"reachable": True, "code": None, "trouble": _log_given_up(values)},
        "lag_seconds": max(0.0, now - applied) if applied else None,
        "standbys": _standbys(values),
        "tables": tables,
    }


def _log_given_up(values: Mapping[str, float]) -> tuple[str, str] | None:
    """Tells that the source keeps no log any more, whatever capture fails with by now."""
    if not values.get(f"{names.LOG_STATUS}/given_up"):
        return None
    text = mark("the log that the business database kept for the agent is given up (SLOT_GIVEN_UP)")
    return "LOG_GIVEN_UP", translate(text)


def _standbys(values: Mapping[str, float]) -> int | None:
    """Returns how many hosts stand by, as the active one sees them; None of any other."""
    count = values.get(names.STANDBYS)
    return None if count is None else int(count)


def _standby(metrics: Metrics) -> dict[str, str] | None:
    host = metrics.stands_by_for
    return None if host is None else {"active": host.name, "since": iso(host.since)}


def _stage(failure: Failure | None) -> dict[str, Any]:
    if failure is None:
        return {"ok": True}
    return {
        "ok": False,
        "code": failure.error.code,
        "reason": failure.error.text(),
        "attempts": failure.attempts,
    }


def _stuck(metrics: Metrics, status: Mapping[str, Any], oldest: float | None, now: float) -> bool:
    """Whether the agent makes no progress, or events wait for longer than they should."""
    fails = any(metrics.failures.values()) or not status["service"]["ready"]
    if metrics.stands_by_for:
        return fails
    waits_long = oldest is not None and now - oldest > verdict.LATE
    return fails or waits_long or _late(status)


def _late(status: Mapping[str, Any]) -> bool:
    lag = status["lag_seconds"]
    return lag is None or lag > verdict.LATE


def _row(
    name: str,
    state: str,
    metrics: Metrics,
    values: Mapping[str, float],
    status: Mapping[str, Any],
    now: float,
) -> Row:
    last = metrics.history.last_event(name)
    capture_stands = metrics.failures["capture"] is not None or _late(status)
    word = STARTING
    if state == "suspended":
        word = SUSPENDED
    elif state == "copying":
        word = COPYING
    elif state == "live" and capture_stands:
        word = STUCK
    elif state == "live":
        word = FLOWS if last is not None and now - last < _RECENT else IDLE

    return Row(
        name,
        word,
        status["lag_seconds"] if state == "live" else None,
        metrics.history.today(name, now),
        last,
        values.get(f"{names.VERIFIED}/{name}") or None,
        int(values.get(f"{names.DIFFERENCES}/{name}", 0)),
        int(values.get(f"{names.WITHHELD}/{name}", 0)),
        int(values.get(f"{names.REFUSED}/{name}", 0)),
    )


def _trouble(problem: Problem, metrics: Metrics) -> Trouble:
    """Adds to a problem since when it is there, and what to do next."""
    suspension = metrics.suspensions.get(problem.resource or "")
    if problem.code == "TABLE_SUSPENDED" and suspension is not None:
        error = suspension.error
        text = f"{problem.text}: {error.text()}"
        shown = problem._replace(text=text)
        return Trouble(shown, error.code, suspension.since, error.advice())

    if problem.code == "STAGE_FAILING":
        for failure in metrics.failures.values():
            if failure is not None and failure.error.code == problem.error:
                advice = failure.error.advice()
                return Trouble(problem, failure.error.code, failure.since, advice)

    since = None
    if problem.code == "NOT_CONNECTED":
        away = [peer.since for peer in metrics.connections.values() if not peer.connected]
        since = min(away, default=None)
    return Trouble(problem, problem.error or problem.code, since, "")


def iso(moment: float) -> str:
    """Returns a Unix time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")

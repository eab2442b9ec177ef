"""Agents of several sizes on good and bad days, for the tests of the status page."""

import time
from collections.abc import Sequence
from email.message import Message
from pathlib import Path

from agent.cli import bundled
from agent.messages import phrase
from agent.page.site import Site
from agent.service import metrics as names
from agent.service.health import Reply
from agent.service.history import DAYS, MINUTES, History
from agent.service.metrics import Connection, Metrics

GONE = "no_longer_shared"
HOSTILE = '<script onload="x">&\'`{time}'


def tables_of(count: int) -> list[str]:
    """Returns so many names of tables, one of them hostile."""
    return [HOSTILE, *[f"table_{number:03}" for number in range(1, count)]]


def good_day(tables: Sequence[str]) -> Metrics:
    """Everything is connected and live, heartbeats arrive, the first table has had events."""
    now = time.time()
    metrics = Metrics("tax", tables)
    for peer in names.PEERS:
        metrics.gauge(f"{names.CONNECTED}/{peer}", 1)
    metrics.gauge(f"{names.LAST_COMMIT}/applied", now - 3)
    metrics.gauge(f"{names.LAST_COMMIT}/published", now - 3)
    for name in tables:
        metrics.gauge(f"{names.TABLE_STATE}/{name}/live", 1)
        metrics.gauge(f"{names.VERIFIED}/{name}", now - 40_000)
    remember(metrics, tables, now)
    metrics.count(f"{names.EVENTS}/applied/{tables[0]}/u", 1234)
    metrics.count(f"{names.EVENTS}/applied/{tables[0]}/c", 5)
    return metrics


def remember(metrics: Metrics, tables: Sequence[str], now: float) -> None:
    """Gives an agent a past: a night in which it was off, a busy noon, and six days before."""
    history = metrics.history
    for day in range(1, 7):
        for number, table in enumerate(tables):
            counts = {"inserted": 40 * day, "updated": 7 * number, "published": 40 * day}
            history.add(table, now - day * 86_400, **counts, bytes=9000 * day, failed=number % 2)
    for before in range(MINUTES - 1, 0, -1):
        if 600 < before < 840:
            continue
        busy = 400 < before < 520
        moment = now - before * 60
        history.applied(GONE, "u", before % 30 + 250 * busy, moment)
        history.note(moment, 3.0 + before % 4, 900 * busy)


def long_past(folder: Path, tables: Sequence[str], now: float) -> History:
    """Returns the fullest past that an agent keeps, read from its file."""
    history = History(folder)
    for day in range(DAYS):
        for table in tables:
            counts = {"inserted": 10**6 - day, "published": 10**6, "bytes": 10**9 + day}
            history.add(table, now - day * 86_400, **counts)
    for before in range(MINUTES - 1, -1, -1):
        history.note(now - before * 60, 3.0 + before % 97, before % 1009)
    history.write()
    return History(folder)


def bad_day(tables: Sequence[str]) -> Metrics:
    """Kafka refuses the login, events wait, a table is suspended, another one has differences."""
    metrics = good_day(tables)
    metrics.gauge(f"{names.CONNECTED}/kafka", 0)
    values = {"peer": phrase("Kafka"), "user": "sync", "reason": "no"}
    failure = metrics.failed("publish", "LOGIN_REFUSED", values)
    since = time.time() - 1234
    metrics.failures["publish"] = failure._replace(since=since, attempts=57)
    metrics.connections["kafka"] = Connection(False, since)
    metrics.gauge(names.OUTBOX_EVENTS, 12_345)
    metrics.gauge(names.OUTBOX_OLDEST, time.time() - 600)

    suspended, compared, refused = tables[:3]
    cause = {"resource": suspended, "topic": "t", "reason": phrase("it was deleted")}
    metrics.suspended(suspended, "TOPIC_LOST", cause)
    metrics.gauge(f"{names.TABLE_STATE}/{suspended}/live", 0)
    metrics.gauge(f"{names.TABLE_STATE}/{suspended}/suspended", 1)
    metrics.gauge(f"{names.DIFFERENCES}/{compared}", 7)
    metrics.gauge(f"{names.WITHHELD}/{refused}", 2)
    metrics.gauge(f"{names.REFUSED}/{refused}", 3)
    return metrics


def answer(metrics: Metrics, path: str, accepted: str = "") -> Reply | None:
    """Returns what the site answers; None where there is no such page."""
    headers = Message()
    headers["Accept-Language"] = accepted
    return Site("tax", metrics, bundled.runbook).answer(path, headers)


def page(metrics: Metrics, path: str = "/en", accepted: str = "") -> str:
    """Returns a page; '' where there is none."""
    reply = answer(metrics, path, accepted)
    return "" if reply is None else reply.body.decode()

"""Agents of several sizes on good and bad days, for the tests of the status page."""

import time
from collections.abc import Sequence
from email.message import Message

from agent.cli import bundled
from agent.messages import phrase
from agent.page.site import Site
from agent.service import metrics as names
from agent.service.metrics import Connection, Metrics

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
    metrics.count(f"{names.EVENTS}/applied/{tables[0]}/u", 1234)
    metrics.count(f"{names.EVENTS}/applied/{tables[0]}/c", 5)
    return metrics


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


def page(metrics: Metrics, path: str = "/en", accepted: str = "") -> str:
    """Returns what the site answers; '' where there is no such page."""
    headers = Message()
    headers["Accept-Language"] = accepted
    reply = Site("tax", metrics, bundled.runbook).answer(path, headers)
    return "" if reply is None else reply.body.decode()

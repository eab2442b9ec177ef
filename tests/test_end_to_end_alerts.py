"""A real Prometheus watches the whole agent: alerts and panels find what they name.

Outages set off the right alert, and no other; it clears when they are over. The status page names
the same cause. The rules are those of deploy/prometheus with times of seconds in place of minutes,
for nobody would wait for these.
"""

import html
import re
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import in_this_process
from tests.services.kafka import KafkaAddress, KafkaBroker
from tests.services.processes import HOST
from tests.services.prometheus import Prometheus
from tests.source.databases import Place, place_of
from tests.source.unit_without_log import Unit
from tests.test_alerts import RULES
from tests.waiting import PATIENCE, eventually
from tools.dashboard import PANELS

SOURCE = 'type = "polling"\nevery = "1s"'
RESOURCE = 'poll = { mode = "timestamp", column = "changed" }'
SELECTOR = re.compile(r"\b((?:up|(?:agent|node|process)_[a-z_]+)(?:\{[^}]*\})?)")

# What this agent has no series of, and why
WITHOUT_SERIES = {
    "node_systemd_unit_state": "it is node_exporter's",
    "agent_source_log_status": "the source has no log",
    "agent_role": "no other host stands by: this one is active",
    "agent_refused_rows": "there only while the front end refuses rows",
    "agent_withheld_rows": "there only while rows are too large for Kafka",
}

# Alerts about this host rather than about the agent
OF_THIS_HOST = {"AgentFrontDiskLow", "AgentFrontDiskFull"}


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place_of("sqlite", request, tmp_path) as made:
        yield made


@pytest.fixture
def unit(place: Place, kafka_broker: KafkaBroker, topic_prefix: str, tmp_path: Path) -> Unit:
    """A small unit, which reaches Kafka through the broker's proxy."""
    kafka = KafkaAddress(kafka_broker.proxied_bootstrap)
    return Unit(place, kafka, topic_prefix, tmp_path, SOURCE, RESOURCE)


def quick_rules() -> str:
    """Returns the alerts with seconds in place of minutes and hours."""
    rules = RULES.read_text(encoding="utf-8")
    rules = re.sub(r"^( +for:) \d+[mh]$", r"\1 1s", rules, flags=re.MULTILINE)
    return re.sub(r"\[\d+m\]", "[5s]", rules)


def firing(prometheus: Prometheus) -> set[str]:
    """Returns the names of the alerts that fire, about anything but this host."""
    return {alert["labels"]["alertname"] for alert in prometheus.alerts()} - OF_THIS_HOST


def wait_for(prometheus: Prometheus, *alerts: str) -> None:
    """Waits until these alerts fire, and no others."""

    def fire() -> bool:
        found = firing(prometheus)
        assert found == set(alerts)  # shown when it never comes true
        return True

    eventually(fire, 60, f"{alerts or 'nothing'} fires")


def page(unit: Unit, path: str = "/en") -> str:
    """Returns the status page."""
    with urllib.request.urlopen(f"http://{HOST}:{unit.port}{path}", timeout=PATIENCE) as answer:
        return html.unescape(answer.read().decode())


def shows(unit: Unit, *texts: str) -> None:
    """Waits until the status page says all this."""

    def says() -> bool:
        content = page(unit)
        assert [text for text in texts if text not in content] == []
        return True

    eventually(says, 60, f"the page says {texts}")


def failing(prometheus: Prometheus, code: str) -> dict[str, Any] | None:
    """Returns the alert that fires for a stage that fails with this code."""
    for alert in prometheus.alerts():
        if alert["labels"].get("code") == code:
            return alert
    return None


def selectors(prometheus: Prometheus) -> set[str]:
    """Returns everything that the alerts and panels name, without the choice of agents."""
    expressions = [rule["query"] for rule in prometheus.rules()]
    for panel in PANELS:
        for query in panel.queries:
            expressions.append(query.expression.replace("$A", 'agent="unit"'))
    found: set[str] = set()
    for expression in expressions:
        now = expression.replace("$__rate_interval", "5s")
        prometheus.query(now)  # fails where it is none
        found.update(SELECTOR.findall(now))
    return found


def test_outages_set_off_their_alert_which_clears_afterwards(
    unit: Unit, place: Place, kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    unit.write(20)
    unit.command("init", "--apply")
    with unit.start() as agent, Prometheus("sync-agent", unit.port, quick_rules()) as prometheus:
        agent.wait_ready()
        eventually(lambda: prometheus.query("agent_verify_timestamp_seconds > 0"), what="a proof")
        wait_for(prometheus)
        shows(unit, "OK: 1 tables are live, everything is connected", "nothing waits for Kafka")
        shows(unit, "<small>new ")
        unit.write(1)
        shows(unit, ">●</span> flows")

        kafka_broker.proxy.refuse()
        try:
            # SLOW_LINE may come first
            alert = eventually(lambda: failing(prometheus, "KAFKA_UNREACHABLE"), 60, "it fires")
            wait_for(prometheus, "AgentStageFailing")
            shows(unit, "KAFKA_UNREACHABLE: ", "/en/runbook/KAFKA_UNREACHABLE", "away since")
            assert "KAFKA_UNREACHABLE" in page(unit, "/zh/runbook/KAFKA_UNREACHABLE")
        finally:
            kafka_broker.proxy.heal()
        assert alert is not None
        labels = alert["labels"]
        assert (labels["agent"], labels["unit"]) == ("unit", "tax-office")
        summary = alert["annotations"]["summary"]
        assert summary == "unit: publish does not get on: KAFKA_UNREACHABLE"
        wait_for(prometheus)

        place.execute("ALTER TABLE permit RENAME COLUMN amount TO sum")
        wait_for(prometheus, "AgentTableSuspended")
        shows(unit, "permit is suspended (TABLE_CHANGED): ", "sync-agent resume permit")
        place.execute("ALTER TABLE permit RENAME COLUMN sum TO amount")
        unit.command("resume", "permit")
        wait_for(prometheus)
        shows(unit, "OK: 1 tables are live")
        assert "TABLE_CHANGED" not in page(unit)

        with closing(sqlite3.connect(tmp_path / "unit" / "front.db")) as front, front:
            front.execute("UPDATE permit SET holder = 'somebody else'")
        assert in_this_process(unit.config, "verify", "permit").returncode == 1
        wait_for(prometheus, "AgentVerifyDifferences")
        unit.command("reconcile", "permit")
        wait_for(prometheus)

        unseen = set()
        for selector in selectors(prometheus):
            if not prometheus.query(f"count_over_time({selector}[1h])"):
                unseen.add(selector.partition("{")[0])
        assert unseen == WITHOUT_SERIES.keys()
        assert {rule["health"] for rule in prometheus.rules()} == {"ok"}

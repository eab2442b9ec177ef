"""Tests what capture reports of the source's log and of comparisons, as the metrics show it."""

import math
import re
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest

from agent.capture.reports import Reports
from agent.connectors.postgres.kept_log import NOTHING
from agent.connectors.postgres.snapshot import OldestTransaction, snapshot_of
from agent.service.control import Control
from agent.service.metrics import Metrics


class Reported:
    """Reports, and the metrics that come of them."""

    def __init__(self) -> None:
        self.control = Control.alone()
        self.reports = Reports(["person", "permit"], self.control)
        self._metrics = Metrics("tax", ["person", "permit"])

    def series(self, name: str) -> dict[str, float]:
        """Returns the series of a metric, values by their labels."""
        self._metrics.beat(self.control.gauges, {}, {})
        page = generate_latest(self._metrics.registry).decode()
        found = re.findall(rf'^{name}{{agent="tax",?(.*)}} (.*)$', page, re.MULTILINE)
        return {labels: float(value) for labels, value in found}


@pytest.fixture
def reported() -> Iterator[Reported]:
    made = Reported()
    yield made
    made.control.close()


def test_the_log_that_a_slot_keeps(reported: Reported) -> None:
    """A status that is no longer the slot's has no series any more."""
    reported.control.beat(NOTHING._replace(status="extended", bytes=7, safe_bytes=9.0).gauges())
    assert reported.series("agent_source_log_status") == {'status="extended"': 1}
    reported.control.beat(NOTHING._replace(status="reserved", bytes=8).gauges())
    assert reported.series("agent_source_log_status") == {'status="reserved"': 1}
    assert reported.series("agent_source_log_retained_bytes") == {"": 8}
    assert reported.series("agent_source_log_safe_bytes") == {"": math.inf}


def test_tables_that_were_compared(reported: Reported) -> None:
    reported.reports.compared({"permit": 3})
    assert reported.series("agent_verify_differences") == {
        'table="permit"': 3,
        'table="person"': 0,
    }
    times = reported.series("agent_verify_timestamp_seconds")
    assert times['table="permit"'] > 1_700_000_000
    assert times['table="person"'] == 0


def test_the_oldest_transaction_is_seen_without_rights() -> None:
    """It counts from the first snapshot that shows it until one that does not."""
    oldest = OldestTransaction()
    seen = []
    for moment, text in enumerate(("5:5:", "5:7:5", "5:9:5,8", "8:9:8", "9:9:"), start=1):
        oldest.seen(snapshot_of(text), moment)
        seen.append(oldest.since)
    assert seen == [0, 2, 2, 4, 0]

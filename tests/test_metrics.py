"""Tests metrics and health: names and label sets are known from the start.

The service is live without peers, and ready with all of them.
"""

import http.client
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from agent.errors import AlreadyRunning, ListenRefused
from agent.service import metrics as names
from agent.service.health import HealthServer
from agent.service.kept_gauges import KeptGauges
from agent.service.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("tax", ["person", "permit"])


@pytest.fixture
def server(metrics: Metrics) -> Iterator[HealthServer]:
    with HealthServer("127.0.0.1:0", "tax", metrics) as running:
        yield running


def get(server: HealthServer, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def text(metrics: Metrics) -> str:
    """Returns the page without the label `agent`, which all of its lines have."""
    page = generate_latest(metrics.registry).decode()
    for line in page.splitlines():
        assert line.startswith("#") or '{agent="tax"' in line
    return re.sub(r'agent="tax",?', "", page).replace("{}", "")


def test_every_known_label_set_is_there_at_zero(metrics: Metrics) -> None:
    lines = text(metrics).splitlines()
    for line in (
        'agent_events_total{op="d",stage="published",table="permit"} 0.0',
        'agent_events_total{op="r",stage="applied",table="person"} 0.0',
        'agent_last_commit_timestamp_seconds{stage="captured"} 0.0',
        'agent_verify_timestamp_seconds{table="person"} 0.0',
        'agent_verify_differences{table="permit"} 0.0',
        'agent_process_resident_memory_bytes{stage="capture"} 0.0',
        "agent_front_free_bytes NaN",
        "agent_source_log_free_bytes NaN",
        "agent_source_log_retained_bytes 0.0",
        "agent_source_log_safe_bytes NaN",
        "agent_source_oldest_transaction_timestamp_seconds 0.0",
        'agent_errors_total{kind="KAFKA_UNREACHABLE",stage="publish"} 0.0',
        'agent_errors_total{kind="INTERNAL",stage="capture"} 0.0',
        'agent_process_restarts_total{stage="capture"} 0.0',
        'agent_last_commit_timestamp_seconds{stage="applied"} 0.0',
        'agent_connected{peer="frontend"} 0.0',
        "agent_snapshot_running 0.0",
        'agent_snapshot_rows_total{table="permit"} 0.0',
        'agent_stage_failing_since_timestamp_seconds{stage="publish"} 0.0',
        "agent_source_lag_bytes 0.0",
        "agent_statements_logged_total 0.0",
        "agent_doubted_tables 0.0",
        "agent_poll_looks_total 0.0",
        "agent_poll_look_duration_seconds 0.0",
        "agent_poll_quiet 0.0",
        "agent_trigger_log_notes 0.0",
        "agent_trigger_log_oldest_timestamp_seconds 0.0",
        "agent_outbox_events 0.0",
        "agent_outbox_oldest_timestamp_seconds 0.0",
        "agent_publish_duration_seconds_count 0.0",
    ):
        assert line in lines
    assert re.search(
        r'^agent_build_info\{python="3\.\d+\.\d+",version="[\d.]+"\} 1\.0$',
        text(metrics),
        re.MULTILINE,
    )
    assert "process_resident_memory_bytes" in text(metrics)


def test_150_tables_make_less_than_2000_series() -> None:
    """Also once each has been copied, compared and changed in every way, and some have refused."""
    tables = [f"table_{number}" for number in range(150)]
    metrics = Metrics("tax", tables)
    for name in tables:
        metrics.gauge(f"{names.TABLE_STATE}/{name}/copying", 1)
        metrics.gauge(f"{names.COPY_ESTIMATE}/{name}", 1000)
    for name in tables:
        metrics.gauge(f"{names.TABLE_STATE}/{name}/copying", 0)
        metrics.gauge(f"{names.TABLE_STATE}/{name}/live", 1)
        metrics.gauge(f"{names.COPY_ESTIMATE}/{name}", 0)
        metrics.gauge(f"{names.REFUSED}/{name}", 0)
        metrics.gauge(f"{names.WITHHELD}/{name}", 0)
    for name in tables[:10]:
        metrics.gauge(f"{names.REFUSED}/{name}", 1)
        metrics.gauge(f"{names.WITHHELD}/{name}", 1)
    metrics.gauge(f"{names.LOG_STATUS}/reserved", 1)
    metrics.failed("capture", "FRONT_BUSY", {"reason": "locked"})
    page = generate_latest(metrics.registry).decode()
    series = [line for line in page.splitlines() if not line.startswith("#")]
    assert len(series) < 2000
    assert "_created" not in page
    assert [line for line in series if "table_state" in line and "copying" in line] == []


def test_the_last_comparison_outlives_the_service(tmp_path: Path) -> None:
    before = Metrics("tax", ["person", "permit"], kept=KeptGauges(tmp_path))
    compared = {f"{names.VERIFIED}/person": 1700.0, f"{names.DIFFERENCES}/person": 3}
    before.beat({**compared, f"{names.VERIFIED}/permit": 1800.0}, {}, {})
    after = Metrics("tax", ["person"], kept=KeptGauges(tmp_path))
    lines = text(after).splitlines()
    assert 'agent_verify_timestamp_seconds{table="person"} 1700.0' in lines
    assert 'agent_verify_differences{table="person"} 3.0' in lines
    assert "permit" not in text(after)
    (tmp_path / "last-verify.json").write_text("damaged")
    assert 'agent_verify_timestamp_seconds{table="person"} 0.0' in text(
        Metrics("tax", ["person"], kept=KeptGauges(tmp_path))
    )


def test_what_is_measured_on_this_host(tmp_path: Path) -> None:
    metrics = Metrics("tax", ["person"], tmp_path, str(tmp_path))
    metrics.started("capture", os.getpid())
    for name in ("agent_front_free_bytes", "agent_source_log_free_bytes"):
        free = re.search(f"^{name} (.*)$", text(metrics), re.MULTILINE)
        assert free is not None
        assert float(free[1]) > 0
    memory = r'^agent_process_resident_memory_bytes{stage="capture"} (.*)$'
    resident = re.search(memory, text(metrics), re.MULTILINE)
    assert resident is not None
    assert float(resident[1]) > 1_000_000
    metrics.ended("capture")
    assert 'agent_process_resident_memory_bytes{stage="capture"} 0.0' in text(metrics)


def test_beats_are_added_up(metrics: Metrics) -> None:
    events = f"{names.EVENTS}/applied/person/c"
    for _ in range(2):
        metrics.beat(
            {names.SOURCE_LAG: 7, f"{names.TABLE_STATE}/person/live": 1},
            {events: 3},
            {names.PUBLISH_DURATION: [0.004, 3.0]},
        )
    lines = text(metrics).splitlines()
    assert 'agent_events_total{op="c",stage="applied",table="person"} 6.0' in lines
    assert "agent_source_lag_bytes 7.0" in lines
    assert 'agent_table_state{state="live",table="person"} 1.0' in lines
    assert 'agent_publish_duration_seconds_bucket{le="0.005"} 2.0' in lines
    assert "agent_publish_duration_seconds_count 4.0" in lines


def test_names_that_do_not_exist_are_refused(metrics: Metrics) -> None:
    with pytest.raises(KeyError):
        metrics.count("agent_nonsense_total")


def test_a_copy_can_be_followed(metrics: Metrics) -> None:
    """Rows read are added up, over copies too; what is expected is there while they are read."""
    for rows, expected in ((1000, 5000), (500, 5000), (7, 9)):
        metrics.beat(
            {names.COPYING: 1, f"{names.COPY_ESTIMATE}/person": expected},
            {f"{names.COPIED}/person": rows},
            {},
        )
    assert 'agent_snapshot_estimated_rows{table="person"} 9.0' in text(metrics).splitlines()
    metrics.beat({names.COPYING: 0, f"{names.COPY_ESTIMATE}/person": 0}, {}, {})
    lines = text(metrics).splitlines()
    assert "agent_snapshot_estimated_rows{" not in text(metrics)
    assert {
        "agent_snapshot_running 0.0",
        'agent_snapshot_rows_total{table="person"} 1507.0',
    } <= set(lines)


def test_connections_remember_since_when(metrics: Metrics) -> None:
    metrics.gauge(f"{names.CONNECTED}/kafka", 1)
    since = metrics.connections["kafka"].since
    metrics.gauge(f"{names.CONNECTED}/kafka", 1)
    assert metrics.connections["kafka"] == (True, since)
    metrics.ended("publish")
    assert not metrics.connections["kafka"].connected


def test_a_stage_that_fails_is_told_from_the_first_attempt_on(
    server: HealthServer, metrics: Metrics
) -> None:
    for peer in names.PEERS:
        metrics.gauge(f"{names.CONNECTED}/{peer}", 1)
    assert get(server, "/-/ready")[0] == 200
    began = time.time()
    metrics.failed("capture", "FRONT_BUSY", {"reason": "locked"})
    metrics.failed("capture", "FRONT_BUSY", {"reason": "disk full"})
    assert 'agent_stage_error_info{code="FRONT_BUSY",stage="capture"} 1.0' in text(metrics)
    metrics.failed(
        "capture", "LOGIN_REFUSED", {"peer": "the front end", "user": "sync", "reason": "no"}
    )
    status, body = get(server, "/-/ready")
    answer = json.loads(body)
    stage = answer["stages"]["capture"]
    assert (status, answer["ok"], stage["ok"], stage["attempts"]) == (503, False, False, 3)
    assert stage["code"] == "LOGIN_REFUSED"
    assert stage["reason"] == "the front end refused the login of sync: no"
    assert stage["hint"].startswith("Put the right password")
    assert began - 1 <= datetime.fromisoformat(stage["since"]).timestamp() <= time.time()
    assert answer["stages"]["publish"] == {"ok": True}
    page = text(metrics)
    assert 'agent_stage_error_info{code="LOGIN_REFUSED",stage="capture"} 1.0' in page
    assert "FRONT_BUSY" not in re.sub("agent_errors_.*", "", page)
    (since,) = re.findall(f'^{names.FAILING_SINCE}{{stage="capture"}} (.*)$', page, re.MULTILINE)
    assert began - 1 <= float(since) <= time.time()
    over = metrics.well("capture")
    assert over is not None
    assert over.attempts == 3
    assert metrics.well("capture") is None
    assert get(server, "/-/ready")[0] == 200
    page = text(metrics)
    assert f'{names.FAILING_SINCE}{{stage="capture"}} 0.0' in page
    assert f"\n{names.STAGE_ERROR}{{" not in page


def test_a_table_that_is_no_longer_shared_has_no_series(metrics: Metrics) -> None:
    metrics.gauge(f"{names.TABLE_STATE}/permit/live", 1)
    metrics.set_tables(["person"])
    page = text(metrics)
    assert 'table="permit"' not in page
    assert 'table="person"' in page
    assert 'agent_connected{peer="source"} 0.0' in page


def test_metrics_page(server: HealthServer, metrics: Metrics) -> None:
    metrics.count(f"{names.RESTARTS}/publish")
    status, body = get(server, "/metrics")
    assert status == 200
    assert 'agent_process_restarts_total{agent="tax",stage="publish"} 1.0' in body


def test_healthy_depends_on_the_supervisor_only(server: HealthServer, metrics: Metrics) -> None:
    assert get(server, "/-/healthy")[0] == 200
    metrics.turned = time.monotonic() - 60
    status, body = get(server, "/-/healthy")
    assert status == 503
    assert json.loads(body)["checks"]["supervisor"]["silent_seconds"] >= 60


def test_ready_when_every_peer_is_connected(server: HealthServer, metrics: Metrics) -> None:
    for peer in ("source", "frontend"):
        metrics.gauge(f"{names.CONNECTED}/{peer}", 1)
    status, body = get(server, "/-/ready")
    assert status == 503
    answer = json.loads(body)
    assert (answer["agent"], answer["ok"]) == ("tax", False)
    assert {name: check["ok"] for name, check in answer["checks"].items()} == {
        "source": True,
        "frontend": True,
        "kafka": False,
    }
    assert re.match(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$", answer["checks"]["kafka"]["since"]
    )
    metrics.gauge(f"{names.CONNECTED}/kafka", 1)
    assert get(server, "/-/ready?verbose")[0] == 200


def test_tables_in_doubt_are_told_and_leave_the_service_ready(
    server: HealthServer, metrics: Metrics
) -> None:
    for peer in ("source", "frontend", "kafka"):
        metrics.gauge(f"{names.CONNECTED}/{peer}", 1)
    metrics.gauge(names.DOUBTED, 2)
    status, body = get(server, "/-/ready")
    assert (status, json.loads(body)["doubted_tables"]) == (200, 2)


def test_who_stands_by_needs_the_front_end_alone(server: HealthServer, metrics: Metrics) -> None:
    """It says for whom it stands by; the active one has the other role."""
    metrics.standby("db1", 1_795_486_504.0)
    assert get(server, "/-/ready")[0] == 503
    metrics.gauge(f"{names.CONNECTED}/frontend", 1)
    status, body = get(server, "/-/ready")
    answer = json.loads(body)
    assert status == 200
    assert answer["standby"] == {"active": "db1", "since": "2026-11-24T02:15:04.000+00:00"}
    assert list(answer["checks"]) == ["frontend"]
    lines = text(metrics).splitlines()
    assert 'agent_role{role="standby"} 1.0' in lines
    assert "agent_standbys NaN" in lines

    metrics.active()
    assert "standby" not in json.loads(get(server, "/-/ready")[1])
    roles = [line for line in text(metrics).splitlines() if line.startswith("agent_role")]
    assert roles == ['agent_role{role="active"} 1.0']


def test_other_paths_name_the_pages(server: HealthServer) -> None:
    assert get(server, "/") == (404, "see /metrics, /-/healthy, /-/ready\n")


def test_address_in_use_is_named(server: HealthServer, metrics: Metrics) -> None:
    with pytest.raises(
        ListenRefused, match=f"127.0.0.1:{server.port} .*Address already in use"
    ) as caught:
        HealthServer(f"127.0.0.1:{server.port}", "customs", metrics)
    assert caught.value.exit_code == 78
    with pytest.raises(AlreadyRunning, match="tax is already running") as own:
        HealthServer(f"127.0.0.1:{server.port}", "tax", metrics)
    assert "systemctl stop sync-agent@tax" in own.value.advice("en")
    assert own.value.exit_code == 75
    with pytest.raises(ListenRefused):
        HealthServer("127.0.0.1:99999", "tax", metrics)


def has_ipv6_loopback() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_listens_on_ipv6_loopback(metrics: Metrics) -> None:
    """Or names the address, on a host without IPv6."""
    with (
        nullcontext() if has_ipv6_loopback() else pytest.raises(ListenRefused),
        HealthServer("[::1]:0", "tax", metrics) as running,
    ):
        assert running.port > 0

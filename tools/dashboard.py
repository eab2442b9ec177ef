"""Writes the dashboard for Grafana, deploy/grafana/dashboard.json: `python -m tools.dashboard`.

The panels stand in `PANELS`. Who wants others changes them there, or in Grafana in a copy.
"""

import json
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

PATH = Path(__file__).parent.parent / "deploy" / "grafana" / "dashboard.json"
_COLUMNS = 24  # of a dashboard of Grafana
_HEIGHT = 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_LAG = "time() - agent_last_commit_timestamp_seconds"


class Query(NamedTuple):
    """An expression of Prometheus, and what each of its lines is called."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """A panel; `$A` in an expression is the choice of agents."""

    title: str
    kind: str  # stat, timeseries or bargauge
    width: int
    unit: str  # Grafana's name of it
    queries: tuple[Query, ...]
    help: str = ""


PANELS = (
    Panel(
        "Tables · 表",
        "stat",
        6,
        "none",
        (Query("count by (state) (agent_table_state{$A} == 1)", "{{state}}"),),
        "How many tables are live, copying or suspended.",
    ),
    Panel(
        "Connected · 连接",
        "stat",
        6,
        "none",
        (Query("min by (peer) (agent_connected{$A})", "{{peer}}"),),
        "1: connected to the business database (source), the front end and Kafka.",
    ),
    Panel(
        "Failing · 失败",
        "stat",
        6,
        "none",
        (Query("agent_stage_error_info{$A}", "{{agent}} {{stage}} {{code}}"),),
        "Which of the two processes does not get on, and the code of the error. Empty: both do.",
    ),
    Panel(
        "Rows refused and withheld · 拒收与扣留的行",
        "stat",
        6,
        "short",
        (
            Query("agent_refused_rows{$A}", "{{agent}} {{table}} refused"),
            Query("agent_withheld_rows{$A}", "{{agent}} {{table}} withheld"),
        ),
        "Rows that the front-end table does not take, or Kafka. Empty: none.",
    ),
    Panel(
        "Lag · 延迟",
        "timeseries",
        12,
        "s",
        (
            Query(f'{_LAG}{{$A, stage="applied"}}', "{{agent}} front end"),
            Query(f'{_LAG}{{$A, stage="published"}}', "{{agent}} Kafka"),
        ),
        "How long ago the newest change was made that has arrived. Up to ten seconds when idle.",
    ),
    Panel(
        "Events · 事件",
        "timeseries",
        12,
        "eps",
        (
            Query(
                "sum by (agent, stage) (rate(agent_events_total{$A}[$__rate_interval]))",
                "{{agent}} {{stage}}",
            ),
        ),
        "Changes a second written to the front end (applied), and visible in Kafka (published).",
    ),
    Panel(
        "Outbox · 发件箱",
        "timeseries",
        12,
        "short",
        (Query("agent_outbox_events{$A}", "{{agent}}"),),
        "Events that wait for Kafka.",
    ),
    Panel(
        "Busiest tables · 变更最多的表",
        "timeseries",
        12,
        "eps",
        (
            Query(
                "topk(10, sum by (agent, table)"
                ' (rate(agent_events_total{$A, stage="published"}[$__rate_interval])))',
                "{{agent}} {{table}}",
            ),
        ),
        "Events a second, by table.",
    ),
    Panel(
        "Last comparison · 上次对账",
        "bargauge",
        12,
        "s",
        (
            Query(
                "time() - (agent_verify_timestamp_seconds{$A} > 0)",
                "{{agent}} {{table}}",
            ),
        ),
        "How long ago all rows of a table were compared with the business database.",
    ),
    Panel(
        "Differences · 对账差异",
        "bargauge",
        12,
        "short",
        (Query("agent_verify_differences{$A}", "{{agent}} {{table}}"),),
        "Rows that differed then and were not repaired.",
    ),
    Panel(
        "Log kept by the business database · 业务库保留的日志",
        "timeseries",
        12,
        "bytes",
        (
            Query("agent_source_log_retained_bytes{$A}", "{{agent}} kept"),
            Query("agent_source_log_safe_bytes{$A}", "{{agent}} may still be written"),
            Query("agent_source_lag_bytes{$A}", "{{agent}} not read"),
        ),
        "Where nothing more may be written, the server throws the log away.",
    ),
    Panel(
        "Age of the last look that has read all · 上次完整轮询距今",
        "timeseries",
        12,
        "s",
        (Query("time() - agent_poll_complete_timestamp_seconds{$A}", "{{agent}} {{table}}"),),
        "Of each table of a polled database. In quiet hours it grows.",
    ),
    Panel(
        "Notes of triggers that wait · 待读取的触发器记录",
        "timeseries",
        12,
        "short",
        (Query("agent_trigger_log_notes{$A}", "{{agent}}"),),
        "In the business database, of an agent that reads a trigger log.",
    ),
    Panel(
        "Disks of front end and log · 前置库与业务库日志的磁盘",
        "timeseries",
        12,
        "bytes",
        (
            Query("agent_front_free_bytes{$A}", "{{agent}} free"),
            Query("agent_source_log_free_bytes{$A}", "{{agent}} free for the log of the source"),
            Query("agent_front_wal_bytes{$A}", "{{agent}} -wal"),
        ),
        "Of a SQLite front end, and of service.source_disk.",
    ),
    Panel(
        "Copying · 复制",
        "timeseries",
        12,
        "short",
        (
            Query(
                "sum by (agent, table) (rate(agent_snapshot_rows_total{$A}[$__rate_interval]))",
                "{{agent}} {{table}}",
            ),
        ),
        "Rows a second read from the business database to copy or compare a table.",
    ),
    Panel(
        "Kafka transactions · Kafka 事务",
        "timeseries",
        12,
        "s",
        (
            Query(
                "histogram_quantile(0.99, sum by (agent, le)"
                " (rate(agent_publish_duration_seconds_bucket{$A}[$__rate_interval])))",
                "{{agent}} 99 %",
            ),
        ),
        "How long one takes.",
    ),
    Panel(
        "Errors · 错误",
        "timeseries",
        12,
        "short",
        (
            Query(
                "sum by (agent, kind) (increase(agent_errors_total{$A}[$__rate_interval])) > 0",
                "{{agent}} {{kind}}",
            ),
            Query(
                "sum by (agent, stage)"
                " (increase(agent_process_restarts_total{$A}[$__rate_interval])) > 0",
                "{{agent}} {{stage}} restarted",
            ),
        ),
        "By code, those that were tried again and went well included.",
    ),
    Panel(
        "Memory · 内存",
        "timeseries",
        12,
        "bytes",
        (
            Query("agent_process_resident_memory_bytes{$A}", "{{agent}} {{stage}}"),
            Query("process_resident_memory_bytes{$A}", "{{agent}} supervisor"),
        ),
        "Of the agent's three processes.",
    ),
)


def dashboard() -> dict[str, Any]:
    """Returns the dashboard as Grafana imports it."""
    return {
        "title": "sync-agent",
        "uid": "sync-agent",
        "tags": ["sync-agent"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), _agents()]},
        "panels": _placed(),
    }


def text() -> str:
    """Returns the file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }


def _agents() -> dict[str, Any]:
    return {
        "name": "agent",
        "label": "Agent · 同步代理",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(agent_build_info, agent)", "refId": "agent"},
        "refresh": 2,  # whenever the time range changes
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _placed() -> list[dict[str, Any]]:
    """Lays the panels out from left to right, row by row."""
    placed = []
    left = top = 0
    for number, panel in enumerate(PANELS, start=1):
        if left + panel.width > _COLUMNS:
            left = 0
            top += _HEIGHT
        place = {"x": left, "y": top, "w": panel.width, "h": _HEIGHT}
        placed.append(_panel(panel, number, place))
        left += panel.width
    return placed


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = []
    for letter, query in zip(ascii_uppercase, panel.queries, strict=False):
        target = {
            "refId": letter,
            "datasource": _SOURCE,
            "expr": query.expression.replace("$A", 'agent=~"$agent"'),
            "legendFormat": query.legend,
            "instant": panel.kind != "timeseries",
        }
        targets.append(target)
    return {
        "id": number,
        "title": panel.title,
        "description": panel.help,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")

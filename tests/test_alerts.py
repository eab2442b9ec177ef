"""Tests the alerts for Prometheus: each fires, keeps silent and clears, and has its runbook.

What they name is looked up in a live agent by tests/test_end_to_end_alerts.py.
"""

import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from agent.service.metrics import Metrics
from tests.test_docs import ROOT, RUNBOOKS, headings
from tools import dashboard

FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "alerts.yml"
ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES.read_text(encoding="utf-8"), re.MULTILINE)
ANNOTATIONS = ("summary", "description", "summary_zh", "description_zh", "runbook_url")


RECEIVERS = ROOT / "deploy" / "alertmanager"

# What Alertmanager has to tell
ALERT = """{
  "status": "firing",
  "commonLabels": {"unit": "tax-office"},
  "alerts": [{
    "status": "firing",
    "startsAt": "2026-11-30T02:00:00Z",
    "labels": {"alertname": "AgentDown", "severity": "critical", "unit": "tax-office"},
    "annotations": {"summary_zh": "没有响应", "summary": "does not answer"}
  }]
}"""


def promtool(*arguments: str) -> None:
    completed(FOLDER, "promtool", *arguments)


def amtool(*arguments: str) -> str:
    return completed(RECEIVERS, "amtool", *arguments)


def completed(folder: Path, *command: str) -> str:
    """Runs a program in a folder, which has to succeed; returns what it says."""
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_files_are_right_for_prometheus() -> None:
    promtool("check", "rules", RULES.name)
    promtool("check", "config", "prometheus.yml")


def test_each_alert_fires_keeps_silent_and_clears() -> None:
    """The cases stand in alerts_test.yml, one for each alert."""
    promtool("test", "rules", "alerts_test.yml")
    cases = (FOLDER / "alerts_test.yml").read_text(encoding="utf-8")
    assert re.findall(r"^  - name: (\w+)", cases, re.MULTILINE) == ALERTS


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.name)
def test_each_alert_has_its_runbook_and_no_other_has(page: Path) -> None:
    found = [text for _, text in headings(page) if re.fullmatch(r"Agent[A-Z]\w+", text)]
    assert found == ALERTS


def test_each_alert_says_what_it_means_in_both_languages() -> None:
    for name, rule in rules().items():
        for annotation in ANNOTATIONS:
            assert f"          {annotation}: " in rule, (name, annotation)
        assert rule.rstrip().endswith(f"OPERATIONS.html#{name.lower()}")
        assert re.search(r"^ +severity: (warning|critical)$", rule, re.MULTILINE)
        assert re.search(r"^        for: [1-9]\d*[mh]$", rule, re.MULTILINE)


def test_the_dashboard_is_what_the_script_makes() -> None:
    """Give `python -m tools.dashboard` after a change."""
    assert dashboard.PATH.read_text(encoding="utf-8") == dashboard.text()


def test_alerts_and_panels_name_metrics_that_exist() -> None:
    page = generate_latest(Metrics("tax", ["person"]).registry).decode()
    known = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))
    text = RULES.read_text(encoding="utf-8") + dashboard.text().replace("_bucket", "")
    named = set(re.findall(r"\bagent_[a-z_]+", text))
    assert named <= known


def test_the_examples_are_right_for_alertmanager(tmp_path: Path) -> None:
    """Critical alerts go to those on duty as well; the message has both languages."""
    amtool("check-config", "alertmanager.yml")
    route = ["config", "routes", "test", "--config.file=alertmanager.yml"]
    assert amtool(*route, "severity=critical").strip() == "wecom,dingtalk,mail"
    assert amtool(*route, "severity=warning").strip() == "mail"

    data = tmp_path / "alert.json"
    data.write_text(ALERT, encoding="utf-8")
    template = ["template", "render", "--template.glob=sync-agent.tmpl", f"--template.data={data}"]
    title = amtool(*template, '--template.text={{ template "sync-agent.title" . }}')
    assert title.strip() == "告警 tax-office: 没有响应"
    message = amtool(*template, '--template.text={{ template "sync-agent.message" . }}')
    assert message.startswith("[严重 critical] tax-office 2026-11-30 ")
    assert "- does not answer\n" in message
    assert "sync-agent docs AgentDown" in message


def rules() -> dict[str, str]:
    """Returns the text of each rule by its name."""
    text = RULES.read_text(encoding="utf-8")
    pieces = re.split(r"^ +- alert: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(pieces[::2], pieces[1::2], strict=True))

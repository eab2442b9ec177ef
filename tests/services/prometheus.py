"""Runs a real Prometheus on loopback, with the rules of a test."""

import json
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.services.processes import HOST, ServerProcess, Workspace, free_port
from tests.waiting import eventually

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: {job}
    static_configs:
      - targets: ["{host}:{port}"]
        labels: {{unit: tax-office}}
"""


class Prometheus:
    """Asks the service on `port` once a second, and evaluates the rules as often."""

    def __init__(self, job: str, port: int, rules: str) -> None:
        self._workspace = Workspace("prometheus")
        folder = self._workspace.path
        config = folder / "prometheus.yml"
        config.write_text(CONFIG.format(job=job, host=HOST, port=port), encoding="utf-8")
        (folder / "rules.yml").write_text(rules, encoding="utf-8")
        self._port = free_port()
        command: list[str | Path] = [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={HOST}:{self._port}",
        ]
        self._process = ServerProcess(command, folder / "log")

    def __enter__(self) -> Self:
        eventually(self._answers, 60, "Prometheus answers")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._workspace.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluates an expression now: `metric` and `value` of each series."""
        found = self._get("query", query=expression)["result"]
        assert isinstance(found, list)
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Returns the alerts that fire, with their labels and annotations."""
        alerts = self._get("alerts")["alerts"]
        return [alert for alert in alerts if alert["state"] == "firing"]

    def rules(self) -> list[dict[str, Any]]:
        """Returns the alerting rules, with `name`, `query` and `health`."""
        (group,) = self._get("rules")["groups"]
        rules = group["rules"]
        assert isinstance(rules, list)
        return rules

    def _answers(self) -> bool:
        self._process.check()
        return bool(self._get("rules"))

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        query = urllib.parse.urlencode(parameters)
        url = f"http://{HOST}:{self._port}/api/v1/{what}?{query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            content = json.load(answer)
        assert content["status"] == "success", content
        data = content["data"]
        assert isinstance(data, dict)
        return data

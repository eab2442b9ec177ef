"""Tests what a running service takes up of a changed configuration, and what needs a restart."""

from pathlib import Path

import pytest

from agent.cli.reload import reload
from agent.config import load
from agent.service.metrics import Metrics

CONFIG = """
[source]
host = "localhost"
database = "unit"
user = "agent"
[kafka]
bootstrap_servers = ["localhost:9092"]
prefix = "p"
[service]
{service}
[[resource]]
name = "{table}"
table = "public.person"
columns = ["id"]
"""


@pytest.mark.parametrize(
    ("service", "needs"),
    [
        ("", ""),
        ('log_level = "debug"', ""),
        ('listen = "127.0.0.1:9188"', "service.listen"),
        ('password = { file = "/page.password" }', "service.password"),
        ('tls = { cert_file = "/page.pem", key_file = "/page.key" }', "service.tls"),
    ],
)
def test_what_protects_the_page_needs_a_restart(
    tmp_path: Path,
    service: str,
    needs: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.cli.reload.log_to_stderr", lambda *_: None)
    config = tmp_path / "agent.toml"
    config.write_text(CONFIG.format(service="", table="person"), encoding="utf-8")
    running, metrics = load(config), Metrics("agent", ["person"])
    config.write_text(CONFIG.format(service=service, table="permit"), encoding="utf-8")
    with caplog.at_level("INFO"):
        taken = reload(running, config, metrics)

    assert taken is (needs == "")
    assert list(metrics.states) == ["permit" if taken else "person"]
    if needs:
        assert f"reload_refused needs=restart settings={needs}" in caplog.text

"""The unit file: clean for systemd, and with the settings the service relies on."""

import subprocess
import sys
from pathlib import Path

UNIT = Path(__file__).parent.parent / "deploy" / "systemd" / "sync-agent@.service"


def settings() -> dict[str, str]:
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_unit_is_clean_for_systemd(tmp_path: Path) -> None:
    """The program is replaced by one that exists on this machine.

    Everything else is verified as it is.
    """
    text = UNIT.read_text(encoding="utf-8").replace("/usr/bin/sync-agent", sys.executable)
    unit = tmp_path / "sync-agent@tax.service"
    unit.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_outages_never_end_the_service_and_halts_do() -> None:
    unit = settings()
    assert unit["Restart"] == "on-failure"
    assert unit["RestartSec"] == "5"
    assert unit["StartLimitIntervalSec"] == "0"
    assert unit["RestartPreventExitStatus"] == "78"


def test_supervisor_has_time_to_end_its_children() -> None:
    unit = settings()
    assert int(unit["TimeoutStopSec"]) >= 30
    assert unit["KillMode"] == "mixed"
    assert unit["ExecStart"] == "/usr/bin/sync-agent -c /etc/unit-sync-agent/%i.toml run"
    assert unit["User"] != "root"


def test_no_core_dump_holds_rows_or_passwords() -> None:
    assert settings()["LimitCORE"] == "0"

"""The unit file: clean for systemd, and with the settings the service relies on."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parent.parent / "deploy"
SYSTEMD = DEPLOY / "systemd"
UNIT = SYSTEMD / "sync-agent@.service"
VERIFY = SYSTEMD / "sync-agent-verify@.service"
HIGHEST_EXPOSURE = 15  # tenths; systemd itself calls services up to 5.0 well protected


def settings() -> dict[str, str]:
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def analyze(*arguments: str) -> tuple[int, str]:
    """Runs systemd-analyze; returns its exit status and what it complains of."""
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def installed(folder: Path) -> dict[str, Path]:
    """Puts all units into a folder, with every example as drop-in; returns them by file name.

    The program is replaced by one that exists on this machine. All else stays as it is.
    """
    found = {}
    for source in (*SYSTEMD.glob("*@.*"), *SYSTEMD.glob("examples/*@.service")):
        text = source.read_text(encoding="utf-8").replace("/usr/bin/sync-agent", sys.executable)
        copy = folder / source.name.replace("@.", "@tax.")
        copy.write_text(text, encoding="utf-8")
        found[source.name] = copy

    drop_ins = folder / "sync-agent@tax.service.d"
    drop_ins.mkdir()
    for example in SYSTEMD.glob("examples/*.conf"):
        shutil.copy(example, drop_ins)
    return found


def test_units_and_examples_are_clean_for_systemd(tmp_path: Path) -> None:
    units = installed(tmp_path)
    assert len(units) == 4
    for unit in units.values():
        assert analyze("verify", "--man=no", str(unit)) == (0, ""), unit.name


@pytest.mark.parametrize("unit", [UNIT, VERIFY], ids=lambda unit: unit.name)
def test_walls_are_high(unit: Path) -> None:
    wanted = f"--threshold={HIGHEST_EXPOSURE}"
    assert analyze("security", "--offline=true", wanted, str(unit)) == (0, "")


def test_user_and_folders_are_clean_for_systemd(tmp_path: Path) -> None:
    """They are made in an empty root, as a package does it."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for program, folder in (("systemd-sysusers", "sysusers.d"), ("systemd-tmpfiles", "tmpfiles.d")):
        (file,) = (DEPLOY / folder).glob("*.conf")
        command = [program, f"--root={root}", str(file)]
        if folder == "tmpfiles.d":
            command.insert(1, "--create")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "unit-sync-agent" in (root / "etc/passwd").read_text(encoding="utf-8")
    for folder in ("etc/unit-sync-agent", "var/lib/unit-sync-agent"):
        assert (root / folder).stat().st_mode & 0o777 == 0o750


def test_systemd_hears_from_the_service_and_reloads_it() -> None:
    """It is not ended while it begins: it asks for more time by itself."""
    unit = settings()
    assert unit["Type"] == "notify"
    assert int(unit["WatchdogSec"]) >= 120
    assert unit["ExecReload"] == '/bin/sh -c "kill -HUP $MAINPID"'


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

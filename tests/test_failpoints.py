"""Tests failpoints: they do nothing unless armed, and nothing but the environment arms them.

Armed they kill, stall or raise at the n-th hit, once.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agent import failpoints
from agent.config import Settings, load
from agent.errors import AgentError
from agent.failpoints import (
    DESCRIPTOR,
    OF_BINARY_LOG,
    OF_GIVING_UP,
    OF_STATES,
    PLACES,
    SETTING,
    FailpointReached,
)
from tests.waiting import PATIENCE

AGENT = Path(failpoints.__file__).parent
TWICE = (
    "from agent import failpoints; "
    "failpoints.hit('mid_rows'); failpoints.hit('mid_rows'); print('alive')"
)


def run(
    setting: str | None, code: str = TWICE, file: int | None = None
) -> subprocess.CompletedProcess[str]:
    """A process of its own with this setting, as the supervisor would start it."""
    environment = {
        name: value for name, value in os.environ.items() if name not in (SETTING, DESCRIPTOR)
    }
    environment |= {SETTING: setting} if setting is not None else {}
    environment |= {DESCRIPTOR: str(file)} if file is not None else {}
    passed = (file,) if file is not None else ()
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        pass_fds=passed,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def arm(monkeypatch: pytest.MonkeyPatch, setting: str, fired: Sequence[str] = ()) -> None:
    """Arms this process."""
    monkeypatch.delenv(DESCRIPTOR, raising=False)
    monkeypatch.setattr(failpoints, "armed", failpoints._parse(setting, frozenset(fired)))


def test_unarmed_no_place_does_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a system call."""
    arm(monkeypatch, "")
    monkeypatch.setattr(failpoints, "_fire", lambda *_: pytest.fail("fired"))
    monkeypatch.setattr(failpoints, "os", None)
    for place in PLACES:
        failpoints.hit(place)
    assert run(None).stdout == "alive\n"


def test_kills_at_the_nth_hit() -> None:
    assert run("mid_rows:2:kill").returncode == -signal.SIGKILL
    assert run("mid_rows:3:kill").stdout == "alive\n"


def test_raises_at_the_nth_hit_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch, "mid_rows:3:raise,before_apply:1:raise")
    failpoints.hit("mid_rows")
    failpoints.hit("mid_rows")
    with pytest.raises(FailpointReached):
        failpoints.hit("before_apply")
    with pytest.raises(FailpointReached):
        failpoints.hit("mid_rows")
    for _ in range(5):
        failpoints.hit("mid_rows")
        failpoints.hit("after_rows")


def test_what_is_raised_is_an_error_nobody_foresees() -> None:
    assert not issubclass(FailpointReached, AgentError)


def test_stalls_for_the_seconds_given(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    arm(monkeypatch, "mid_rows:1:stall=0.7")
    failpoints.hit("mid_rows")
    failpoints.hit("mid_rows")
    assert slept == [0.7]


def test_what_has_fired_fires_no_more_in_the_next_process() -> None:
    file = os.memfd_create("fired")
    setting = "mid_rows:2:kill,before_apply:1:kill"
    assert run(setting, file=file).returncode == -signal.SIGKILL
    assert os.pread(file, 100, 0) == b"mid_rows\n"
    assert run(setting, file=file).stdout == "alive\n"
    assert (
        run(
            setting, "from agent import failpoints; failpoints.hit('before_apply')", file
        ).returncode
        == -signal.SIGKILL
    )
    assert os.pread(file, 100, 0) == b"mid_rows\nbefore_apply\n"
    os.close(file)


def test_without_the_file_each_process_fires_anew() -> None:
    assert [run("mid_rows:1:kill").returncode for _ in range(2)] == [-signal.SIGKILL] * 2


@pytest.mark.parametrize(
    "setting",
    ["mid_row:1:kill", "mid_rows:1:explode", "mid_rows:kill", "mid_rows:soon:kill", "mid_rows"],
)
def test_a_typing_error_is_refused(setting: str) -> None:
    done = run(setting)
    assert done.returncode == 1
    assert "ValueError" in done.stderr


def test_a_parent_passes_the_file_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DESCRIPTOR, raising=False)
    assert failpoints.inherited() == ()
    monkeypatch.setenv(DESCRIPTOR, "7")
    assert failpoints.inherited() == (7,)


def test_every_place_is_in_the_product_once_and_no_other() -> None:
    """Each source reads pages of its own: places there may stand in each."""
    passed: list[str] = []
    of_sources: set[str] = set()
    for path in AGENT.rglob("*.py"):
        names = re.findall(r'failpoints\.hit\("(\w+)"\)', path.read_text(encoding="utf-8"))
        if AGENT / "connectors" in path.parents:
            of_sources.update(names)
        else:
            passed += names
    assert len(PLACES) == 25
    named = (*PLACES, *OF_STATES, *OF_BINARY_LOG, *OF_GIVING_UP)
    assert sorted([*passed, *of_sources]) == sorted(named)


def test_no_configuration_can_arm_them(tmp_path: Path) -> None:
    """There is no such key, and the module that arms reads nothing but the environment."""
    assert "failpoint" not in str(Settings.model_json_schema()).lower()
    path = tmp_path / "agent.toml"
    for text in (f'{SETTING} = "mid_rows:1:kill"\n', '[service]\nfailpoints = "mid_rows:1:kill"\n'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(AgentError) as error:
            load(path)
        assert "failpoints" in str(error.value).lower()
    imported = re.findall(
        r"^(?:import|from) (\S+)",
        (AGENT / "failpoints.py").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert not [name for name in imported if name.startswith("agent")]


def test_no_file_of_the_package_sets_them() -> None:
    """Only the children's environment hands them on, as it is."""
    setting: Mapping[str, str] = {
        str(path.relative_to(AGENT)): path.read_text(encoding="utf-8")
        for path in AGENT.rglob("*.py")
    }
    assert [name for name, text in setting.items() if SETTING in text] == ["failpoints.py"]

"""The demonstration verifies, stays only when asked to, and leaves nothing behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.services.postgres import alive
from tests.waiting import eventually

VERIFIED = re.compile(r"VERIFIED source = front-end = topics: \d+ rows, \d+ events, 0 missing, 0 duplicate")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo puts its files; the server's unprivileged user can enter it, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="demo-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The demo, its output in a pipe."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")} | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.demo", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )


def processes(folder: Path) -> list[int]:
    """Every process that was started with a file of the folder or works in it."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and _belongs(path, folder) and alive(int(path.name))]


def _belongs(process: Path, folder: Path) -> bool:
    with suppress(OSError):
        return str(folder).encode() in process.joinpath("cmdline").read_bytes() or folder in process.joinpath("cwd").readlink().parents
    return False


def assert_nothing_is_left(folder: Path) -> None:
    """No process, no file."""
    eventually(lambda: not processes(folder), what="no process of the demo is left")
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_the_demo_verifies_and_stays_when_asked_to(folder: Path) -> None:
    """With --keep it ends with the verdict, the service goes on, and the command it names takes everything away."""
    with start(folder, "--keep") as demo:
        output, _ = demo.communicate(timeout=180)
    assert demo.returncode == 0, output
    assert VERIFIED.fullmatch(output.splitlines()[-1]), output
    keeper = int(output.partition(": kill ")[2].split()[0])
    try:
        metrics = output.partition("curl ")[2].split()[0]
        with urllib.request.urlopen(metrics, timeout=5) as answer:  # loopback
            assert "agent_build_info" in answer.read().decode()
    finally:
        os.kill(keeper, signal.SIGTERM)
    eventually(lambda: not alive(keeper), what="the demo ends")
    assert_nothing_is_left(folder)


def test_ctrl_c_leaves_nothing_behind(folder: Path) -> None:
    """While the agent is at work: exit 130, and no process or file stays."""
    with start(folder) as demo:
        assert demo.stdout is not None
        output = ""
        while "5/8" not in output:
            line = demo.stdout.readline()
            assert line, output
            output += line
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 128 + signal.SIGINT, output + rest
    assert_nothing_is_left(folder)
